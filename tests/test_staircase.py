"""The staircase from ``fit`` to the density: its frames, its functions, its classes.

A reader follows ``fit`` down to the arithmetic. Every frame on the way, every function that a
default fit enters and every class in an estimator's ancestry has to be understood, so their numbers
may not grow. Before they were limited, they were 20, 22 and 20 frames; 159, 256 and 209 functions.
"""

import sys
import threading
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

import skvae
from skvae import (
    BayesianMixtureSVI,
    EMContextFreeGrammar,
    EMGaussianMixture,
    EMHiddenMarkov,
    VariationalAutoencoder,
)
from skvae.datasets import load_geyser

PACKAGE = str(Path(skvae.__file__).parent)
MODELS = {
    EMGaussianMixture: (8, 78),
    EMHiddenMarkov: (8, 115),
    BayesianMixtureSVI: (8, 115),
}


def _is_ours(frame):
    return frame.f_code.co_filename.startswith(PACKAGE)


class Profile:
    """The functions of the package that a call enters, and its deepest way to a density."""

    def __init__(self, density):
        self._density = density
        self.functions, self.external, self.stack = set(), set(), []

    def __call__(self, frame, event, _argument):
        if event == "call" and not _is_ours(frame):
            self.external.add(frame.f_code.co_name)
        if event != "call" or not _is_ours(frame):
            return
        code = frame.f_code
        self.functions.add((code.co_filename, code.co_firstlineno, code.co_qualname))
        if code.co_name != self._density:
            return
        stack = []
        while frame is not None:
            if _is_ours(frame):
                stack.append(frame.f_code.co_qualname)
            frame = frame.f_back
        self.stack = max(self.stack, stack[::-1], key=len)

    def of(self, function):
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            function()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        return self


def profile_of(function, density):
    # Where BLAS has several threads, two more functions limit them: the count is that of one.
    with threadpool_limits(1, user_api="blas"):
        function()  # compiled, imported and cached before it is measured
        return Profile(density).of(function)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_default_fit_is_a_short_staircase(model):
    X = load_geyser().data
    most_frames, most_functions = MODELS[model]
    profile = profile_of(lambda: model(2, random_state=0).fit(X), "log_density")
    assert profile.stack[0] == f"{model.__name__}.fit"
    assert len(profile.stack) <= most_frames, " > ".join(profile.stack)
    assert len(profile.functions) <= most_functions, sorted(profile.functions)


def test_a_default_fit_of_a_grammar_is_a_short_staircase():
    sentences = [[[0], [0], [1], [1]], [[0], [1]], [[0], [0], [0], [1], [1], [1]]] * 5
    grammar = EMContextFreeGrammar(2, random_state=0)
    profile = profile_of(lambda: grammar.fit(sentences), "log_density")
    assert profile.stack[0] == "EMContextFreeGrammar.fit"
    assert len(profile.stack) <= 9, " > ".join(profile.stack)
    assert len(profile.functions) <= 170, sorted(profile.functions)


@pytest.mark.parametrize(
    "model", [*MODELS, EMContextFreeGrammar, VariationalAutoencoder], ids=lambda m: m.__name__
)
def test_an_estimator_has_at_most_three_classes_of_ours_above_it(model):
    own = [cls for cls in model.__mro__[1:] if cls.__module__.startswith("skvae")]
    assert len(own) <= 3, own


@pytest.mark.parametrize("method", ["score_samples", "predict", "predict_proba"])
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_one_row_takes_a_short_way_to_its_density(kind, method):
    """Counted, not timed: a service scores events one by one."""
    X = load_geyser().data
    mixture = EMGaussianMixture(2, covariance_type=kind, random_state=0).fit(X)
    row = X[:1].copy()
    profile = profile_of(lambda: getattr(mixture, method)(row), "log_density")
    assert profile.stack[0] == f"MixtureModel.{method}"
    assert len(profile.stack) <= 6, " > ".join(profile.stack)
    assert len(profile.functions) <= 35, sorted(profile.functions)
    assert not profile.external & {"validate_data", "check_is_fitted", "check_array"}


def test_the_profile_sees_functions_and_the_deepest_way():
    def inner():
        EMGaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical").score([[0.0]])

    profile = profile_of(inner, "log_density")
    assert profile.stack[0] == "MixtureModel.score"
    assert profile.stack[-1] == "DirectBlock.log_density"
    names = {name for _, _, name in profile.functions}
    assert {"EMGaussianMixture.from_parameters", "expect", "normalize"} <= names


@pytest.mark.parametrize("method", ["score_samples", "predict", "predict_proba"])
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_one_row_takes_a_short_way_to_its_predictive_density(kind, method):
    X = load_geyser().data
    mixture = BayesianMixtureSVI(2, covariance_type=kind, random_state=0).fit(X)
    row = X[:1].copy()
    profile = profile_of(lambda: getattr(mixture, method)(row), "log_density")
    assert len(profile.stack) <= 11, " > ".join(profile.stack)
    assert len(profile.functions) <= 59, sorted(profile.functions)
    assert not profile.external & {"validate_data", "check_is_fitted", "check_array"}
