"""Sums over blocks: order, threads, limits, interruption."""

import sys
import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from skvae import EMGaussianMixture
from skvae.blocks import N_CHUNKS, Rows, Workers, block_rows, ranges, workers
from skvae.blocks.workers import one_thread


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@given(n_rows=st.integers(1, 5000), block=st.integers(1, 300), n_threads=st.integers(1, 3))
def test_chunks_cover_the_rows_once_and_in_order(n_rows, block, n_threads):
    with workers(n_threads) as pool:
        chunks = list(pool.map(lambda a, b: (a, b), n_rows, block))
    assert len(chunks) <= N_CHUNKS
    assert chunks[0][0] == 0
    assert chunks[-1][1] == n_rows
    assert all(a[1] == b[0] for a, b in pairwise(chunks))
    assert all(start % block == 0 for start, _ in chunks)


def test_sum_does_not_depend_on_the_number_of_threads():
    X = np.random.default_rng(0).normal(size=100_000)

    def total(n_threads):
        with workers(n_threads) as pool:
            return sum(pool.map(lambda a, b: X[a:b].sum(), len(X), 100))

    assert total(1) == total(2) == total(5)


def test_blas_is_single_threaded_inside_and_as_before_after():
    before = blas_threads()
    with workers() as outer:
        assert outer.n_threads == max(before)
        assert set(blas_threads()) == {1}
        with workers() as inner:  # a restart inside a fit
            assert inner.n_threads == max(before)
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


def test_threads_and_blas_threads_do_not_multiply_under_a_limit_of_the_user():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with workers() as pool:
            assert pool.n_threads * max(blas_threads()) <= max(before)
        assert blas_threads() == before


def test_limits_of_the_user_are_honoured():
    with threadpool_limits(1, user_api="blas"), workers() as pool:
        assert pool.n_threads == 1


@pytest.mark.parametrize("first_out", [0, 1])
def test_threads_that_overlap_leave_the_limits_as_they_were(first_out):
    """Whoever came first may go first, or last."""
    before = blas_threads()
    entered = [threading.Event(), threading.Event()]
    leave = [threading.Event(), threading.Event()]

    def hold(i):
        with workers():
            entered[i].set()
            leave[i].wait()

    threads = [threading.Thread(target=hold, args=(i,)) for i in range(2)]
    for thread, event in zip(threads, entered, strict=True):
        thread.start()
        event.wait()
    assert set(blas_threads()) == {1}
    for i in (first_out, 1 - first_out):
        assert set(blas_threads()) == {1}
        leave[i].set()
        threads[i].join()
    assert blas_threads() == before


@pytest.mark.parametrize("n_threads", [1, 2])
def test_failure_in_a_chunk_is_raised_and_threads_end(n_threads):
    def fail(start, stop):
        if start:
            raise ZeroDivisionError
        return 0

    n_before = threading.active_count()
    with pytest.raises(ZeroDivisionError), workers(n_threads) as pool:
        sum(pool.map(fail, 1000, 10))
    assert threading.active_count() == n_before


def test_rows_in_reading_order():
    X = np.arange(10.0)[:, None]
    rows = Rows(X, np.arange(10.0), np.array([7, 2, 5]))
    taken, weight = rows.take(1, 3)
    np.testing.assert_array_equal(taken[:, 0], [2, 5])
    np.testing.assert_array_equal(weight, [2, 5])
    np.testing.assert_array_equal(rows.at(np.array([0, 2]))[:, 0], [2, 7])  # as they stand
    assert rows.n_rows == 3
    assert Rows(X).n_rows == 10
    assert Rows(X).weight() == 10.0
    assert Rows(X, np.full(10, 0.5)).weight() == 5.0


def numbered(order=None):
    """Rows whose first number is their place in X."""
    X = np.arange(20.0).reshape(10, 2)
    return Rows(X, None if order is None else np.arange(10.0), order)


def test_places_are_those_of_rows_that_count_as_they_stand():
    rows = numbered(np.array([7, 2, 5, 9]))  # in X, 2, 5, 7, 9 count
    assert rows.in_own_order().order.tolist() == [2, 5, 7, 9]
    X, weight = rows.chosen(np.array([3, 0])).take(0, 2)
    np.testing.assert_array_equal(X[:, 0], [18.0, 4.0])
    np.testing.assert_array_equal(weight, [9.0, 2.0])
    assert rows.chosen().order.tolist() == [2, 5, 7, 9]
    assert numbered().in_own_order().order is None
    np.testing.assert_array_equal(numbered().at(np.array([3]))[:, 0], [6.0])


@pytest.mark.parametrize("order", [None, np.array([7, 2, 5, 9, 1])])
def test_blocks_and_batches_hold_every_row_that_counts_once(order):
    rows = numbered(order)
    expected = np.arange(10) if order is None else np.sort(order)
    places = np.random.default_rng(0).permutation(rows.n_rows)
    blocks = [block.loaded() for block in rows.cut(3)]
    for parts in (blocks, list(rows.batches(places, 3))):
        assert [part.n_rows for part in parts[:-1]] == [3] * (len(parts) - 1)
        found = np.concatenate([part.take(0, part.n_rows)[0][:, 0] for part in parts]) / 2
        assert sorted(found.tolist()) == expected.tolist()
    found = np.concatenate([block.X[:, 0] for block in blocks]) / 2
    assert found.tolist() == expected.tolist()
    assert sum(block.weight() for block in blocks) == (10 if order is None else 7 + 2 + 5 + 9 + 1)


def test_rows_are_read_by_pattern_and_without_weight_zero():
    nan = np.nan
    X = np.array([[0.0, nan], [1.0, 1.0], [2.0, nan], [3.0, 3.0], [4.0, 4.0], [nan, 5.0]])
    rows = Rows.readable(X, np.array([1.0, 1.0, 1.0, 0.0, 1.0, 1.0]))
    assert rows.order.tolist() in ([0, 2, 1, 4, 5], [1, 4, 0, 2, 5])  # as frequent as each other
    assert Rows.readable(X[[1, 3]]).order is None


def test_columns():
    assert numbered().columns([1]).X[:, 0].tolist() == list(range(1, 20, 2))


def test_one_thread_is_all_that_a_task_has():
    with one_thread():
        with workers() as pool, workers(4) as more:
            assert pool.n_threads == more.n_threads == 1
        with one_thread():
            pass
        with workers(4) as pool:
            assert pool.n_threads == 1
    with workers(4) as pool:
        assert pool.n_threads == 4


def test_block_rows_are_bounded():
    assert block_rows(1) >= block_rows(100) >= block_rows(10**6) >= 1
    assert list(ranges(0, 7, 3)) == [(0, 3), (3, 6), (6, 7)]


def names_of_threads(n_rows, *row_work):
    with workers(2) as pool:
        return {*pool.map(lambda a, b: threading.current_thread().name, n_rows, 100, *row_work)}


def test_little_work_is_done_by_the_calling_thread():
    caller = threading.current_thread().name
    assert names_of_threads(1000, 10) == {caller}
    assert caller not in names_of_threads(1000, 1e6)
    assert caller not in names_of_threads(1000)


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_answers_do_not_depend_on_threads(covariance_type, monkeypatch):
    X = np.random.default_rng(0).normal(size=(20_000, 3)) * [1.0, 2.0, 3.0]
    model = EMGaussianMixture(3, covariance_type=covariance_type, max_iter=3, tol=1.0)
    answers = []
    for worth in (0, 1 << 60):
        monkeypatch.setattr(sys.modules[Workers.__module__], "_WORTH_THREADS", worth)
        fitted = model.set_params(random_state=0).fit(X)
        answers.append([fitted.means_, fitted.score_samples(X), fitted.predict_proba(X)])
    for one, other in zip(*answers, strict=True):
        np.testing.assert_array_equal(one, other)
