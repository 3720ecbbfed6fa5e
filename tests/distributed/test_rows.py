"""The verbs of rows that are Dask arrays: by value those of the same rows in memory."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_info

from skvae import EMGaussianMixture
from skvae.blocks import DistributedRows, Rows, checked_weights, workers

da = pytest.importorskip("dask.array")

N = 1000
CUTS = [(1000,), (250,) * 4, (1, 499, 0, 500)]

every_cut = pytest.mark.parametrize("cut", CUTS)
weighted = pytest.mark.parametrize("weighted", [False, True])


def both(cut, weighted):
    """The same rows in memory, and as a Dask array; a third of them weigh nothing."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 2))
    weight = rng.integers(0, 3, size=N).astype(float) if weighted else None
    lazy = da.from_array(X, chunks=(cut, -1))
    given = checked_weights(weight, lazy, "sample_weight") if weighted else None
    return Rows.readable(X, weight), DistributedRows.readable(lazy, given)


def moments(rows, pool, factor, extra=0.0):
    """Sums over rows, and nothing in one place."""
    X, weight = rows.take(0, rows.n_rows)
    total = X.sum(axis=0) if weight is None else weight @ X
    return factor * total, None, len(X) + extra


@every_cut
@weighted
def test_counts_and_sums(cut, weighted):
    rows, lazy = both(cut, weighted)
    assert lazy.n_rows == rows.n_rows == sum(lazy.lengths)
    assert_allclose(lazy.weight(), rows.weight(), rtol=1e-14)
    found, nothing, n = lazy.sum(moments, None, 2.0)
    expected = moments(rows, None, 2.0)
    assert_allclose(found, expected[0], rtol=1e-12, atol=1e-12)
    assert nothing is None
    assert n == rows.n_rows
    each = [float(i) for i in range(len(lazy.lengths))]
    used = [e for e, length in zip(each, lazy.lengths, strict=True) if length]
    assert lazy.sum(moments, None, 2.0, each=each)[2] == rows.n_rows + sum(used)


@every_cut
@weighted
def test_places(cut, weighted):
    rows, lazy = both(cut, weighted)
    places = np.random.default_rng(1).integers(rows.n_rows, size=50)  # in any order, some twice
    assert_array_equal(lazy.at(places), rows.at(places))
    for chosen in (places, None):
        found, expected = lazy.chosen(chosen), rows.chosen(chosen)
        for a, b in zip(found.take(0, N), expected.take(0, N), strict=True):
            assert_array_equal(a, b)


@every_cut
@weighted
def test_batches_and_blocks(cut, weighted):
    rows, lazy = both(cut, weighted)
    places = np.random.default_rng(1).permutation(rows.n_rows)
    pairs = zip(lazy.batches(places, 90), rows.batches(places, 90), strict=True)
    for found, expected in pairs:
        assert_array_equal(found.X, expected.X)
        assert found.weight() == expected.weight()
    for found, expected in zip(lazy.cut(130), rows.cut(130), strict=True):
        memory, block = found.chosen(), expected.loaded()
        assert_array_equal(memory.X, block.X)
        assert_allclose(found.loaded().weight(), block.weight(), rtol=1e-14)


def test_batches_are_fetched_many_at_a_time(monkeypatch):
    rows, lazy = both(CUTS[1], True)
    places = np.random.default_rng(1).permutation(rows.n_rows)
    monkeypatch.setattr("skvae.blocks.dask_rows._FETCHED", 8 * 3 * 200)
    pairs = zip(lazy.batches(places, 90), rows.batches(places, 90), strict=True)
    for found, expected in pairs:
        assert_array_equal(found.X, expected.X)


def threads(rows, pool):
    """How many threads a task has, its own and those of BLAS."""
    with workers() as own:
        blas = [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]
        return (pool.n_threads * own.n_threads * max(blas) * 1000 + 1,)


def test_a_task_has_one_thread():
    _, lazy = both(CUTS[1], False)
    assert lazy.sum(threads, None)[0] == 4 * 1001


def test_a_file_is_read_by_chunks(tmp_path):
    """A mapped file, as a Zarr or HDF5 dataset, is never in memory as a whole."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 2)) + 5.0 * rng.integers(2, size=(4000, 1))
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    seen = []

    def read(block):
        seen.append(len(block))
        return block

    lazy = da.from_array(mapped, chunks=(500, -1)).map_blocks(read, dtype=float, meta=X[:0])
    found = EMGaussianMixture(2, random_state=0).fit(lazy)
    expected = EMGaussianMixture(2, random_state=0).fit(X)
    assert_allclose(found.means_, expected.means_, rtol=1e-12)
    assert set(seen) == {500}
    # Moments in one pass, the start, the iterations, and the bound at the end.
    assert len(seen) == 8 * (3 + found.n_iter_)


def test_a_persisted_array_is_not_read_again():
    reads = []

    def read(block):
        reads.append(1)
        return block

    X = np.random.default_rng(0).normal(size=(1000, 2))
    lazy = da.from_array(X, chunks=(250, -1)).map_blocks(read, dtype=float, meta=X[:0]).persist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        EMGaussianMixture(2, max_iter=3).fit(lazy)
    assert len(reads) == 4
