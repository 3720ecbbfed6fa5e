r"""Multinomial emissions: a row of counts, given its total.

With the total :math:`N = \sum_d x_d` of a row

.. math:: \ln p(x \mid N, k) = \ln N! + \sum_d (x_d \ln p_{kd} - \ln x_d!), \qquad
          p_{kd} \leftarrow \frac{s_{kd} + a - 1}{\sum_{d'} (s_{kd'} + a - 1)},

with :math:`s_{kd} = \sum_t r_t x_{td}` and a prior Dirichlet(a, …, a) on the probabilities; a = 1
is none.
"""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from scipy.special import bdtr, gammaln

from skvae.emissions import poisson
from skvae.emissions.base import Emission
from skvae.emissions.domains import Simplex
from skvae.emissions.parameters import DensityKernel, EmissionParameters
from skvae.emissions.poisson import LARGE_COUNT, is_count
from skvae.validation import check_number


def log_density(X, probabilities):
    """Return ln p(x | N, state) of rows of counts (n, D), shape (K, n); 0 for a row with NaN."""
    missing = np.isnan(X).any(axis=1)
    X = np.where(missing[:, None], 0.0, X)
    totals = X.sum(axis=1)
    terms = gammaln(totals + 1.0) - gammaln(X + 1.0).sum(axis=1)
    with np.errstate(divide="ignore"):
        logs = np.log(probabilities)
    zero = np.isneginf(logs)
    found = np.where(zero, 0.0, logs) @ X.T + terms
    large = np.flatnonzero(totals > LARGE_COUNT)
    if len(large):  # as independent Poisson counts, given their total
        rates = totals[large, None] * np.where(zero, 0.0, probabilities)[:, None]
        counts = np.where(zero[:, None], 0.0, X[large])
        found[:, large] = poisson.log_density(counts, rates).sum(axis=2)
        found[:, large] -= poisson.log_density(totals[large], totals[large])
    if zero.any():
        found[zero.astype(np.float64) @ X.T > 0] = -np.inf
    return found


class _WholeRows(DensityKernel):
    """The kernel of rows that count as missing if one of their values is."""

    def blocks(self, X, workspace):
        """Yield (slice(None), block) of all rows."""
        X = np.array(X, dtype=np.float64)
        X[np.isnan(X).any(axis=1)] = np.nan
        yield from super().blocks(X, workspace)


@dataclass(frozen=True)
class MultinomialParameters(EmissionParameters):
    """Parameters of multinomial emissions.

    Parameters
    ----------
    probabilities : ndarray of shape (n_components, n_features)
        Probabilities p, which sum to one in each state.
    total : ndarray of shape ()
        The total of drawn rows, and of the rows of which moments are given.

    Examples
    --------
    >>> from skvae.hmm import MultinomialEmission
    >>> MultinomialEmission.from_parameters([[0.5, 0.5]], total=4).parameters().covariances()
    array([[[ 1., -1.],
            [-1.,  1.]]])
    """

    probabilities: Simplex
    total: np.ndarray = None

    def log_density(self, X):
        """Return ln p(x | N, state) of rows (n, D), shape (n_components, n)."""
        return log_density(X, self.probabilities)

    def kernel(self):
        """Return the kernel of the states."""
        return _WholeRows(self)

    def sample(self, states, rng):
        """Return a draw for each of the states, shape (n, n_features)."""
        X = np.empty((len(states), self.n_features))
        for k in np.unique(states):
            rows = np.flatnonzero(states == k)
            X[rows] = rng.multinomial(self.total, self.probabilities[k], size=len(rows))
        return X

    def means(self):
        """Return the mean of each state, shape (n_components, n_features)."""
        return self.total * self.probabilities

    def covariances(self):
        """Return the covariance of each state, shape (n_components, n_features, n_features)."""
        p = self.probabilities
        return self.total * (p[:, :, None] * np.eye(self.n_features) - p[:, :, None] * p[:, None])

    def cdf(self, x):
        """Return P(count ≤ x | state) in a row of the total, (..., K, D), of values (..., D)."""
        x = np.clip(np.floor(x)[..., None, :], -1.0, self.total)
        found = bdtr(np.maximum(x, 0.0), int(self.total), self.probabilities)
        return np.where(x < 0, 0.0, found)


class MultinomialEmission(Emission):
    """Multinomial emissions: a row of counts, such as those of words, given its total.

    Totals are not modelled: they may differ from row to row, and do not tell states apart.

    Parameters
    ----------
    prior : float, default=1.0
        Concentration a ≥ 1 of the prior Dirichlet(a, …, a) on the probabilities of each state. Its
        log-density is part of the objective; 1 is no prior.
    probabilities_init : array-like of shape (n_components, n_features), default=None
        First probabilities.

    Attributes
    ----------
    probabilities_ : ndarray of shape (n_components, n_features)
        The share of each column in the total of a row, in each state.
    total_ : ndarray of shape ()
        The mean total of the rows of the fit, rounded. Drawn rows have it, and means and
        covariances are those of rows that have it.
    n_features_in_ : int
        The number of features.

    See Also
    --------
    CategoricalEmission : A code in each column.
    PoissonEmission : Counts whose total differs between states.

    Notes
    -----
    A row with NaN has no total, and the density of its other values is not defined without one: it
    counts as missing as a whole. A row of zeros has the density 1 in all states.

    Examples
    --------
    >>> from skvae.hmm import MultinomialEmission
    >>> emission = MultinomialEmission.from_parameters([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], total=10)
    >>> emission.parameters().means()
    array([[5., 3., 2.],
           [1., 1., 8.]])
    """

    record = MultinomialParameters
    rule = "a multinomial emission takes whole numbers from 0 to 2**53"

    def __init__(self, *, prior=1.0, probabilities_init=None):
        self.prior = prior
        self.probabilities_init = probabilities_init

    @classmethod
    def from_parameters(cls, probabilities, total=1):
        """Return a fitted emission with known parameters.

        Parameters
        ----------
        probabilities : array-like of shape (n_components, n_features)
            The probabilities, which sum to one in each state.
        total : int, default=1
            The total of drawn rows; densities do not depend on it.

        Returns
        -------
        emission : MultinomialEmission
            Fitted.

        Raises
        ------
        ValueError
            The probabilities or the total are not usable.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.hmm import MultinomialEmission
        >>> emission = MultinomialEmission.from_parameters([[0.5, 0.5], [0.1, 0.9]])
        >>> np.exp(emission.log_density([[1, 1], [0, 2]])).round(6)
        array([[0.5 , 0.18],
               [0.25, 0.81]])
        """
        total = total.item() if isinstance(total, np.ndarray) and total.ndim == 0 else total
        check_number("total", total, Integral, 1)
        return cls._known(probabilities=probabilities, total=np.array(total))

    def check_parameters(self, n_components):
        check_number("prior", self.prior, Real, 1)
        super().check_parameters(n_components)

    def accepts(self, values):
        return is_count(values)

    def features(self, X, summary):
        X = np.asarray(X, dtype=np.float64)
        total = X.sum(axis=1, keepdims=True)
        return np.where(total > 0, X / np.maximum(total, 1.0), 1.0 / X.shape[1])

    def start(self, moments, n_rows):
        mean = np.maximum(moments.mean, 0.5 / n_rows)
        total = max(int(np.rint(moments.mean.sum())), 1)
        return MultinomialParameters(mean / mean.sum(), np.array(total))

    def estimate(self, averages, old):
        counts = np.maximum(averages[0], 0.0)
        weight = counts.sum(axis=1, keepdims=True)
        some = weight > 0
        found = counts / np.where(some, weight, 1.0)
        return old._replace(probabilities=np.where(some, found, old.probabilities))

    def prior_statistics(self, parameters):
        if self.prior == 1:
            return 0.0
        n_components, n_features = parameters.probabilities.shape
        extra = np.full((2, n_components, n_features), self.prior - 1.0)
        extra[0] *= n_features / parameters.total  # rows with the total of the others
        return extra

    def log_prior(self, parameters, summary):
        if self.prior == 1:
            return 0.0
        with np.errstate(divide="ignore"):
            return float((self.prior - 1.0) * np.log(parameters.probabilities).sum())
