"""Emissions side by side: they are the sum of their parts, and reached by name."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skvae.blocks import Rows
from skvae.hmm import (
    BernoulliEmission,
    CategoricalEmission,
    ColumnEmission,
    GaussianEmission,
    GaussianMixtureEmission,
    PoissonEmission,
    StudentTEmission,
)
from tests.emissions.tools import (
    first_of,
    holes,
    log_density,
    mixture_bounds,
    some_resp,
    statistics,
    summary_of,
)

NAMES = np.array(["a", "n", "b", "flag", "code"], dtype=object)
COLUMNS = {"xy": [0, 2], "count": 1, "rest": slice(3, None)}
INDICES = {"xy": [0, 2], "count": [1], "rest": [3, 4]}


def fitted_parts(rest=None):
    rng = np.random.default_rng(0)
    rest = rest or CategoricalEmission.from_parameters(
        np.stack([[[0.2, 0.8, 0.0], [0.3, 0.3, 0.4]], [[0.9, 0.1, 0.0], [0.1, 0.8, 0.1]]]), [2, 3]
    )
    covariances = [[[1.0, 0.6], [0.6, 2.0]], [[0.5, -0.2], [-0.2, 0.5]]]
    return {
        "xy": GaussianEmission.from_parameters(rng.normal(size=(2, 2)), covariances, "full"),
        "count": PoissonEmission.from_parameters([[1.0], [6.0]]),
        "rest": rest,
    }


def known():
    parts = fitted_parts()
    return ColumnEmission.from_parameters(
        [(name, part, COLUMNS[name]) for name, part in parts.items()]
    )


def problem(n_rows=200, seed=0):
    emission = known()
    rng = np.random.RandomState(seed)
    return emission, emission.parameters().sample(rng.randint(2, size=n_rows), rng)


def unfitted(**changes):
    emission = ColumnEmission(
        [
            ("xy", GaussianEmission(), COLUMNS["xy"]),
            ("count", PoissonEmission(), COLUMNS["count"]),
            ("rest", CategoricalEmission(), COLUMNS["rest"]),
        ]
    )
    return emission.set_params(**changes)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("block_rows", [None, 64])
def test_log_densities_add(missing, dtype, block_rows):
    emission, X = problem()
    X = (holes(X) if missing else X).astype(dtype)
    found = log_density(emission.parameters(), X, block_rows)
    parts = fitted_parts()
    expected = sum(
        log_density(part.parameters(), X[:, INDICES[name]]) for name, part in parts.items()
    )
    assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    if missing:
        assert_array_equal(found[:, 0], 0.0)


@pytest.mark.parametrize("missing", [False, True])
def test_m_step_is_that_of_the_parts(missing):
    emission, X = problem()
    X = holes(X) if missing else X
    parameters, resp = emission.parameters(), some_resp(2, len(X))
    fresh = unfitted()
    summary = summary_of(fresh, X)
    found = fresh.maximize(parameters, statistics(parameters, X, resp, 64), summary)
    for i, (name, part) in enumerate(fitted_parts().items()):
        own, old = X[:, INDICES[name]], part.parameters()
        expected = part.maximize(old, statistics(old, own, resp, 64), summary_of(part, own))
        for one, other in zip(found.parts[i], expected, strict=True):
            if isinstance(one, np.ndarray):
                assert_allclose(one, other, rtol=1e-11, atol=1e-12)


def test_statistics_without_log_densities_before():
    emission, X = problem()
    X, resp = holes(X), some_resp(2, len(X))
    kernel = emission.parameters().kernel()
    sums = kernel.sums()
    for rows, block in kernel.blocks(X, kernel.workspace()):
        block.accumulate(sums, resp[:, rows])
    found = kernel.finish(sums)
    expected = statistics(emission.parameters(), X, resp)
    assert_allclose(found.parts[0].scatter, expected.parts[0].scatter, rtol=1e-12)
    assert_allclose(found.parts[1], expected.parts[1], rtol=1e-12)
    assert_allclose(found.parts[2], expected.parts[2], rtol=1e-12)


def test_statistics_add_and_scale():
    emission, X = problem()
    parameters, X, resp = emission.parameters(), holes(X), some_resp(2, len(X))
    a, b = (statistics(parameters, X[s], resp[:, s]) for s in (slice(0, 99), slice(99, None)))
    whole, joined = statistics(parameters, X, resp), 2.0 * ((a + b) * 0.5)
    for one, other in zip(joined.parts[1:], whole.parts[1:], strict=True):
        assert_allclose(one, other, rtol=1e-12)
    assert_allclose(joined.parts[0].sums, whole.parts[0].sums, rtol=1e-10, atol=1e-10)
    sums = parameters.kernel().sums()
    sums += sums
    assert not sums.parts[1].any()


def test_statistics_of_parameters_lead_back_to_them():
    emission, X = problem()
    parameters = emission.parameters()
    fresh = unfitted()
    summary = summary_of(fresh, X)
    old = first_of(fresh, X, np.arange(len(X)) % 2, 2)
    found = fresh.maximize(old, parameters.statistics([0.4, 2.0]), summary)
    assert_allclose(found.means(), parameters.means(), rtol=1e-12)
    assert_allclose(found.covariances(), parameters.covariances(), rtol=1e-12)


@pytest.mark.parametrize("missing", [False, True])
def test_em_never_falls(missing):
    _, X = problem(300)
    X = holes(X) if missing else X
    emission = unfitted(rest__prior=2.0)
    emission.check_parameters(3)
    emission.check_rows(X)
    summary = summary_of(emission, X)
    first = first_of(emission, X, np.arange(len(X)) % 3, 3)
    bounds, last = mixture_bounds(emission, first, X, summary, 40)
    assert np.diff(bounds).min() > -1e-9
    assert bounds[-1] - bounds[0] > 20
    assert emission.log_prior(last, summary) == emission.emissions[2][1].log_prior(
        last.parts[2], None
    )


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(
    "part", [StudentTEmission(), GaussianMixtureEmission(2), GaussianEmission("tied")]
)
def test_em_never_falls_with_any_family(part, missing):
    _, X = problem(200)
    X = holes(X, 0.2) if missing else X
    emission = unfitted(xy=part)
    summary = summary_of(emission, X)
    first = first_of(emission, X, np.arange(len(X)) % 2, 2)
    bounds, _ = mixture_bounds(emission, first, X, summary, 15)
    assert np.isfinite(bounds).all()
    assert np.diff(bounds).min() > -1e-8


def test_draws_and_moments_stand_in_their_columns():
    emission, X = problem(100_000)
    parameters = emission.parameters()
    states = np.random.RandomState(0).randint(2, size=len(X))  # as in problem
    parts = fitted_parts()
    for k in range(2):
        draws = X[states == k]
        assert_allclose(draws.mean(axis=0), parameters.means()[k], atol=0.05)
        assert_allclose(np.cov(draws.T), parameters.covariances()[k], atol=0.1)
    covariances = parameters.covariances()
    assert_array_equal(covariances[:, 0, 2], parts["xy"].parameters().covariances()[:, 0, 1])
    assert_array_equal(covariances[:, 0, 1], 0.0)
    assert_array_equal(parameters.means()[:, [1]], parts["count"].rates_)


def test_vectors_and_back():
    emission, X = problem()
    parameters = emission.parameters()
    summary = summary_of(unfitted(), X)
    vector = parameters.pack(summary)
    sizes = [len(part.pack(own)) for part, own in zip(parameters.parts, summary.parts, strict=True)]
    assert len(vector) == sum(sizes)
    found = parameters.unpack(vector, summary)
    assert_allclose(found.means(), parameters.means(), rtol=1e-10)
    assert_allclose(found.covariances(), parameters.covariances(), rtol=1e-10)


def test_counts_and_attributes():
    emission = known()
    parameters = emission.parameters()
    assert (parameters.n_components, parameters.n_features) == (2, 5)
    assert parameters.n_parameters() == 2 * (2 + 3) + 2 + 2 * (1 + 2)
    assert emission.n_features_in_ == 5
    assert [name for name, _, _ in emission.emissions_] == ["xy", "count", "rest"]
    assert [index.tolist() for _, _, index in emission.emissions_] == [[0, 2], [1], [3, 4]]
    assert_array_equal(emission.named_emissions_.count.rates_, [[1.0], [6.0]])
    again = pickle.loads(pickle.dumps(emission))
    assert_array_equal(again.parameters().means(), parameters.means())


def test_storing_leaves_the_given_parts_alone():
    emission, X = unfitted(), problem()[1]
    emission.store(first_of(emission, X, np.arange(len(X)) % 2, 2))
    assert not hasattr(emission.emissions[1][1], "rates_")
    assert emission.named_emissions_["count"].rates_.shape == (2, 1)


@pytest.mark.parametrize(
    "columns",
    [
        {"xy": ["a", "b"], "count": "n", "rest": ["flag", "code"]},
        {"xy": np.array([0, 2]), "count": np.int64(1), "rest": (-2, -1)},
        {"xy": [True, False, True, False, False], "count": [1], "rest": range(3, 5)},
        {"xy": slice(0, 3, 2), "count": slice(1, 2), "rest": slice(-2, None)},
    ],
)
def test_columns_in_many_ways(columns):
    _, X = problem()
    emission = ColumnEmission(
        [(name, part, columns[name]) for name, part, _ in unfitted().emissions]
    )
    emission.check_rows(X, NAMES)
    found = summary_of(emission, X, feature_names=NAMES).columns
    assert [index.tolist() for index in found] == [[0, 2], [1], [3, 4]]


def test_order_of_columns_is_that_of_the_part():
    part = CategoricalEmission.from_parameters([[[0.1, 0.9, 0.0], [0.2, 0.3, 0.5]]], [2, 3])
    emission = ColumnEmission.from_parameters([("code", part, [1, 0])])
    X = np.array([[2.0, 0.0], [1.0, np.nan]])
    expected = log_density(part.parameters(), X[:, ::-1])
    assert_allclose(log_density(emission.parameters(), X), expected)
    assert_array_equal(emission.parameters().means(), part.parameters().means()[:, ::-1])


def test_columns_without_names():
    emission = ColumnEmission([("x", PoissonEmission(), ["a"])])
    with pytest.raises(
        ValueError, match=r"in the part 'x': columns=\['a'\]: must be indices, as X"
    ):
        emission.check_rows(np.zeros((2, 1)))


X5 = np.zeros((2, 5))


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (["z"], r"in the part 'x': columns=\['z'\]: must be among \['a', 'n', 'b', 'flag', 'code'"),
        ([0, 5], r"columns=\[0, 5\]: must be between 0 and 4, as X has 5 columns"),
        ([], r"columns=\[\]: must be at least one column"),
        (slice(5, 9), "in the part 'x': columns=slice.*: must be at least one column"),
        ([True, False], r"must be as long as X has columns, 5, if it is a mask"),
        (0.5, "columns=0.5: must be an index, a slice, a name, or a list"),
        ([0, "n"], r"columns=\[0, 'n'\]: must be an index, a slice, a name, or a"),
        ([0, 1, 2], r"X\['flag'\] belongs to no part: each column of X must belong to"),
        ([0, 0, 1, 2, 3, 4], r"X\['a'\] belongs to the parts \['x', 'x'\]: each column"),
    ],
)
def test_unusable_columns(columns, text):
    with pytest.raises(ValueError, match=text):
        ColumnEmission([("x", PoissonEmission(), columns)]).check_rows(X5, NAMES)


def test_column_of_two_parts():
    emission = ColumnEmission([("x", PoissonEmission(), [0]), ("y", PoissonEmission(), [0, 1])])
    with pytest.raises(ValueError, match=r"X\[:, 0\] belongs to the parts \['x', 'y'\]: each"):
        emission.check_rows(np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("emissions", "text"),
    [
        ([], r"emissions=\[\]: must be a list of \(name, emission, columns\), not empty"),
        ("abc", r"emissions='abc': must be a list of \(name, emission, columns\)"),
        ([("x", PoissonEmission())], r"emissions has an entry \('x', PoissonEmission\(\)\): must"),
        ([("x__y", PoissonEmission(), 0)], "emissions has a name 'x__y': must be a string without"),
        ([("emissions", PoissonEmission(), 0)], "emissions has a name 'emissions': must be"),
        ([(1, PoissonEmission(), 0)], "emissions has a name 1: must be a string"),
        ([("x", "poisson", 0)], "emissions has 'poisson' as 'x': must be an emission object, such"),
        ([("x", PoissonEmission, 0)], "as 'x': must be an emission object, such as PoissonEmiss"),
        (
            [("x", PoissonEmission(), 0), ("x", PoissonEmission(), 1)],
            r"emissions has the names \['x', 'x'\]: must be distinct",
        ),
    ],
)
def test_unusable_parts(emissions, text):
    with pytest.raises(ValueError, match=text):
        ColumnEmission(emissions).check_parameters(2)


def test_messages_name_the_part_and_the_column_of_x():
    with pytest.raises(ValueError, match="in the part 'rest': prior=0: must be a finite number"):
        unfitted(rest__prior=0).check_parameters(2)
    X = np.zeros((3, 5))
    X[1, 4] = 0.5
    with pytest.raises(ValueError, match=r"in the part 'rest': X\[:, 4\] holds 0.5: a categorical"):
        unfitted().check_rows(X)
    with pytest.raises(ValueError, match=r"in the part 'rest': X\['code'\] holds 0.5"):
        unfitted().check_rows(X, NAMES)
    X[:, 1] = np.nan
    text = "in the part 'count': X has no observed value in feature 1: each"
    with pytest.raises(ValueError, match=text):
        summary_of(unfitted(), X)


def test_fitted_parts_check_what_is_new():
    X = np.zeros((3, 5))
    X[1, 3] = 2.0
    with pytest.raises(ValueError, match=r"X\[:, 3\] holds 2.0: must be a code from 0 to 1, the"):
        known().check_rows(X)
    unfitted().check_rows(X)


def test_known_parts_that_do_not_fit_together():
    parts = fitted_parts()
    parts["count"] = PoissonEmission.from_parameters([[1.0]])
    triples = [(name, part, COLUMNS[name]) for name, part in parts.items()]
    text = r"emissions have n_components \{'xy': 2, 'count': 1, 'rest': 2\}: must have equally"
    with pytest.raises(ValueError, match=text):
        ColumnEmission.from_parameters(triples)
    triples = [
        ("x", PoissonEmission.from_parameters([[1.0, 2.0]]), [0]),
        ("y", PoissonEmission.from_parameters([[1.0, 2.0]]), [1, 2, 3]),
    ]
    text = r"in the part 'x': columns=\[0\]: must be 2 columns, as many as the emission"
    with pytest.raises(ValueError, match=text):
        ColumnEmission.from_parameters(triples)
    with pytest.raises(NotFittedError, match="this PoissonEmission is not fitted"):
        ColumnEmission.from_parameters([("x", PoissonEmission(), [0])])
    with pytest.raises(NotFittedError, match="this ColumnEmission is not fitted"):
        unfitted().parameters()


# Parameters of parts ------------------------------------------------------------------------------


def test_parameters_of_parts_by_name():
    emission = unfitted()
    params = emission.get_params()
    assert params["rest__prior"] == 1.0
    assert params["rest"] is emission.emissions[2][1]
    assert params["xy__covariance_type"] == "full"
    assert set(emission.get_params(deep=False)) == {"emissions"}
    assert emission.set_params(rest__prior=3.0, xy__covariance_type="diag") is emission
    assert emission.emissions[2][1].prior == 3.0
    assert emission.emissions[0][1].covariance_type == "diag"


def test_parts_are_replaced_in_a_new_list():
    emission = unfitted()
    given = emission.emissions
    before = list(given)
    emission.set_params(rest=BernoulliEmission(), rest__prior=4.0)
    assert given == before
    assert emission.emissions[2][0] == "rest"
    assert emission.emissions[2][1].prior == 4.0
    assert emission.emissions[2][2] == slice(3, None)
    emission.set_params(emissions=[("all", PoissonEmission(), slice(None))], all__rates_init=[[1]])
    assert emission.get_params()["all__rates_init"] == [[1]]


def test_unknown_parameters_are_refused():
    with pytest.raises(ValueError, match="Invalid parameter 'nothing' for estimator"):
        unfitted().set_params(nothing=1)
    with pytest.raises(ValueError, match="Invalid parameter 'nothing' for estimator"):
        unfitted().set_params(rest__nothing=1)
    assert ColumnEmission("abc").get_params() == {"emissions": "abc"}
    assert ColumnEmission(None).get_params() == {"emissions": None}


def test_clones_share_nothing():
    emission = known().set_params(rest__prior=2.0)
    copy = clone(emission)
    assert copy.get_params()["rest__prior"] == 2.0
    copy.set_params(rest__prior=5.0)
    assert emission.get_params()["rest__prior"] == 2.0
    assert not hasattr(copy, "emissions_")
    assert not hasattr(copy.emissions[1][1], "rates_")


def test_parts_within_parts():
    inner = ColumnEmission([("n", PoissonEmission(), "n"), ("flag", BernoulliEmission(), "flag")])
    emission = ColumnEmission(
        [("in", inner, ["flag", "n"]), ("out", GaussianEmission("diag"), ["a", "b", "code"])]
    )
    emission.set_params(in__flag__prior=2.0)
    _, X = problem()
    emission.check_parameters(2)
    emission.check_rows(X, NAMES)
    summary = summary_of(emission, X, feature_names=NAMES)
    assert [index.tolist() for index in summary.parts[0].columns] == [[1], [0]]
    rng = np.random.RandomState(0)
    first = emission.first(Rows(X), np.arange(len(X)) % 2, 2, summary, rng)
    bounds, last = mixture_bounds(emission, first, X, summary, 10)
    assert np.diff(bounds).min() > -1e-9
    emission.store(last)
    assert emission.named_emissions_["in"].named_emissions_["n"].rates_.shape == (2, 1)
    X[0, 3] = 0.5
    text = r"in the part 'in': in the part 'flag': X\['flag'\] holds 0.5: a Bernoulli"
    with pytest.raises(ValueError, match=text):
        emission.check_rows(X, NAMES)
