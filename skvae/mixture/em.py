"""EM for a Gaussian mixture: its problem for the search over starts, and its step."""

import numpy as np

from skvae.ascent.loop import Collapse, Step
from skvae.gaussian.checks import FIRST_FLOOR, check_near
from skvae.gaussian.covariance import STRUCTURES
from skvae.mixture.e_step import expect
from skvae.mixture.initialization import check_initial, first_statistics, maximize_first
from skvae.mixture.parameters import Coordinates, MixtureParameters


class MixtureProblem:
    """The fit of a mixture by EM, for :func:`skvae.ascent.restarts.search`.

    Parameters
    ----------
    estimator : EMGaussianMixture
        Its ``n_components``, ``covariance_type``, ``init_params``, ``reg_covar`` and first values
        are read.
    rows : Rows
        The data with their weights.
    moments : Moments
        The data's.
    earlier : tuple of (MixtureParameters, float), optional
        Of a warm start: the parameters of the earlier fit, and the bound one iteration before.
    """

    def __init__(self, estimator, rows, moments, earlier=None):
        self.earlier = earlier
        self._estimator = estimator
        self._rows = rows
        self._moments = moments
        self._floor = moments.floor(estimator.reg_covar)
        self._given = check_initial(estimator, rows.X.shape[1])

    def first(self, rng):
        """Return the MixtureParameters of a new start: given values, others from the data."""
        estimator, moments = self._estimator, self._moments
        weights, means, precisions = self._given
        kind = estimator.covariance_type
        covariances = None if precisions is None else STRUCTURES[kind].inverse(precisions)
        check_near(("means_init", means), ("1 / precisions_init", covariances), kind, moments)
        if weights is None or means is None or covariances is None:
            statistics = first_statistics(self._rows, estimator, moments, rng)
            floor = moments.floor(estimator.reg_covar or FIRST_FLOOR)
            found = maximize_first(statistics, floor, moments, self._rows, rng)
            weights = found[0] if weights is None else weights
            means = found[1] if means is None else means
            covariances = found[2] if covariances is None else covariances
        return MixtureParameters.of(kind, weights, means, covariances)

    def step(self, pool, _number):
        """Return the EMStep of a run."""
        return EMStep(self._rows, self._floor, self._moments.resolution, pool)

    def coordinates(self, parameters):
        """Return the Coordinates in which acceleration extrapolates."""
        return Coordinates(parameters, self._moments.scale, self._floor)


class EMStep(Step):
    """The step of EM: ``parameters → (M step of their E step, log-likelihood per unit weight)``.

    Parameters
    ----------
    rows : Rows
        The data.
    floor, resolution : ndarray of shape (n_features,)
        Bounds of the covariances.
    pool : Workers
        The threads.

    Attributes
    ----------
    n_steps : int
        The number of E steps with statistics so far.
    """

    def __init__(self, rows, floor, resolution, pool):
        self._rows = rows
        self._weight = rows.weight()
        self._floor = floor
        self._resolution = resolution
        self._pool = pool
        self.n_steps = 0

    def __call__(self, parameters):
        self.n_steps += 1
        statistics, log_likelihood = expect(self._rows, parameters.kernel(), self._pool)
        if not np.isfinite(log_likelihood):
            raise Collapse("the likelihood of some row is not a finite number")
        proposal = parameters.maximize(statistics, self._floor, self._resolution)
        return proposal, log_likelihood / self._weight

    def evaluate(self, parameters):
        """Return the log-likelihood of the parameters, in nats per unit weight."""
        kernel = parameters.kernel()
        return expect(self._rows, kernel, self._pool, statistics=False)[1] / self._weight
