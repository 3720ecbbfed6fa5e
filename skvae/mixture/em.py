"""EM for a Gaussian mixture: its problem for the search over starts, and its step."""

from dataclasses import dataclass

import numpy as np

from skvae.ascent.loop import Collapse, Step
from skvae.blocks import DistributedRows, Rows, Workers
from skvae.gaussian.checks import check_near
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.first_statistics import FIRST_FLOOR
from skvae.gaussian.moments import feature_moments
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
    pool : Workers
        The threads.

    Attributes
    ----------
    earlier : Earlier or None
        The earlier fit, for a warm start.
    moments : Moments
        The moments of the data.
    """

    def __init__(self, estimator, rows, pool):
        self.earlier = None
        self.moments = feature_moments(rows, pool, getattr(estimator, "feature_names_in_", None))
        self._estimator = estimator
        self._rows = rows
        self._floor = self.moments.floor(estimator.reg_covar)
        self._given = None, None, None
        if not (
            estimator.weights_init is estimator.means_init is estimator.precisions_init is None
        ):
            self._given = check_initial(estimator, rows.X.shape[1])

    def first(self, rng):
        """Return the MixtureParameters of a new start: given values, others from the data."""
        estimator, moments = self._estimator, self.moments
        weights, means, precisions = self._given
        kind = estimator.covariance_type
        covariances = None if precisions is None else STRUCTURES[kind].inverse(precisions)
        if means is not None or covariances is not None:
            check_near(("means_init", means), ("1 / precisions_init", covariances), kind, moments)
        if weights is None or means is None or covariances is None:
            statistics = first_statistics(self._rows, estimator, moments, rng)
            floor = moments.floor(estimator.reg_covar or FIRST_FLOOR)
            found = maximize_first(statistics, floor, moments, self._rows, rng)
            if weights is means is covariances is None:
                return found
            weights = found.weights if weights is None else weights
            means = found.means if means is None else means
            covariances = found.covariances if covariances is None else covariances
        return MixtureParameters.of(kind, weights, means, covariances)

    def step(self, pool, _number):
        """Return the EMStep of a run."""
        return EMStep(self._rows, self._floor, self.moments.resolution, pool)

    def coordinates(self, parameters):
        """Return the Coordinates in which acceleration extrapolates."""
        return Coordinates(parameters, self.moments.scale, self._floor)


@dataclass
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
    n_steps : int
        The number of E steps with statistics so far.
    """

    rows: Rows | DistributedRows
    floor: np.ndarray
    resolution: np.ndarray
    pool: Workers
    n_steps: int = 0

    def __call__(self, parameters):
        self.n_steps += 1
        statistics, log_likelihood = expect(self.rows, parameters.kernel(), self.pool)
        if not np.isfinite(log_likelihood):
            raise Collapse("the likelihood of some row is not a finite number")
        proposal = parameters.maximize(statistics, self.floor, self.resolution)
        return proposal, log_likelihood / self.rows.weight()

    def evaluate(self, parameters):
        """Return the log-likelihood of the parameters, in nats per unit weight."""
        _, log_likelihood = expect(self.rows, parameters.kernel(), self.pool, statistics=False)
        return log_likelihood / self.rows.weight()
