"""Mixtures with fewer rows than features: EM in the span of the rows is the usual EM."""

import numpy as np
import pytest

from skvae import EMGaussianMixture
from skvae.gaussian import span
from skvae.mixture import em

# Iterations without end, and components on their floor: both are meant here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

FITTED = ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_")


def clusters(seed, n_rows=60, n_features=32, n_clusters=4, separation=3.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_clusters, size=n_rows)
    centers = separation * rng.normal(size=(n_clusters, n_features))
    return centers[labels] + rng.normal(size=(n_rows, n_features))


def both(monkeypatch, X, sample_weight=None, **parameters):
    """Return the mixtures fitted in the span of the rows and by the usual step."""
    steps, plain = [], em.SpanStep

    def counted(usual, few):
        steps.append(plain(usual, few))
        return steps[-1]

    fits = []
    for step in (counted, lambda usual, few: usual):
        monkeypatch.setattr(em, "SpanStep", step)
        mixture = EMGaussianMixture(**{"random_state": 0, "tol": 0.0, "max_iter": 5, **parameters})
        fits.append(mixture.fit(X, sample_weight=sample_weight))
    assert steps
    return fits


def assert_same(found, expected, rtol=1e-9):
    for name in FITTED:
        a, b = np.asarray(getattr(found, name)), np.asarray(getattr(expected, name))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max(), err_msg=name)
    assert found.n_e_steps_ == expected.n_e_steps_


CHANGES = {
    "plain": lambda X: X,
    "offset": lambda X: X + 1e7,
    "units": lambda X: X * 10.0 ** (np.arange(X.shape[1]) % 13 - 6),
    "equal rows": lambda X: np.concatenate([X, X])[len(X) // 2 : -(len(X) // 2)],
    "constant feature": lambda X: np.concatenate([X[:, 1:], np.full((len(X), 1), 3.0)], axis=1),
    "float32": lambda X: X.astype(np.float32),
    "an outlier": lambda X: np.concatenate([X[1:], 1e3 * X[:1]]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("n_components", [1, 2, 5])
@pytest.mark.parametrize("seed", range(2))
def test_the_fit_is_that_of_the_usual_step(monkeypatch, change, n_components, seed):
    n_rows = 30 if n_components == 1 else 60
    X = CHANGES[change](clusters(seed, n_rows))
    found, expected = both(monkeypatch, X, n_components=n_components)
    assert_same(found, expected)
    assert found.lower_bound_ == pytest.approx(found.score(X), rel=1e-10)
    assert (np.diff(found.lower_bounds_) >= -1e-9 * abs(found.lower_bound_)).all()


@pytest.mark.parametrize("reg_covar", [2e-8, 1e-2, 1.0])
def test_floors(monkeypatch, reg_covar):
    """Above most eigenvalues, and far below all."""
    X = clusters(3, separation=0.5)
    found, expected = both(monkeypatch, X, n_components=3, reg_covar=reg_covar)
    assert_same(found, expected)


def test_sample_weights_and_starts(monkeypatch):
    X = clusters(4)
    weight = np.random.default_rng(0).random(len(X)) + 0.1
    assert_same(*both(monkeypatch, X, weight, n_components=3, n_init=3, init_params="random"))


def test_a_component_that_loses_all_rows(monkeypatch):
    """It keeps its mean and its covariance, and the rest is fitted as usual."""
    X = clusters(5)
    means = np.stack([X[0], X[1], np.full(X.shape[1], 1e4)])
    found, expected = both(
        monkeypatch,
        X,
        n_components=3,
        weights_init=[0.4, 0.4, 0.2],
        means_init=means,
        precisions_init=np.tile(np.eye(X.shape[1]), (3, 1, 1)),
    )
    assert_same(found, expected)
    np.testing.assert_array_equal(found.means_[2], means[2])


def test_no_whole_covariance_is_factored_in_an_iteration(monkeypatch):
    """Counted, not timed: 128 features and 50 rows."""
    calls, plain = [], span.raised_low_rank

    def counted(*arguments):
        calls.append(arguments)
        return plain(*arguments)

    monkeypatch.setattr(span, "raised_low_rank", counted)
    X = clusters(6, n_rows=50, n_features=128)
    EMGaussianMixture(4, random_state=0, tol=0.0, max_iter=20).fit(X)
    assert len(calls) == 4


def test_other_fits_take_the_usual_step(tmp_path):
    """Acceleration and checkpoints read the parameters; missing rows have no Gram matrix."""
    X = clusters(7)
    holes = X.copy()
    holes[0, 0] = np.nan
    for rows, parameters in (
        (X, {"acceleration": "anderson"}),
        (X, {"checkpoint": tmp_path / "fit"}),
        (X, {"reg_covar": 0.0, "covariance_type": "diag"}),
        (X, {"covariance_type": "tied"}),
        (holes, {}),
        (np.tile(X, (5, 1)), {}),
    ):
        mixture = EMGaussianMixture(2, random_state=0, tol=0.1, **parameters)
        problem = em.MixtureProblem(
            mixture, mixture._prepare(rows, None, reset=True), em.Workers(1)
        )
        assert isinstance(problem.step(em.Workers(1), 1), em.EMStep)
