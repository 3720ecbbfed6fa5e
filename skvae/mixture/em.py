"""EM for a Gaussian mixture: its problem for the search over starts, and its step."""

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from skvae.ascent.loop import Collapse, Step
from skvae.blocks import DistributedRows, Rows, Workers
from skvae.fixed import KeptCoordinates
from skvae.gaussian.checks import check_near
from skvae.gaussian.covariance import EPS, FLAT, LOG_2PI, MANY, STRUCTURES
from skvae.gaussian.first_statistics import FIRST_FLOOR
from skvae.gaussian.kernel import TOLERANCE
from skvae.gaussian.moments import Moments, feature_moments
from skvae.gaussian.precisions import PRECISIONS
from skvae.gaussian.single import SINGLE_TOLERANCE, single_kernel
from skvae.gaussian.statistics import NO_ROWS
from skvae.mixture.e_step import expect, normalize
from skvae.mixture.initialization import check_initial, first_statistics, maximize_first
from skvae.mixture.parameters import Coordinates, MixtureParameters
from skvae.mixture.span import FewRows, SpanParameters
from skvae.storage import rebuilt

_FEW_ROWS = 1024  # up to which a mixture may be computed in the span of its rows, by one thread
_MANY_ROWS = 16384  # from which single precision is worth while
_SINGLE_GAIN = 4 * SINGLE_TOLERANCE  # nats per row
_FEWEST_ROWS = 1e-6  # of a component, in single precision: its rows may all be below 1e-35


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
    fixed : dict of str to ndarray of bool, or None
        The components of which some parameters are fixed.

    Attributes
    ----------
    earlier : Earlier or None
        The earlier fit, for a warm start.
    n_empty : int
        The largest number of components that had no rows at a start.
    moments : Moments
        The moments of the data.
    """

    def __init__(self, estimator, rows, pool, fixed=None):
        self.earlier = None
        self.n_empty = 0
        self._fixed = fixed
        self.moments = feature_moments(rows, pool, getattr(estimator, "feature_names_in_", None))
        self._estimator = estimator
        self._rows = rows
        self.floor = self.moments.floor(estimator.reg_covar)
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
                self.n_empty = max(self.n_empty, int((statistics.counts == 0).sum()))
                return found
            weights = found.weights if weights is None else weights
            means = found.means if means is None else means
            covariances = found.covariances if covariances is None else covariances
        return MixtureParameters.of(kind, weights, means, covariances)

    def step(self, pool, _number):
        """Return the EMStep of a run."""
        rows, estimator, moments = self._rows, self._estimator, self.moments
        plain = isinstance(rows, Rows) and estimator.acceleration is None
        single = (
            plain  # acceleration compares bounds that are nearly equal
            and rows.X.dtype == np.float32
            and rows.n_rows >= _MANY_ROWS
            and estimator.n_components > 1  # one component is found in one step
            and rows.sample_weight is None
        )
        n_features = len(self.floor)
        fewer_than_features = (
            plain
            and estimator.covariance_type == "full"
            and self._fixed is None
            and rows.order is None  # no value is missing
            and estimator.checkpoint is None  # it stores parameters of all iterations
            and n_features >= MANY
            and rows.n_rows <= min(estimator.n_components * n_features, _FEW_ROWS)
            and (moments.variance <= FLAT * self.floor).all()
            and (moments.resolution < self.floor).all()
        )
        step = EMStep(rows, self.floor, moments, pool, single, fixed=self._fixed)
        if fewer_than_features:
            return SpanStep(step, FewRows.of(rows.X, moments.mean, self.floor))
        if estimator.n_components == 1 and isinstance(rows, Rows) and rows.order is None:
            return OneComponentStep(step, estimator.covariance_type)
        return step

    def coordinates(self, parameters):
        """Return the Coordinates in which acceleration extrapolates."""
        coordinates = Coordinates(parameters, self.moments.scale, self.floor)
        if self._fixed is None:
            return coordinates
        return KeptCoordinates(coordinates, partial(parameters.kept, fixed=self._fixed))


@dataclass
class EMStep(Step):
    """The step of EM: ``parameters → (M step of their E step, log-likelihood per unit weight)``.

    Many rows in float32 are computed in single precision as long as the bound rises by more than
    ``_SINGLE_GAIN``, more than the rounding errors of two bounds: so it does rise. Then, and
    wherever a component has nearly no rows, the step is made again in float64.

    Parameters
    ----------
    rows : Rows
        The data.
    floor : ndarray of shape (n_features,)
        Covariances are kept ⪰ diag(floor).
    moments : Moments
        The moments of the data.
    pool : Workers
        The threads.
    single : bool
        Whether the next step is computed in single precision.
    before : float
        The bound of the last step.
    n_steps : int
        The number of E steps with statistics so far.
    fixed : dict of str to ndarray of bool, or None
        The components of which some parameters are fixed.
    """

    rows: Rows | DistributedRows
    floor: np.ndarray
    moments: Moments
    pool: Workers
    single: bool = False
    before: float = -np.inf
    n_steps: int = 0
    fixed: dict | None = None

    def __call__(self, parameters):
        self.n_steps += 1
        statistics, bound = self._single(parameters) if self.single else (None, -np.inf)
        if statistics is None:
            statistics, log_likelihood = expect(
                self.rows, parameters.kernel(self.moments.spread), self.pool
            )
            bound = log_likelihood / self.rows.weight()
        if not np.isfinite(bound):
            raise Collapse("the likelihood of some row is not a finite number")
        self.before = bound
        bounds = self.floor, self.moments.resolution
        if self.fixed is not None:
            return parameters.maximize_fixed(statistics, *bounds, self.fixed), bound
        return parameters.maximize(statistics, *bounds), bound

    def _single(self, parameters):
        """Return the statistics and the bound in single precision; None if it is not enough."""
        kernel = single_kernel(parameters.kernel(self.moments.spread))
        if kernel is not None:
            statistics, log_likelihood = expect(self.rows, kernel, self.pool)
            bound = log_likelihood / self.rows.weight() + kernel.shift
            if bound - self.before > _SINGLE_GAIN and statistics.counts.min() > _FEWEST_ROWS:
                return statistics, bound
        self.single = False
        return None, -np.inf

    def evaluate(self, parameters):
        """Return the log-likelihood of the parameters, in nats per unit weight."""
        _, log_likelihood = expect(
            self.rows, parameters.kernel(self.moments.spread), self.pool, statistics=False
        )
        return log_likelihood / self.rows.weight()

    def state(self):
        """Return the number of steps, the last bound, and whether the next step is single."""
        return {**super().state(), "single": self.single, "before": self.before}

    def restore(self, state, parameters):
        """Restore a stored state; see :meth:`skvae.ascent.loop.Step.restore`."""
        super().restore(state, parameters)
        self.single = rebuilt(False, state["single"])
        self.before = rebuilt(0.0, state["before"])


class OneComponentStep(Step):
    """The step of EM for one component and complete rows, which are read at most once.

    All responsibilities are one. So the statistics do not depend on the parameters, and the
    log-likelihood is a function of them: its quadratic term is −½ tr(Σ⁻¹ S), with the second
    moments S of the rows about the mean. Where rounding may change this by more than ``TOLERANCE``,
    the log-likelihood is computed from the rows.

    Parameters
    ----------
    usual : EMStep
        The step that reads the rows.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}
        The covariance structure.
    """

    def __init__(self, usual, covariance_type):
        self._usual, self._covariance_type = usual, covariance_type

    def __call__(self, parameters):
        bound = self.evaluate(parameters)
        if not np.isfinite(bound):
            raise Collapse("the likelihood of some row is not a finite number")
        self.n_steps += 1
        usual = self._usual
        bounds = usual.floor, usual.moments.resolution
        if usual.fixed is not None:
            return parameters.maximize_fixed(self._statistics, *bounds, usual.fixed), bound
        return parameters.maximize(self._statistics, *bounds), bound

    def evaluate(self, parameters):
        """Return the log-likelihood of the parameters, in nats per unit weight."""
        kind, factors = parameters.covariance_type, parameters.precisions_cholesky
        n_features = parameters.means.shape[1]
        about = self._statistics.recenter(parameters.means)
        scatter, trace = PRECISIONS[kind].scale(about.scatter, n_features), PRECISIONS[kind].trace
        with np.errstate(over="ignore"):  # of a mean that is far from all rows
            if not EPS * trace(np.abs(factors), np.abs(scatter)) <= TOLERANCE:
                return self._usual.evaluate(parameters)
        half_log_det = np.sum(STRUCTURES[kind].half_log_det(factors, n_features))
        return float(half_log_det - 0.5 * (n_features * LOG_2PI + trace(factors, scatter)))

    @cached_property
    def _statistics(self):
        """The GaussianStatistics of the rows about their mean, per unit weight."""
        usual = self._usual
        kind, moments = self._covariance_type, usual.moments
        pooled, one = STRUCTURES[kind].pooled, np.ones(1)
        mean, rounding = moments.mean[None], EPS * moments.mean / moments.scale
        # The variances are about a mean that is not rounded: far from zero the rows are read.
        if kind in ("diag", "spherical") and rounding @ rounding <= TOLERANCE:
            variances = pooled(np.diag(moments.variance), 1)
            return MixtureParameters(kind, one, mean, variances, None).statistics()
        near = MixtureParameters.of(kind, one, mean, pooled(np.diag(moments.scale**2), 1))
        statistics, _ = expect(usual.rows, near.kernel(moments.spread), usual.pool)
        return statistics * (1.0 / usual.rows.weight())


class SpanStep(Step):
    """The step of EM whose proposals are SpanParameters.

    If a component has no rows, and so no scatter, the step is that of :class:`EMStep`.

    Parameters
    ----------
    usual : EMStep
        The step whose proposals are MixtureParameters.
    few : FewRows
        Its rows.
    """

    def __init__(self, usual, few):
        self._usual, self._few = usual, few

    def __call__(self, parameters):
        resp, bound = self._expected(parameters)
        if not np.isfinite(bound):
            raise Collapse("the likelihood of some row is not a finite number")
        counts = resp.sum(axis=1)
        self.n_steps += 1
        if counts.min() > NO_ROWS * counts.sum():
            return SpanParameters(self._few, resp), bound
        if isinstance(parameters, SpanParameters):
            parameters = parameters.computed()
        return self._usual(parameters)

    def evaluate(self, parameters):
        """Return the log-likelihood of the parameters, in nats per unit weight."""
        return self._expected(parameters)[1]

    def _expected(self, parameters):
        """Return the weighted responsibilities (K, n_samples) and the bound of the parameters."""
        rows = self._usual.rows
        if isinstance(parameters, SpanParameters):
            resp = parameters.log_joint()
        else:
            kernel = parameters.kernel()
            _, block = next(kernel.blocks(rows.X, kernel.workspace()))
            resp = block.log_density()
        log_p = normalize(resp)
        if rows.sample_weight is None:
            return resp, log_p.sum() / rows.weight()
        resp *= rows.sample_weight
        return resp, log_p @ rows.sample_weight / rows.weight()
