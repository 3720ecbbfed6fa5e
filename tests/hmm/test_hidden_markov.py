"""Methods of a fitted chain, for every emission family, against scipy and the textbook."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import EMHiddenMarkov
from skvae.hmm import GaussianEmission, PoissonEmission
from tests import hmm_oracles as oracles
from tests.hmm.problems import (
    FAMILIES,
    FEW_FAMILIES,
    LENGTHS,
    groups_of,
    holes,
    known_covariances,
    known_model,
    left_right,
    rows_of,
)
from tests.problems import assert_same_state, state_of

GROUPS = groups_of(LENGTHS)
every_family = pytest.mark.parametrize("family", FAMILIES)
few_families = pytest.mark.parametrize("family", FEW_FAMILIES)
with_holes = pytest.mark.parametrize("missing", [False, True])


def problem(family, missing=False, seed=0, **settings):
    """(model, rows, the results of the oracle for each sequence)."""
    model = known_model(family, seed=seed, **settings)
    X = rows_of(model, seed=seed)
    X = holes(X, seed=seed) if missing else X
    return model, X, oracles.posteriors(model, oracles.split(X, LENGTHS))


def joined(found, name):
    return np.concatenate([getattr(each, name) for each in found])


# Rows ---------------------------------------------------------------------------------------------


@every_family
@with_holes
@pytest.mark.parametrize("zeros", [0.0, 0.5])
def test_every_row_s_density_and_posterior(family, missing, zeros):
    model, X, found = problem(family, missing, zeros=zeros)
    log_p = model.score_samples(X, groups=GROUPS)
    assert_allclose(log_p, joined(found, "log_p"), rtol=1e-9, atol=1e-10)
    total = sum(each.log_likelihood for each in found)
    assert_allclose(log_p.sum(), total, rtol=1e-11)
    assert_allclose(model.score(X, groups=GROUPS), total / len(X), rtol=1e-11)
    smoothed = model.predict_proba(X, groups=GROUPS)
    assert_allclose(smoothed, joined(found, "smoothed"), rtol=1e-7, atol=1e-11)
    assert_allclose(smoothed.sum(axis=1), 1.0, rtol=1e-12)
    assert_array_equal(model.transform(X, groups=GROUPS), smoothed)
    model.set_params(inference="filter")
    filtered = model.predict_proba(X, groups=GROUPS)
    assert_allclose(filtered, joined(found, "filtered"), rtol=1e-7, atol=1e-11)
    assert_array_equal(model.transform(X, groups=GROUPS), filtered)


@few_families
def test_many_rows_in_blocks_of_the_kernel(family):
    """Longer than any block, with holes in some: nothing changes at the seams."""
    model = known_model(family)
    X = np.concatenate([rows_of(model, [1500]), holes(rows_of(model, [1500], seed=7))])
    lengths = [1000, 10, 1490, 500]
    emission = oracles.log_emission(X[::50], model.emission_)
    parameters = model.emission_.parameters()
    found = [
        oracles.forward_backward(model.startprob_, model.transmat_, part)
        for part in oracles.split(all_densities(parameters, X), lengths)
    ]
    assert_allclose(all_densities(parameters, X)[::50], emission, rtol=1e-8, atol=1e-9)
    groups = groups_of(lengths)
    log_p = model.score_samples(X, groups=groups)
    assert_allclose(log_p, joined(found, "log_p"), rtol=1e-8, atol=1e-9)
    smoothed = model.predict_proba(X, groups=groups)
    assert_allclose(smoothed, joined(found, "smoothed"), rtol=1e-7, atol=1e-9)


def all_densities(parameters, X):
    """ln p(x | state) of all rows (T, K), each row read alone with equal rows."""
    from tests.emissions.tools import log_density

    pattern = np.isnan(X) @ 2 ** np.arange(X.shape[1])
    out = np.empty((len(X), parameters.n_components))
    for p in np.unique(pattern):
        out[pattern == p] = log_density(parameters, X[pattern == p]).T
    return out


@every_family
def test_a_weighted_score_is_a_weighted_mean(family):
    model, X, found = problem(family)
    weight = np.random.default_rng(0).uniform(size=len(X))
    weight[5] = 0.0
    expected = np.average(joined(found, "log_p"), weights=weight)
    score = model.score(X, sample_weight=weight, groups=GROUPS)
    assert type(score) is float
    assert_allclose(score, expected, rtol=1e-10)
    assert_allclose(model.score(X, sample_weight=np.full(len(X), 7.0), groups=GROUPS),
                    model.score(X, groups=GROUPS), rtol=1e-12)  # fmt: skip


@every_family
def test_a_missing_row_is_predicted(family):
    """It scores 0, and its posterior depends on its neighbours alone."""
    model, X, _ = problem(family)
    X = X[20:35].copy()
    X[7] = np.nan
    log_p = model.score_samples(X)
    assert_allclose(log_p[7], 0.0, atol=1e-13)
    model.set_params(inference="filter")
    filtered = model.predict_proba(X)
    assert_allclose(filtered[7], filtered[6] @ model.transmat_, rtol=1e-9)
    X[:] = np.nan
    assert_allclose(model.score_samples(X), 0.0, atol=1e-13)
    expected = [model.startprob_ @ np.linalg.matrix_power(model.transmat_, t) for t in range(15)]
    for inference in ("filter", "smooth"):
        assert_allclose(model.set_params(inference=inference).predict_proba(X), expected, rtol=1e-9)


def impossible():
    """A model of counts with zeros everywhere, and rows of which one cannot be."""
    model = EMHiddenMarkov.from_parameters(
        [1.0, 0.0],
        [[0.5, 0.5], [0.0, 1.0]],
        PoissonEmission.from_parameters([[0.0], [3.0]]),
    )
    return model, np.array([[0.0], [4.0], [0.0], [2.0]])


@pytest.mark.parametrize("inference", ["smooth", "filter"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_impossible_row_scores_minus_infinity_and_leaves_posteriors(inference, dtype):
    model, X = impossible()
    bad = np.concatenate([[[5.0]], X]).astype(dtype)  # the first state has zeros only
    log_p = model.score_samples(bad)
    assert log_p[0] == -np.inf
    assert np.isfinite(log_p[1:]).all()
    assert model.score(bad) == -np.inf
    assert model.score(bad, sample_weight=[0, 1, 1, 1, 1]) > -np.inf
    assert model.decode(bad)[0] == -np.inf
    posterior = model.set_params(inference=inference).predict_proba(bad)
    gone = np.concatenate([[[np.nan]], X]).astype(dtype)
    assert_allclose(posterior, model.predict_proba(gone), rtol=1e-6, atol=1e-100)
    assert_array_equal(model.predict(bad), model.predict(gone))
    assert model.bic(bad) == np.inf
    log_probs, paths = model.k_best(bad, 2)
    assert (len(log_probs), paths.shape) == (0, (0, 5))
    ahead = model.forecast(bad, 2), model.forecast(gone, 2)
    assert_allclose(ahead[0].state_proba, ahead[1].state_proba, atol=1e-100)


def test_a_state_that_cannot_be_has_no_share_at_all():
    """Impossible is exactly zero: not a small number that a later row could bring back."""
    model, X = impossible()
    for inference in ("filter", "smooth"):
        posterior = model.set_params(inference=inference).predict_proba(X)
        assert_array_equal(posterior[1:, 0], 0.0)
        assert_array_equal(posterior[0], [1.0, 0.0])


@pytest.mark.parametrize("offset", [0.0, 1e8])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_units_and_offsets_do_not_matter(offset, scale):
    model, X, found = problem("full")
    offset *= scale
    moved = EMHiddenMarkov.from_parameters(
        model.startprob_,
        model.transmat_,
        GaussianEmission.from_parameters(model.means_ * scale + offset,
                                         model.covariances_ * scale**2),
    )  # fmt: skip
    rows = X * scale + offset
    # The rows themselves are rounded: at 1e8 they keep eight digits of their spread.
    rtol = 1e-9 if offset == 0 else 1e-5
    log_p = moved.score_samples(rows, groups=GROUPS) + 2 * np.log(scale)
    assert_allclose(log_p, joined(found, "log_p"), rtol=rtol, atol=rtol)
    posterior = moved.predict_proba(rows, groups=GROUPS)
    assert_allclose(posterior, joined(found, "smoothed"), rtol=10 * rtol, atol=rtol)


# Paths --------------------------------------------------------------------------------------------


@every_family
@with_holes
def test_the_best_paths_of_short_sequences(family, missing):
    model, X, _ = problem(family, missing)
    log_prob, states = model.decode(X, groups=GROUPS)
    assert_array_equal(model.predict(X, groups=GROUPS), states)
    assert states.dtype.kind == "i"
    assert type(log_prob) is float
    for rows, path in zip(oracles.split(X, LENGTHS), oracles.split(states, LENGTHS), strict=True):
        if len(rows) > 7:
            rows, path = rows[:7], model.predict(rows[:7])
        every = oracles.every_path(
            model.startprob_, model.transmat_, oracles.log_emission(rows, model.emission_)
        )
        best, paths = every.best(5)
        assert_allclose(model.decode(rows)[0], best[0], rtol=1e-10)
        log_probs, k_paths = model.k_best(rows, 4)
        assert_allclose(log_probs, best[:4], rtol=1e-10)
        if (np.diff(best) < -1e-9).all():  # no two paths are as good
            assert_array_equal(path, paths[0])
            assert_array_equal(k_paths, paths[:4])
    sums = [model.decode(rows)[0] for rows in oracles.split(X, LENGTHS)]
    assert_allclose(log_prob, sum(sums), rtol=1e-12)


@every_family
def test_draws_of_paths_have_the_posterior_s_frequencies(family):
    model, X, found = problem(family, missing=True)
    n = 4000
    draws = model.sample_posterior(X, n, groups=GROUPS)
    assert draws.shape == (n, len(X))
    p = joined(found, "smoothed")
    share = np.stack([(draws == k).mean(axis=0) for k in range(3)], axis=1)
    assert (abs(share - p) <= 5 * np.sqrt(p * (1 - p) / n) + 1e-3).all()
    pairs = np.zeros((3, 3))
    inside = GROUPS[1:] == GROUPS[:-1]
    np.add.at(pairs, (draws[:, :-1][:, inside], draws[:, 1:][:, inside]), 1 / n)
    expected = sum(each.pairs for each in found)
    assert_allclose(pairs, expected, atol=5 * np.sqrt(inside.sum() / n))


def test_draws_follow_the_seed_they_are_given():
    model, X, _ = problem("full")
    one = model.sample_posterior(X, 5)
    assert_array_equal(model.sample_posterior(X, 5), one)
    assert not np.array_equal(model.sample_posterior(X, 50, random_state=1)[:5], one)
    rng = np.random.RandomState(0)
    first, second = (model.sample_posterior(X, 50, random_state=rng) for _ in range(2))
    assert not np.array_equal(first, second)
    fresh = model.set_params(random_state=None)
    assert not np.array_equal(fresh.sample_posterior(X, 50), fresh.sample_posterior(X, 50))


# Past the end -------------------------------------------------------------------------------------


def mixture_moments(proba, means, covariances):
    mean = proba @ means
    spread = means - mean
    return mean, sum(
        p * (c + np.outer(d, d)) for p, c, d in zip(proba, covariances, spread, strict=True)
    )


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "categorical"])
def test_forecasts_are_the_moments_of_what_follows(family):
    model, X, found = problem(family, missing=True)
    forecast = model.forecast(X, 4, groups=GROUPS)
    assert len(forecast) == len(LENGTHS)
    emission = model.emission_.parameters()
    for each, known in zip(forecast, found, strict=True):
        assert each._fields == ("state_proba", "mean", "covariance")
        for h in range(4):
            proba = known.filtered[-1] @ np.linalg.matrix_power(model.transmat_, h + 1)
            assert_allclose(each.state_proba[h], proba, rtol=1e-8)
            mean, covariance = mixture_moments(proba, emission.means(), emission.covariances())
            assert_allclose(each.mean[h], mean, rtol=1e-8, atol=1e-10)
            assert_allclose(each.covariance[h], covariance, rtol=1e-8, atol=1e-10)
    one = model.forecast(X[:7], 4)
    assert_array_equal(one.mean, forecast[0].mean)
    assert model.forecast(X[:7], 4, groups=np.zeros(7)).mean.shape == (4, 2)


@pytest.mark.parametrize("family", ["full", "student_t", "gaussian_mixture", "poisson", "column"])
def test_a_forecast_is_the_mean_of_simulated_continuations(family):
    model, X, _ = problem(family, seed=2)
    n, rng = 3000, np.random.RandomState(0)
    forecast = model.forecast(X[-20:], 2)
    last = model.sample_posterior(X[-20:], n, random_state=0)[:, -1]
    below = np.cumsum(model.transmat_, axis=1)
    for h in range(2):
        last = (rng.uniform(size=n)[:, None] > below[last]).sum(axis=1)
        rows = model.emission_.parameters().sample(last, rng)
        error = rows.std(axis=0) / np.sqrt(n)
        assert (abs(rows.mean(axis=0) - forecast.mean[h]) < 4.5 * error).all()
        if family != "student_t":  # its fourth moments are heavy
            spread = forecast.covariance[h].diagonal()
            assert_allclose(rows.var(axis=0), spread, rtol=0.2)


@every_family
def test_samples_have_the_chain_s_and_the_emission_s_moments(family):
    model = known_model(family)
    n = 30_000
    X, states = model.sample(n, random_state=0)
    assert X.shape == (n, 2)
    assert states.shape == (n,)
    pairs = np.zeros((3, 3))
    np.add.at(pairs, (states[:-1], states[1:]), 1)
    assert_allclose(pairs / pairs.sum(axis=1, keepdims=True), model.transmat_, atol=0.02)
    means = model.emission_.parameters().means()
    for k in range(3):
        rows = X[states == k]
        error = rows.std(axis=0) / np.sqrt(len(rows))
        if family == "von_mises":  # directions have no order
            rows = means[k] + np.angle(np.exp(1j * (rows - means[k])))
        assert (abs(rows.mean(axis=0) - means[k]) < 5 * error).all()
        if family not in ("student_t",):
            expected = model.emission_.parameters().covariances()[k]
            limit = 0.1 * np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
            assert (abs(np.cov(rows.T) - expected) < limit).all()
    first = [model.sample(1, random_state=seed)[1][0] for seed in range(600)]
    assert_allclose(np.bincount(first, minlength=3) / 600, model.startprob_, atol=0.1)
    assert np.isfinite(model.score_samples(X[:50])).all()


def test_samples_keep_to_structural_zeros():
    start, transmat = left_right(4, stay=0.95)
    model = EMHiddenMarkov.from_parameters(
        start, transmat, GaussianEmission.from_parameters(np.eye(4), np.ones(4), "spherical")
    )
    for seed in range(20):
        _, states = model.sample(100, random_state=seed)
        assert states[0] == 0
        assert set(np.diff(states)) <= {0, 1}


# Criteria -----------------------------------------------------------------------------------------


def n_free(family, n_states=3, n_features=2):
    """Free parameters of the emission."""
    K, D = n_states, n_features
    return {
        "full": K * D + K * D * (D + 1) // 2,
        "tied": K * D + D * (D + 1) // 2,
        "diag": 2 * K * D,
        "spherical": K * D + K,
        "gaussian_mixture": K * (1 + 2 * D + D * (D + 1)),
        "student_t": K * (D + D * (D + 1) // 2 + 1),
        "categorical": K * D * 3,
        "poisson": K * D,
        "bernoulli": K * D,
        "column": K * (2 + 3),
        "multinomial": K * (D - 1),
    }.get(family, 2 * K * D)


@every_family
def test_criteria_count_free_parameters(family):
    model, X, found = problem(family)
    total = sum(each.log_likelihood for each in found)
    d = 2 + 3 * 2 + n_free(family)
    assert_allclose(model.aic(X, groups=GROUPS), -2 * total + 2 * d, rtol=1e-11)
    assert_allclose(model.bic(X, groups=GROUPS), -2 * total + d * np.log(len(X)), rtol=1e-11)


def test_structural_zeros_are_not_counted():
    start, transmat = left_right(4)
    emission = GaussianEmission.from_parameters(np.eye(4), np.ones(4), "spherical")
    model = EMHiddenMarkov.from_parameters(start, transmat, emission)
    X = rows_of(model)
    d = 0 + 3 + 4 * 5  # one number for each state that can be left
    total = model.score(X) * len(X)
    assert_allclose(model.aic(X), -2 * total + 2 * d, rtol=1e-11)


# From known parameters ----------------------------------------------------------------------------


@every_family
def test_from_parameters_is_as_if_fitted(family):
    model = known_model(family)
    assert model.n_components == 3
    assert model.n_features_in_ == 2
    assert np.isnan(model.lower_bound_)
    assert model.lower_bounds_ == []
    assert model.n_iter_ == 0
    assert model.converged_ is True
    assert_array_equal(model.get_feature_names_out(), [f"emhiddenmarkov{k}" for k in range(3)])
    gaussian = family in ("full", "tied", "diag", "spherical")
    assert hasattr(model, "means_") == hasattr(model, "covariances_") == gaussian
    again = EMHiddenMarkov.from_parameters(model.startprob_, model.transmat_, model.emission_)
    X = rows_of(model)
    assert_array_equal(again.score_samples(X), model.score_samples(X))


def test_from_parameters_keeps_no_reference():
    start, transmat = np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.2, 0.8]])
    means, covariances = np.array([[0.0], [4.0]]), np.ones(2)
    emission = GaussianEmission.from_parameters(means, covariances, "spherical")
    model = EMHiddenMarkov.from_parameters(start, transmat, emission)
    X = rows_of(model)
    before = model.score_samples(X)
    for array in (start, transmat, means, covariances):
        array[:] = 0.123
    emission.means_ = means
    assert_array_equal(model.score_samples(X), before)


GAUSSIAN = GaussianEmission.from_parameters([[0.0], [4.0]], [1.0, 1.0], "spherical")
HALF, EVEN = [0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("start", "transmat", "emission", "match"),
    [
        (HALF, EVEN, "gaussian", "emission='gaussian': must be a fitted emission of skvae.hmm"),
        (HALF, EVEN, None, "emission=None: must be a fitted emission of skvae.hmm"),
        ([1.0], EVEN, GAUSSIAN, r"startprob has shape \(1,\): must have shape \(2,\)"),
        (HALF, [HALF], GAUSSIAN, r"transmat has shape \(1, 2\): must have shape \(2, 2\)"),
        ([0.5, 0.6], EVEN, GAUSSIAN, "startprob has a row that sums to 1.1: must sum to 1"),
        (HALF, [[0.5, 0.5], [0.3, 0.3]], GAUSSIAN, "transmat has a row that sums to 0.6: must"),
        ([1.5, -0.5], EVEN, GAUSSIAN, "startprob has an entry -0.5: must be >= 0"),
        (HALF, [[0.5, 0.5], [-1.0, 2.0]], GAUSSIAN, "transmat has an entry -1.0: must be >= 0"),
        ([np.nan, 1.0], EVEN, GAUSSIAN, "startprob contains NaN or infinity: must be finite"),
        (HALF, [["a", "b"]] * 2, GAUSSIAN, "transmat=.*must be an array of numbers"),
    ],
)
def test_bad_known_parameters_are_named(start, transmat, emission, match):
    with pytest.raises(ValueError, match=match):
        EMHiddenMarkov.from_parameters(start, transmat, emission)


def test_an_emission_that_is_not_fitted_is_an_error():
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError, match="GaussianEmission is not fitted"):
        EMHiddenMarkov.from_parameters(HALF, EVEN, GaussianEmission())


def test_reading_changes_nothing():
    """No method but `fit` and `partial_fit` writes on the estimator."""
    model, X, _ = problem("full")
    state = state_of(model)
    for name in ("predict", "predict_proba", "transform", "score_samples", "score", "bic", "aic",
                 "decode", "sample_posterior"):  # fmt: skip
        getattr(model, name)(X, groups=GROUPS)
    model.k_best(X, 2)
    model.forecast(X, 2)
    model.sample(3)
    model.get_feature_names_out()
    repr(model)
    model._repr_html_()
    assert_same_state(model, state)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda m, X: m.k_best(X, 0), "k=0: must be an integer >= 1"),
        (lambda m, X: m.k_best(X, 1.5), "k=1.5: must be an integer >= 1"),
        (lambda m, X: m.forecast(X, 0), "n_steps=0: must be an integer >= 1"),
        (lambda m, X: m.sample(0), "n_samples=0: must be an integer >= 1"),
        (lambda m, X: m.sample(2.5), "n_samples=2.5: must be an integer >= 1"),
        (lambda m, X: m.sample_posterior(X, 0), "n_samples=0: must be an integer >= 1"),
        (lambda m, X: m.sample(2, random_state="a"), "random_state='a'"),
        (lambda m, X: m.sample_posterior(X, 2, random_state=-1), "random_state=-1"),
        (
            lambda m, X: m.set_params(inference="both").predict_proba(X),
            "inference='both': must be one of 'smooth', 'filter'",
        ),
        (lambda m, X: m.score(X, sample_weight=-np.ones(len(X))), "sample_weight has a negative"),
    ],
)
def test_bad_questions_are_a_clear_error(call, match):
    model, X, _ = problem("full")
    with pytest.raises(ValueError, match=match):
        call(model, X)


def test_known_covariances_are_those_of_the_problem():
    """The shapes that these tests rely on."""
    for covariance_type, shape in (
        ("full", (3, 2, 2)), ("tied", (2, 2)), ("diag", (3, 2)), ("spherical", (3,)),
    ):  # fmt: skip
        assert known_covariances(covariance_type, 3, 2).shape == shape
