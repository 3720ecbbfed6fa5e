"""Columns of different kinds: sums over parts, order, and lists that are not usable."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skvae.neural.likelihoods import make_likelihood
from tests.neural.likelihoods.cases import MIXED, case, holes, prepared, some_outputs, some_rows

NAMES = ["height", "colour", "count", "income", "shape"]


def parts_of(X):
    """The same parts as likelihoods of their own, with their columns."""
    for name, columns, *params in MIXED:
        index = [columns] if isinstance(columns, int) else columns
        yield index, make_likelihood(name, X[:, index], *params)


@pytest.mark.parametrize("missing", [False, True])
def test_log_densities_are_sums_over_the_parts(missing):
    X = some_rows("columns")
    whole = make_likelihood(MIXED, X)
    Y = holes(X) if missing else X
    x, outputs = prepared(whole, Y), some_outputs(whole, 2, len(X))
    observed = ~torch.isnan(x) if missing else None
    expected, volume, terms, first = 0.0, 0.0, torch.empty(2, len(X), 5), 0
    jacobian, mean = np.zeros(5), np.zeros((2, len(X), 5))
    for index, part in parts_of(X):
        own = outputs[..., first : first + part.n_outputs]
        first += part.n_outputs
        rows = prepared(part, Y[:, index])
        assert_array_equal(rows, x[:, index])
        seen = None if observed is None else observed[:, index]
        expected = expected + part.log_prob(rows, own, seen)
        volume = volume + part.log_volume(Y[:, index])
        jacobian[index] = part.log_jacobian
        mean[..., index] = part.mean(own).detach()
        if not missing:
            terms = terms.to(torch.float64)
            terms[..., index] = part.log_terms(rows, own).detach()
    assert first == whole.n_outputs
    assert_allclose(whole.log_prob(x, outputs, observed).detach(), expected.detach(), rtol=1e-13)
    assert_allclose(whole.log_volume(Y), volume, rtol=1e-13)
    assert_array_equal(whole.log_jacobian, jacobian)
    assert_array_equal(whole.mean(outputs).detach(), mean)
    expectations = whole.expectations(outputs).detach()
    assert expectations.shape[-1] == whole.n_expectations
    assert_array_equal(whole.values_of(expectations), mean)  # there is no Bernoulli part
    if not missing:
        assert_array_equal(whole.log_terms(x, outputs).detach(), terms)


def test_inputs_and_draws_are_in_their_places():
    likelihood, X = case("columns")
    x = prepared(likelihood, X)
    first = 0
    for index, part in parts_of(X):
        found = likelihood.inputs(x)[:, first : first + part.n_inputs]
        assert_array_equal(found, part.inputs(prepared(part, X[:, index])))
        first += part.n_inputs
    assert first == likelihood.n_inputs
    outputs = torch.zeros(4000, likelihood.n_outputs)
    draws = likelihood.sample(outputs, torch.Generator().manual_seed(0)).numpy()
    likelihood.check(draws)
    assert_allclose(draws[:, [0, 3]].mean(axis=0), X[:, [0, 3]].mean(axis=0), atol=2.0)
    assert set(np.unique(draws[:, 4])) == set(np.unique(X[:, 4]))


@pytest.mark.parametrize(
    "spec",
    [
        [("gaussian", slice(0, 1)), ("poisson", [2, -4]), ("student_t", -2), ("categorical", [4])],
        [
            ("gaussian", "height"),
            ("poisson", ["count", "colour"]),
            ("student_t", [False, False, False, True, False]),
            ("categorical", ["shape"]),
        ],
        (
            ("gaussian", np.array([0])),
            ["poisson", (2, 1)],
            ("student_t", range(3, 4)),
            ("bernoulli", 4),
        ),
    ],
)
def test_ways_to_give_columns(spec):
    X = some_rows("columns")
    X[:, 4] = X[:, 4] > 0
    likelihood = make_likelihood(spec, X, names=NAMES)
    assert likelihood.columns == [[0], [2, 1], [3], [4]]
    assert [part.name for part in likelihood.parts][:3] == ["gaussian", "poisson", "student_t"]


def test_the_order_of_the_parts_does_not_matter():
    X = some_rows("columns")
    one, other = (make_likelihood(spec, X) for spec in (MIXED, MIXED[::-1]))
    x = prepared(one, X)
    zeros = torch.zeros(len(X), one.n_outputs)
    assert_array_equal(x, prepared(other, X))
    found = [likelihood.log_prob(x, zeros).detach() for likelihood in (one, other)]
    assert_allclose(*found, rtol=1e-12)
    assert_array_equal(one.mean(zeros).detach(), other.mean(zeros).detach())


def test_errors_name_the_column_of_the_table():
    likelihood, X = case("columns")
    X[7, 2] = 0.5
    text = r"^X\[:, 2\] holds 0.5: a negative binomial likelihood takes counts"
    with pytest.raises(ValueError, match=text):
        likelihood.check(X)
    with pytest.raises(ValueError, match=r"^X\['count'\] holds 0.5: "):
        likelihood.check(X, NAMES)
    text = r"^in the part \('negative_binomial', 2\): X\['count'\] holds 0.5"
    with pytest.raises(ValueError, match=text):
        make_likelihood(MIXED, X, names=NAMES)
    X[:, 2] = np.nan
    text = r"^in the part \('negative_binomial', 2\): X has no observed value in feature 2: each"
    with pytest.raises(ValueError, match=text):
        make_likelihood(MIXED, X)
    X[3, 4] = 9.0
    with pytest.raises(ValueError, match=r"^X\[:, 4\] holds 9.0: must be a code from 0 to"):
        likelihood.check(X)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ([], r"likelihood=\[\]: must be a name or a list of \(name, columns\) or"),
        ({"gaussian": 0}, "likelihood={'gaussian': 0}: must be a name or a list"),
        ([("gaussian",)], r"likelihood has an entry \('gaussian',\): must be a list of"),
        (["gaussian"], "likelihood has an entry 'gaussian': must be a list of"),
        (
            [("gaussian", 0)],
            r"X\[:, 1\] belongs to no part: each column of X must belong to",
        ),
        (
            [("gaussian", [0, 1]), ("poisson", [1, 2])],
            r"X\[:, 1\] belongs to the parts \['gaussian', 'poisson'\]: each column",
        ),
        (
            [("gaussian", [0, 1, 2, 2])],
            r"X\[:, 2\] belongs to the parts \['gaussian', 'gaussian'\]",
        ),
        (
            [("gaussian", [0, 3])],
            r"in the part 'gaussian': columns=\[0, 3\]: must be between 0 and 2, as X",
        ),
        ([("gaussian", [])], r"in the part 'gaussian': columns=\[\]: must be at least one column"),
        ([("gaussian", [True])], "must be as long as X has columns, 3, if it is a mask"),
        ([("gaussian", 1.5)], "columns=1.5: must be an index, a slice, a name"),
        ([("gaussian", [0, 1.5])], "must be an index, a slice, a name, or a list of these"),
        ([("gaussian", ["a"])], r"columns=\['a'\]: must be indices, as X has no"),
        (
            [("normal", [0, 1, 2])],
            r"in the part \('normal', .*\): likelihood='normal': must be one",
        ),
        ([(3, [0, 1, 2])], r"in the part \(3, .*\): likelihood=3: must be one of"),
        (
            [("gaussian", [0, 1, 2], {"dof": 3})],
            "in the part .*: likelihood_params has 'dof': likelihood='gaussian' takes 'scale'",
        ),
        (
            [("gaussian", [0, 1, 2], "shared")],
            "likelihood_params='shared': must be a dict, or None",
        ),
    ],
)
def test_unusable_lists(spec, text):
    with pytest.raises(ValueError, match=text):
        make_likelihood(spec, some_rows("gaussian"))


def test_unknown_names():
    text = r"in the part 'gaussian': columns=\['b'\]: must be among \['height', 'colour'\]"
    with pytest.raises(ValueError, match=text):
        make_likelihood([("gaussian", ["b"])], np.ones((2, 2)), names=NAMES[:2])
