"""What every estimator of the library keeps, asserted once for all of them: parameters and fits.

What they answer is in `test_contract_answers.py`, that they say the same in the same words in
`test_side_by_side.py`.
"""

import copy
import inspect
import random

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator
from skorch.callbacks import Callback

from skvae import (
    BayesianMixtureSVI,
    EGHiddenMarkov,
    EMContextFreeGrammar,
    HiddenMarkovAutoencoder,
    VariationalAutoencoder,
)
from tests.combinations import slow
from tests.mixture.test_memory import peak_of
from tests.problems import assert_same_state, state_of
from tests.suite import (
    ASCENTS,
    assert_same_answers,
    every_ascent,
    every_ascent_of_long_sequences,
    every_em,
    every_estimator,
    fitted,
    one_torch_thread,
    parametrized,
    rows,
)

X = rows()
_one_thread = pytest.fixture(autouse=True, scope="module")(one_torch_thread)


# CTCTranscriber is not here: its y is a list of label sequences, which no check passes.
SHORT = {"max_epochs": 2, "hidden_layer_sizes": (4,)}
CHECKED = [
    *(type(estimator)() for estimator in ASCENTS),
    VariationalAutoencoder(n_score_samples=2, **SHORT),
    EGHiddenMarkov(**SHORT),
    HiddenMarkovAutoencoder(n_states=1, n_score_samples=2, **SHORT),
    *slow(VariationalAutoencoder(), EGHiddenMarkov(), HiddenMarkovAutoencoder(max_epochs=20)),
]


@parametrized(CHECKED)
def test_scikit_learn_s_checks_pass_raw(estimator):
    """As a user calls it: nothing is expected to fail and no check is skipped by a tag."""
    results = check_estimator(estimator, on_skip=None, on_fail="raise")
    assert {result["status"] for result in results} <= {"passed", "skipped"}
    # A check may skip itself for want of an optional package or setting, never by our doing.
    assert all(result["expected_to_fail"] is False for result in results)
    skipped = {result["check_name"] for result in results if result["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}
    assert estimator.__sklearn_tags__()._skip_test is False


# Parameters ---------------------------------------------------------------------------------------


@every_estimator
def test_parameters_are_keyword_only_but_the_size(estimator):
    parameters = inspect.signature(type(estimator)).parameters
    free = [n for n, p in parameters.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert free == ["n_components"]
    for name, parameter in parameters.items():
        assert parameter.default is getattr(type(estimator)(), name)


@every_estimator
def test_parameters_are_stored_untouched(estimator):
    """Whatever they are: they are looked at in fit, and there for the first time."""
    given = {name: object() for name in estimator.get_params(deep=False)}
    model = type(estimator)(**given)
    assert all(getattr(model, name) is value for name, value in given.items())
    assert vars(model).keys() == given.keys()


@every_estimator
def test_fit_changes_neither_parameters_nor_rows(estimator):
    model = clone(estimator)
    before, given = model.get_params(deep=False), X.copy()
    given.flags.writeable = False
    model.fit(given).partial_fit(given)
    model.transform(given)
    after = model.get_params(deep=False)
    assert all(after[name] is value for name, value in before.items())
    assert_array_equal(given, X)


# Fits ---------------------------------------------------------------------------------------------


@every_estimator
def test_fit_returns_itself_and_sets_its_attributes(estimator):
    model = clone(estimator)
    assert model.fit(X) is model
    assert model.n_features_in_ == 3
    assert type(model.lower_bound_) is float
    assert type(model.lower_bounds_) is list
    assert {type(bound) for bound in model.lower_bounds_} == {float}
    assert model.lower_bounds_[-1] == model.lower_bound_
    assert type(model.n_iter_) is int
    assert len(model.lower_bounds_) == model.n_iter_
    assert type(model.converged_) is bool
    assert not hasattr(model, "feature_names_in_")


@every_estimator
def test_names_of_columns_are_kept_and_must_be_the_same(estimator):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = clone(estimator).fit(frame)
    assert_array_equal(model.feature_names_in_, ["a", "b", "c"])
    with pytest.raises(ValueError, match="feature names should match"):
        model.score_samples(frame[["a", "c", "b"]])
    for again in (model.partial_fit, model.set_params(warm_start=True).fit):
        with pytest.raises(ValueError, match="feature names should match"):
            again(frame[["a", "c", "b"]])
    model.set_params(warm_start=False).fit(X)
    assert not hasattr(model, "feature_names_in_")


@every_estimator
def test_partial_fit_returns_itself_and_initialises(estimator):
    model = clone(estimator)
    assert model.partial_fit(X) is model
    assert (model.n_iter_, len(model.lower_bounds_)) == (1, 1)
    assert model.partial_fit(X[:50]) is model
    assert (model.n_iter_, len(model.lower_bounds_)) == (2, 2)
    assert model.lower_bounds_[-1] == model.lower_bound_
    assert np.isfinite(model.score(X))


@every_estimator
def test_y_is_ignored(estimator):
    model = fitted(estimator)
    other = clone(estimator).fit(X, np.arange(len(X)))
    assert_same_answers(other, model, X)
    assert model.score(X, "anything") == model.score(X)
    other.partial_fit(X, "anything")
    assert_same_answers(other, model.partial_fit(X), X)


@every_ascent
def test_bound_is_that_of_the_stored_parameters(estimator):
    """Not one step stale: where a further fit begins, there the last one said it was."""
    model = fitted(estimator)
    bound = model.lower_bound_
    again = model.set_params(warm_start=True, max_iter=0).fit(X)
    assert_allclose(again.lower_bound_, bound, rtol=1e-12)
    if isinstance(estimator, EMContextFreeGrammar):  # its score is conditional on the length
        assert_allclose(model.log_likelihood(X) / len(X), bound, rtol=1e-12)
    elif not isinstance(estimator, BayesianMixtureSVI):
        assert_allclose(model.score(X), bound, rtol=1e-12)


@every_ascent
def test_bound_never_falls(estimator):
    tol = 1e-4 if isinstance(estimator, EMContextFreeGrammar) else 1e-8  # it is slow
    bounds = clone(estimator).set_params(tol=tol).fit(X).lower_bounds_
    assert (np.diff(bounds) > -1e-10).all()


@every_estimator
def test_same_seed_same_fit(estimator):
    for seed in (5, np.random.RandomState(5)):
        models = [clone(estimator).set_params(random_state=copy.deepcopy(seed)) for _ in range(2)]
        one, other = (model.fit(X) for model in models)
        assert one.lower_bounds_ == other.lower_bounds_
        assert_same_answers(one, other, X)


@every_ascent
def test_same_seed_same_fit_whatever_the_jobs(estimator):
    several = {"n_init": 3}
    if "init_params" in estimator.get_params():
        several["init_params"] = "random_from_data"
    models = [clone(estimator).set_params(n_jobs=jobs, **several).fit(X) for jobs in (1, 2)]
    assert models[0].lower_bounds_ == models[1].lower_bounds_
    assert_same_answers(*models, X)


@every_estimator
def test_silent_and_global_state_untouched(estimator, capfd):
    before = np.random.get_state(), torch.get_rng_state(), random.getstate()  # noqa: NPY002
    model = clone(estimator).fit(X)
    model.partial_fit(X)
    model.sample(5)
    model.score(X)
    for left, right in zip(np.random.get_state(), before[0], strict=True):  # noqa: NPY002
        assert_array_equal(left, right)
    model.set_params(random_state=None).fit(X).sample(5)
    assert torch.equal(torch.get_rng_state(), before[1])
    assert random.getstate() == before[2]
    assert capfd.readouterr() == ("", "")


@every_estimator
@pytest.mark.filterwarnings("ignore:.*did not converge::")
def test_progress_is_the_current_bound(estimator, capfd):
    model = clone(estimator).set_params(verbose=1, tol=0)
    if hasattr(model, "max_iter"):
        model.set_params(max_iter=12)
    model.fit(X)
    out, bar = capfd.readouterr()
    bound = model.history_["valid_bound"][-1] if hasattr(model, "net_") else model.lower_bound_
    assert out == ""
    assert f"lower bound {bound:.6f}]" in bar


@every_estimator
def test_failed_fit_keeps_the_earlier_one(estimator):
    model = fitted(estimator)
    scores = model.score_samples(X)
    for wrong, parameters in [
        (np.where(X > 0, X, np.inf), {}),
        (X[:, 0], {}),
        (X, {"n_components": 0}),
        (X, {"max_epochs" if hasattr(estimator, "max_epochs") else "max_iter": -1}),
        (np.array([["a", "b", "c"]] * 20, dtype=object), {}),
    ]:
        model.set_params(**estimator.get_params()).set_params(**parameters)
        state = state_of(model)
        for method in (model.fit, model.partial_fit):
            with pytest.raises(ValueError):  # noqa: PT011
                method(wrong)
            assert_same_state(model, state)
    model.set_params(**estimator.get_params())
    assert_array_equal(model.score_samples(X), scores)


def _interrupt(*args, **kwargs):
    raise KeyboardInterrupt


class Interruption(Callback):
    """Ctrl-C in the middle of the third epoch."""

    def on_batch_end(self, net, **kwargs):
        if len(net.history) == 3:
            _interrupt()


@every_estimator
def test_ctrl_c(estimator, monkeypatch):
    """An ascent is given up, and the earlier fit kept; a training is ended, and its best kept."""
    model = fitted(estimator)
    if hasattr(model, "net_"):
        model.set_params(callbacks=[Interruption()])
        with pytest.warns(UserWarning, match="interrupted after 2 of 5 epochs"):
            model.fit(X)
        assert model.n_iter_ <= 2
        assert np.isfinite(model.score(X))
        return
    model.set_params(verbose=2, random_state=1)
    state = state_of(model)
    monkeypatch.setattr("builtins.print", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert_same_state(model, state)


@every_ascent
def test_a_fit_that_was_cut_short_says_so(estimator):
    text = r"did not converge within max_iter=2 iterations \(tol=0\). Raise max_iter or tol"
    with pytest.warns(ConvergenceWarning, match=text):
        model = clone(estimator).set_params(max_iter=2, tol=0).fit(X)
    assert model.converged_ is False


@every_em
def test_a_collapse_says_what_to_change(estimator):
    same = np.zeros((60, 2))
    model = clone(estimator).set_params(reg_covar=0)
    text = r": component 0 is singular .*\. Raise reg_covar \(now 0\), lower n_components \(now 3\)"
    with pytest.raises(ValueError, match=f"EM failed from every start{text}"):
        model.fit(same)
    with pytest.raises(ValueError, match=f"EM failed{text}"):
        model.partial_fit(same)


@every_ascent_of_long_sequences
def test_fit_makes_no_array_of_rows_by_components(estimator):
    """Of an autoencoder's memory most is torch's, which is not seen from here."""
    n_samples, n_components = 150_000, 48
    X = np.random.default_rng(0).normal(size=(n_samples, 2))
    model = clone(estimator).set_params(
        n_components=n_components, covariance_type="diag", max_iter=2, tol=1e9
    )
    model.set_params(init_params="random_from_data")
    model.fit(X[:1000])  # what is compiled is compiled
    assert peak_of(lambda: model.fit(X)) < 1.2 * n_samples * n_components * 8
