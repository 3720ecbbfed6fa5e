"""The autoencoder of Dask arrays: trained on a stream of chunks, asked lazily."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import VariationalAutoencoder
from skvae.neural.training import rows_on_disk
from tests.combinations import slow
from tests.neural.training.training_problems import At, weights
from tests.problems import assert_same_state, knock_out, state_of
from tests.vae.estimator_problems import autoencoder, rows, with_many_modes

da = pytest.importorskip("dask.array")

# Models of a few epochs have encoders that are far from the posterior.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")

CHUNKS = [(200,), (50,) * 4, (7, 120, 0, 1, 72)]
every_cut = pytest.mark.parametrize("cut", CHUNKS, ids=["whole", "even", "odd"])


@pytest.fixture(scope="module")
def X():
    return knock_out(rows(200))


@pytest.fixture(scope="module")
def fitted(X):
    return autoencoder(prior="mixture", n_prior_components=3).fit(X)


@pytest.fixture
def small_buffer(monkeypatch):
    monkeypatch.setattr(rows_on_disk, "BUFFER", 120)
    monkeypatch.setattr(rows_on_disk, "_TOGETHER", 300)  # two chunks of fifty rows


class Reads:
    """A Dask array of rows that notes which of them are read, and can fail."""

    def __init__(self, X, cut):
        self.starts, self.fails_at = [], None
        numbers = da.from_array(np.arange(len(X)), chunks=(cut,))[:, None]
        numbers = numbers.rechunk({1: -1})

        def read(index):
            if not len(index):
                return X[:0]
            self.starts.append(int(index[0, 0]))
            if self.fails_at is not None and len(self.starts) > self.fails_at:
                raise OSError("the disk is gone")
            return X[index[:, 0]]

        self.array = numbers.map_blocks(
            read, dtype=X.dtype, chunks=(cut, (X.shape[1],)), meta=X[:0]
        )


# Training -----------------------------------------------------------------------------------------


@every_cut
def test_what_fits_the_buffer_is_trained_on_as_in_memory(cut, X, fitted):
    lazy = da.from_array(X, chunks=(cut, (2, 1)))
    vae = autoencoder(prior="mixture", n_prior_components=3).fit(lazy)
    assert_array_equal(weights(vae.net_), weights(fitted.net_))
    assert vae.lower_bound_ == fitted.lower_bound_
    more = [copy.deepcopy(fitted).partial_fit(rows) for rows in (X, lazy)]
    assert_array_equal(weights(more[0].net_), weights(more[1].net_))


@pytest.mark.parametrize("prior", ["normal", *slow("mixture", "vamp")])
@pytest.mark.parametrize("cut", CHUNKS[1:], ids=["even", "odd"])
def test_every_chunk_is_read_once_an_epoch(cut, prior, X, small_buffer):
    source = Reads(X, cut)
    parameters = {"prior": prior, "n_prior_components": 3, "kl_warmup": 0, "batch_size": 16}
    counts = []
    for n in (3, 5):
        source.starts.clear()
        vae = autoencoder(**parameters, max_epochs=n).fit(source.array)
        counts.append(np.unique(source.starts, return_counts=True))
    starts, n_reads = counts[0]
    assert_array_equal(starts, np.cumsum([0, *cut])[:-1][np.array(cut) > 0])
    mixture = prior == "mixture"  # its clusters are looked for in one or two epochs more
    assert_array_equal(counts[1][1] - n_reads, 3 if mixture else 2)
    assert len(vae.history_["valid_bound"]) == 5
    again = autoencoder(**parameters, max_epochs=5).fit(source.array)
    assert_array_equal(weights(again.net_), weights(vae.net_))
    again.set_params(warm_start=True).fit(source.array).partial_fit(source.array)
    assert len(again.history_["bound"]) == 11


def test_chunks_are_those_that_are_asked_for(X, small_buffer):
    cut = CHUNKS[2]
    lazy = da.from_array(X, chunks=(cut, 3))
    stored, _ = rows_on_disk.in_memory_or_on_disk(lazy, lazy)
    ends = np.cumsum([0, *cut])
    for blocks in ([4, 0, 3], [0], [1, 2]):
        for i, found in zip(blocks, stored.read(blocks), strict=True):
            assert_array_equal(found, X[ends[i] : ends[i + 1]])
    assert stored.together(range(5)) == [[0], [1], [3, 4]]  # a hundred rows; block 2 has none
    assert stored.together([3, 0, 4]) == [[3, 0, 4]]


def test_going_on_keeps_the_same_rows_aside(X, small_buffer):
    kept = []

    class Kept(At):
        def on_epoch_begin(self, net, dataset_valid=None, **kwargs):
            kept.append(dataset_valid.x.numpy().copy())

    lazy = da.from_array(X, chunks=(50, 3))
    vae = autoencoder(callbacks=[Kept(None, 0)], warm_start=True, max_epochs=1)
    vae.fit(lazy).fit(lazy)
    assert len(kept) == 2
    assert_array_equal(kept[0], kept[1])


def test_chunks_of_unknown_size(X, small_buffer):
    lazy = da.from_array(X, chunks=(50, 3))
    unknown = lazy[da.from_array(np.ones(len(X), bool), chunks=50)]
    assert np.isnan(unknown.shape[0])
    vae, other = autoencoder().fit(lazy), autoencoder().fit(unknown)
    assert_array_equal(weights(vae.net_), weights(other.net_))
    assert_array_equal(vae.transform(unknown), vae.transform(X))


@pytest.mark.parametrize("late", [False, True])
def test_a_chunk_that_cannot_be_read_is_named_and_the_fit_before_is_kept(late, X, small_buffer):
    source = Reads(X, CHUNKS[1])
    vae = autoencoder(max_epochs=4).fit(source.array)
    n_reads = len(source.starts)
    state = state_of(vae)
    source.starts.clear()
    source.fails_at = n_reads - 8 if late else 2
    with pytest.raises(OSError, match="the disk is gone") as caught:
        vae.fit(source.array)
    assert any("while these blocks of X were read: " in note for note in caught.value.__notes__)
    assert_same_state(vae, state)
    fresh = autoencoder()
    with pytest.raises(OSError, match="the disk is gone"):
        fresh.fit(source.array)
    assert not hasattr(fresh, "net_")


def test_infinite_values_are_found(X, small_buffer):
    bad = X.copy()
    bad[130, 1] = np.inf
    with pytest.raises(ValueError, match="infinity") as caught:
        autoencoder().fit(da.from_array(bad, chunks=(50, 3)))
    note = "while these blocks of X were read: 2 (rows 100 to 149), 3 (rows 150 to 199)"
    assert caught.value.__notes__ == [note]


def test_few_rows_and_other_features(X, fitted):
    with pytest.raises(ValueError, match="minimum of 2"):
        autoencoder().fit(da.from_array(X[:1]))
    with pytest.raises(ValueError, match=r"2 features.*expecting 3"):
        fitted.transform(da.from_array(X[:, :2]))


# Answers ------------------------------------------------------------------------------------------

METHODS = {
    "score_samples": (), "standard_error": (), "effective_sample_size": (), "predict": (),
    "transform": (2,), "predict_proba": (3,), "impute": (3,), "reconstruct": (3,),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cut", CHUNKS[1:], ids=["even", "odd"])
@pytest.mark.parametrize("method", METHODS)
def test_answers_are_lazy_and_those_of_all_rows(method, cut, dtype, X, fitted):
    X = X.astype(dtype)
    source = Reads(X, cut)
    found = getattr(fitted, method)(source.array)
    expected = getattr(fitted, method)(X)
    assert isinstance(found, da.Array)
    assert not source.starts  # nothing is read yet
    assert found.shape == (200, *METHODS[method]) == expected.shape
    assert found.dtype == expected.dtype
    assert found.chunks[0] == cut
    assert_allclose(found.compute(), expected, rtol=1e-9 if dtype == np.float64 else 1e-5)
    assert len(source.starts) == np.count_nonzero(cut)
    order = np.random.default_rng(0).permutation(200)
    mixed = getattr(fitted, method)(da.from_array(X[order], chunks=(33, 3)))
    assert_allclose(mixed.compute(), expected[order], rtol=1e-9 if dtype == np.float64 else 1e-5)


@every_cut
def test_bounds_scores_and_active_units(cut, X, fitted):
    lazy = da.from_array(X, chunks=(cut, (3,)))
    found, expected = fitted.elbo(lazy), fitted.elbo(X)
    arrays = (*found, found.entropy, found.standard_error)
    assert all(isinstance(array, da.Array) for array in arrays)
    for array, other in zip(
        arrays, (*expected, expected.entropy, expected.standard_error), strict=True
    ):
        assert_allclose(array.compute(), other, rtol=1e-9)
    assert fitted.score(lazy) == pytest.approx(fitted.score(X), rel=1e-12)
    weight = np.random.default_rng(0).integers(0, 3, size=200).astype(float)
    score = fitted.score(X, sample_weight=weight)
    assert fitted.score(lazy, sample_weight=weight) == pytest.approx(score, rel=1e-12)
    assert_array_equal(fitted.active_units(lazy), fitted.active_units(X))


@pytest.mark.filterwarnings("default::skvae.vae.EffectiveSizeWarning")
def test_a_score_that_cannot_be_trusted_says_so(X):
    vae, far, messages = with_many_modes(X), 1.05 * X, []
    for data in (far, da.from_array(far, chunks=(50, 3))):
        with pytest.warns(match="rows have fewer than 10") as caught:
            vae.score(data)
        assert caught[0].filename == __file__
        messages.append(str(caught[0].message))
    assert messages[0] == messages[1]


def test_what_is_asked_is_of_the_model_as_it_was(X):
    vae = autoencoder().fit(X)
    expected = vae.transform(X)
    lazy = vae.transform(da.from_array(X, chunks=(50, 3)))
    vae.set_params(random_state=1).fit(X)
    assert_allclose(lazy.compute(), expected, rtol=1e-12)
    task = pickle.loads(pickle.dumps(lazy))  # it travels to workers
    assert_allclose(task.compute(), expected, rtol=1e-12)


def test_wrong_values_are_found_where_they_are(X):
    counts = np.abs(np.nan_to_num(X)).round()
    vae = autoencoder(likelihood="poisson").fit(counts)
    counts[60, 2] = 0.5
    lazy = vae.score_samples(da.from_array(counts, chunks=(50, 3)))
    with pytest.raises(ValueError, match=r"X\[:, 2\] holds 0.5"):
        lazy.compute()


def test_interrupted(X, small_buffer):
    class Now(At):
        def on_batch_end(self, net, training=None, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt

    vae = VariationalAutoencoder(
        1, hidden_layer_sizes=(4,), max_epochs=9, random_state=0, callbacks=[Now(None, 0)]
    )
    with pytest.warns(UserWarning, match="interrupted after 2 of 9 epochs"):
        vae.fit(da.from_array(X, chunks=(50, 3)))
    assert len(vae.history_["bound"]) == 2
