"""Whatever the problem, and however poor, a fit keeps its promises or says why it cannot."""

import warnings

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skvae import EMGaussianMixture
from tests import oracles
from tests.problems import blobs, knock_out
from tests.strategies import covariance_types, seeds


@st.composite
def any_problem(draw):
    """(X, sample_weight or None, estimator): few rows, many components, twins, gaps, any units."""
    seed = draw(seeds)
    rng = np.random.default_rng(seed)
    n_samples = draw(st.integers(12, 60))
    n_features = draw(st.integers(1, 4))
    X = blobs(n_samples, n_features, 3, seed=seed)
    X = X * 10.0 ** draw(st.integers(-5, 2)) + draw(st.sampled_from([0.0, 1e3]))
    if draw(st.booleans()):
        X = X[rng.integers(n_samples // 3, size=n_samples)]  # twins and triplets
    if draw(st.booleans()):
        X[:, 0] = X[0, 0]  # a constant column
    if draw(st.booleans()):
        X = knock_out(X, 0.3, seed=seed)
        X[0] = np.where(np.isnan(X).all(axis=0), 1.0, X[0])
    sample_weight = None
    if draw(st.booleans()):
        sample_weight = rng.choice([0.0, 0.5, 1.0, 3.0], size=n_samples)
        sample_weight[:10] = 1.0
    estimator = EMGaussianMixture(
        draw(st.integers(1, 8)),
        covariance_type=draw(covariance_types),
        reg_covar=draw(st.sampled_from([0.0, 1e-6, 1e-2, 1.0])),
        init_params=draw(st.sampled_from(["kmeans", "k-means++", "random", "random_from_data"])),
        acceleration=draw(st.sampled_from([None, "anderson"])),
        n_init=draw(st.integers(1, 2)),
        max_iter=draw(st.sampled_from([1, 20, 100])),
        tol=draw(st.sampled_from([0.0, 1e-3])),
        random_state=seed,
    )
    return X, sample_weight, estimator


# Each example is a fit or two: none of them is worth the minutes that shrinking would take.
@settings(max_examples=4 * settings().max_examples, phases=[Phase.explicit, Phase.generate])
@given(any_problem())
def test_a_fit_keeps_its_promises(problem):
    X, sample_weight, model = problem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # any other warning is an error
        try:
            model.fit(X, sample_weight=sample_weight)
        except ValueError as error:
            # Only a likelihood without a maximum excuses: no floor, and the message says so.
            assert model.reg_covar == 0
            assert "reg_covar" in str(error)  # noqa: PT017
            assert not hasattr(model, "weights_")
            return
    mixture = oracles.mixture_of(model)
    # What float64 can hold: a flat component among wide data amplifies rounding by this ratio.
    narrowest = min(np.linalg.eigvalsh(matrix)[0] for matrix in mixture.matrices)
    widest = max(np.nanvar(X, axis=0).max(), np.max(mixture.matrices))
    tolerance = 1e-9 + 100 * np.finfo(float).eps * widest / narrowest
    assert min(np.diff(model.lower_bounds_), default=0.0) > -tolerance
    assert model.lower_bounds_[-1] == model.lower_bound_
    score = model.score(X, sample_weight=sample_weight)
    assert_allclose(model.lower_bound_, score, rtol=1e-12, atol=1e-10)
    assert_allclose(model.weights_.sum(), 1.0, rtol=1e-12)
    assert (model.weights_ >= 0).all()
    floor = oracles.covariance_floor(X, model.reg_covar, sample_weight)
    for matrix in mixture.matrices:
        units = np.sqrt(np.diag(matrix))
        assert (units > 0).all()
        assert np.linalg.eigvalsh((matrix - np.diag(floor)) / np.outer(units, units))[0] > -1e-9
    resp = model.predict_proba(X)
    assert np.isfinite(resp).all()
    assert_allclose(resp.sum(axis=1), 1.0, rtol=1e-12)
    assert np.isfinite(model.impute(X)).all()
    drawn, labels = model.sample(20)
    assert np.isfinite(model.score_samples(drawn)).all()
    assert set(labels) <= set(range(model.n_components))


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_a_relabelled_mixture_is_the_same_mixture(covariance_type):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 2)) + np.repeat([[0.0, 0.0], [4.0, 0.0], [0.0, 5.0]], 40, axis=0)
    settings = {
        "covariance_type": covariance_type,
        "means_init": [[0.0, 0.0], [4.0, 0.0], [0.0, 5.0]],
        "weights_init": [0.2, 0.3, 0.5],
        "fixed": {"means": [1]},
    }
    mixture, order = EMGaussianMixture(3, random_state=0, **settings).fit(X), [2, 0, 1]
    other = mixture.relabel(order)
    assert_allclose(other.score_samples(X), mixture.score_samples(X), rtol=1e-12)
    assert_allclose(other.predict_proba(X), mixture.predict_proba(X)[:, order], atol=1e-12)
    assert_array_equal(other.means_, mixture.means_[order])
    assert_array_equal(mixture.means_[1], [4.0, 0.0])
    assert other.fixed == {"means": [2]}
    assert other.bic(X) == pytest.approx(mixture.bic(X), rel=1e-12)
    assert_array_equal(other.weights_init, [0.5, 0.2, 0.3])
    other.set_params(warm_start=True).fit(X)
    assert_array_equal(other.means_[2], [4.0, 0.0])
    with pytest.raises(ValueError, match="must have each component from 0 to 2 once"):
        mixture.relabel([0, 1, 1])
