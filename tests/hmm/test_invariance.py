"""Effects of the order of rows and sequences, of weights and units, and special models."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skvae import EMGaussianMixture, EMHiddenMarkov
from skvae.hmm import (
    GaussianEmission,
    GaussianMixtureEmission,
    PoissonEmission,
    StudentTEmission,
)
from tests import hmm_oracles as oracles
from tests.hmm.problems import (
    FAMILIES,
    groups_of,
    holes,
    known_covariances,
    known_model,
    learner,
    left_right,
    rows_of,
)
from tests.problems import COVARIANCE_TYPES, on_the_floor, run

LENGTHS = (40, 1, 25, 60, 3)
GROUPS = groups_of(LENGTHS)
every_family = pytest.mark.parametrize("family", FAMILIES)


def data(family, seed=0, missing=False):
    X = rows_of(known_model(family, seed=seed), LENGTHS, seed)
    return holes(X, 0.2, seed) if missing else X


def known_start(family, seed=0, **settings):
    """An estimator that goes on from known parameters: no random start, no order of rows in it."""
    return known_model(family, seed=seed).set_params(warm_start=True, **settings)


def assert_same_model(left, right, rtol=1e-7):
    assert_allclose(left.lower_bound_, right.lower_bound_, rtol=rtol)
    assert_allclose(left.startprob_, right.startprob_, rtol=rtol, atol=1e-9)
    assert_allclose(left.transmat_, right.transmat_, rtol=rtol, atol=1e-9)
    ours, theirs = (m.emission_.parameters() for m in (left, right))
    assert_allclose(ours.means(), theirs.means(), rtol=rtol, atol=1e-9)


# Order --------------------------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("missing", [False, True])
def test_the_order_of_rows_matters_and_that_of_sequences_does_not(family, missing):
    X = data(family, missing=missing)
    model = known_start(family)
    order = np.random.default_rng(0).permutation(len(LENGTHS))
    parts = oracles.split(X, LENGTHS)
    shuffled = [parts[s] for s in order]
    for method in ("score_samples", "predict_proba", "predict"):
        listed, other = getattr(model, method)(parts), getattr(model, method)(shuffled)
        for place, s in enumerate(order):
            assert_allclose(other[place], listed[s], rtol=1e-9, atol=1e-12)
    assert_allclose(model.score(shuffled), model.score(parts), rtol=1e-12)
    backwards = [part[::-1] for part in parts]
    assert abs(model.score(backwards) - model.score(parts)) > 1e-6
    rows = np.random.default_rng(1).permutation(len(X))
    assert abs(model.score(X[rows]) - model.score(X)) > 1e-5
    fits = [run(known_start(family), each, 3) for each in (parts, shuffled, backwards)]
    assert_same_model(fits[0], fits[1])
    assert abs(fits[2].transmat_ - fits[0].transmat_).max() > 1e-3


@every_family
def test_a_subset_of_sequences_is_scored_as_in_the_whole(family):
    X = data(family)
    model = known_start(family)
    parts = oracles.split(X, LENGTHS)
    whole = model.score_samples(parts)
    for some in ([2], [0, 3], [4, 1]):
        for log_p, s in zip(model.score_samples([parts[s] for s in some]), some, strict=True):
            assert_allclose(log_p, whole[s], rtol=1e-10, atol=1e-13)
    # A row without its past is scored otherwise.
    assert abs(model.score_samples(parts[0][5:6])[0] - whole[0][5]) > 1e-6


@pytest.mark.parametrize("n_components", [2, 3])
@pytest.mark.parametrize("emission", ["gaussian", "poisson"])
def test_fits_know_the_order_of_rows(n_components, emission):
    """scikit-learn's own checks of order force one state; with more it must matter."""
    X = data("full" if emission == "gaussian" else "poisson", seed=1)
    model = EMHiddenMarkov(n_components, emission=emission, random_state=0, max_iter=500).fit(X)
    rows = np.random.default_rng(0).permutation(len(X))
    assert abs(model.score(X[rows]) - model.score(X)) > 1e-3
    assert abs(model.predict_proba(X[rows]) - model.predict_proba(X)[rows]).max() > 0.01


# Weights ------------------------------------------------------------------------------------------


@every_family
def test_whole_weights_are_repeated_sequences(family):
    X = data(family)
    times = np.array([2, 1, 0, 3, 1])
    weight = np.repeat(times, LENGTHS)
    parts = oracles.split(X, LENGTHS)
    repeated = [part for part, n in zip(parts, times, strict=True) for _ in range(n)]
    left = run(known_start(family), X, 4, groups=GROUPS, sequence_weight=weight)
    right = run(known_start(family), repeated, 4)
    assert_same_model(left, right)
    assert_allclose(left.lower_bounds_, right.lower_bounds_, rtol=1e-9)


@every_family
def test_weight_zero_is_a_sequence_that_is_not_there(family):
    X = data(family)
    keep = ~np.isin(GROUPS, [1, 3])
    weight = keep.astype(float)
    left = run(learner(family), X, 4, groups=GROUPS, sequence_weight=weight)
    right = run(learner(family), X[keep], 4, groups=GROUPS[keep])
    assert_same_model(left, right)
    changed = X.copy()
    changed[~keep] = changed[~keep][::-1]  # a missing value may be anything
    other = run(learner(family), changed, 4, groups=GROUPS, sequence_weight=weight)
    assert_same_model(other, left, rtol=1e-12)


@every_family
def test_equal_weights_are_none(family):
    X = data(family)
    left = run(known_start(family), X, 4, groups=GROUPS, sequence_weight=np.full(len(X), 1e-3))
    right = run(known_start(family), X, 4, groups=GROUPS)
    assert_same_model(left, right)


# Nested models ------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("missing", [False, True])
def test_equal_rows_of_transitions_are_a_mixture(covariance_type, missing):
    X = data(covariance_type, missing=missing)
    rng = np.random.default_rng(0)
    weights, means = rng.dirichlet(np.ones(3)), 2 * rng.normal(size=(3, 2))
    covariances = known_covariances(covariance_type, 3, 2)
    emission = GaussianEmission.from_parameters(means, covariances, covariance_type)
    chain = EMHiddenMarkov.from_parameters(weights, np.tile(weights, (3, 1)), emission)
    mixture = EMGaussianMixture.from_parameters(weights, means, covariances, covariance_type)
    assert_allclose(chain.score_samples(X), mixture.score_samples(X), rtol=1e-9, atol=1e-12)
    assert_allclose(chain.score(X), mixture.score(X), rtol=1e-12)
    for inference in ("smooth", "filter"):
        posterior = chain.set_params(inference=inference).predict_proba(X)
        assert_allclose(posterior, mixture.predict_proba(X), rtol=1e-8, atol=1e-12)
    assert_array_equal(chain.predict(X), mixture.predict(X))
    # Rows that are sequences of their own give the parameters of a mixture.
    with pytest.warns(UserWarning, match="sequences has one row"):
        alone = run(chain.set_params(warm_start=True), X, 5, groups=np.arange(len(X)))
    mixture = EMGaussianMixture(
        3,
        covariance_type=covariance_type,
        weights_init=weights,
        means_init=means,
        precisions_init=np.linalg.inv(covariances)
        if covariance_type in ("full", "tied")
        else 1 / covariances,
    )
    run(mixture, X, 5)
    assert_allclose(alone.startprob_, mixture.weights_, rtol=1e-8)
    assert_allclose(alone.means_, mixture.means_, rtol=1e-8)
    assert_allclose(alone.lower_bounds_, mixture.lower_bounds_, rtol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("missing", [False, True])
def test_one_state_is_one_gaussian(covariance_type, missing):
    X = data(covariance_type, missing=missing)
    settings = {"covariance_type": covariance_type, "tol": 1e-13, "max_iter": 5000}
    chain = EMHiddenMarkov(1, **settings).fit(X, groups=GROUPS)
    gaussian = EMGaussianMixture(1, **settings).fit(X)
    assert_allclose(chain.means_, gaussian.means_, rtol=1e-6)
    assert_allclose(chain.covariances_, gaussian.covariances_, rtol=1e-5)
    assert_allclose(chain.score_samples(X), gaussian.score_samples(X), rtol=1e-5, atol=1e-6)
    assert_array_equal(chain.transmat_, [[1.0]])
    assert_array_equal(chain.predict(X), 0)
    if not missing:
        assert_allclose(chain.means_[0], X.mean(axis=0), rtol=1e-9)


def test_one_state_is_one_distribution_of_any_family():
    counts = data("poisson")
    model = EMHiddenMarkov(1, emission="poisson").fit(counts, groups=GROUPS)
    assert_allclose(model.emission_.rates_[0], counts.mean(axis=0), rtol=1e-10)
    kinds = data("categorical")
    model = EMHiddenMarkov(1, emission="categorical").fit(kinds)
    share = [np.bincount(column.astype(int), minlength=4) / len(kinds) for column in kinds.T]
    assert_allclose(model.emission_.probabilities_[0], share, rtol=1e-10)


def test_independent_sequences_have_independent_forecasts():
    model = known_model("full")
    X = rows_of(model, LENGTHS)
    together = model.forecast(X, 3, groups=GROUPS)
    for part, each in zip(oracles.split(X, LENGTHS), together, strict=True):
        assert_allclose(each.mean, model.forecast(part, 3).mean, rtol=1e-9)


# Units --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_units_and_offsets_of_the_rows(covariance_type, scale, offset):
    """A mean of 1e8 with unit variance comes back as unit variance; so do tiny and huge units."""
    X = data(covariance_type)
    moved = (X + offset) * scale
    settings = {"covariance_type": covariance_type, "random_state": 0, "reg_covar": 1e-9}
    base = run(EMHiddenMarkov(2, **settings), X, 10, groups=GROUPS)
    other = run(EMHiddenMarkov(2, **settings), moved, 10, groups=GROUPS)
    rtol = 1e-6 if offset == 0 else 1e-4
    assert_allclose(other.lower_bound_ + 2 * np.log(scale), base.lower_bound_, rtol=rtol, atol=rtol)
    assert_allclose(other.transmat_, base.transmat_, atol=10 * rtol)
    assert_allclose(other.means_ / scale - offset, base.means_, atol=1e-4)
    assert_allclose(other.covariances_ / scale**2, base.covariances_, rtol=1e-2, atol=1e-3)
    assert_array_equal(other.predict(moved, groups=GROUPS), base.predict(X, groups=GROUPS))


# States that are seldom, never, or for ever -------------------------------------------------------


def test_a_state_that_is_never_visited_keeps_what_it_had():
    start = np.array([0.5, 0.5, 0.0])
    transmat = np.array([[0.7, 0.3, 0.0], [0.4, 0.6, 0.0], [0.2, 0.3, 0.5]])
    emission = GaussianEmission.from_parameters([[0.0], [4.0], [9.0]], np.ones(3), "spherical")
    model = EMHiddenMarkov.from_parameters(start, transmat, emission)
    X = rows_of(model, [50])
    run(model.set_params(warm_start=True), X, 5)
    assert_allclose(model.transmat_[2], transmat[2], rtol=1e-12)
    assert_array_equal(model.transmat_[:2, 2], 0.0)
    assert_allclose(model.means_[2], [9.0])
    assert_allclose(model.covariances_[2], 1.0)
    assert_array_equal(model.predict_proba(X)[:, 2], 0.0)


def test_an_absorbing_state_keeps_a_valid_row():
    start, transmat = left_right(3, stay=0.8)
    emission = PoissonEmission.from_parameters([[1.0], [10.0], [30.0]])
    model = EMHiddenMarkov.from_parameters(start, transmat, emission)
    X = rows_of(model, [60, 1, 30])
    run(model.set_params(warm_start=True), X, 5, groups=groups_of([60, 1, 30]))
    assert_array_equal(model.transmat_[2], [0.0, 0.0, 1.0])
    assert_allclose(model.transmat_.sum(axis=1), 1.0)


@every_family
def test_sequences_of_one_row_learn_starts_and_keep_transitions(family):
    X = data(family)[:40]
    model = known_start(family)
    transmat = model.transmat_.copy()
    with pytest.warns(UserWarning, match="each of the 40 sequences has one row"):
        run(model, X, 3, groups=np.arange(40))
    assert_allclose(model.transmat_, transmat, rtol=1e-12)
    assert_allclose(
        model.startprob_, model.predict_proba(X, groups=np.arange(40)).mean(0), atol=0.2
    )
    assert min(np.diff(model.lower_bounds_)) > -1e-11


@pytest.mark.parametrize("emission", ["gaussian", "student_t", "poisson", "categorical"])
@on_the_floor
def test_more_states_than_the_data_know(emission):
    X = np.repeat([0.0, 3.0, 0.0, 3.0], 8)[:, None]
    model = EMHiddenMarkov(6, emission=emission, random_state=0, max_iter=500)
    if emission == "categorical":  # averages over neighbours are distinct
        model.fit(X)
    else:
        with pytest.warns(ConvergenceWarning, match="4 of the 6 states had no rows at a start"):
            model.fit(X)
    assert np.isfinite(model.lower_bound_)
    assert_allclose(model.transmat_.sum(axis=1), 1.0)
    assert_allclose(model.startprob_.sum(), 1.0)
    assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)


@every_family
def test_missing_rows_at_the_ends_add_nothing(family):
    """Rows of which nothing is known, after the last one, change no answer about the others."""
    X = data(family)[:50]
    padded = np.concatenate([X, np.full((10, 2), np.nan)])
    model = known_start(family)
    assert_allclose(model.score_samples(padded)[:50], model.score_samples(X), rtol=1e-10)
    assert_allclose(model.predict_proba(padded)[:50], model.predict_proba(X), rtol=1e-8, atol=1e-12)
    left = run(known_start(family), X, 1)
    right = run(known_start(family), padded, 1)
    assert_allclose(left.startprob_, right.startprob_, rtol=1e-9)
    means = [m.emission_.parameters().means() for m in (left, right)]
    # Missing Gaussian rows count by their own expectation: EM is slower, the maximum is the same.
    if family in ("categorical", "poisson", "bernoulli"):
        assert_allclose(means[0], means[1], rtol=1e-9)


@pytest.mark.parametrize("kind", ["full", "diag"])
@pytest.mark.parametrize("family", [GaussianEmission, StudentTEmission, GaussianMixtureEmission])
@pytest.mark.parametrize("factors", [(1024.0, 1.0), (2.0**-7, 2.0**14)])
@on_the_floor
def test_a_state_on_one_row_is_as_wide_in_all_units(family, kind, factors):
    X = np.vstack([np.random.default_rng(5).normal(size=(60, 2)) * [1.0, 3.0], [[9.0, 40.0]]])

    def fit(X):
        covariances = np.stack([np.diag(X[:60].var(axis=0)), np.diag(X[:60].var(axis=0)) / 100])
        if kind == "diag":
            covariances = np.diagonal(covariances, axis1=1, axis2=2)
        means = X[[0, 60]]
        chain = {"startprob_init": [1.0, 0.0], "transmat_init": [[0.9, 0.1], [0.5, 0.5]]}
        if family is GaussianMixtureEmission:
            means, covariances, chain = means[None], covariances[None], {}
            first = {"weights_init": [[0.5, 0.5]], "n_mix": 2}
        else:
            first = {}
        emission = family(
            covariance_type=kind, means_init=means, covariances_init=covariances, **first
        )
        return EMHiddenMarkov(len(means), emission=emission, max_iter=500, **chain).fit(X)

    factors = np.array(factors)
    base, other = fit(X), fit(X * factors)
    expected = np.array(base.lower_bounds_) - np.log(factors).sum()
    assert_allclose(other.lower_bounds_, expected, rtol=1e-7)
    narrow = base.emission_.covariances_.reshape(2, -1)[1]
    variances = narrow if kind == "diag" else narrow[::3]
    assert_allclose(variances, 1e-6 * X.var(axis=0), rtol=1e-6)
