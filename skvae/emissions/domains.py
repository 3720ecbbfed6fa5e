"""Domains of the parameters of an emission: their limits, and coordinates without limits.

A domain is the annotation of a field of :class:`skvae.emissions.EmissionParameters`. It is a class
and has no instances.
"""

import numpy as np
from scipy.special import expit

from skvae.ascent.loop import Collapse

SMALLEST, LARGEST = 1e-300, np.nextafter(1.0, 0.0)  # probabilities that are not 0 or 1
_SUM_ERROR = 1e-6  # by which probabilities that are given may miss the sum of one


class Real:
    """The domain of any finite number.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from skvae.emissions import EmissionParameters, Positive, Real
    >>> @dataclass(frozen=True)
    ... class LaplaceParameters(EmissionParameters):
    ...     locations: Real
    ...     scales: Positive
    """

    # Whether the entries of a state depend on each other, so that all of them are kept or none.
    joint = False

    @classmethod
    def check(cls, name, array):
        """Raise ValueError if an entry of a finite array is outside the domain.

        Parameters
        ----------
        name : str
            The name of the array, for the message.
        array : ndarray of shape (n_components, n_features)
            The array.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.emissions import Positive
        >>> Positive.check("scales", np.array([[1.0], [0.0]]))
        Traceback (most recent call last):
            ...
        ValueError: scales has an entry 0.0: must be > 0
        """

    @classmethod
    def coordinates(cls, array, unit):
        """Return the entries as numbers without limits, which acceleration extrapolates.

        Parameters
        ----------
        array : ndarray of shape (n_components, n_features)
            Entries of the domain.
        unit : ndarray of shape (n_features,) or float
            The scale of each feature.

        Returns
        -------
        coordinates : ndarray of shape (n_components, n_features)
            The entries in units of the features, or their logarithms or log-odds. A zero on the
            border of a domain is −inf.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.emissions import Probability
        >>> Probability.coordinates(np.array([[0.5, 0.0]]), 1.0)
        array([[  0., -inf]])
        """
        return array / unit

    @classmethod
    def entries(cls, coordinates, unit):
        """Return the entries that have the given coordinates.

        Parameters
        ----------
        coordinates : ndarray of shape (n_components, n_features)
            Numbers without limits.
        unit : ndarray of shape (n_features,) or float
            The scale of each feature.

        Returns
        -------
        array : ndarray of shape (n_components, n_features)
            Entries of the domain.

        Raises
        ------
        skvae.ascent.loop.Collapse
            The entries are not finite numbers of the domain.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.emissions import Simplex
        >>> Simplex.entries(np.array([[0.0, 0.0, -np.inf]]), 1.0)
        array([[5.e-001, 5.e-001, 5.e-301]])
        """
        return _finite(coordinates * unit)

    @classmethod
    def nudged(cls, array, unit, rng):
        """Return entries with random factors, since states with equal parameters stay equal.

        Parameters
        ----------
        array : ndarray of shape (n, n_features)
            Entries of the domain.
        unit : ndarray of shape (n_features,) or float
            The scale of each feature.
        rng : RandomState
            The source of randomness.

        Returns
        -------
        array : ndarray of shape (n, n_features)
            Entries of the domain.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.emissions import Positive
        >>> Positive.nudged(np.ones((1, 2)), 1.0, np.random.RandomState(0)).round(2)
        array([[1.05, 1.22]])
        """
        return array + unit * (rng.uniform(0.5, 1.5, size=array.shape) - 1.0)

    @classmethod
    def inside(cls, array):
        """Return entries that are not on the border of the domain.

        Parameters
        ----------
        array : ndarray of shape (n_components, n_features)
            Entries of the domain.

        Returns
        -------
        array : ndarray of shape (n_components, n_features)
            The same entries, but for those on the border, which are moved as little as possible.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.emissions import NonNegative, Real
        >>> NonNegative.inside(np.array([[0.0, 2.0]]))
        array([[1.e-300, 2.e+000]])
        >>> Real.inside(np.array([[0.0, 2.0]]))
        array([[0., 2.]])
        """
        return array

    @classmethod
    def n_free(cls, shape):
        """Return the number of free parameters of each state.

        Parameters
        ----------
        shape : tuple of int
            The shape of the array of all states.

        Returns
        -------
        n_free : int
            The number of entries, or one less where they sum to one.

        Examples
        --------
        >>> from skvae.emissions import Positive, Simplex
        >>> Positive.n_free((5, 3)), Simplex.n_free((5, 3))
        (3, 2)
        """
        return int(np.prod(shape[1:]))


class NonNegative(Real):
    """The domain of numbers that are zero or above it.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.emissions import NonNegative
    >>> NonNegative.coordinates(np.array([[0.0, 1.0]]), 1.0)
    array([[-inf,   0.]])
    """

    largest = np.inf

    @classmethod
    def check(cls, name, array):
        if (array < 0).any():
            raise ValueError(f"{name} has an entry {array.min()}: must be >= 0")

    @classmethod
    def coordinates(cls, array, unit):
        with np.errstate(divide="ignore"):
            return np.log(array)

    @classmethod
    def entries(cls, coordinates, unit):
        with np.errstate(over="ignore", under="ignore"):
            return _finite(np.exp(coordinates))

    @classmethod
    def nudged(cls, array, unit, rng):
        return array * rng.uniform(0.5, 1.5, size=array.shape)

    @classmethod
    def inside(cls, array):
        return np.maximum(array, SMALLEST)


class Positive(NonNegative):
    """The domain of numbers above zero.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.emissions import Positive
    >>> Positive.entries(np.array([[0.0]]), 1.0)
    array([[1.]])
    """

    @classmethod
    def check(cls, name, array):
        if not (array > 0).all():
            raise ValueError(f"{name} has an entry {array.min()}: must be > 0")

    @classmethod
    def entries(cls, coordinates, unit):
        found = super().entries(coordinates, unit)
        if not found.all():
            raise Collapse("the extrapolation underflows")
        return found


class Probability(Real):
    """The domain of probabilities of independent events.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.emissions import Probability
    >>> Probability.check("probabilities", np.array([[1.5]]))
    Traceback (most recent call last):
        ...
    ValueError: probabilities has an entry 1.5: must be in [0, 1]
    """

    @classmethod
    def check(cls, name, array):
        for value in (array.min(), array.max()):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} has an entry {value}: must be in [0, 1]")

    @classmethod
    def coordinates(cls, array, unit):
        with np.errstate(divide="ignore"):
            return np.log(array) - np.log1p(-array)

    @classmethod
    def entries(cls, coordinates, unit):
        if np.isnan(coordinates).any():
            raise Collapse("the extrapolation overflows")
        # No probability is rounded to 0 or 1: EM would never change it again.
        return np.clip(expit(coordinates), SMALLEST, LARGEST)

    @classmethod
    def nudged(cls, array, unit, rng):
        odds = array / (1.0 - array)
        odds *= rng.uniform(0.5, 2.0, size=odds.shape)
        return odds / (1.0 + odds)

    @classmethod
    def inside(cls, array):
        return np.clip(array, SMALLEST, LARGEST)


class Simplex(Probability):
    """The domain of probabilities that sum to one in each state, over the last axis.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.emissions import Simplex
    >>> Simplex.check("probabilities", np.array([[0.5, 0.4]]))
    Traceback (most recent call last):
        ...
    ValueError: probabilities sums to 0.9 over the last axis: must sum to 1
    """

    joint = True

    @classmethod
    def check(cls, name, array):
        NonNegative.check(name, array)
        total = array.sum(axis=-1)
        wrong = total.ravel()[np.abs(total - 1.0).argmax()]
        if abs(wrong - 1.0) > _SUM_ERROR:
            raise ValueError(f"{name} sums to {wrong:.9g} over the last axis: must sum to 1")

    @classmethod
    def coordinates(cls, array, unit):
        with np.errstate(divide="ignore"):
            return np.log(array)

    @classmethod
    def entries(cls, coordinates, unit):
        top = coordinates.max(axis=-1, keepdims=True)
        if not np.isfinite(top).all():
            raise Collapse("the extrapolation overflows")
        with np.errstate(under="ignore"):
            found = np.maximum(np.exp(coordinates - top), SMALLEST)
        return found / found.sum(axis=-1, keepdims=True)

    @classmethod
    def nudged(cls, array, unit, rng):
        found = array * rng.uniform(0.5, 1.5, size=array.shape)
        return found / found.sum(axis=-1, keepdims=True)

    @classmethod
    def inside(cls, array):
        if (array >= SMALLEST).all():
            return array
        found = np.maximum(array, SMALLEST)
        return found / found.sum(axis=-1, keepdims=True)

    @classmethod
    def n_free(cls, shape):
        return super().n_free(shape) - int(np.prod(shape[1:-1]))


def _finite(array):
    if not np.isfinite(array).all():
        raise Collapse("the extrapolation overflows")
    return array
