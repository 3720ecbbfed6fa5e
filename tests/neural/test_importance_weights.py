"""Sums over draws with their weights, and the noise that belongs to a row."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import kstest

from skvae.neural.importance_weights import RowNoise, WeightSums

log_weights = st.one_of(
    st.floats(-800, 800), st.sampled_from([-np.inf, -1e300, 1e300, 0.0, -745.0])
)


@given(st.lists(st.lists(log_weights, min_size=1, max_size=6), min_size=1, max_size=5))
def test_sums_in_parts_are_the_sum(parts):
    values = [np.arange(len(part), dtype=float) + i for i, part in enumerate(parts)]
    sums = WeightSums()
    for part, value in zip(parts, values, strict=True):
        log_weight = torch.tensor(part, dtype=torch.float64)
        sums.add(log_weight[:, None], torch.from_numpy(value)[:, None, None])
    log_weight, value = np.concatenate(parts), np.concatenate(values)
    n_draws, top = len(log_weight), log_weight.max()
    weight = np.exp(log_weight - top) if top > -np.inf else np.ones(n_draws)
    expected = top + np.log(weight.mean())
    assert_allclose(sums.log_mean().numpy(), [expected], rtol=1e-12, atol=1e-12)
    size = weight.sum() ** 2 / (weight**2).sum() if top > -np.inf else 1.0
    assert_allclose(sums.effective_size().numpy(), [size], rtol=1e-12)
    assert 1 <= sums.effective_size().item() <= n_draws
    mean = weight @ value / weight.sum()
    assert_allclose(sums.expectation().numpy(), [[mean]], rtol=1e-12, atol=1e-300)


def test_weights_without_values():
    sums = WeightSums()
    for part in torch.zeros(3, 4, 2, dtype=torch.float32):
        sums.add(part)
    assert sums.log_mean().dtype == torch.float64
    assert_array_equal(sums.log_mean(), [0.0, 0.0])
    assert_array_equal(sums.effective_size(), [12.0, 12.0])


def noise(x, n_draws=4, n_components=3, seed=0):
    return RowNoise(np.asarray(x, dtype=float), n_components, seed).draw(n_draws)


def test_a_row_keeps_its_noise_in_any_company():
    x = np.random.default_rng(0).normal(size=(6, 3))
    x[2, 1] = np.nan
    together = noise(x)
    assert together.flags.c_contiguous
    order = [4, 2, 2, 0]
    assert_array_equal(noise(x[order]), together[:, order])
    assert_array_equal(noise(np.asfortranarray(x)), together)
    assert_array_equal(noise(x[::-1]), together[:, ::-1])


def test_zeros_are_alike_and_so_are_nans():
    payload = np.array([0x7FF8000000000123], dtype="<u8").view("<f8")[0]
    x = np.array([[0.0, np.nan], [-0.0, np.nan], [0.0, -np.nan], [-0.0, payload]])
    found = noise(x)
    for i in (1, 2, 3):
        assert_array_equal(found[:, i], found[:, 0])


@pytest.mark.parametrize("change", [1e-30, 1.0, np.nan])
def test_rows_that_differ_have_noise_of_their_own(change):
    first, second = noise([[1.0, 0.0], [1.0, change]]).swapaxes(0, 1)
    assert (first != second).all()


def test_last_digits_do_not_matter():
    x = np.random.default_rng(0).normal(size=(6, 3))
    assert_array_equal(noise(x * (1 + 1e-15)), noise(x))
    with np.errstate(all="raise"):
        assert np.isfinite(noise([[1e100, 1.0]])).all()


def test_seeds_are_kept_apart():
    x = np.ones((1, 2))
    drawn = [noise(x, seed=seed) for seed in (0, 1, 256, 2**64 - 1)]
    assert len(np.unique([d[0, 0, 0] for d in drawn])) == 4


@pytest.mark.parametrize("parts", [(7,), (3, 4), (1, 1, 5)])
def test_parts_continue_one_another(parts):
    source = RowNoise(np.ones((2, 2)), 3, seed=1)
    drawn = np.concatenate([source.draw(n) for n in parts])
    assert_array_equal(drawn, RowNoise(np.ones((2, 2)), 3, seed=1).draw(7))


def test_noise_is_standard_normal_and_independent_across_rows():
    drawn = noise(np.arange(2000.0)[:, None], n_draws=5, n_components=2)
    assert kstest(drawn.ravel(), "norm").pvalue > 0.01
    flat = drawn.transpose(0, 2, 1).reshape(10, -1)
    correlations = np.corrcoef(flat)[np.triu_indices(10, 1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(2000)
    neighbours = np.corrcoef(flat[:, 1:].ravel(), flat[:, :-1].ravel())[0, 1]
    assert abs(neighbours) < 4 / np.sqrt(20_000)
