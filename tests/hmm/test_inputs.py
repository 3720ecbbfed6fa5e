"""Valid and invalid arguments; none of them is changed."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skvae import EMHiddenMarkov
from skvae.hmm import CategoricalEmission, GaussianEmission, PoissonEmission
from tests.hmm.problems import FAMILIES, groups_of, holes, known_model, learner, rows_of
from tests.problems import assert_same_state, run, state_of

LENGTHS = (60, 1, 25, 40)
GROUPS = groups_of(LENGTHS)
METHODS = (
    "fit", "fit_transform", "partial_fit", "predict", "predict_proba", "transform", "score_samples",
    "score", "bic", "aic", "decode", "sample_posterior",
)  # fmt: skip


def rows():
    return rows_of(known_model(seed=1), LENGTHS)


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def memory_mapped(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


LAYOUTS = {
    "read-only": lambda X, _: read_only(X),
    "Fortran": lambda X, _: np.asfortranarray(X),
    "every other row": lambda X, _: np.repeat(X, 2, axis=0)[::2],
    "columns of a wider array": lambda X, _: np.hstack([X, X])[:, : X.shape[1]],
    "backwards": lambda X, _: X[::-1].copy()[::-1],
    "big-endian": lambda X, _: X.astype(">f8"),
    "long double": lambda X, _: X.astype(np.longdouble),
    "memory-mapped": memory_mapped,
    "list": lambda X, _: X.tolist(),
    "tuple of tuples": lambda X, _: tuple(map(tuple, X.tolist())),
    "object array of numbers": lambda X, _: X.astype(object),
    "pandas": lambda X, _: pd.DataFrame(X),
    "pandas with names": lambda X, _: pd.DataFrame(X, columns=["a", "b"]),
    "polars": lambda X, _: pl.DataFrame(X, schema=["a", "b"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("family", "missing"), [("full", False), ("column", True)])
def test_every_layout_gives_the_same_fit(layout, family, missing, tmp_path):
    X = rows_of(known_model(family, seed=1), LENGTHS)
    X = holes(X) if missing else X
    laid_out = LAYOUTS[layout](X, tmp_path)
    model = run(learner(family), X, 4, groups=GROUPS)
    other = run(learner(family), laid_out, 4, groups=GROUPS)
    assert_allclose(other.lower_bounds_, model.lower_bounds_, rtol=1e-10)
    for method in ("score_samples", "predict_proba"):
        expected = getattr(model, method)(X, groups=GROUPS)
        found = getattr(other, method)(laid_out, groups=GROUPS)
        assert_allclose(found, expected, rtol=1e-8, atol=1e-11)
    assert_array_equal(other.predict(laid_out, groups=GROUPS), model.predict(X, groups=GROUPS))


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_comes_back_as_float32_and_is_summed_in_float64(family):
    X = rows_of(known_model(family, seed=1), LENGTHS).astype(np.float32)
    model = run(learner(family), X, 4, groups=GROUPS)
    exact = run(learner(family), X.astype(float), 4, groups=GROUPS)
    assert_allclose(model.lower_bounds_, exact.lower_bounds_, rtol=1e-5)
    for method in ("score_samples", "predict_proba", "transform"):
        found = getattr(model, method)(X, groups=GROUPS)
        assert found.dtype == np.float32
        expected = getattr(model, method)(X.astype(float), groups=GROUPS)
        assert expected.dtype == np.float64
        assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert model.transmat_.dtype == model.startprob_.dtype == np.float64
    assert model.predict(X).dtype == np.int64


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, bool, np.float16])
@pytest.mark.parametrize("emission", ["gaussian", "poisson", "categorical", "bernoulli"])
def test_numbers_of_any_type(dtype, emission):
    X = np.random.default_rng(0).integers(0, 2, size=(60, 2)).astype(dtype)
    model = run(EMHiddenMarkov(2, emission=emission, random_state=0), X, 3)
    other = run(EMHiddenMarkov(2, emission=emission, random_state=0), X.astype(float), 3)
    assert_allclose(model.lower_bounds_, other.lower_bounds_, rtol=1e-12)
    assert model.score_samples(X).dtype == np.float64


@pytest.mark.parametrize("layout", ["plain", "Fortran", "float32", "with missing values"])
def test_input_is_left_alone(layout):
    X = {
        "plain": rows,
        "Fortran": lambda: np.asfortranarray(rows()),
        "float32": lambda: rows().astype(np.float32),
        "with missing values": lambda: holes(rows()),
    }[layout]()
    before, weight = X.copy(), np.repeat([1.0, 0.0, 2.0, 3.0], LENGTHS)
    model = EMHiddenMarkov(2, random_state=0, tol=0.1)
    model.fit(X, groups=GROUPS, sequence_weight=weight)
    for method in METHODS:
        getattr(model, method)(X, groups=GROUPS)
        assert_array_equal(X, before)
    assert_array_equal(weight, np.repeat([1.0, 0.0, 2.0, 3.0], LENGTHS))


@pytest.mark.parametrize(
    ("emission", "bad", "match"),
    [
        ("poisson", -1.0, r"X\[:, 1\] holds -1.0: a Poisson"),
        ("poisson", 0.5, r"X\[:, 1\] holds 0.5: a Poisson"),
        ("categorical", -1.0, r"X\[:, 1\] holds -1.0"),
        ("categorical", 1.5, r"X\[:, 1\] holds 1.5"),
        (CategoricalEmission(2), 2.0, r"X\[:, 1\] holds 2.0"),
        ("bernoulli", 2.0, r"X\[:, 1\] holds 2.0"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_rows_that_a_family_cannot_have_made_are_named(emission, bad, match, method):
    X = np.random.default_rng(0).integers(0, 2, size=(40, 2)).astype(float)
    model = EMHiddenMarkov(2, emission=emission, random_state=0, tol=0.1).fit(X)
    X[7, 1] = bad
    state = state_of(model)
    with pytest.raises(ValueError, match=match):
        getattr(model, method)(X)
    assert_same_state(model, state)
    named = pd.DataFrame(X, columns=["a", "b"])
    with pytest.raises(ValueError, match=match.replace(":, 1", "'b'")):
        clone(model).fit(named)


def test_rows_of_four_dimensions():
    with pytest.raises(ValueError, match="X has 4 dimensions: must be rows, or"):
        EMHiddenMarkov(2).fit(np.ones((5, 5, 5, 2)))


def test_too_few_rows():
    with pytest.raises(ValueError, match=r"n_components=4: must be <= n_samples, which is 3$"):
        EMHiddenMarkov(4).fit(rows()[:3])
    text = "n_components=4: must be <= n_samples, which is 3 without the sequences of weight zero$"
    with pytest.raises(ValueError, match=text):
        EMHiddenMarkov(4).fit(
            rows()[:8], groups=groups_of([5, 3]), sequence_weight=np.repeat([0.0, 1.0], [5, 3])
        )
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        EMHiddenMarkov(1).fit(rows()[:1])


BAD_PARAMETERS = [
    ("n_components", 0), ("n_components", 2.5), ("n_components", "three"),
    ("emission", "gausian"), ("emission", None), ("emission", 3),
    ("covariance_type", "banded"), ("covariance_type", None),
    ("tol", -1e-3), ("tol", "small"), ("tol", np.nan), ("tol", np.inf),
    ("reg_covar", -1e-6), ("reg_covar", None),
    ("max_iter", -1), ("max_iter", 1.5), ("n_init", 0), ("n_init", None),
    ("init_params", "zeros"), ("init_params", 3),
    ("inference", "both"), ("inference", None),
    ("random_state", "seed"), ("random_state", -1.5),
    ("warm_start", "no"), ("verbose", "loud"), ("verbose", -1), ("verbose_interval", 0),
    ("acceleration", "aitken"), ("acceleration", True),
    ("n_jobs", "all"), ("n_jobs", 1.5), ("n_jobs", 0),
    ("startprob_prior", 0.9), ("startprob_prior", -1), ("transmat_prior", 0.5),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS)
@pytest.mark.parametrize("method", ["fit", "fit_transform", "partial_fit"])
def test_bad_parameter_is_named_with_its_value(name, value, method):
    X = rows()
    model = EMHiddenMarkov(2, random_state=0, tol=0.1).fit(X).set_params(**{name: value})
    state = state_of(model)
    with pytest.raises(ValueError, match=rf"(?s){name}={re.escape(repr(value))}: must be"):
        getattr(model, method)(X)
    assert_same_state(model, state)


BAD_STARTS = [
    ("startprob_init", [1.0], r"has shape \(1,\): must have shape \(2,\)"),
    ("startprob_init", [0.7, 0.7], "has a row that sums to 1.4: must sum to 1"),
    ("startprob_init", [-0.5, 1.5], "has an entry -0.5: must be >= 0"),
    ("startprob_init", [np.nan, 1.0], "contains NaN or infinity"),
    ("startprob_init", ["a", "b"], "must be an array of numbers"),
    ("transmat_init", [[0.5, 0.5]], r"has shape \(1, 2\): must have shape \(2, 2\)"),
    ("transmat_init", np.eye(3), r"has shape \(3, 3\): must have shape \(2, 2\)"),
    ("transmat_init", [[0.5, 0.5], [0.5, 0.4]], "has a row that sums to 0.9: must sum to 1"),
    ("transmat_init", [[1.5, -0.5], [0.5, 0.5]], "has an entry -0.5: must be >= 0"),
    ("transmat_init", np.zeros((2, 2)), "has a row that sums to 0: must sum to 1"),
    (
        "startprob_prior",
        [2.0, 2.0, 2.0],
        r"has shape \(3,\): must have one of the shapes \(\), \(2,",
    ),
    ("startprob_prior", [2.0, 0.5], "must be >= 1, as the objective has no maximum below"),
    ("startprob_prior", np.nan, "contains NaN or infinity"),
    ("transmat_prior", np.ones((3, 3)), r"has shape \(3, 3\): must have one of the shapes"),
    ("transmat_prior", [[1.0, 1.0], [1.0, 0.0]], "must be >= 1, as the objective has no maximum"),
    ("transmat_prior", "strong", "must be an array of numbers"),
    ("means_init", np.zeros((3, 2)), r"has shape \(3, 2\)"),
    ("means_init", np.zeros((2, 3)), r"has shape \(2, 3\)"),
    ("means_init", np.full((2, 2), np.nan), "contains NaN or infinity"),
    ("covariances_init", np.eye(2), "(?s)covariances_init"),
    ("covariances_init", -np.stack([np.eye(2)] * 2), "(?s)covariances_init"),
]


@pytest.mark.parametrize(("name", "value", "match"), BAD_STARTS)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_start_or_prior_is_named(name, value, match, method):
    X = rows()
    model = EMHiddenMarkov(2, random_state=0, tol=0.1)
    if method == "fit":
        model.fit(X)
    model.set_params(**{name: value})
    state = state_of(model)
    pattern = match if match.startswith("(?s)") else rf"(?s){name}.*{match}"
    with pytest.raises(ValueError, match=pattern):
        getattr(model, method)(X)
    assert_same_state(model, state)


@pytest.mark.parametrize(
    "given",
    [
        {"covariance_type": "diag"},
        {"reg_covar": 1e-3},
        {"means_init": np.zeros((2, 2))},
        {"covariances_init": np.ones((2, 2))},
    ],
    ids=lambda given: next(iter(given)),
)
@pytest.mark.parametrize(
    "emission", [GaussianEmission(), PoissonEmission(), "poisson", "student_t"]
)
def test_the_short_way_beside_another_emission_is_an_error(given, emission):
    (name, _), *_ = given.items()
    text = rf"(?s){name}=.*configures emission='gaussian', but emission=.*: give it to the emission"
    with pytest.raises(ValueError, match=text):
        EMHiddenMarkov(2, emission=emission, **given).fit(rows())


def test_an_emission_class_is_not_an_emission():
    with pytest.raises(
        ValueError, match=r"emission=<class.*must be one of 'gaussian', .*or an emis"
    ):
        EMHiddenMarkov(2, emission=GaussianEmission).fit(rows())


def test_the_emission_s_own_errors_come_through():
    with pytest.raises(ValueError, match=r"prior=0\.5: must be a finite number >= 1"):
        EMHiddenMarkov(2, emission=CategoricalEmission(prior=0.5)).fit(rows().round() * 0)
    with pytest.raises(ValueError, match="covariance_type='banded': must be one of"):
        EMHiddenMarkov(2, emission=GaussianEmission("banded")).fit(rows())


def test_numpy_scalars_are_parameters():
    X = rows()
    settings = {
        "n_components": 2, "emission": "gaussian", "covariance_type": "tied", "tol": 0.01,
        "reg_covar": 1e-5, "max_iter": 300, "n_init": 2, "init_params": "random",
        "startprob_prior": 2.0, "transmat_prior": 1.5, "inference": "filter", "random_state": 0,
        "warm_start": False, "verbose": 0, "verbose_interval": 3, "acceleration": "anderson",
        "n_jobs": 1,
    }  # fmt: skip
    scalars = {name: np.array([value])[0] for name, value in settings.items()}
    assert all(isinstance(value, np.generic) for value in scalars.values())
    model = EMHiddenMarkov(**scalars).fit(X)
    assert model.lower_bounds_ == EMHiddenMarkov(**settings).fit(X).lower_bounds_


def test_a_failed_fit_leaves_the_earlier_one():
    X = rows()
    model = EMHiddenMarkov(2, random_state=0, tol=0.1).fit(X, groups=GROUPS)
    scores, state = model.score_samples(X), state_of(model)
    impossible = np.where(np.arange(len(X))[:, None] == 50, np.inf, X)
    bad_calls = [
        lambda: model.fit(impossible),
        lambda: model.fit(X, groups=GROUPS[::-1][:-1]),
        lambda: model.fit(X, sequence_weight=np.arange(len(X))),
        lambda: model.fit(X[:, :1], groups=np.arange(len(X)) % 2),
        lambda: model.partial_fit(X[:, :1]),
    ]
    for call in bad_calls:
        with pytest.raises(ValueError):  # noqa: PT011
            call()
        assert_same_state(model, state)
    assert_array_equal(model.score_samples(X), scores)


def test_an_interrupted_fit_leaves_the_earlier_one(monkeypatch):
    from skvae.hmm import em

    X = rows()
    model = EMHiddenMarkov(2, random_state=0, tol=0.1).fit(X)
    state = state_of(model)

    def interrupt(self, statistics, log_likelihood):
        raise KeyboardInterrupt

    monkeypatch.setattr(em.BaumWelchStep, "maximize", interrupt)
    for n_jobs in (1, 2):
        model.set_params(n_jobs=n_jobs, n_init=2)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
        model.set_params(n_jobs=None, n_init=1)
        assert_same_state(model, state)


def test_nothing_before_fit():
    X = rows()
    model = EMHiddenMarkov(2)
    calls = {name: (X,) for name in METHODS if "fit" not in name}
    calls |= {"sample": (), "k_best": (X, 2), "forecast": (X, 2), "get_feature_names_out": ()}
    for name, arguments in calls.items():
        with pytest.raises(NotFittedError):
            getattr(model, name)(*arguments)


def test_names_of_columns():
    X = pd.DataFrame(rows(), columns=["a", "b"])
    model = EMHiddenMarkov(2, random_state=0, tol=0.1).fit(X)
    assert_array_equal(model.feature_names_in_, ["a", "b"])
    with pytest.raises(ValueError, match="order"):
        model.score_samples(X[["b", "a"]])
    with pytest.raises(ValueError, match="unseen"):
        model.predict(X.rename(columns={"a": "z"}))
    assert not hasattr(model.fit(X.to_numpy()), "feature_names_in_")


def test_parameters_are_left_alone():
    X = rows()
    model = learner("column", startprob_init=[0.2, 0.3, 0.5])
    X = rows_of(known_model("column"), LENGTHS)
    before = {name: id(value) for name, value in model.get_params(deep=False).items()}
    text = repr(model)
    run(model, X, 3)
    model.set_params(max_iter=100, tol=1e-3).partial_fit(X)
    after = {name: id(value) for name, value in model.get_params(deep=False).items()}
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"max_iter", "tol"}
    assert repr(model) == text
    assert not hasattr(model.emission, "emissions_")
