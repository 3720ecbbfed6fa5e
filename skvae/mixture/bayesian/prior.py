r"""The prior of a Bayesian mixture: given values, and defaults in the units of the data.

If clusters are far apart, the covariance of the data is mostly the covariance between clusters. As
the scale of a prior it would make the clusters' own covariances too large. The default is smaller,
:math:`S_0 = \mathrm{cov}(X) / G^{2/D}`, as if G clusters filled the volume of the data. The prior
of the means has the weight of a tenth of a row. G is not ``n_components``: a prior that became
tighter with every component would make the bound rise with every component.

Fraley & Raftery, Bayesian regularization for normal mixture estimation and model-based clustering,
J. Classif. 24 (2007), section 3.
"""

from numbers import Real

import numpy as np

from skvae.gaussian.checks import check_near, check_positive_definite
from skvae.gaussian.conjugate import NormalWishart
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.first_statistics import statistics_of
from skvae.gaussian.moments import LARGEST
from skvae.mixture.bayesian.posterior import MixturePrior
from skvae.validation import check_array_parameter, check_number

_MEAN_PRECISION = 0.1  # rows
_CLUSTERS = 10  # G
_LARGEST = 1e30
_RIDGE = 1e-6  # share of each feature's variance, added to the default, which may be singular
_SHAPES = {
    "full": lambda n: (n, n),
    "tied": lambda n: (n, n),
    "diag": lambda n: (n,),
    "spherical": lambda n: (),  # noqa: ARG005
}


def prior_of(estimator, rows, moments):
    """Return the MixturePrior of an estimator.

    Parameters
    ----------
    estimator : BayesianMixtureSVI
        Its prior parameters are read.
    rows : Rows
        The data, for the defaults.
    moments : Moments
        The moments of the data.
    """
    kind, n_features = estimator.covariance_type, rows.X.shape[1]
    concentration = estimator.weight_concentration_prior
    if concentration is None:
        concentration = 1.0 / estimator.n_components
    mean_precision = estimator.mean_precision_prior
    mean_precision = _MEAN_PRECISION if mean_precision is None else mean_precision
    mean = estimator.mean_prior
    if mean is None:
        mean = moments.mean
    else:
        mean = check_array_parameter(
            "mean_prior", mean, (n_features,), "(n_features,)", largest=LARGEST
        )
        check_near(("mean_prior", mean), ("covariance_prior", None), kind, moments)
    is_wishart, dof = kind in ("full", "tied"), estimator.degrees_of_freedom_prior
    if dof is None:
        dof = float(n_features) if is_wishart else 1.0
    elif is_wishart and _positive("degrees_of_freedom_prior", dof) <= n_features - 1:
        raise ValueError(
            f"degrees_of_freedom_prior={dof!r}: must be > n_features - 1 = {n_features - 1}"
        )
    return MixturePrior(
        estimator.weight_concentration_prior_type,
        _positive("weight_concentration_prior", concentration),
        NormalWishart.prior(
            kind,
            1,
            _positive("mean_precision_prior", mean_precision),
            mean,
            _positive("degrees_of_freedom_prior", dof),
            _scale(estimator, rows, moments),
        ),
    )


def _positive(name, value):
    check_number(name, value, Real, 0)
    if value <= 0:
        raise ValueError(f"{name}={value!r}: must be > 0")
    if not 1 / _LARGEST <= value <= _LARGEST:
        raise ValueError(
            f"{name}={value!r}: must be between {1 / _LARGEST:.0e} and {_LARGEST:.0e}, or its "
            "products overflow or underflow"
        )
    return float(value)


def _scale(estimator, rows, moments):
    """Return S₀; the default is a share of the data's covariance, in the structure's form."""
    kind, n_features = estimator.covariance_type, rows.X.shape[1]
    structure = STRUCTURES[kind]
    if estimator.covariance_prior is not None:
        shape = _SHAPES[kind](n_features)
        scale = check_array_parameter(
            "covariance_prior", estimator.covariance_prior, shape, f"for covariance_type={kind!r}"
        )
        check_positive_definite(
            "covariance_prior", scale[None] if kind == "full" else scale, structure
        )
        check_near(("mean_prior", None), ("covariance_prior", scale), kind, moments)
        return scale
    share = _CLUSTERS ** (-2.0 / n_features)
    variance = moments.scale**2
    if kind == "diag":
        return share * variance
    if kind == "spherical":
        return np.asarray(share * variance.mean())
    found = statistics_of(rows, _alone, moments.mean[None], "full", moments)
    covariance = found.scatter[0] / found.counts[0]
    constant = moments.variance <= moments.resolution
    return share * (covariance + np.diag(np.where(constant, variance, _RIDGE * variance)))


def _alone(start, stop):
    """Return the responsibilities of a single component."""
    return np.ones((1, stop - start))
