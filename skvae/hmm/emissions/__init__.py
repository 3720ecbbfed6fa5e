"""The former place of :mod:`skvae.emissions`: pickles and skops files written before name it."""

import sys

from skvae.emissions import (
    bernoulli,
    categorical,
    column,
    gaussian,
    gaussian_mixture,
    poisson,
    student_t,
)

_MOVED = (bernoulli, categorical, column, gaussian, gaussian_mixture, poisson, student_t)
sys.modules.update({m.__name__.replace("skvae", "skvae.hmm", 1): m for m in _MOVED})
