"""What the fuzzer found, each as the case that it printed, and as values where there are some."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov, VariationalAutoencoder
from skvae.gaussian.covariance import STRUCTURES
from skvae.hmm import (
    CategoricalEmission,
    ColumnEmission,
    GaussianEmission,
    GaussianMixtureEmission,
    PoissonEmission,
    StudentTEmission,
)
from tests.faults.cases import BAYES, CHAIN, MIXTURE, NET, Case
from tests.faults.checks import run
from tests.faults.rows import Recipe
from tests.problems import blobs

FOUND = [
    # Rows: what scikit-learn's checks said by accident, warned of, or let through.
    ("TypeError", Case(MIXTURE, rows=Recipe(dtype="datetime64[ns]", form="polars with null"))),
    ("ValueError", Case(MIXTURE, rows=Recipe(n_columns=0, form="pandas nullable"))),
    ("ValueError", Case(MIXTURE, rows=Recipe(values="wide", dtype="float16"))),
    ("ValueError", Case(MIXTURE, rows=Recipe(dtype="longdouble beyond float64"))),
    ("ValueError", Case(MIXTURE, rows=Recipe(dtype="object with huge integers"))),
    ("TypeError", Case(MIXTURE, rows=Recipe(form="a type"))),
    ("TypeError", Case(MIXTURE, rows=Recipe(dtype="datetime64[ns]", form="masked"))),
    ("result", Case(NET, verb="standard_error", rows=Recipe(dtype="uint16", form="masked"))),
    ("result", Case(NET, verb="impute", rows=Recipe(dtype=">f8", form="pandas with names"))),
    ("ValueError", Case(NET, verb="decoded", junk=(("argument", "10**400"),))),
    # Squares that over- or underflow.
    ("ValueError", Case(MIXTURE, rows=Recipe(values="units", scale=1e-100))),
    ("ValueError", Case(MIXTURE, rows=Recipe(offset=1e100))),
    ("result", Case(MIXTURE, verb="partial_fit", rows=Recipe(offset=1e12))),
    ("ValueError", Case(MIXTURE, verb="partial_fit", rows=Recipe(scale=1e100))),
    ("ValueError", Case(MIXTURE, verb="partial_fit", rows=Recipe(values="wide"))),
    ("ValueError", Case(BAYES, verb="partial_fit", family="diag", rows=Recipe(offset=1e100))),
    ("result", Case(CHAIN, verb="partial_fit", rows=Recipe(offset=1e12))),
    # Weights.
    ("result", Case(MIXTURE, rows=Recipe(dtype="float32"), weight="of all sizes")),
    ("ValueError", Case(BAYES, rows=Recipe(dtype="float32"), weight="large")),
    ("ValueError", Case(BAYES, weight="of all sizes")),
    ("ValueError", Case(MIXTURE, weight="a complex number")),
    ("ValueError", Case(MIXTURE, weight="a huge integer")),
    ("ValueError", Case(MIXTURE, weight="masked")),
    # Sequences and groups.
    ("ValueError", Case(CHAIN, rows=Recipe(n_columns=0, form="sequences of frames"))),
    ("ValueError", Case(CHAIN, rows=Recipe(n_columns=0, form="three-dimensional"))),
    ("TypeError", Case(CHAIN, rows=Recipe(form="sequences, one sparse"))),
    ("ValueError", Case(CHAIN, rows=Recipe(form="sequences, one a number"))),
    ("ValueError", Case(CHAIN, rows=Recipe(form="sequences, one None"))),
    ("ValueError", Case(CHAIN, rows=Recipe(form="sequences, one ragged"))),
    ("TypeError", Case(CHAIN, rows=Recipe(form="sequences, one of dates"))),
    ("TypeError", Case(CHAIN, rows=Recipe(form="frames of two libraries"))),
    ("ValueError", Case(CHAIN, rows=Recipe(form="itself"))),
    ("ValueError", Case(CHAIN, groups="lists")),
    ("ValueError", Case(CHAIN, groups="arrays")),
    ("ValueError", Case(CHAIN, groups="series with NA")),
    ("ValueError", Case(CHAIN, groups="masked")),
    # Categories that the earlier fit did not have.
    (
        "ValueError",
        Case(CHAIN, verb="partial_fit", family="categorical", rows=Recipe(values="counts")),
    ),
    # Parameters.
    ("ValueError", Case(MIXTURE, junk=(("n_components", "2**70"),))),
    ("ValueError", Case(MIXTURE, junk=(("tol", "10**400"),))),
    ("ValueError", Case(MIXTURE, junk=(("tol", "NumPy's longdouble beyond float64"),))),
    ("ValueError", Case(MIXTURE, junk=(("weights_init", "infinity"),))),
    ("ValueError", Case(MIXTURE, junk=(("weights_init", "complex array"),))),
    ("ValueError", Case(MIXTURE, junk=(("weights_init", "list of huge integers"),))),
    ("ValueError", Case(MIXTURE, junk=(("weights_init", "tensor"),))),
    ("result", Case(MIXTURE, junk=(("n_components", "NumPy's int8"),))),
    ("result", Case(MIXTURE, junk=(("reg_covar", "NumPy's float32"),))),
    ("ValueError", Case(MIXTURE, settings=(("means_init", [[0.0, 0.0], [1e150, 0.0]]),))),
    ("ValueError", Case(CHAIN, settings=(("means_init", [[1e300, 0.0], [1e300, 0.0]]),))),
    ("ValueError", Case(CHAIN, junk=(("covariances_init", "ragged list"),))),
    ("ValueError", Case(CHAIN, junk=(("reg_covar", "1e308"),))),
    ("ValueError", Case(CHAIN, junk=(("reg_covar", "fraction"),))),
    ("ValueError", Case(BAYES, settings=(("weight_concentration_prior", 5e-324),))),
    ("ValueError", Case(BAYES, settings=(("mean_precision_prior", 5e-324),))),
    ("ValueError", Case(BAYES, settings=(("degrees_of_freedom_prior", 1e300),))),
    ("ValueError", Case(BAYES, family="spherical", settings=(("covariance_prior", 1e-300),))),
    ("ValueError", Case(BAYES, verb="partial_fit", settings=(("total_samples", 1e300),))),
    ("result", Case(NET, junk=(("n_score_samples", "NumPy's int8"),))),
    ("result", Case(NET, junk=(("n_importance_samples", "NumPy's int8"),))),
    ("result", Case(MIXTURE, junk=(("reg_covar", "NumPy's longdouble"),))),
    # What was found by the long runs.
    ("ValueError", Case(MIXTURE, verb="partial_fit", rows=Recipe(offset=1e30))),
    ("ValueError", Case(MIXTURE, rows=Recipe(scale=1e-30), settings=(("warm_start", True),))),
    ("result", Case(MIXTURE, verb="score", rows=Recipe(values="wide"), weight="large")),
    ("result", Case(MIXTURE, rows=Recipe(scale=1e138), weight="of all sizes")),
    ("ValueError", Case(NET, verb="partial_fit", settings=(("lr", 1e30),))),
    ("TypeError", Case(NET, verb="inverse_transform", rows=Recipe(form="pandas with dates"))),
    ("result", Case(MIXTURE, rows=Recipe(dtype="int8", form="masked"))),
    ("TypeError", Case(CHAIN, rows=Recipe(dtype="structured", form="sequences, one masked"))),
    ("ValueError", Case(CHAIN, family="tied", rows=Recipe(scale=1e-100, spike=1e139))),
    (
        "result",
        Case(
            CHAIN,
            family="bernoulli",
            rows=Recipe(n_rows=6, values="binary"),
            settings=(("init_params", "k-means++"), ("random_state", 4294967295)),
        ),
    ),
    (
        "result",
        Case(
            CHAIN,
            rows=Recipe(values="shares"),
            settings=(("transmat_init", [[0.0, 1.0], [1.0, 0.0]]), ("warm_start", True)),
        ),
    ),
    (
        "result",
        Case(
            BAYES,
            settings=(("weight_concentration_prior", 1e30), ("degrees_of_freedom_prior", 1.0001)),
        ),
    ),
    ("result", Case(NET, verb="score_samples", rows=Recipe(scale=1e30, dtype="float32"))),
    ("ValueError", Case(NET, verb="decoded", junk=(("argument", "tensor"),))),
    ("ValueError", Case(NET, junk=(("beta", "1e308"),))),
    ("ValueError", Case(NET, junk=(("free_bits", "1e308"),))),
    ("ValueError", Case(NET, junk=(("validation_fraction", "fraction"),))),
    # Arguments of questions.
    ("ValueError", Case(MIXTURE, verb="marginal", junk=(("argument", "ragged list"),))),
    ("ValueError", Case(MIXTURE, verb="marginal", junk=(("argument", "tensor"),))),
    (
        "result",
        Case(BAYES, verb="credible_interval", junk=(("argument", "NumPy's longdouble"),)),
    ),
    # Criteria are floats.
    ("result", Case(MIXTURE, verb="bic")),
    ("result", Case(MIXTURE, verb="icl")),
]


@pytest.mark.parametrize(("ending", "case"), FOUND, ids=lambda value: repr(value)[:90])
def test_what_was_found_is_mended(ending, case):
    assert run(case) == ending


def fitted(estimator, X, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, **keywords)


def test_weights_beyond_float32_weigh_as_they_do_in_float64():
    X, weight = blobs(60), 1e200 * np.random.default_rng(0).uniform(0.5, 2.0, size=60)
    single, double = (
        EMGaussianMixture(2, random_state=0).fit(X.astype(dtype), sample_weight=weight)
        for dtype in (np.float32, np.float64)
    )
    assert single.lower_bound_ == pytest.approx(double.lower_bound_, rel=1e-5)


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_draws_of_a_flat_covariance_have_it(kind):
    """Rounding has made its least eigenvalue negative, and Cholesky has no factor of it."""
    flat = np.array([[1.0, 1.0], [1.0, 1.0 - 1e-16]]) * 1e23
    covariances = flat[None] if kind == "full" else flat
    noise = np.random.default_rng(0).normal(size=(20_000, 2))
    structure, labels = STRUCTURES[kind], np.zeros(20_000, dtype=int)
    drawn = structure.color(noise, labels, structure.roots(covariances))
    np.testing.assert_allclose(np.cov(drawn.T), flat, rtol=0.05)


def test_messages_name_the_value_and_the_remedy():
    X = blobs(30, 2, 2)
    calls = [
        (EMGaussianMixture(n_components=2**70), {}, r"n_components=1180\d+: .* and <= 9.22e\+18"),
        (EMGaussianMixture(reg_covar=1e200), {}, r"reg_covar=1e\+200: .* >= 0 and <= 1e\+100"),
        (
            EMGaussianMixture(means_init=[[1e150, 0]]),
            {},
            r"means_init has an entry of size 1e\+150",
        ),
        (
            EMGaussianMixture(precisions_init=[[[1e120, 0], [0, 1]]]),
            {},
            "1 / precisions_init has a variance .* times that of X",
        ),
        (
            BayesianMixtureSVI(mean_precision_prior=1e-300),
            {},
            "mean_precision_prior=1e-300: must be between 1e-30 and",
        ),
        (EMHiddenMarkov(), {"groups": [[1]] * 15 + [None] * 15}, "groups"),
        (EMGaussianMixture(), {"sample_weight": 1j}, "sample_weight must be an array of numbers"),
    ]
    for estimator, keywords, message in calls:
        with pytest.raises(ValueError, match=message):
            estimator.fit(X, **keywords)
    with pytest.raises(ValueError, match=r"X has no value above 1e-200 .* rescale the feat"):
        EMGaussianMixture().fit(X * [1.0, 0.0] + [0.0, 1e-200])
    model = EMGaussianMixture(random_state=0).fit(X)
    with pytest.raises(ValueError, match=r"partial_fit: X has a value .* standard deviations away"):
        model.partial_fit(1e90 * X)


def test_groups_of_missing_names_are_an_error():
    X = blobs(6, 2, 2)
    for last in (None, np.nan, pd.NA, pd.NaT):
        groups = np.array([1, 1, 1, 2, 2, last], dtype=object)
        with pytest.raises(ValueError, match="groups contains"):
            EMHiddenMarkov().fit(X, groups=groups)
    groups = np.array([1, 1, 1, 2, 2, None], dtype=object)
    groups[5] = [2]
    with pytest.raises(ValueError, match=r"groups contains \[2\]: must name the sequence"):
        EMHiddenMarkov().fit(X, groups=groups)


def test_frames_of_the_other_byte_order_come_back_in_this_one():
    X = pd.DataFrame(blobs(30).astype(">f4"))
    for model in (
        EMGaussianMixture(random_state=0).fit(X),
        fitted(EMHiddenMarkov(random_state=0), X),
        VariationalAutoencoder(1, max_epochs=1, random_state=0).fit(X),
    ):
        assert model.transform(X).dtype.isnative


def refusals():
    """Estimators with a parameter that is not usable, and a text in their error."""
    itself = []
    itself.append(itself)
    for estimator in (EMGaussianMixture(2), EMHiddenMarkov(2), BayesianMixtureSVI(2)):
        for value in (np.ones(2), pd.NA, torch.ones(2), "yes"):
            yield clone(estimator).set_params(warm_start=value), "warm_start=.*must be one of True"
    for emission, text in [
        (GaussianMixtureEmission(2**62), "n_mix=4611686018427387904: must be <= n_samples"),
        (GaussianMixtureEmission(31), "n_mix=31: must be <= n_samples, which is 30"),
        (PoissonEmission(rates_init=itself), "PoissonEmission with a parameter that cannot be co"),
        (PoissonEmission(rates_init=np), "PoissonEmission with a parameter that cannot be copied"),
        (CategoricalEmission(""), "n_categories='': must be an integer from 1"),
        (CategoricalEmission(b"four"), "n_categories=b'four': must be an integer from 1"),
        (CategoricalEmission({2, 3}), "n_categories={2, 3}: must be an integer from 1"),
        (CategoricalEmission([]), r"n_categories=\[\]: must be an integer from 1"),
        (CategoricalEmission(2**63), "n_categories=9223372036854775808: must be an integer"),
        (ColumnEmission([("a", PoissonEmission(), 2**63)]), "columns=9223372036854775808: must be"),
        (ColumnEmission([("a", PoissonEmission(), [-(2**70)])]), "columns=.* must be between 0"),
    ]:
        yield EMHiddenMarkov(2, emission=emission), text
    for params, text in [
        ({"beta": 2**70}, "beta=1180591620717411303424: must be"),
        ({"free_bits": 2**70}, "free_bits=1180591620717411303424: must be"),
        ({"n_components": 2**62}, r"a layer of \d+ inputs and \d+ units cannot be made"),
        ({"n_components": 2**40}, r"a layer of \d+ inputs and \d+ units cannot be made"),
        ({"hidden_layer_sizes": (2**63,)}, r"a layer of 2 inputs and 9223372036854775808 units"),
        ({"n_prior_components": 2**50, "prior": "mixture"}, "a prior of 1125899906842624 comp"),
        ({"n_prior_components": 2**50, "prior": "vamp"}, "a prior of 1125899906842624 components"),
        ({"callbacks": np}, "callbacks=.*must be skorch callbacks that can be copied"),
    ]:
        yield VariationalAutoencoder(**{"max_epochs": 1, "device": "cpu", **params}), text


@pytest.mark.parametrize(("estimator", "text"), [*refusals()], ids=lambda value: repr(value)[:80])
def test_parameters_of_any_size_and_kind_are_refused_by_name(estimator, text):
    X = np.random.default_rng(0).poisson(3.0, size=(30, 2)).astype(float)
    with pytest.raises(ValueError, match=text):
        estimator.fit(X)


def test_covariances_of_known_emissions_must_be_given():
    for family in (GaussianEmission, StudentTEmission):
        with pytest.raises(ValueError, match="covariances=None: must be an array of numbers"):
            family.from_parameters(means=[[0.0]], covariances=None, **(
                {"dofs": [5.0]} if family is StudentTEmission else {}
            ))  # fmt: skip


@pytest.mark.parametrize("kind", [EMGaussianMixture, EMHiddenMarkov, BayesianMixtureSVI])
@pytest.mark.parametrize("small", [np.int8, np.uint8])
def test_a_number_of_components_may_be_of_any_integer_type(kind, small):
    """Sixty of an int8 overflow as soon as they are multiplied."""
    X = blobs(600)
    plain, other = (fitted(kind(n, random_state=0, max_iter=2), X) for n in (60, small(60)))
    assert plain.lower_bound_ == other.lower_bound_
