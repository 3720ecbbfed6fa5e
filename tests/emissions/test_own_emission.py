"""The worked example of the guide, "Write your own emission": it works like a built-in family.

Its oracle is a Gaussian chain of the logarithms: ln p(x) = ln N(ln x) − Σ ln x.
"""

import ast
import doctest
import importlib
import pickle
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import lognorm
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skvae import EMContextFreeGrammar, EMHiddenMarkov
from skvae.ascent.loop import Collapse
from skvae.emissions import Emission, EmissionParameters
from skvae.hmm import ColumnEmission, GaussianEmission, PoissonEmission
from tests.emissions.tools import first_of, holes, log_density, mixture_bounds, summary_of

PAGE = Path(__file__).parents[2] / "doc" / "guide" / "own_emission.rst"
LOCATIONS, SCALES = np.array([[0.5, 1.0], [2.0, 0.5]]), np.array([[0.3, 0.5], [0.6, 0.2]])
CLOSE = {"random_state": 0, "tol": 1e-11, "max_iter": 2000}


def source():
    """The example of the page up to its use, as the text of a module."""
    parts = []
    for example in doctest.DocTestParser().get_examples(PAGE.read_text(encoding="utf-8")):
        if "import EMHiddenMarkov" in example.source:
            break
        parts.append(example.source)
    return "\n".join(parts)


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "log_normal.py").write_text(source(), encoding="utf-8")
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("log_normal")
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("log_normal", None)


@pytest.fixture(scope="module")
def true(module):
    emission = module.LogNormalEmission.from_parameters(LOCATIONS, scales=SCALES)
    return EMHiddenMarkov.from_parameters([0.5, 0.5], [[0.95, 0.05], [0.1, 0.9]], emission)


@pytest.fixture(scope="module")
def rows(true):
    return holes(true.sample(600, random_state=0)[0], share=0.1)


def gaussian(n=2, **parameters):
    emission = GaussianEmission("diag", reg_covar=0.0)
    return EMHiddenMarkov(n, emission=emission, **{**CLOSE, **parameters})


def chain(module, n=2, **parameters):
    return EMHiddenMarkov(n, emission=module.LogNormalEmission(), **{**CLOSE, **parameters})


def by_location(model):
    """The states of a fitted chain in the order of their first location."""
    parameters = model.emission_.parameters()
    locations, scales = parameters.locations, getattr(parameters, "scales", None)
    return np.argsort(locations[:, 0]), locations, scales


def test_the_example_is_short(module):
    assert len(source().splitlines()) < 60
    classes = [n for n in ast.parse(source()).body if isinstance(n, ast.ClassDef)]
    methods = [n.name for cls in classes for n in cls.body if isinstance(n, ast.FunctionDef)]
    assert len(classes) == 2
    assert len(methods) <= 10, methods
    assert issubclass(module.LogNormalParameters, EmissionParameters)
    assert issubclass(module.LogNormalEmission, Emission)


def test_densities_draws_and_moments_are_those_of_scipy(module, true):
    emission = true.emission_
    X = holes(np.random.default_rng(0).lognormal(size=(40, 2)))
    terms = lognorm.logpdf(X[:, None], SCALES, scale=np.exp(LOCATIONS))
    assert_allclose(emission.log_density(X), np.nansum(terms, axis=2), rtol=1e-12, atol=1e-12)
    parameters = emission.parameters()
    expected = lognorm(SCALES, scale=np.exp(LOCATIONS))
    assert_allclose(parameters.means(), expected.mean(), rtol=1e-12)
    assert_allclose(parameters.variances(), expected.var(), rtol=1e-12)
    assert_allclose(parameters.covariances()[1], np.diag(expected.var()[1]), rtol=1e-12)
    X = parameters.sample(np.repeat([0, 1], 40000), np.random.RandomState(0))
    assert_allclose(np.log(X[:40000]).mean(axis=0), LOCATIONS[0], atol=0.01)
    assert_allclose(np.log(X[40000:]).std(axis=0), SCALES[1], rtol=0.02)
    assert parameters.n_parameters() == 8


@pytest.mark.parametrize("acceleration", [None, "anderson"])
def test_a_fit_is_that_of_the_logarithms(module, rows, acceleration):
    found = chain(module, acceleration=acceleration).fit(rows)
    oracle = gaussian(acceleration=acceleration).fit(np.log(rows))
    jacobian = np.nansum(np.log(rows)) / len(rows)
    assert_allclose(found.score(rows), oracle.score(np.log(rows)) - jacobian, atol=1e-9)
    order, locations, scales = by_location(found)
    assert_allclose(locations[order], oracle.means_[np.argsort(oracle.means_[:, 0])], atol=1e-4)
    assert (np.diff(found.lower_bounds_) > -1e-11).all()
    assert found.emission_.n_features_in_ == 2
    assert_array_equal(found.emission_.scales_, scales)


def test_weights_are_repetitions(module, rows):
    parts, weight = np.split(rows, 6), np.array([1, 2, 1, 3, 1, 1])
    repeated = [part for part, w in zip(parts, weight, strict=True) for _ in range(w)]
    start = {"locations_init": LOCATIONS, "scales_init": SCALES}
    model = EMHiddenMarkov(
        2,
        emission=module.LogNormalEmission(**start),
        startprob_init=[0.5, 0.5],
        transmat_init=[[0.9, 0.1], [0.1, 0.9]],
        **CLOSE,
    )
    groups, each = np.repeat(np.arange(6), 100), np.repeat(weight.astype(float), 100)
    found = clone(model).fit(rows, groups=groups, sequence_weight=each)
    expected = clone(model).fit(repeated)
    assert_allclose(found.emission_.locations_, expected.emission_.locations_, rtol=1e-8)
    assert_allclose(found.emission_.scales_, expected.emission_.scales_, rtol=1e-8)


def test_partial_fit_continues_a_fit(module, rows):
    model = chain(module).fit(rows)
    before = model.emission_.parameters()
    again = clone(model).set_params(emission=model.emission_)
    assert again.emission.locations_init is None
    # One more batch that the model expects changes little; a batch of one state moves that one.
    batch = model.sample(400, random_state=1)[0]
    after = pickle.loads(pickle.dumps(model)).partial_fit(batch).emission_.parameters()
    assert_allclose(after.locations, before.locations, atol=0.15)
    batches = chain(module)
    for part in np.split(rows, 6):
        batches.partial_fit(part)
    order, locations, _ = by_location(batches)
    assert_allclose(locations[order], LOCATIONS, atol=0.25)
    with pytest.raises(ValueError, match=r"scales_init=[^:]*: partial_fit continues a"):
        batches.set_params(emission__scales_init=2 * SCALES).partial_fit(rows)


def test_earlier_statistics_return_the_parameters(true):
    emission = true.emission_
    parameters = emission.parameters()
    found = emission.maximize(
        parameters, emission.earlier_statistics(parameters, [3.0, 7.0]), summary=None
    )
    assert_allclose(found.locations, LOCATIONS, rtol=1e-12)
    assert_allclose(found.scales, SCALES, rtol=1e-12)


def test_first_values_are_used_and_checked(module, rows):
    emission = module.LogNormalEmission(locations_init=LOCATIONS, scales_init=SCALES)
    labels = np.zeros(len(rows), dtype=int)
    found = first_of(emission, rows, labels, 2)
    assert_array_equal(found.locations, LOCATIONS)
    assert emission.is_given
    assert not module.LogNormalEmission(scales_init=SCALES).is_given
    found = first_of(module.LogNormalEmission(scales_init=SCALES), rows, labels, 2)
    assert_array_equal(found.scales, SCALES)
    for given, text in (
        ({"scales_init": -SCALES}, r"scales_init has an entry -0.6: must be > 0"),
        ({"scales_init": [[1.0, 1.0]]}, r"scales_init has shape \(1, 2\): must have shape"),
        ({"scales_init": [[1.0], [1.0]]}, r"X has 2 features, so its second axis must have 2"),
        ({"locations_init": [["a"]]}, "locations_init=.*: must be an array of numbers"),
    ):
        with pytest.raises(ValueError, match=text):
            EMHiddenMarkov(2, emission=module.LogNormalEmission(**given)).fit(rows)


def test_known_parameters_are_checked(module):
    make = module.LogNormalEmission.from_parameters
    with pytest.raises(ValueError, match=r"scales has an entry 0\.0: must be > 0"):
        make(LOCATIONS, 0 * SCALES)
    with pytest.raises(ValueError, match=r"scales has shape \(2, 1\): must have the shape of loc"):
        make(LOCATIONS, SCALES[:, :1])
    with pytest.raises(ValueError, match=r"locations has shape \(2,\): must have shape"):
        make(LOCATIONS[0], SCALES)
    with pytest.raises(TypeError, match="scales"):
        make(LOCATIONS)
    emission = make(LOCATIONS, SCALES)
    emission.scales_ = 2 * SCALES
    assert_array_equal(emission.parameters().scales, 2 * SCALES)
    with pytest.raises(ValueError, match="scales has an entry -"):
        emission.scales_ = -SCALES


def test_values_that_are_not_possible(module, rows):
    with pytest.raises(ValueError, match=r"X\[:, 1\] holds -.*: a log-normal emission takes"):
        chain(module).fit(rows * [1, -1])


def test_equal_states_are_moved_apart(module, rows):
    """States without rows at the start differ from each other."""
    found = first_of(module.LogNormalEmission(), rows, np.zeros(len(rows), dtype=int), 4)
    assert len(np.unique(found.scales[:, 0])) == 4
    assert_allclose(found.locations[0], np.nanmean(np.log(rows), axis=0), atol=0.01)
    # A feature that is constant has a start, too.
    constant = np.full((10, 1), 3.0)
    found = first_of(module.LogNormalEmission(), constant, np.zeros(10, dtype=int), 2)
    assert np.isfinite(found.locations).all()
    assert (found.scales > 0).all()


def test_a_state_without_rows_keeps_its_parameters(module):
    emission = module.LogNormalEmission()
    old = module.LogNormalParameters(LOCATIONS, SCALES)
    statistics = old.statistics([1.0, 0.0]) * np.array([2.0, 2.0, 3.0])[:, None, None]
    found = emission.maximize(old, statistics, None)
    assert_array_equal(found.locations[1], LOCATIONS[1])
    assert_array_equal(found.scales[1], SCALES[1])
    assert not np.array_equal(found.scales[0], SCALES[0])


def test_the_bound_of_a_mixture_never_falls(module, rows):
    for seed in (0, 1, 2):
        labels = np.random.default_rng(seed).integers(3, size=len(rows))
        emission = module.LogNormalEmission()
        start = first_of(emission, rows, labels, 3, seed)
        bounds, _ = mixture_bounds(emission, start, rows, summary_of(emission, rows), 30)
        assert (np.diff(bounds) > -1e-9 * abs(bounds[0])).all()


def test_coordinates_are_inverses(module, rows):
    parameters = module.LogNormalParameters(LOCATIONS, SCALES)
    for summary in (None, summary_of(module.LogNormalEmission(), rows)):
        found = parameters.unpack(parameters.pack(summary), summary)
        assert_allclose(found.locations, LOCATIONS, rtol=1e-14)
        assert_allclose(found.scales, SCALES, rtol=1e-14)
    for value, text in ((1e4, "overflows"), (-1e4, "underflows"), (np.nan, "overflows")):
        with pytest.raises(Collapse, match=text):
            parameters.unpack(np.full(8, value), None)


def test_blocks_of_rows_are_one_array(module, rows):
    parameters = module.LogNormalParameters(LOCATIONS, SCALES)
    many = np.tile(rows, (60, 1))
    assert len(many) > parameters.kernel().block_rows
    once = log_density(parameters, rows)
    assert_array_equal(log_density(parameters, many), np.tile(once, (1, 60)))
    single = rows.astype(np.float32)
    assert_allclose(log_density(parameters, single), once, rtol=1e-5, atol=1e-5)


def test_it_is_a_part_of_columns(module, rows):
    counts = np.random.default_rng(0).poisson(3.0, size=(len(rows), 1))
    X = np.column_stack([rows[:, :1], counts, rows[:, 1:]])
    parts = [("times", module.LogNormalEmission(), [0, 2]), ("counts", PoissonEmission(), 1)]
    found = EMHiddenMarkov(2, emission=ColumnEmission(parts), **CLOSE).fit(X)
    parameters = found.emission_.named_emissions_["times"].parameters()
    order = np.argsort(parameters.locations[:, 0])
    assert_allclose(parameters.locations[order], LOCATIONS, atol=0.2)
    assert found.emission_.parameters().n_parameters() == 10


def test_leaves_of_a_grammar(module, rows):
    sentences = np.split(rows[:120], 30)
    given = {
        "startprob": [0.7, 0.3],
        "rules": [[[0.1, 0.2], [0.1, 0.1]], [[0.05, 0.05], [0.1, 0.1]]],
        "leafprob": [0.5, 0.7],
    }
    known = EMContextFreeGrammar.from_parameters(
        **given, emission=module.LogNormalEmission.from_parameters(LOCATIONS, SCALES)
    )
    normal = GaussianEmission.from_parameters(LOCATIONS, SCALES**2, "diag")
    oracle = EMContextFreeGrammar.from_parameters(**given, emission=normal)
    jacobian = np.nansum(np.log(sentences), axis=2)
    expected = np.stack(oracle.score_samples(list(np.log(sentences)))) - jacobian
    assert_allclose(np.stack(known.score_samples(sentences)), expected, rtol=1e-9, atol=1e-9)
    found = EMContextFreeGrammar(
        2, emission=module.LogNormalEmission(), random_state=0, max_iter=100, tol=1e-3
    ).fit(sentences)
    assert (np.diff(found.lower_bounds_) > -1e-9).all()


def test_dask_arrays_give_the_same_fit(module, rows):
    found = chain(module, tol=1e-6).fit(da.from_array(rows, chunks=(150, 2)))
    expected = chain(module, tol=1e-6).fit(rows)
    assert_allclose(found.emission_.locations_, expected.emission_.locations_, rtol=1e-5, atol=1e-5)


def test_ecosystem(module, rows):
    model = chain(module, tol=1e-5).fit(rows)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.score_samples(rows), model.score_samples(rows))
    emission = clone(model.emission_)
    assert not hasattr(emission, "locations_")
    assert repr(emission) == "LogNormalEmission()"
    search = GridSearchCV(
        model, {"emission__scales_init": [None, SCALES.tolist()]}, cv=2, error_score="raise"
    ).fit(np.split(rows, 4))
    assert np.isfinite(search.best_score_)
    forecast = model.forecast(rows, n_steps=2)
    assert (forecast.mean > 0).all()
    assert (model.sample(20, random_state=0)[0] > 0).all()
