"""Every public method that takes X checks it: bad rows are a clear error and change nothing.

The methods are found by introspection, so that a new one is tested without being listed here. Each
estimator is fitted once.
"""

import inspect
from functools import cache

import numpy as np
import pytest
from scipy import sparse

from skvae import CTCTranscriber, VariationalAutoencoder
from tests.problems import assert_same_state, state_of
from tests.suite import ESTIMATORS, fitted, one_torch_thread, rows

_one_thread = pytest.fixture(autouse=True, scope="module")(one_torch_thread)

# A prior with components, so that the model predicts as well.
AUTOENCODER = VariationalAutoencoder(
    2, prior="mixture", n_prior_components=2, hidden_layer_sizes=(4,), max_epochs=1, random_state=0
)
TRANSCRIBER = CTCTranscriber(
    hidden_layer_sizes=(4,), early_stopping=False, max_epochs=1, random_state=0
)

BAD_ROWS = {
    "words": (np.array([["a", "b", "c"]] * 50, dtype=object), ValueError, "could not|string"),
    "strings": (np.array([["a", "b", "c"]] * 50), ValueError, "(?i)could not|string|dtype"),
    "sparse": (sparse.csr_array(np.eye(3)), TypeError, "(?i)sparse"),
    "one-dimensional": (np.ones(50), ValueError, "(?s)2D array.*1D"),
    "a number": (3.0, ValueError, "2D array"),
    "four-dimensional": (np.ones((5, 5, 5, 3)), ValueError, "dim"),
    "no rows": (np.empty((0, 3)), ValueError, r"0 sample\(s\)"),
    "no columns": (np.empty((50, 0)), ValueError, r"0 feature\(s\)"),
    "ragged": (
        [[1.0, 2.0, 3.0]] * 4 + [[1.0]],
        ValueError,
        r"^X\[4\] has shape \(1,\), X\[0\] has \(3,\): all must have the same; .* NaN$",
    ),
    "complex": (np.ones((50, 3)) + 1j, ValueError, "(?i)complex"),
    "infinite": (np.full((50, 3), np.inf), ValueError, "infinity"),
    "none": (None, ValueError, "2D array|NoneType"),
}
A_COLUMN_LESS = (np.ones((50, 2)), ValueError, r"2 features.*expecting 3")


@cache
def model_of(name):
    """Return the estimator of a name, fitted; no test here may change it."""
    if name == "VariationalAutoencoder":
        return AUTOENCODER.fit(rows())
    if name == "CTCTranscriber":
        return TRANSCRIBER.fit(rows(), ["ab"])
    return fitted(next(e for e in ESTIMATORS if type(e).__name__ == name))


def methods_with_rows(cls):
    """Return the public methods of a class that take X, with the arguments they need besides."""
    found = {}
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        parameters = inspect.signature(method).parameters
        if not name.startswith("_") and "X" in parameters:
            needed = [n for n, p in parameters.items() if p.default is p.empty and p.kind == 1]
            found[name] = dict.fromkeys(set(needed) - {"self", "X"}, 2)
    return found


CALLS = [
    pytest.param(
        type(estimator).__name__, method, needed, id=f"{type(estimator).__name__}-{method}"
    )
    for estimator in (*ESTIMATORS, TRANSCRIBER)
    for method, needed in methods_with_rows(type(estimator)).items()
]


@pytest.mark.parametrize(("name", "method", "needed"), CALLS)
def test_bad_rows_are_a_clear_error_and_change_nothing(name, method, needed):
    model = model_of(name)
    state = state_of(model)
    problems = dict(BAD_ROWS)
    if method not in ("fit", "fit_predict", "fit_transform"):  # these may learn other columns
        problems["a column less"] = A_COLUMN_LESS
    if inspect.signature(getattr(model, method)).parameters["X"].default is None:
        del problems["none"]  # the method works without rows too
    for X, error, match in problems.values():
        with pytest.raises(error, match=match):
            getattr(model, method)(X=X, **needed)
        assert_same_state(model, state)


@pytest.mark.parametrize("name", ["EMGaussianMixture", "VariationalAutoencoder"])
def test_images_that_are_no_rows_have_a_remedy(name):
    text = r"X of shape \(5, 3, 3\) has 3 dimensions: .* as X\.reshape\(len\(X\), -1\) has"
    with pytest.raises(ValueError, match=text):
        model_of(name).fit(np.ones((5, 3, 3)))


def test_methods_are_found():
    found = {(call.values[0], call.values[1]) for call in CALLS}
    assert len(found) == len(CALLS) > 40
    for estimator in ESTIMATORS:
        for method in ("fit", "partial_fit", "score", "score_samples", "transform", "predict"):
            assert (type(estimator).__name__, method) in found
    assert {("EMHiddenMarkov", "k_best"), ("VariationalAutoencoder", "elbo")} <= found
