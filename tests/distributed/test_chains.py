"""Hidden Markov models of Dask arrays: whole sequences in each task, answers as in memory."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skvae import EMHiddenMarkov
from skvae.hmm import ColumnEmission, GaussianEmission, PoissonEmission
from tests.combinations import slow

da = pytest.importorskip("dask.array")

N_SEQUENCES = 25


def sequences(seed=0, longest=400):
    """(X, groups): states that stay, rows of two numbers, some of them missing."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, longest, size=N_SEQUENCES)
    n = lengths.sum()
    X = rng.normal(size=(n, 2)) + 5.0 * (np.cumsum(rng.random(n) < 0.1) % 3)[:, None]
    X[rng.random(X.shape) < 0.02] = np.nan
    return X, np.repeat(np.arange(N_SEQUENCES), lengths)


def chunked(X, size):
    return da.from_array(X, chunks=(size, 1) if X.ndim == 2 else size)


def fit(X, model=None, **given):
    model = {"n_components": 3, "random_state": 0, "max_iter": 5, **(model or {})}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return EMHiddenMarkov(**model).fit(X, **given)


def assert_same_fit(one, other, names=("startprob_", "transmat_", "means_", "covariances_")):
    for name in (*names, "lower_bounds_"):
        a, b = np.asarray(getattr(one, name)), np.asarray(getattr(other, name))
        assert_allclose(a, b, rtol=1e-10, atol=1e-10 * np.abs(b).max(), err_msg=name)
    assert one.n_iter_ == other.n_iter_
    assert one.n_features_in_ == other.n_features_in_


@pytest.mark.parametrize("size", [10**6, 700, *slow(90)])
@pytest.mark.parametrize("lazy", [False, True])
def test_fit(size, lazy):
    """Chunks of 90 rows: most sequences cross several borders."""
    X, groups = sequences()
    given = chunked(groups, 333) if lazy else groups
    assert_same_fit(fit(chunked(X, size), groups=given), fit(X, groups=groups))


@pytest.mark.parametrize("dtype", [object, *slow(str)])
def test_names_of_groups(dtype):
    X, groups = sequences()
    names = np.array([f"sequence {group}" for group in groups], dtype=dtype)
    for size in (1, 333):  # chunks of one name too
        given = chunked(names[:900], size)
        found = fit(chunked(X[:900], 90), {"max_iter": 1}, groups=given)
        assert_same_fit(found, fit(X[:900], {"max_iter": 1}, groups=groups[:900]))


@pytest.mark.parametrize("lazy", [True, *slow(False)])
def test_sequence_weights(lazy):
    X, groups = sequences(1)
    weight = np.random.default_rng(2).integers(0, 3, size=N_SEQUENCES).astype(float)[groups]
    given = chunked(weight, 100) if lazy else weight
    found = fit(chunked(X, 500), groups=groups, sequence_weight=given)
    assert_same_fit(found, fit(X, groups=groups, sequence_weight=weight))


@pytest.mark.parametrize(
    "init_params", ["kmeans", *slow("k-means++", "random", "random_from_data")]
)
def test_every_start_of_more_rows_than_a_start_reads(init_params):
    X, groups = sequences(3, longest=2000)
    assert len(X) > 1.2 * 16384
    model = {"init_params": init_params, "max_iter": 2}
    found = fit(chunked(X, 4000), model, groups=groups)
    assert_same_fit(found, fit(X, model, groups=groups))


def test_one_sequence_is_one_task():
    X, _ = sequences(4)
    assert_same_fit(fit(chunked(X, 300)), fit(X))


@pytest.mark.parametrize(
    ("emission", "make"),
    [
        ("gaussian_mixture", lambda X: X),
        ("student_t", lambda X: X),
        ("poisson", lambda X: np.round(np.abs(X))),
        ("categorical", lambda X: np.clip(np.round(X / 5.0), 0, 2)),
        ("bernoulli", lambda X: np.where(np.isnan(X), X, X > 4.0)),
        ("gamma", lambda X: np.abs(X) + 0.1),
        ("von_mises", lambda X: X),
        ("negative_binomial", lambda X: np.round(np.abs(X) ** 2)),
        ("zero_inflated_poisson", lambda X: np.round(np.abs(X))),
        ("multinomial", lambda X: np.round(np.abs(X))),
    ],
)
def test_every_family(emission, make):
    X, groups = sequences(13, longest=150)
    X = make(X)
    model = {"emission": emission, "max_iter": 3}
    names = ("startprob_", "transmat_")
    one, other = (fit(x, model, groups=groups) for x in (chunked(X, 200), X))
    assert_same_fit(one, other, names)
    found, expected = (m.score_samples(X, groups=groups) for m in (one, other))
    assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_columns_of_their_own_families():
    X, groups = sequences(5)
    X[:, 1] = np.round(np.abs(X[:, 1]))
    emission = ColumnEmission(
        [("level", GaussianEmission(), [0]), ("count", PoissonEmission(), [1])]
    )
    names = ("startprob_", "transmat_")
    one = fit(chunked(X, 400), {"emission": emission}, groups=groups)
    other = fit(X, {"emission": emission}, groups=groups)
    assert_same_fit(one, other, names)
    rates = [m.emission_.named_emissions_.count.rates_ for m in (one, other)]
    assert_allclose(*rates, rtol=1e-10)


def test_partial_fit():
    X, groups = sequences(6)
    expected, found = (EMHiddenMarkov(3, random_state=0) for _ in range(2))
    for part in (groups < 12, groups >= 12):
        expected.partial_fit(X[part], groups=groups[part])
        found.partial_fit(chunked(X[part], 300), groups=groups[part])
    assert_same_fit(found, expected)


def test_everything_given():
    X, groups = sequences(7)
    model = {
        "startprob_init": [0.3, 0.3, 0.4],
        "transmat_init": np.full((3, 3), 1 / 3),
        "means_init": [[0.0, 0.0], [5.0, 5.0], [10.0, 10.0]],
        "covariances_init": [np.eye(2)] * 3,
    }
    assert_same_fit(fit(chunked(X, 300), model, groups=groups), fit(X, model, groups=groups))


@pytest.mark.parametrize("inference", ["smooth", "filter"])
def test_answers_are_lazy_and_those_of_rows_in_memory(inference):
    X, groups = sequences(8)
    model = fit(X, groups=groups).set_params(inference=inference)
    for name in ("score_samples", "transform", "predict_proba", "predict"):
        found = getattr(model, name)(chunked(X, 150), groups=groups)
        expected = getattr(model, name)(X, groups=groups)
        assert isinstance(found, da.Array)
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert_allclose(found.compute(), expected, rtol=1e-9, atol=1e-12)


def test_densities_and_imputations():
    X, groups = sequences(7)
    model = fit(X, groups=groups)
    for name in ("log_emissions", "impute"):
        found = getattr(model, name)(chunked(X, 150), groups=groups)
        expected = getattr(model, name)(X, groups=groups)
        assert isinstance(found, da.Array)
        assert found.shape == expected.shape
        assert_allclose(found.compute(), expected, rtol=1e-9, atol=1e-12)


def test_numbers():
    X, groups = sequences(9)
    model, lazy = fit(X, groups=groups), chunked(X, 150)
    weight = np.random.default_rng(0).random(len(X)) * (groups > 3)
    for given in ({}, {"sample_weight": weight}):
        found = model.score(lazy, groups=groups, **given)
        assert type(found) is float
        assert_allclose(found, model.score(X, groups=groups, **given), rtol=1e-12)
    for name in ("aic", "bic", "icl"):
        assert_allclose(
            getattr(model, name)(lazy, groups=groups), getattr(model, name)(X, groups=groups)
        )
    log_prob, states = model.decode(lazy, groups=groups)
    expected = model.decode(X, groups=groups)
    assert_allclose(log_prob, expected[0], rtol=1e-12)
    assert_array_equal(states.compute(), expected[1])


def test_what_needs_rows_in_memory_says_so():
    X, groups = sequences(10)
    model = fit(X, groups=groups)
    with pytest.raises(ValueError, match=r"X is a Dask array: .* X\.compute\(\)"):
        model.forecast(chunked(X, 300), 3)
    with pytest.raises(ValueError, match=r"X is a Dask array: .* X\.compute\(\)"):
        model.expected_transitions(chunked(X, 300))
    with pytest.raises(ValueError, match=r"X is a Dask array: .* X\.compute\(\)"):
        model.online().update(chunked(X, 300))


@pytest.mark.parametrize("lazy", [False, True])
def test_groups_are_checked(lazy):
    X, groups = sequences(11)
    lazily = chunked if lazy else lambda groups, size: groups
    again = np.where(groups == 7, 2, groups)
    with pytest.raises(ValueError, match=r"groups=.*2.* comes back in row \d+"):
        fit(chunked(X, 200), groups=lazily(again, 100))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fit(chunked(X, 200), groups=lazily(groups[1:], 100))
    with pytest.raises(ValueError, match="groups contains NaN"):
        fit(chunked(X, 200), groups=lazily(np.where(groups == 7, np.nan, groups), 100))


def test_rows_are_checked():
    X, groups = sequences(12)
    with pytest.raises(ValueError, match=r"X\[:, 0\] holds .*Poisson"):
        fit(chunked(X, 200), {"emission": "poisson"}, groups=groups)
    weight = np.ones(len(X))
    weight[np.flatnonzero(groups == 5)[3]] = 2.0
    row = np.flatnonzero(weight == 2.0)[0]
    with pytest.raises(ValueError, match=f"sequence_weight is 2.0 in row {row} and 1.0 where"):
        fit(chunked(X, 200), groups=groups, sequence_weight=weight)
    with pytest.raises(ValueError, match="Expected 2D array, got 3D array"):
        fit(da.zeros((2, 5, 3)))
