"""A warm start and partial_fit: each parameter is used or refused, zeros stay, rows are counted."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skvae import EMHiddenMarkov
from skvae.hmm import (
    BernoulliEmission,
    CategoricalEmission,
    ColumnEmission,
    GammaEmission,
    GaussianEmission,
    GaussianMixtureEmission,
    NegativeBinomialEmission,
    PoissonEmission,
    StudentTEmission,
    VonMisesEmission,
    ZeroInflatedPoissonEmission,
)
from skvae.hmm.parameters import expected_occupancy
from tests.hmm.problems import FAMILIES, FEW_FAMILIES, groups_of, known_model, learner, rows_of
from tests.problems import on_the_floor

LENGTHS = (60, 1, 40)
GROUPS = groups_of(LENGTHS)
WAYS = ("warm_start", "partial_fit")


def go_on(model, X, way, **arguments):
    if way == "warm_start":
        return model.set_params(warm_start=True).fit(X, **arguments)
    return model.partial_fit(X, **arguments)


def values_of(model):
    """Everything that a fit learns, as one vector."""
    emission = model.emission_.parameters()
    arrays = [model.startprob_, model.transmat_, emission.means(), emission.covariances()]
    parts = getattr(emission, "parts", (emission,))
    arrays += [np.log(part.dofs) for part in parts if hasattr(part, "dofs")]
    return np.concatenate([np.ravel(array) for array in arrays])


# Parameters: used or refused ----------------------------------------------------------------------

OTHER = 0.3 * np.eye(2) + 0.35
CHANGES = {
    # Of the chain; the iterations of a fit are not a matter of partial_fit.
    "n_components": (3, "refused"),
    "covariance_type": ("diag", "refused"),
    "emission": ("student_t", "refused"),
    "startprob_prior": (5.0, "used"),
    "transmat_prior": (9.0, "used"),
    "reg_covar": (0.9, "used"),
    "init_params": ("random", "refused"),
    "n_init": (4, "refused"),
    "startprob_init": ([0.0, 1.0], "used"),
    "transmat_init": (OTHER, "used"),
    "means_init": ([[0.0, 0.0], [1.0, 1.0]], "refused"),
    "covariances_init": (np.stack([np.eye(2)] * 2), "refused"),
    "fixed": (("means", "transmat"), "used"),
}
OF_THE_FIT = {"tol", "max_iter", "acceleration", "verbose", "verbose_interval", "n_jobs"}
ELSEWHERE = {"inference", "random_state", "warm_start", "checkpoint"}


def test_every_parameter_of_a_chain_is_in_one_of_these():
    assert set(EMHiddenMarkov().get_params(deep=False)) == {*CHANGES, *OF_THE_FIT, *ELSEWHERE}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CHANGES)
@on_the_floor
def test_a_changed_parameter_of_a_chain_is_used_or_refused(name, way):
    X = rows_of(known_model("full", 2), LENGTHS)
    model = EMHiddenMarkov(2, random_state=0, max_iter=4, tol=0.5).fit(X, groups=GROUPS)
    value, answer = CHANGES[name]
    if answer == "refused":
        with pytest.raises(ValueError, match=f"(?s)({name}=|emission=).*{way}.* continues"):
            go_on(model.set_params(**{name: value}), X, way, groups=GROUPS)
        return
    plain = values_of(go_on(clone_of(model), X, way, groups=GROUPS))
    other = values_of(go_on(clone_of(model).set_params(**{name: value}), X, way, groups=GROUPS))
    assert np.abs(other - plain).max() > 1e-6


def clone_of(model):
    return pickle.loads(pickle.dumps(model))


EMISSIONS = {
    GaussianEmission: {
        "covariance_type": ("tied", "refused"),
        "reg_covar": (0.9, "used"),
        "means_init": ([[0.0], [1.0]], "refused"),
        "covariances_init": ([[[1.0]], [[1.0]]], "refused"),
        "mean_prior": ([3.0], "used"),
        "covariance_prior": ([[9.0]], "used"),
    },
    GaussianMixtureEmission: {
        "n_mix": (3, "refused"),
        "covariance_type": ("tied", "refused"),
        "reg_covar": (0.9, "used"),
        "weights_init": ([[0.5, 0.5]] * 2, "refused"),
        "means_init": ([[[0.0], [1.0]]] * 2, "refused"),
        "covariances_init": ([[[[1.0]], [[1.0]]]] * 2, "refused"),
        "mean_prior": ([3.0], "used"),
        "covariance_prior": ([[9.0]], "used"),
        "weights_prior": (30.0, "used"),
    },
    StudentTEmission: {
        "covariance_type": ("tied", "refused"),
        "reg_covar": (0.9, "used"),
        "means_init": ([[0.0], [1.0]], "refused"),
        "covariances_init": ([[[1.0]], [[1.0]]], "refused"),
        "dofs_init": (3.0, "refused"),
        "learn_dofs": (False, "used"),
        "mean_prior": ([3.0], "used"),
        "covariance_prior": ([[9.0]], "used"),
    },
    CategoricalEmission: {
        "n_categories": (6, "refused"),
        "prior": (3.0, "used"),
        "probabilities_init": ([[[0.25] * 4]] * 2, "refused"),
    },
    PoissonEmission: {
        "rates_init": ([[1.0], [5.0]], "refused"),
        "rate_prior": (30.0, "used"),
    },
    GammaEmission: {
        "shapes_init": ([[1.0], [2.0]], "refused"),
        "scales_init": ([[1.0], [2.0]], "refused"),
    },
    VonMisesEmission: {
        "directions_init": ([[1.0], [2.0]], "refused"),
        "concentrations_init": ([[1.0], [2.0]], "refused"),
    },
    NegativeBinomialEmission: {
        "rates_init": ([[1.0], [5.0]], "refused"),
        "dispersions_init": ([[1.0], [2.0]], "refused"),
    },
    ZeroInflatedPoissonEmission: {
        "rates_init": ([[1.0], [5.0]], "refused"),
        "zero_weights_init": ([[0.1], [0.2]], "refused"),
    },
    BernoulliEmission: {
        "prior": (3.0, "used"),
        "probabilities_init": ([[0.3], [0.6]], "refused"),
    },
}


# Errors without the prior that they belong to, see tests/emissions/test_priors.py.
OF_A_PRIOR = {
    GaussianEmission: {"mean_precision_prior", "degrees_of_freedom_prior"},
    GaussianMixtureEmission: {"mean_precision_prior", "degrees_of_freedom_prior"},
    StudentTEmission: {"mean_precision_prior", "degrees_of_freedom_prior"},
    PoissonEmission: {"rate_precision_prior"},
}


def rows_for(emission):
    if emission is StudentTEmission:
        rng = np.random.default_rng(0)
        return np.repeat([0.0, 9.0], 100)[:, None] + rng.standard_t(2.0, size=(200, 1))
    family = {
        CategoricalEmission: "categorical", PoissonEmission: "poisson",
        BernoulliEmission: "bernoulli", GammaEmission: "gamma", VonMisesEmission: "von_mises",
        NegativeBinomialEmission: "negative_binomial",
        ZeroInflatedPoissonEmission: "zero_inflated_poisson",
    }.get(emission, "full")  # fmt: skip
    return rows_of(known_model(family, 2), (150, 1, 60))[:, :1]


@pytest.mark.parametrize("emission", EMISSIONS)
def test_every_parameter_of_an_emission_is_listed(emission):
    listed = {*EMISSIONS[emission], *OF_A_PRIOR.get(emission, ())}
    assert set(emission().get_params()) == listed


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("emission", "name"), [(cls, name) for cls, names in EMISSIONS.items() for name in names]
)
@pytest.mark.parametrize("column", [False, True])
@on_the_floor
def test_a_changed_parameter_of_an_emission_is_used_or_refused(emission, name, way, column):
    X = rows_for(emission)
    part = emission(**({"dofs_init": 5.0} if emission is StudentTEmission else {}))
    given = ColumnEmission([("a", part, [0])]) if column else part
    # A Student-t fit that ends early would be replaced by the Gaussian one that it contains.
    ends = {"tol": 1e-3} if emission is StudentTEmission else {"max_iter": 3, "tol": 0.5}
    model = EMHiddenMarkov(2, emission=given, random_state=0, **ends).fit(X)
    value, answer = EMISSIONS[emission][name]
    change = {f"emission__{'a__' if column else ''}{name}": value}
    if answer == "refused":
        with pytest.raises(ValueError, match=f"(?s){name}=.*{way}.* continues"):
            go_on(model.set_params(**change), X, way)
        return
    plain, other = clone_of(model), clone_of(model).set_params(**change)
    go_on(plain, X, way)
    go_on(other, X, way)
    # The variance of a Student-t distribution may be infinite.
    values, before = (np.nan_to_num(values_of(each), posinf=0.0) for each in (other, plain))
    assert np.abs(values - before).max() > 1e-6


@pytest.mark.parametrize("way", WAYS)
def test_the_columns_of_parts_stay(way):
    """Swapped columns used to be read in the earlier order."""
    X = np.column_stack([rows_of(known_model("full", 2), [80])[:, 0], np.arange(80) % 3])
    parts = [("x", GaussianEmission(), 0), ("n", PoissonEmission(), 1)]
    model = EMHiddenMarkov(2, emission=ColumnEmission(parts), random_state=0).fit(X)
    swapped = [("x", GaussianEmission(), 1), ("n", PoissonEmission(), 0)]
    with pytest.raises(ValueError, match=r"in the part 'x': columns=.*1.*continues"):
        go_on(model.set_params(emission=ColumnEmission(swapped)), np.abs(X).round(), way)
    same = [("x", GaussianEmission(), [0]), ("n", PoissonEmission(), slice(1, 2))]
    go_on(model.set_params(emission=ColumnEmission(same)), X, way)


@pytest.mark.parametrize("way", WAYS)
def test_degrees_of_freedom_can_be_held_later(way):
    X = rows_for(StudentTEmission)
    model = EMHiddenMarkov(2, emission=StudentTEmission(), random_state=0).fit(X)
    held = model.emission_.dofs_.copy()
    go_on(model.set_params(emission__learn_dofs=False), X[::-1].copy(), way)
    assert_array_equal(model.emission_.dofs_, held)
    n_free = model.emission_.parameters().n_parameters()
    go_on(model.set_params(emission__learn_dofs=True), X[::-1].copy(), way)
    assert model.emission_.parameters().n_parameters() == n_free + 2
    assert (model.emission_.dofs_ != held).all()


# Zeros --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("prior", [1.0, 2.0])
def test_structural_zeros_of_known_parameters_stay(way, prior):
    model = EMHiddenMarkov.from_parameters(
        [1.0, 0.0, 0.0],
        [[0.8, 0.2, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 1.0]],
        GaussianEmission.from_parameters([[0.0], [3.0], [6.0]], [1.0] * 3, "spherical"),
    )
    X = model.sample(100, random_state=0)[0]
    zeros, n_free = model.transmat_ == 0, 0 + 2 + 6
    go_on(model.set_params(transmat_prior=prior, startprob_prior=prior), X, way)
    assert_array_equal(model.transmat_ == 0, zeros)
    assert_array_equal(model.startprob_, [1, 0, 0])
    expected = -2 * 100 * model.score(X) + n_free * np.log(100)
    assert_allclose(model.bic(X), expected, rtol=1e-12)


def separated(n=100):
    rng = np.random.default_rng(5)
    return np.repeat([0.0, 50.0], n)[:, None] + rng.normal(size=(2 * n, 1))


def test_what_em_lets_die_out_is_no_structural_zero():
    """Underflow leaves 1e-300, so that the parameters alone tell the structure."""
    X = separated()
    model = EMHiddenMarkov(2, random_state=0, tol=1e-9).fit(X)
    assert model.startprob_.min() == model.transmat_.min() == 1e-300
    again = EMHiddenMarkov.from_parameters(model.startprob_, model.transmat_, model.emission_)
    assert_allclose(again.bic(X), model.bic(X), rtol=1e-12)
    expected = -2 * 200 * model.score(X) + (1 + 2 + 4) * np.log(200)
    assert_allclose(again.bic(X), expected, rtol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_a_prior_after_a_fit_that_ended_at_zero(way):
    X = separated()
    one_kind = {"init_params": "k-means++", "random_state": 0}  # of start, in one order of states
    model = EMHiddenMarkov(2, **one_kind).fit(X)
    priors = {"startprob_prior": 2.0, "transmat_prior": 3.0}
    go_on(model.set_params(**priors), X, way)
    assert np.isfinite(model.lower_bound_)
    if way == "warm_start":
        fresh = EMHiddenMarkov(2, **one_kind, **priors).fit(X)
        assert_allclose(values_of(model), values_of(fresh), rtol=1e-6, atol=1e-9)
        assert_allclose(np.sort(model.startprob_), [1 / 3, 2 / 3], rtol=1e-9)


@pytest.mark.parametrize(
    ("plain", "values"),
    [(CategoricalEmission(3), [0, 1, 2]), (BernoulliEmission(), [0, 1, 0])],
)
def test_a_prior_of_the_emission_after_a_fit_that_ended_at_zero(plain, values):
    X = np.repeat(values, 30)[:, None].astype(float)
    model = EMHiddenMarkov(2, emission=plain, random_state=0).fit(X)
    p = np.where(model.emission_.probabilities_ > 0.1, 1.0, 0.0)
    model.emission_.probabilities_ = p / p.sum(axis=-1, keepdims=True) if p.ndim == 3 else p
    go_on(model.set_params(emission__prior=1.5), X, "warm_start")
    assert np.isfinite(model.lower_bound_)
    assert (model.emission_.probabilities_ > 1e-3).all()


# Attributes that are set --------------------------------------------------------------------------


def test_means_and_covariances_that_are_set_are_used():
    model = known_model("full", 2)
    X = rows_of(model, [30])
    means, covariances = model.means_ + 1.0, 2.0 * model.covariances_
    expected = EMHiddenMarkov.from_parameters(
        model.startprob_, model.transmat_, GaussianEmission.from_parameters(means, covariances)
    )
    model.means_ = means
    model.covariances_ = covariances
    assert_allclose(model.score_samples(X), expected.score_samples(X), rtol=1e-12)
    assert_allclose(model.emission_.means_, means)
    draws = [m.sample(50, random_state=0)[0] for m in (model, expected)]
    assert_allclose(*draws, rtol=1e-12)
    model.emission_.means_ = means - 1.0
    assert_allclose(model.means_, means - 1.0)
    with pytest.raises(ValueError, match="read-only"):
        model.covariances_[0] *= 2.0
    with pytest.raises(ValueError, match="covariances has an eigenvalue <= 0"):
        model.covariances_ = -covariances
    with pytest.raises(ValueError, match=r"means_ has shape \(1,\): must have shape \(2, 2\)"):
        model.means_ = [0.0]
    with pytest.raises(AttributeError, match="follows from covariances_"):
        model.emission_.precisions_cholesky_ = covariances


def test_starts_and_transitions_that_are_set_are_used_and_zeros_are_structural():
    model = known_model("poisson", 2)
    X = rows_of(model, [40])
    model.transmat_ = [[0.5, 0.5], [0.0, 1.0]]
    model.startprob_ = [1.0, 0.0]
    expected = EMHiddenMarkov.from_parameters([1.0, 0.0], [[0.5, 0.5], [0.0, 1.0]], model.emission_)
    assert_allclose(model.bic(X), expected.bic(X), rtol=1e-12)
    assert_array_equal(model.partial_fit(X).transmat_[1], [0.0, 1.0])
    with pytest.raises(ValueError, match=r"transmat_ has a row that sums to 0\.9: must"):
        model.transmat_ = [[0.5, 0.4], [0.0, 1.0]]
    with pytest.raises(ValueError, match="read-only"):
        model.transmat_[0, 0] = 1.0
    with pytest.raises(AttributeError, match="startprob_ cannot be set before fit; EMHidden"):
        EMHiddenMarkov(2).startprob_ = [0.5, 0.5]
    with pytest.raises(AttributeError, match=r"no attribute 'means_': EMHiddenMarkov\.from_par"):
        EMHiddenMarkov(2).means_ = [[0.0], [1.0]]
    with pytest.raises(AttributeError, match=r"no attribute 'means_': emission_ is Poisson"):
        _ = model.means_


ARRAYS = (
    "means_", "covariances_", "weights_", "dofs_", "rates_", "probabilities_", "shapes_", "scales_",
    "directions_", "concentrations_", "dispersions_", "zero_weights_", "total_",
)  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_arrays_of_an_emission_that_are_set_are_used(family):
    model, other = known_model(family, 2), known_model(family, 2, seed=3)
    X = rows_of(model, [20])
    pairs = [(model.emission_, other.emission_)]
    if family == "column":
        named = [m.emission_.named_emissions_ for m in (model, other)]
        pairs = [(named[0][name], named[1][name]) for name in named[0]]
    for emission, theirs in pairs:
        for name in ARRAYS:
            if hasattr(emission, name):
                setattr(emission, name, getattr(theirs, name))
    assert_allclose(model.emission_.log_density(X), other.emission_.log_density(X), rtol=1e-12)


# Rows are counted ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FEW_FAMILIES)
def test_one_row_after_many_counts_as_one(family):
    truth = known_model(family, 2, seed=1)
    X, lengths = rows_of(truth, [2500] * 4), [2500] * 4
    model = learner(family, 2, tol=1e-4).fit(X, groups=groups_of(lengths))
    assert model.n_samples_seen_ == 10_000
    assert model.n_sequences_seen_ == 4
    emission = model.emission_.parameters()
    before, transmat = emission.means(), model.transmat_.copy()
    scale = np.sqrt(emission.covariances().diagonal(axis1=1, axis2=2))
    model.partial_fit(X[100:101])
    assert model.n_samples_seen_ == 10_001
    assert model.n_sequences_seen_ == 5
    # A state has a tenth of the rows or more, and the row is within ten standard deviations.
    moved = np.abs(model.emission_.parameters().means() - before) / scale
    assert 0 < moved.max() < 10 * 10 / 10_000
    assert_allclose(model.transmat_, transmat, atol=1e-12)  # a single row has no transition


@pytest.mark.parametrize("family", ["categorical", "bernoulli"])
def test_a_prior_counts_once_and_not_in_every_batch(family):
    """The sum over batches of one state is exact: counts plus one prior, as in a fit."""
    emission = CategoricalEmission(4, prior=6.0) if family == "categorical" else None
    emission = emission or BernoulliEmission(prior=6.0)
    X = rows_of(known_model(family, 1), [400])
    whole = EMHiddenMarkov(1, emission=emission).fit(X[:300])
    whole.partial_fit(X[300:])
    counts = np.stack([(value == X).sum(axis=0) for value in range(4)], axis=1)
    if family == "categorical":
        expected = (counts + 5.0) / (counts + 5.0).sum(axis=1, keepdims=True)
        assert_allclose(whole.emission_.probabilities_[0], expected, rtol=1e-9)
    else:
        assert_allclose(whole.emission_.probabilities_[0], (counts[:, 1] + 5) / 410, rtol=1e-9)


def test_priors_of_the_chain_count_once():
    """Every transition is observed, as the states are far apart."""
    rng = np.random.default_rng(0)
    states = rng.integers(2, size=400)
    X = 100.0 * states[:, None] + rng.normal(size=(400, 1))
    model = EMHiddenMarkov(2, means_init=[[0.0], [100.0]], transmat_prior=8.0, random_state=0)
    model.fit(X[:300])
    for batch in (X[300:350], X[350:]):
        model.partial_fit(batch)
    pairs = np.zeros((2, 2))
    for part, weight in ((states[:300], 1.0), (states[300:350], 1.0), (states[350:], 1.0)):
        np.add.at(pairs, (part[:-1], part[1:]), weight)
    pairs += 7.0
    expected = pairs / pairs.sum(axis=1, keepdims=True)
    # The first batch counts a third beside the second, and lengths are by their mean.
    assert_allclose(model.transmat_, expected, atol=0.02)


def test_a_batch_may_lack_a_feature():
    truth = known_model("full", 2)
    X = rows_of(truth, (200,))
    model = learner("full", 2).fit(X)
    batch = X[:50].copy()
    batch[:, 1] = np.nan
    before = model.means_.copy()
    model.partial_fit(batch)
    assert not np.array_equal(model.means_[:, 0], before[:, 0])
    assert_allclose(model.means_[:, 1], before[:, 1], atol=0.2)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_any_family_may_lack_a_feature(family):
    X = rows_of(known_model(family, 2), (150,))
    model = learner(family, 2).partial_fit(X)
    X[:, 0] = np.nan
    assert np.isfinite(model.partial_fit(X).lower_bound_)
    assert np.isfinite(model.partial_fit(np.full_like(X[:3], np.nan)).score(X))


def test_a_model_of_an_earlier_version_goes_on():
    """It has no number of rows: a batch counts as in stepwise EM."""
    X = rows_of(known_model("poisson", 2), (50,))
    model = learner("poisson", 2).fit(X)
    for name in ("n_samples_seen_", "n_sequences_seen_", "_last", "_started_from", "_forgotten"):
        del vars(model)[name]
    before = model.emission_.rates_.copy()
    model.partial_fit(X[:20])
    assert not np.array_equal(before, model.emission_.rates_)
    assert model.n_samples_seen_ == 20
    go_on(model, X, "warm_start")
    assert model.n_samples_seen_ == 50


def test_a_subclass_may_have_another_constructor():
    class Regimes(EMHiddenMarkov):
        def __init__(self, n_regimes=2):
            super().__init__(n_regimes)
            self.n_regimes = n_regimes

    known = known_model("poisson", 3)
    model = Regimes.from_parameters(known.startprob_, known.transmat_, known.emission_)
    assert isinstance(model, Regimes)
    X = rows_of(known, [20])
    assert_allclose(model.score_samples(X), known.score_samples(X))
    clone(model)

    class Counts(PoissonEmission):
        def __init__(self, unit="a day"):
            super().__init__()
            self.unit = unit

    assert Counts.from_parameters([[1.0]]).unit == "a day"


@pytest.mark.parametrize("sticky", [0.0, 5.0, 1e4])
def test_expected_occupancies_are_sums_over_steps(sticky):
    """Also where the loop ends early, as the chain has settled."""
    rng = np.random.default_rng(0)
    start = rng.dirichlet(np.ones(3))
    transmat = rng.dirichlet(np.ones(3), 3) + sticky * np.eye(3)
    transmat /= transmat.sum(axis=1, keepdims=True)
    lengths, weights = np.array([1, 5, 200, 900]), rng.random(4)
    pairs, occupancy = np.zeros((3, 3)), np.zeros(3)
    for length, weight in zip(lengths, weights, strict=True):
        state = start
        for t in range(length):
            occupancy += weight * state
            pairs += weight * (t + 1 < length) * state[:, None] * transmat
            state = state @ transmat
    found = expected_occupancy(start, transmat, lengths, weights)
    for ours, theirs in zip(found, (start * weights.sum(), pairs, occupancy), strict=True):
        assert_allclose(ours, theirs, rtol=1e-12)
