"""Categories: probabilities, frequencies, codes that are not there."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from scipy.stats import multinomial

from skvae.neural.likelihoods import make_likelihood
from skvae.neural.likelihoods.categorical import Categorical
from tests.neural.likelihoods.cases import holes, prepared, some_outputs, some_rows

SIZES = [3, 2, 5]


def probabilities(likelihood, outputs):
    """p of each feature's categories, arrays (..., C_j), from the formula."""
    first = np.concatenate([[0], np.cumsum(likelihood.n_categories)])
    tables = [np.array(table) for table in likelihood.settings()["log_probabilities"]]
    return [
        softmax(outputs[..., a:b].numpy() + table, axis=-1)
        for a, b, table in zip(first[:-1], first[1:], tables, strict=True)
    ]


@pytest.mark.parametrize("n_categories", [None, 5, [3, 4, 6]])
def test_densities_are_scipy_s(n_categories):
    X = some_rows("categorical")
    likelihood = make_likelihood("categorical", X, {"n_categories": n_categories})
    outputs = 2.0 * some_outputs(likelihood, 2, len(X))
    found = likelihood.log_terms(prepared(likelihood, X), outputs)
    for j, p in enumerate(probabilities(likelihood, outputs)):
        one_hot = np.eye(p.shape[-1], dtype=int)[X[:, j].astype(int)]
        assert_allclose(found[..., j], multinomial.logpmf(one_hot, 1, p), rtol=1e-10, atol=1e-12)
        expected = likelihood.expectations(outputs).unflatten(-1, (3, -1))[..., j, :]
        assert_allclose(expected[..., : p.shape[-1]], p, rtol=1e-12)
        assert (expected[..., p.shape[-1] :] == 0).all()
        assert_array_equal(likelihood.mean(outputs)[..., j], p.argmax(axis=-1))


def test_the_value_of_averaged_probabilities_is_the_most_probable_code():
    """Of the first feature 2, though 0 is more probable in the first row."""
    likelihood = Categorical([np.zeros(3), np.zeros(2)])
    outputs = torch.log(torch.tensor([[0.5, 0.01, 0.49, 0.8, 0.2], [0.3, 0.01, 0.69, 0.1, 0.9]]))
    means = likelihood.expectations(outputs).mean(dim=0)
    assert_allclose(means, [0.4, 0.01, 0.59, 0.45, 0.55, 0.0], rtol=1e-6)
    assert_array_equal(likelihood.values_of(means), [2.0, 1.0])


@pytest.mark.parametrize("size", [1.0, 30.0, 1e5])
def test_probabilities_sum_to_one(size):
    X = some_rows("categorical")
    likelihood = make_likelihood("categorical", X)
    outputs = size * some_outputs(likelihood, 1)
    for j, n in enumerate(SIZES):
        x = torch.zeros(n, 1, 3, dtype=torch.float64)
        x[:, 0, j] = torch.arange(n)
        total = likelihood.log_terms(x, outputs)[:, 0, j].exp().sum()
        assert total.item() == pytest.approx(1.0, abs=1e-14)


def test_zero_outputs_are_the_frequencies():
    X = holes(some_rows("categorical", 400))
    likelihood = make_likelihood("categorical", X, {"n_categories": [3, 4, 5]})
    x = prepared(likelihood, X)
    found = likelihood.log_prob(x, torch.zeros(len(X), 12), ~torch.isnan(x)).numpy()
    expected = np.zeros(len(X))
    for j, n in enumerate([3, 4, 5]):
        column = X[~np.isnan(X[:, j]), j].astype(int)
        p = (np.bincount(column, minlength=n) + 0.5) / (len(column) + 0.5 * n)
        expected[~np.isnan(X[:, j])] += np.log(p)[column]
    assert_allclose(found, expected, rtol=1e-6)


def test_encoders_read_indicators():
    likelihood = make_likelihood("categorical", some_rows("categorical"))
    x = torch.tensor([[2.0, np.nan, 4.0], [0.0, 1.0, np.nan]])
    expected = [[0, 0, 1, 0, 0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 1, 0, 0, 0, 0, 0]]
    assert_array_equal(likelihood.inputs(x), expected)


def test_draws_have_their_frequencies():
    X = some_rows("categorical")
    likelihood = make_likelihood("categorical", X)
    outputs = some_outputs(likelihood)
    n = 50_000
    draws = likelihood.sample(outputs.expand(n, -1), torch.Generator().manual_seed(0)).numpy()
    for j, p in enumerate(probabilities(likelihood, outputs)):
        found = np.bincount(draws[:, j].astype(int), minlength=len(p)) / n
        assert len(found) == len(p)
        assert (np.abs(found - p) <= 5 * np.sqrt(p * (1 - p) / n)).all()


def test_a_column_of_one_category():
    likelihood = make_likelihood("categorical", np.zeros((4, 1)))
    assert likelihood.n_outputs == 1
    assert likelihood.log_prob(torch.zeros(1, 1), torch.full((1, 1), 7.0)).item() == 0.0


@pytest.mark.parametrize(
    ("n_categories", "sizes"), [(None, SIZES), (6, [6, 6, 6]), (np.array([3, 2, 9]), [3, 2, 9])]
)
def test_number_of_categories(n_categories, sizes):
    likelihood = make_likelihood(
        "categorical", some_rows("categorical"), {"n_categories": n_categories}
    )
    assert likelihood.n_categories == sizes
    assert likelihood.n_inputs == likelihood.n_outputs == sum(sizes)


def test_codes_must_be_known():
    X = some_rows("categorical")
    likelihood = make_likelihood("categorical", X)
    X[5, 1] = 3.0
    text = r"X\[:, 1\] holds 3.0: must be a code from 0 to 1, the categories of the fit; give n_cat"
    with pytest.raises(ValueError, match=text):
        likelihood.check(X)
    text = r"X\['b'\] holds 3.0: must be a code from 0 to 1, as n_categories=\[3, 2, 5\]"
    with pytest.raises(ValueError, match=text):
        make_likelihood("categorical", X, {"n_categories": SIZES}, names=["a", "b", "c"])


@pytest.mark.parametrize("value", [-1.0, 2.0**24, np.inf])
def test_rows_must_be_codes(value):
    text = rf"X\[:, 0\] holds {value!r}: a categorical column takes codes, whole numbers from"
    with pytest.raises(ValueError, match=text):
        make_likelihood("categorical", np.array([[0.0], [value]]))
    with pytest.raises(ValueError, match=text):
        make_likelihood("categorical", np.array([[0.0], [1.0]])).check(np.array([[value]]))


@pytest.mark.parametrize(
    ("n_categories", "text"),
    [
        (0, "n_categories=0: must be an integer from 1 to 16777216, one for all features or"),
        (True, "n_categories=True: must be an integer"),
        (2.0, "n_categories=2.0: must be an integer"),
        ([3, 2, "a"], r"n_categories=\[3, 2, 'a'\]: must be an integer"),
        ([3, 2], r"n_categories=\[3, 2\]: must be one integer, or one for each of the 3 features"),
    ],
)
def test_unusable_numbers_of_categories(n_categories, text):
    with pytest.raises(ValueError, match=text):
        make_likelihood("categorical", some_rows("categorical"), {"n_categories": n_categories})


def test_log_probabilities_may_be_off_by_a_constant():
    one, other = Categorical([[0.0, 1.0]]), Categorical([[7.0, 8.0]])
    x, outputs = torch.ones(1, 1), torch.tensor([[0.3, -0.2]])
    assert_allclose(one.log_prob(x, outputs), other.log_prob(x, outputs), rtol=1e-6)
