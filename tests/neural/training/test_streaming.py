"""Rows that are not in memory: read by blocks, each once an epoch, mixed by the buffer."""

import contextlib
import copy
import threading
import tracemalloc

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.utils.data import DataLoader

from skvae.neural.likelihoods import make_likelihood
from skvae.neural.training import rows_on_disk
from skvae.neural.training.batches import RowBatches
from skvae.neural.training.net import train
from skvae.neural.training.rows_on_disk import (
    RowsOnDisk,
    WeightedOnDisk,
    in_memory_or_on_disk,
    reading_ahead,
)
from skvae.neural.training.streaming import StreamedRows, split_rows
from tests.neural.training.training_problems import (
    At,
    interrupt,
    linear_rows,
    net_for,
    untouched_random_states,
    weights,
)
from tests.problems import assert_same_state, knock_out, state_of
from tests.vae.estimator_problems import autoencoder, rows, rows_of

# Models of a few epochs have encoders that are far from the posterior.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")

LENGTHS = (7, 30, 0, 1, 22, 40)


class Source:
    """Rows in blocks that record reads of each block, and the number of rows in memory."""

    def __init__(self, X, lengths=LENGTHS):
        self.parts = np.split(X, np.cumsum(lengths)[:-1])
        self.reads = []

    def __call__(self, blocks):
        self.reads += blocks
        return [self.parts[i].copy() for i in blocks]

    def stored(self):
        return RowsOnDisk(self, [len(part) for part in self.parts], self.parts[0].shape[1])


def numbered(n=100):
    return np.arange(n, dtype=float)[:, None]


@pytest.fixture
def small_buffer(monkeypatch):
    """A buffer of 120 numbers, and mapped files in blocks of 30, which are read one by one."""
    monkeypatch.setattr(rows_on_disk, "_TOGETHER", 30)
    monkeypatch.setattr(rows_on_disk, "BUFFER", 120)
    monkeypatch.setattr(rows_on_disk, "_BLOCK", 30)


def mapped(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


# Stored rows --------------------------------------------------------------------------------------


def test_blocks_sums_and_columns():
    X = np.random.default_rng(0).normal(size=(100, 3))
    stored = Source(X).stored()
    assert (stored.shape, len(stored)) == ((100, 3), 100)
    assert_array_equal(np.concatenate([*stored.blocks()]), X)
    powers = WeightedOnDisk(stored, None)
    total, nothing = powers.sum(lambda rows, _, power: ((rows.X**power).sum(axis=0), None), None, 2)
    assert_allclose(total, (X**2).sum(axis=0))
    assert nothing is None
    for columns in (slice(1, 3), [2, 0], np.array([True, False, True])):
        assert stored[:, columns].shape == X[:, columns].shape
        assert_array_equal(np.concatenate([*stored[:, columns].blocks()]), X[:, columns])
    twice = stored[:, [1]].mapped(lambda block: 2 * block)
    assert_array_equal(np.concatenate([*twice.blocks()]), 2 * X[:, [1]])
    with pytest.raises(IndexError, match="by blocks"):
        stored[3:4, :]


@pytest.mark.parametrize("n", [1, 10, 99, 100])
def test_rows_drawn_are_some_of_each_block_and_the_rest_is_the_rest(n):
    source = Source(numbered())
    stored = source.stored()
    places = stored.drawn(n, seed=3)
    assert [len(some) for some in places] == pytest.approx(np.array(LENGTHS) * n / 100, abs=1)
    some, rest = stored.at(places), stored.without(places)
    assert len(some) == n == 100 - len(rest)
    left = [*rest.blocks()]
    assert [len(block) for block in left] == [length for length in rest.lengths if length]
    assert_array_equal(np.sort(np.concatenate([some, *left]).ravel()), np.arange(100))
    again = stored.at(stored.drawn(n, seed=3))
    assert_array_equal(some, again)
    if n == 10:
        source.reads.clear()
        stored.at([[], [3], [], [], [], []])
        assert source.reads == [1]
        draws = [stored.at(stored.drawn(n, seed=s)).ravel() for s in range(300)]
        counts = np.bincount(np.concatenate(draws).astype(int), minlength=100)
        assert (abs(counts - 30) < 5 * np.sqrt(30)).all()  # all rows are equally likely
        assert ((counts - 30.0) ** 2 / 30).sum() < 160  # χ² of 100 cells


def test_one_result_is_read_ahead_and_no_more():
    asked, alive, most = [], [], 0

    def read(item):
        asked.append(item)
        return item

    with reading_ahead(read, range(5)) as results:
        for i, result in enumerate(results):
            assert result == i
            most = max(most, len(asked) - i)
            alive.append(len([t for t in threading.enumerate() if t.name.startswith("skvae-read")]))
    assert most <= 2
    assert set(alive) == {1}
    assert not [t for t in threading.enumerate() if t.name.startswith("skvae-read")]
    with contextlib.suppress(ZeroDivisionError), reading_ahead(read, range(5)) as results:
        next(results)
        raise ZeroDivisionError
    assert not [t for t in threading.enumerate() if t.name.startswith("skvae-read")]


@pytest.mark.parametrize(
    ("likelihood", "params"),
    [
        ("gaussian", None),
        ("student_t", None),
        ("bernoulli", None),
        ("continuous_bernoulli", None),
        ("categorical", None),
        ("categorical", {"n_categories": 4}),
        ("poisson", None),
        ("negative_binomial", None),
        ("log_normal", None),
        ("gamma", None),
        ("beta", None),
        ([("gaussian", [0, 2]), ("poisson", 1)], None),
    ],
)
def test_a_likelihood_of_blocks_is_that_of_all_rows(likelihood, params):
    name = "poisson" if isinstance(likelihood, list) else likelihood
    X = knock_out(rows_of(name, 100))
    expected = make_likelihood(likelihood, X, params).settings()
    found = make_likelihood(likelihood, Source(X).stored(), params).settings()
    flat = [torch.tensor(list(_numbers(settings))) for settings in (found, expected)]
    assert_allclose(flat[0], flat[1], rtol=1e-12)


def _numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _numbers(part)
    elif not isinstance(value, str):
        yield float(value)


def test_a_value_that_cannot_be_is_named_with_its_block():
    X = rows_of("poisson", 100)
    X[45, 1] = -2.0
    with pytest.raises(ValueError, match=r"X\[:, 1\] holds -2.0"):
        make_likelihood("poisson", Source(X).stored())


# Batches ------------------------------------------------------------------------------------------


def visited(dataset, batch_size, shuffle):
    """Sizes of the batches, and all rows as they come."""
    parts = [x.ravel() for x, _ in RowBatches(dataset, batch_size, shuffle=shuffle)]
    return [len(part) for part in parts], torch.cat(parts).numpy()


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("buffer", [1, 40, 60, 1000])
@pytest.mark.parametrize("batch_size", [1, 7, 33, 100])
def test_every_row_comes_once_an_epoch(batch_size, buffer, shuffle, monkeypatch):
    monkeypatch.setattr(rows_on_disk, "BUFFER", buffer)
    source = Source(numbered())
    dataset = StreamedRows(source.stored(), seed=1)
    source.reads.clear()
    orders = []
    for _ in range(2):
        sizes, order = visited(dataset, batch_size, shuffle)
        assert_array_equal(np.sort(order), np.arange(100))
        assert len(sizes) == -(-100 // batch_size)
        assert max(sizes) - min(sizes) <= 1
        orders.append(order)
    assert sorted(source.reads) == sorted(2 * [0, 1, 3, 4, 5])
    assert (orders[0] != orders[1]).any() == shuffle
    if not shuffle:
        assert_array_equal(orders[0], np.arange(100))


def test_order_follows_from_seed_and_epoch():
    stored, orders = Source(numbered()).stored(), {}
    with untouched_random_states():
        for seed in (0, 1):
            dataset = StreamedRows(stored, seed=seed)
            orders |= {(seed, epoch): visited(dataset, 9, True)[1] for epoch in (1, 2, 3)}
    assert len({tuple(order) for order in orders.values()}) == 6
    assert_array_equal(visited(StreamedRows(stored, seed=1, epoch=3), 50, True)[1], orders[1, 3])


def test_orders_are_uniform_over_blocks_and_rows():
    """Over 1,000 epochs of six rows in three blocks, two of them a buffer."""
    dataset, counts = StreamedRows(Source(numbered(6), (2, 2, 2)).stored()), np.zeros((6, 6))
    for _ in range(1000):
        counts[np.arange(6), visited(dataset, 4, True)[1].astype(int)] += 1
    assert (abs(counts - 1000 / 6) < 5 * np.sqrt(1000 / 6)).all()


def test_a_buffer_mixes_its_blocks_and_holds_no_more(small_buffer):
    n, lengths = 1000, [50] * 20
    source = Source(numbered(n), lengths)
    dataset = StreamedRows(source.stored(), seed=0)
    source.reads.clear()
    batches = dataset.batches(50, shuffle=True)
    for i, (x, _) in enumerate(batches):
        # Batches of 20 rows; two blocks, a hundred rows, are a buffer, and the next is read.
        assert len(source.reads) <= 2 * (i // 5 + 2)
        assert len(set((x.ravel() // 50).tolist())) == 2
    assert len(source.reads) == 20


def test_batches_have_masks_if_any_value_is_missing():
    X = knock_out(rows(100))
    given = [x for x, _ in RowBatches(StreamedRows(Source(X).stored()), 40)]
    assert_array_equal(np.concatenate([x["x"] for x in given]), X.astype(np.float32))
    assert_array_equal(np.concatenate([x["observed"] for x in given]), ~np.isnan(X))
    assert not StreamedRows(Source(rows(100)).stored()).missing
    with pytest.raises(ValueError, match="leave iterator_train out of net_params"):
        next(iter(DataLoader(StreamedRows(Source(X).stored()))))


def test_rows_kept_aside_are_few_enough_for_memory(monkeypatch):
    monkeypatch.setattr(rows_on_disk, "BUFFER", 480)
    X = rows(400)
    likelihood = make_likelihood("gaussian", X)
    x = Source(likelihood.prepare(X), [40] * 10).stored()
    for fraction, n in ((0.01, 4), (0.5, 10)):  # a sixteenth of 480 numbers
        split = split_rows(x, likelihood, fraction, seed=0)
        assert (len(split.x_valid), len(split.x)) == (n, 400 - n)
        assert split.watched is split.x_valid
        everything = np.concatenate([split.x_valid, *split.x.blocks()])
        assert_array_equal(np.sort(everything, axis=0), np.sort(likelihood.prepare(X), axis=0))
        assert split.volume == pytest.approx(likelihood.log_volume(X).mean())
    whole = split_rows(x, likelihood, None, seed=0)
    assert (whole.x_valid, whole.watched) == (None, x)
    assert whole.volume == pytest.approx(likelihood.log_volume(X).mean())
    with pytest.raises(ValueError, match=r"validation_fraction=0.999 leaves none of 400 rows"):
        split_rows(x, likelihood, 0.999, seed=0)


def test_terms_of_many_rows_are_added_up(monkeypatch):
    """Memory does not grow with the rows of an epoch."""
    X = linear_rows(200)
    expected = train(net_for(X), X, X[:50])
    monkeypatch.setattr("skvae.neural.training.callbacks._ADDED_UP", 100)
    found = train(net_for(X), X, X[:50])
    assert_allclose(found.valid_bounds, expected.valid_bounds, rtol=1e-14)
    for name in ("bound", "reconstruction", "kl"):
        assert_allclose(found.terms[name], expected.terms[name], rtol=1e-14)


# Fits of mapped files -----------------------------------------------------------------------------


def test_a_small_file_is_trained_on_as_an_array(tmp_path):
    X = rows()
    vae, other = autoencoder().fit(X), autoencoder().fit(mapped(X, tmp_path))
    assert_array_equal(weights(vae.net_), weights(other.net_))
    large = mapped(rows(), tmp_path)
    assert not isinstance(in_memory_or_on_disk(large, np.asarray(large))[0], RowsOnDisk)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
def test_a_large_file_is_streamed(prior, dtype, tmp_path, small_buffer):
    X = knock_out(rows(200)).astype(dtype)
    parameters = {"prior": prior, "n_prior_components": 3, "max_epochs": 8, "batch_size": 16}
    file = mapped(X, tmp_path)
    vae = autoencoder(**parameters).fit(file)
    assert len(vae.history_["valid_bound"]) == 8
    assert vae.net_.history[-1]["train_batch_count"] == -(-198 // 16)  # two rows are kept aside
    again = autoencoder(**parameters).fit(file)
    assert_array_equal(weights(again.net_), weights(vae.net_))
    likelihood = vae.net_.module_.model.likelihood
    assert_allclose(likelihood.location, np.nanmean(X.astype(float), axis=0), rtol=1e-12)
    assert np.isfinite(vae.score(X))
    more = vae.set_params(warm_start=True).fit(file)
    assert len(more.history_["bound"]) == 16
    assert len(more.partial_fit(file).history_["bound"]) == 17


def test_without_early_stopping_all_rows_are_streamed(tmp_path, small_buffer):
    X = knock_out(rows(100))
    vae = autoencoder(early_stopping=False, batch_size=25).fit(mapped(X, tmp_path))
    assert vae.net_.history[-1]["train_batch_count"] == 4
    one_draw = copy.deepcopy(vae).set_params(n_score_samples=1)
    assert vae.lower_bound_ == pytest.approx(one_draw.elbo(X).elbo.mean(), rel=1e-10)
    vae = autoencoder(early_stopping=False, n_importance_samples=3).fit(mapped(X, tmp_path))
    three = copy.deepcopy(vae).set_params(n_score_samples=3)
    assert vae.lower_bound_ == pytest.approx(three.score(X), rel=1e-10)


@pytest.mark.slow
def test_a_streamed_fit_is_as_good_as_one_in_memory(tmp_path, small_buffer):
    """Rows are sorted: blocks are unlike each other, and a buffer holds one row in ten."""
    X = rows(400)
    X, new = X[np.argsort(X[:, 0])], rows(500, seed=1)
    file = mapped(X, tmp_path)
    scores = np.array(
        [
            [
                autoencoder(random_state=seed, max_epochs=15, lr=1e-2, batch_size=16, tol=0)
                .fit(data)
                .score(new)
                for data in (X, file)
            ]
            for seed in range(3)
        ]
    )
    assert abs(np.diff(scores, axis=1).mean()) < 0.1
    assert scores.std() < 0.3


@pytest.mark.slow
def test_memory_is_that_of_blocks(tmp_path, monkeypatch):
    """Of NumPy's memory; that of torch, the buffers, is tested by the reads above."""
    monkeypatch.setattr(rows_on_disk, "BUFFER", 1 << 16)
    monkeypatch.setattr(rows_on_disk, "_BLOCK", 1 << 13)
    monkeypatch.setattr(rows_on_disk, "_TOGETHER", 1 << 14)
    X = np.random.default_rng(0).normal(size=(1 << 17, 16)).astype(np.float32)  # 8 MB
    file = mapped(X, tmp_path)
    n_bytes, peak = X.nbytes, []
    del X

    class Peak(At):
        def on_epoch_end(self, net, **kwargs):
            peak.append(tracemalloc.get_traced_memory()[1])

    tracemalloc.start()
    try:
        # A mixture prior finds its first clusters in a number of rows that does not grow.
        vae = autoencoder(prior="normal", batch_size=4096, max_epochs=2)
        vae.set_params(callbacks=[Peak(None, 0)]).fit(file)
    finally:
        tracemalloc.stop()
    assert max(peak) < n_bytes / 4


def test_iterators_of_the_user_are_an_error(tmp_path, small_buffer):
    vae = autoencoder(net_params={"iterator_train": DataLoader})
    with pytest.raises(ValueError, match="leave iterator_train out of net_params"):
        vae.fit(mapped(rows(100), tmp_path))


def test_errors_name_the_cause_and_change_nothing(tmp_path, small_buffer):
    X = rows_of("poisson", 100)
    vae = autoencoder(likelihood="poisson").fit(mapped(X, tmp_path))
    state = state_of(vae)
    X[70, 1] = 0.5
    for method in (vae.fit, vae.partial_fit):
        with pytest.raises(ValueError, match=r"X\[:, 1\] holds 0.5"):
            method(mapped(X, tmp_path))
        assert_same_state(vae, state)


def test_interruption_keeps_the_best_weights(tmp_path, small_buffer):
    vae = autoencoder(max_epochs=50, callbacks=[At(interrupt, 6, 1)], batch_size=16)
    with pytest.warns(UserWarning, match="interrupted after 5 of 50 epochs"):
        vae.fit(mapped(rows(200), tmp_path))
    assert len(vae.history_["bound"]) == 5
    assert not [t for t in threading.enumerate() if t.name.startswith("skvae-read")]
