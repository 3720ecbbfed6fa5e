"""What means the same in all estimators has the same name, default, order, words and error texts.

Where they differ on purpose it is listed here, with the reason.
"""

import inspect
import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skvae import CTCTranscriber
from tests.suite import (
    AUTOENCODERS,
    ESTIMATORS,
    IN_ORDER,
    every_estimator,
    fitted,
    one_torch_thread,
    rows,
)

X = rows()
_one_thread = pytest.fixture(autouse=True, scope="module")(one_torch_thread)
CLASSES = [type(estimator) for estimator in ESTIMATORS]
# Its methods have other arguments: labels.
WITH_TRANSCRIBER = [*CLASSES, CTCTranscriber]


def parameters_of(cls):
    return inspect.signature(cls).parameters


def described(cls, section):
    """The entries of a section of a class's docstring: from name to (type, text)."""
    found = {}
    for entry in ClassDoc(cls, config={"show_class_members": False})[section]:
        for name in entry.name.split(","):
            found[name.strip()] = entry.type, " ".join(entry.desc).strip()
    return found


def shared(entries):
    """The names that two collections or more have."""
    return sorted(set().union(*(set(a) & set(b) for a, b in combinations(entries, 2))))


# Names, defaults, order ---------------------------------------------------------------------------

OTHER_DEFAULTS = {
    "n_components",  # an autoencoder with one latent dimension is rarely wanted
    "emission",  # a chain has vectors, a grammar symbols
    "hidden_layer_sizes",  # without any EGHiddenMarkov is EMHiddenMarkov
    "kl_warmup",  # a VariationalAutoencoder may begin where none is needed
    "lr",  # EGHiddenMarkov begins at an optimum
}
# The number of states is n_components or n_states.
OTHER_SHAPES = {"transmat_init"}
OTHER_WORDS = {
    "n_components": "components, states, nonterminals, latent dimensions",
    "emission": "of a state, of a leaf",
    "covariance_type": "of components, of states",
    "reg_covar": "of the chain it is its Gaussian emission's",
    "init_params": "of the chain also what becomes of transitions, and left-right chains",
    "means_init": "of the chain they are its Gaussian emission's",
    "fixed": "names of parameters, components or states",
    "batch_size": "a block or minibatch of the Bayesian mixture, rows or sequences of a training",
    "tol": "a training stops by patience, skorch's way: it says what an improvement is",
    "hidden_layer_sizes": "of an encoder, of the network of a state, of labels",
    "inference": "an autoencoder's transform always looks ahead",
    "transmat_init": "where it begins without it",
    "likelihood": "given a latent vector, given a state",
    "likelihood_params": "one of them has covariance matrices",
    "kl_warmup": "the default",
    "early_stopping": "rows or sequences, and their objective",
    "validation_fraction": "rows or sequences",
    "n_iter_no_change": "whether it counts from the first step",
    "lr": "some parameters of an autoencoder have another one",
    "net_params": "the batches of sequences are those of the estimator",
    "random_state": "what it decides",
    "verbose": "an ascent has lines too",
}
OTHER_ATTRIBUTES = {
    "weights_": "of a posterior its expectation",
    "means_": "likewise, and of the chain its Gaussian emission's",
    "covariances_": "likewise",
    "precisions_": "likewise",
    "lower_bound_": "a log-likelihood, with a prior, a bound of the evidence, on rows kept aside",
    "lower_bounds_": "whether it may fall, and of which rows it is",
    "n_iter_": "iterations of the best run, or epochs up to the weights that are kept",
    "n_e_steps_": "what else takes E steps: acceleration, or moves",
    "converged_": "a change below tol, or early stopping",
    "startprob_": "the number of states is n_components or n_states",
    "transmat_": "likewise, and they may depend on the row",
    "net_": "where its network is",
    "history_": "the terms of its bound",
}


@pytest.mark.parametrize(
    "name",
    sorted(shared([parameters_of(cls) for cls in WITH_TRANSCRIBER])),
)
def test_a_shared_parameter_has_one_default_and_one_description(name):
    having = [cls for cls in WITH_TRANSCRIBER if name in parameters_of(cls)]
    if name not in OTHER_DEFAULTS:
        assert len({parameters_of(cls)[name].default for cls in having}) == 1
    entries = [described(cls, "Parameters")[name] for cls in having]
    if name not in OTHER_DEFAULTS | OTHER_SHAPES:  # they are parts of the type
        assert len({kind for kind, _ in entries}) == 1
    assert (len({text for _, text in entries}) == 1) == (name not in OTHER_WORDS)


@pytest.mark.parametrize(
    "name", sorted(shared([described(cls, "Attributes") for cls in WITH_TRANSCRIBER]))
)
def test_a_shared_attribute_has_one_description(name):
    entries = [described(cls, "Attributes") for cls in WITH_TRANSCRIBER]
    texts = {entry[name] for entry in entries if name in entry}
    assert (len(texts) == 1) == (name not in OTHER_ATTRIBUTES)


@pytest.mark.parametrize("section", ["Parameters", "Attributes"])
def test_shared_names_come_in_one_order(section):
    for one, other in combinations([list(described(cls, section)) for cls in WITH_TRANSCRIBER], 2):
        assert [n for n in one if n in other] == [n for n in other if n in one]


@pytest.mark.parametrize("cls", WITH_TRANSCRIBER)
def test_last_are_how_the_fit_runs(cls):
    """Model, learning, start, then these; that each is described is in test_docstrings."""
    assert list(described(cls, "Parameters")) == list(parameters_of(cls))
    last = ["random_state", "warm_start", "verbose", "verbose_interval", "n_jobs", "checkpoint"]
    last = [name for name in last if name in parameters_of(cls)]
    assert list(parameters_of(cls))[-len(last) :] == last


# A grammar has them after from_rules alone, an autoencoder where categories have names.
OF_A_TEXT = {"nonterminals_", "terminals_", "categories_"}


@every_estimator
def test_every_fitted_attribute_is_described(estimator):
    model = clone(estimator).fit(pd.DataFrame(X, columns=["a", "b", "c"]))
    names = {*vars(model), *(n for n in dir(type(model)) if hasattr(model, n))}  # and properties
    public = {n for n in names if n.endswith("_") and not n.startswith("_")}
    assert public == set(described(type(model), "Attributes")) - OF_A_TEXT


# Methods ------------------------------------------------------------------------------------------

FIRST_LINES = {
    "fit": "Return self, ",
    "partial_fit": "Return self after one ",
    "score_samples": "Return the log-density of each row",
    "score": "Return the (weighted) mean log-density of the rows, in nats per row: larger is",
    "transform": "Return the ",
    "sample": r"Return rows drawn from the model, and the \w+( vector)? that each was drawn from.",
    "predict": "Return the most probable ",
    "impute": "Return X with missing values replaced by their ",
}
METHODS = ("fit", "partial_fit", "score_samples", "score", "transform", "sample", "impute")


@pytest.mark.parametrize("name", FIRST_LINES)
def test_a_method_says_the_same_first(name):
    pattern = FIRST_LINES[name]
    pattern = pattern if name == "sample" else re.escape(pattern)
    for cls in CLASSES:
        if hasattr(cls, name):
            assert re.match(pattern, inspect.getdoc(getattr(cls, name)))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_s_parameters_are_the_same(name):
    """In name, kind, default, type and words; two take sequences too, and weigh them."""
    having = [cls for cls in CLASSES if hasattr(cls, name)]
    entries = {}
    for cls in having:
        signature = inspect.signature(getattr(cls, name)).parameters
        for entry in FunctionDoc(getattr(cls, name))["Parameters"]:
            if entry.name in ("X", "groups") and cls in IN_ORDER:
                continue
            parameter = signature[entry.name]
            said = parameter.kind, parameter.default, entry.type, " ".join(entry.desc)
            entries.setdefault(entry.name, []).append((cls, said))
    for parameter, found in entries.items():
        texts = {said for _, said in found}
        assert len(texts) == 1 or (name, parameter) in {
            ("score_samples", "X"),
            ("partial_fit", "X"),
            ("partial_fit", "sample_weight"),
            *((learning, "sequence_weight") for learning in ("fit", "partial_fit")),  # sentences
            ("sample", "n_samples"),
            ("impute", "draw"),  # of a row, or of a sequence together
        }


# Mistakes -----------------------------------------------------------------------------------------


def changed(**parameters):
    """What fits with other parameters."""

    def fit(estimator, model):
        estimator.set_params(**parameters).fit(X)

    return fit


def fit_to(given):
    return lambda estimator, model: estimator.fit(given)


def weighted(weight):
    return lambda estimator, model: model.score(X, sample_weight=weight)


def with_value(value):
    given = X.copy()
    given[3, 1] = value
    return given


SEED = r"random_state='a': must be None, an integer in \[0, 2\*\*32\) or a RandomState"
GOES_ON = "continues a model that was fitted with n_components=3; keep it, or fit a new"
MISTAKES = {
    "size of a wrong type": (
        changed(n_components=2.0),
        "n_components=2.0: must be an integer >= 1",
    ),
    "size in words": (changed(n_components="a"), "n_components='a': must be an integer >= 1"),
    "size zero": (changed(n_components=0), "n_components=0: must be an integer >= 1"),
    "tolerance": (changed(tol=-1), "tol=-1: must be a finite number >= 0"),
    "seed": (changed(random_state="a"), SEED),
    "seed of a draw": (lambda _, model: model.sample(random_state="a"), SEED),
    "warm start": (changed(warm_start="yes"), "warm_start='yes': must be one of True, False"),
    "verbose": (changed(verbose=-1), "verbose=-1: must be an integer >= 0"),
    "number of draws": (lambda _, model: model.sample(0), "n_samples=0: must be an integer >= 1"),
    "half a draw": (lambda _, model: model.sample(1.5), "n_samples=1.5: must be an integer >= 1"),
    "infinity": (fit_to(with_value(np.inf)), "Input X contains infinity or a value too large"),
    "infinity in scoring": (
        lambda _, model: model.score(with_value(np.inf)),
        "Input X contains infinity or a value too large",
    ),
    "a column without values": (
        fit_to(np.where([False, True, False], np.nan, X)),
        "X has no observed value in feature 1: each feature needs at least one",
    ),
    "a named column without values": (
        fit_to(pd.DataFrame({"a": X[:, 0], "b": np.nan})),
        "X has no observed value in feature 'b': each feature needs at least one",
    ),
    "beyond squares": (
        fit_to(with_value(1e200)),
        r"X has a value of size 1e\+200 in feature 1: must be below 1e\+140",
    ),
    "beyond float64": (
        fit_to([[10**400, 1.0]] * 9),
        r"X\[:, 0\] must be numbers of float64: int too large",
    ),
    "one row": (fit_to(X[:1]), r"Found array with 1 sample\(s\).* a minimum of 2 is required by"),
    "no row": (
        lambda _, model: model.score(X[:0]),
        r"Found array with 0 sample\(s\).* a minimum of 1 is required by",
    ),
    "one dimension": (fit_to(X[:, 0]), "Expected 2D array, got 1D array instead"),
    "strings": (fit_to([["a", "b"]] * 9), "could not convert string to float"),
    "complex": (fit_to(X * 1j), "Complex data not supported"),
    "other features": (
        lambda _, model: model.score(X[:, :2]),
        "X has 2 features, but .* is expecting 3 features as input",
    ),
    "other features in a batch": (
        lambda _, model: model.partial_fit(X[:, :2]),
        "X has 2 features, but .* is expecting 3 features as input",
    ),
    "other features in a warm start": (
        lambda _, model: model.set_params(warm_start=True).fit(X[:, :2]),
        "X has 2 features, but .* is expecting 3 features as input",
    ),
    "another size in a batch": (
        lambda _, model: model.set_params(n_components=2).partial_fit(X),
        f"n_components=2: partial_fit {GOES_ON}",
    ),
    "another size in a warm start": (
        lambda _, model: model.set_params(n_components=2, warm_start=True).fit(X),
        f"n_components=2: warm_start=True {GOES_ON}",
    ),
    "negative weights": (
        weighted(-np.ones(150)),
        "sample_weight has a negative entry -1.0: must be >= 0",
    ),
    "weights that are no numbers": (weighted(np.full(150, np.nan)), "sample_weight contains NaN"),
    "weights of zero": (weighted(np.zeros(150)), "sample_weight.* at least one"),
    "complex weights": (weighted(np.ones(150) * 1j), "sample_weight: Complex data not supported"),
    "weights in words": (
        weighted(["a"] * 150),
        "sample_weight must be numbers of float64: could not convert string to float",
    ),
    "too few weights": (weighted(np.ones(5)), r"sample_weight.shape == \(5,\), expected \(150,\)"),
    "unfitted": (lambda estimator, _: estimator.score(X), "instance is not fitted yet"),
    "unfitted draw": (lambda estimator, _: estimator.sample(), "instance is not fitted yet"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_same_mistake_gives_the_same_text(mistake):
    make, pattern = MISTAKES[mistake]
    texts = set()
    for estimator in ESTIMATORS:
        kind = NotFittedError if "unfitted" in mistake else ValueError
        with pytest.raises(kind, match=pattern) as caught:
            make(clone(estimator), fitted(estimator))
        name = type(estimator).__name__
        texts.add(re.sub(rf"{name}\b", "the estimator", str(caught.value)))
    assert len(texts) == 1


def test_more_components_than_rows_is_a_mistake_where_rows_are_shared_out():
    """Latent dimensions are not: an autoencoder may have more of them than rows."""
    for estimator in ESTIMATORS:
        large = clone(estimator).set_params(n_components=200)
        if isinstance(estimator, AUTOENCODERS):
            assert large.fit(X).transform(X[:3]).shape == (3, 200)
            continue
        with pytest.raises(
            ValueError, match=r"^n_components=200: must be <= n_samples, which is 150$"
        ):
            large.fit(X)
