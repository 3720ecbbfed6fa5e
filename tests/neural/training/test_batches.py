"""Batches hold every row once an epoch, in an order that follows from seed and epoch alone."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch.utils.data import DataLoader, Subset, TensorDataset

from skvae.neural.training.batches import (
    NOISE,
    ORDER,
    RowBatches,
    RowDataset,
    SeededLoader,
    epoch_seed,
    held_out_rows,
)
from tests.neural.training.training_problems import untouched_random_states


def numbered(n_samples, **params):
    """Rows with their number as the only feature."""
    return RowDataset(np.arange(n_samples, dtype=float)[:, None], **params)


def visited(batches):
    return torch.cat([x for x, _ in batches]).numpy().ravel()


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("n_samples", "batch_size"), [(1, 4), (7, 7), (10, 4), (100, 33), (5, 1)])
def test_every_row_comes_once_an_epoch(n_samples, batch_size, shuffle):
    batches = RowBatches(numbered(n_samples), batch_size, shuffle=shuffle)
    for _ in range(2):
        parts = list(batches)
        assert_array_equal(np.sort(visited(parts)), np.arange(n_samples))
        sizes = [len(x) for x, _ in parts]
        assert len(parts) == len(batches) == -(-n_samples // batch_size)
        assert max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1
        assert [len(target) for _, target in parts] == sizes


def test_batches_are_in_order_unless_shuffled():
    assert_array_equal(visited(RowBatches(numbered(10), 4)), np.arange(10))
    assert (visited(RowBatches(numbered(10), 4, shuffle=True)) != np.arange(10)).any()


def test_order_follows_from_seed_and_epoch():
    orders = {}
    for seed in (0, 1):
        batches = RowBatches(numbered(50, seed=seed), 8, shuffle=True)
        orders |= {(seed, epoch): visited(batches) for epoch in (1, 2, 3)}
    assert len({tuple(order) for order in orders.values()}) == 6
    rows = numbered(50, seed=1, epoch=3)
    assert_array_equal(visited(RowBatches(rows, 20, shuffle=True)), orders[1, 3])
    rows.epoch = 2
    assert_array_equal(visited(RowBatches(rows, 20, shuffle=True)), orders[1, 2])


def test_orders_are_uniform():
    """Over 4,000 epochs each row is in each place about equally often (χ² with 16 cells)."""
    rows, counts = numbered(4), np.zeros((4, 4))
    for _ in range(4000):
        counts[np.arange(4), rows.order().numpy()] += 1
    assert ((counts - 1000) ** 2 / 1000).sum() < 40


def test_seeds_differ_by_purpose_and_fit_a_generator():
    seeds = {epoch_seed(s, e, p) for s in (0, 2**32 - 1) for e in range(5) for p in (ORDER, NOISE)}
    assert len(seeds) == 20
    assert all(0 <= seed < 2**63 for seed in seeds)
    torch.Generator().manual_seed(max(seeds))


def test_rows_know_once_whether_a_value_is_missing():
    X = np.array([[1.0, np.nan], [3.0, 4.0], [5.0, 6.0]])
    assert not RowDataset(X[1:]).missing
    (x, _), *_ = RowBatches(RowDataset(X[1:]), 2)
    assert_array_equal(x, X[1:])
    rows = RowDataset(X)
    assert rows.missing
    first, second = (given for given, _ in RowBatches(rows, 2))
    assert_array_equal(first["x"], X[:2])
    assert_array_equal(first["observed"], [[True, False], [True, True]])
    assert second["observed"].all()  # a batch without NaN of rows with: the same form
    given, _ = rows[0]
    assert_array_equal(given["observed"], [True, False])


def test_infinite_values_are_not_missing():
    assert not RowDataset(np.array([[np.inf], [-np.inf]])).missing  # though their sum is NaN


def test_rows_are_one_tensor_of_the_dtype():
    X = np.random.default_rng(0).normal(size=(6, 2))
    for dtype in (torch.float32, torch.float64):
        rows = RowDataset(X, dtype=dtype)
        assert rows.x.dtype == dtype
        assert_array_equal(rows.x, X.astype(str(dtype).removeprefix("torch.")))
    tensor = torch.zeros(3, 2)
    assert RowDataset(tensor).x is tensor  # no copy where none is needed


def test_nothing_is_drawn_from_global_states():
    with untouched_random_states():
        list(RowBatches(numbered(20), 6, shuffle=True))
        list(SeededLoader(DataLoader, 0)(numbered(20), batch_size=6, shuffle=True))
        list(SeededLoader(DataLoader, 0)(numbered(20), batch_size=6))


def test_loader_reads_rows_and_is_seeded():
    X = np.array([[1.0, np.nan], [3.0, 4.0], [5.0, 6.0]])
    (given, target), *_ = SeededLoader(DataLoader, 0)(RowDataset(X), batch_size=2)
    assert_array_equal(given["x"], X[:2])
    assert_array_equal(given["observed"], ~np.isnan(X[:2]))
    assert len(target) == 2
    orders = [
        visited(SeededLoader(DataLoader, seed)(rows, batch_size=7, shuffle=True))
        for seed, rows in ((0, numbered(30)), (0, numbered(30)), (1, numbered(30)))
    ]
    orders.append(visited(SeededLoader(DataLoader, 0)(numbered(30, epoch=2), shuffle=True)))
    assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()
    assert (orders[0] != orders[3]).any()
    own = torch.Generator()
    assert SeededLoader(DataLoader, 0)(numbered(3), generator=own).generator is own


def test_subsets_are_rows_of_their_own():
    rows = numbered(20)
    batches = RowBatches(Subset(rows, np.array([3, 1, 4, 15])), 3)
    assert_array_equal(visited(batches), [3, 1, 4, 15])
    X = np.array([[1.0, np.nan], [3.0, 4.0]])
    assert not RowBatches(Subset(RowDataset(X), [1]), 1).dataset.missing


def test_other_datasets_want_a_loader():
    with pytest.raises(ValueError, match=r"a TensorDataset.*iterator_train=torch.utils.data.Dat"):
        RowBatches(TensorDataset(torch.zeros(3, 1)), 2)


def test_rows_bring_those_to_validate_with():
    valid = numbered(3)
    rows = numbered(5, held_out=valid)
    assert held_out_rows(rows) == (rows, valid)
    assert held_out_rows(valid) == (valid, None)
