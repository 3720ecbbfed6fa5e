"""Domains of parameters that have a largest value, at which a likelihood without maximum is cut."""

import numpy as np

from skvae.emissions.domains import NonNegative


class Limited(NonNegative):
    """The domain of numbers from ``smallest`` to ``largest``, both included."""

    smallest, largest = 0.0, np.inf

    @classmethod
    def check(cls, name, array):
        for value in (array.min(), array.max()):
            if not cls.smallest <= value <= cls.largest:
                raise ValueError(
                    f"{name} has an entry {value}: must be from {cls.smallest:g} to {cls.largest:g}"
                )

    @classmethod
    def entries(cls, coordinates, unit):
        # A step beyond a limit would be taken back by the next M step, and the bound would fall.
        found = super().entries(np.minimum(coordinates, 1.0 + np.log(cls.largest)), unit)
        return np.clip(found, cls.smallest, cls.largest)

    @classmethod
    def nudged(cls, array, unit, rng):
        return np.clip(super().nudged(array, unit, rng), cls.smallest, cls.largest)
