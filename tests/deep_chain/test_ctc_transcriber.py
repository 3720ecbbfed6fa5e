"""CTCTranscriber: transcriptions by value, the forms of X and y, errors, training and storage."""

import copy
import itertools
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from skorch.callbacks import Callback, Checkpoint
from torch import nn

import skvae
from skvae import CTCTranscriber, EMHiddenMarkov
from skvae.deep_chain.labellings import best_alignment, log_probability
from skvae.inspection import StatePathDisplay
from tests.combinations import slow
from tests.suite import one_torch_thread

_one_thread = pytest.fixture(autouse=True, scope="module")(one_torch_thread)


def line_of(text, rng):
    """Return rows of a text of a, b and c: pauses of zeros, and marks of unknown lengths."""
    rows = []
    for letter in text:
        rows += [np.zeros((rng.integers(1, 3), 3))]
        rows += [np.repeat(np.eye(3)["abc".index(letter)][None], rng.integers(1, 4), axis=0)]
    rows = np.concatenate([*rows, np.zeros((1, 3))])
    return rows + rng.normal(0, 0.15, rows.shape)


def problem(n=60, seed=0):
    """Return lines and their texts, the first of them empty."""
    rng = np.random.default_rng(seed)
    y = ["", *("".join(rng.choice(list("abc"), rng.integers(1, 6))) for _ in range(n - 1))]
    return [line_of(text, rng) for text in y], y


X, Y = problem()
ROWS, GROUPS = np.concatenate(X), np.repeat(np.arange(len(X)), list(map(len, X)))
QUICK = {"hidden_layer_sizes": (16,), "context": 1, "lr": 0.02, "random_state": 0}


@pytest.fixture(scope="module")
def model():
    return CTCTranscriber(**QUICK, max_epochs=15).fit(X, Y)


def test_lines_are_transcribed(model):
    test, texts = problem(40, seed=1)
    assert (
        np.mean([one == other for one, other in zip(model.predict(test), texts, strict=True)])
        > 0.95
    )
    assert model.score(test, texts) > -0.1
    assert_array_equal(model.classes_, ["a", "b", "c"])


def test_score_is_the_exact_sum_per_label(model):
    test, texts = problem(7, seed=2)
    log_proba = model.predict_log_proba(test)
    codes = [["abc".index(c) + 1 for c in text] for text in texts]
    total = sum(log_probability(rows, y) for rows, y in zip(log_proba, codes, strict=True))
    assert_allclose(model.score(test, texts), total / sum(map(len, texts)), rtol=1e-12)
    for rows, proba in zip(log_proba, model.predict_proba(test), strict=True):
        assert_allclose(np.exp(rows), proba)
        assert_allclose(proba.sum(axis=1), 1.0)


def test_all_label_sequences_of_a_short_line_sum_to_one(model):
    rows = X[1][:3]
    every = [p for n in range(4) for p in itertools.product("abc", repeat=n)]
    log_p = [model.score([rows], ["".join(y)]) * len(y) for y in every if y]
    blank = model.predict_log_proba(rows)[:, 0].sum()
    assert_allclose(np.exp([*log_p, blank]).sum(), 1.0)


def test_weights_of_sequences_are_repetitions(model):
    weight = np.arange(len(X)) % 3
    which = np.repeat(np.arange(len(X)), weight)
    expected = model.score([X[i] for i in which], [Y[i] for i in which])
    assert_allclose(model.score(X, Y, weight), expected)
    assert_allclose(model.score(ROWS, Y, weight[GROUPS] / 7, groups=GROUPS), expected)
    assert np.isfinite(model.score(X[:2], ["aaaaaaaaaaaaaaaaaaaa", Y[1]], [0, 1]))
    with pytest.raises(ValueError, match=r"sample_weight is .* in row \d+ and another number"):
        model.score(ROWS, Y, np.arange(len(ROWS)), groups=GROUPS)
    with pytest.raises(ValueError, match="sample_weight has a negative entry"):
        model.score(X, Y, -weight)


def test_the_bound_is_the_score_in_nats_per_row():
    ctc = CTCTranscriber(**QUICK, max_epochs=3, early_stopping=False).fit(X, Y)
    n_labels = sum(map(len, Y))
    assert_allclose(ctc.lower_bound_ * len(ROWS), ctc.score(X, Y) * n_labels, rtol=1e-6)
    assert len(ctc.lower_bounds_) == ctc.n_iter_ == 3
    assert ctc.history_["bound"][-1] > ctc.history_["bound"][0]


def test_training_follows_the_posterior_of_the_paths():
    """With one step of gradient descent logits move by γ − p, here those of a bias alone."""
    x, y = np.zeros((4, 1)), "aab"
    ctc = CTCTranscriber(
        hidden_layer_sizes=(), context=0, optimizer="sgd", lr=1.0, max_epochs=1, random_state=0
    ).set_params(early_stopping=False)
    ctc.fit([x], [y])
    bias = ctc.net_.module_.model.network.layers[-1].bias.detach().numpy()
    gamma = np.array([0, 2, 0, 1]) / 3  # of the only path, a blank a b: a, blank, a, b
    gamma = np.array([1, 2, 1]) / 4
    assert_allclose(bias, gamma - 1 / 3, atol=1e-6)


# Forms --------------------------------------------------------------------------------------------


def test_rows_with_groups_are_the_list(model):
    flat = CTCTranscriber(**QUICK, max_epochs=15).fit(ROWS, Y, groups=GROUPS)
    assert flat.predict(ROWS, groups=GROUPS) == model.predict(X)
    assert_array_equal(
        flat.predict_log_proba(ROWS, groups=GROUPS), np.concatenate(model.predict_log_proba(X))
    )
    per_row = np.array(Y)[GROUPS]
    assert flat.score(ROWS, per_row, groups=GROUPS) == model.score(X, Y)
    assert_array_equal(flat.align(ROWS, per_row, groups=GROUPS), np.concatenate(model.align(X, Y)))
    again = clone(flat).fit(ROWS, pd.Series(per_row), groups=GROUPS)
    assert again.score(X, Y) == model.score(X, Y)


@pytest.mark.parametrize(
    ("form", "kind"),
    [(list, list), (tuple, tuple), (np.array, np.ndarray), (lambda y: [f"<{c}>" for c in y], list)],
)
@pytest.mark.parametrize("codes", [False, True])
def test_predictions_have_the_form_of_y(model, form, kind, codes):
    y = [[3 * "abc".index(c) for c in text] if codes else list(text) for text in Y]
    y = [form(labels) for labels in y]
    ctc = clone(model).fit(X, y)
    found = ctc.predict(X)
    assert {type(labels) for labels in found} == {kind}
    assert sum(list(a) == list(b) for a, b in zip(found, y, strict=True)) > 55
    assert ctc.score(X, y) == model.score(X, Y)
    assert ctc.score(X, [list(labels) for labels in y]) == model.score(X, Y)


def test_label_sequences_of_one_length_may_be_a_table():
    keep = [i for i, text in enumerate(Y) if len(text) == 3]
    table = np.array([list(Y[i]) for i in keep])
    ctc = CTCTranscriber(**QUICK, max_epochs=2).fit([X[i] for i in keep], table)
    assert type(ctc.predict(X[:1])[0]) is np.ndarray


def test_float32_and_frames_and_missing_values(model):
    assert {p.dtype for p in model.predict_proba([x.astype(np.float32) for x in X])} == {
        np.dtype(np.float32)
    }
    frame = pd.DataFrame(ROWS, columns=list("uvw"))
    ctc = CTCTranscriber(**QUICK, max_epochs=2).fit(frame, Y, groups=GROUPS)
    assert_array_equal(ctc.feature_names_in_, ["u", "v", "w"])
    with pytest.raises(ValueError, match="feature names"):
        ctc.predict(frame[["v", "u", "w"]], groups=GROUPS)
    holes = ROWS.copy()
    holes[::7, 1] = np.nan
    means = np.where(np.isnan(holes), np.nanmean(holes, axis=0), holes)
    ctc = CTCTranscriber(**QUICK, max_epochs=3).fit(holes, Y, groups=GROUPS)
    assert_allclose(
        ctc.predict_log_proba(holes, groups=GROUPS), ctc.predict_log_proba(means, groups=GROUPS)
    )


def test_features_of_any_size_and_constant_ones():
    wide = np.column_stack(
        [1e250 * ROWS[:, 0] + 1e252, 1e-250 * ROWS[:, 1:], np.full(len(ROWS), 7.0)]
    )
    ctc = CTCTranscriber(**QUICK, max_epochs=3).fit(wide, Y, groups=GROUPS)
    assert np.isfinite(ctc.score(wide, Y, groups=GROUPS))


def test_a_sequence_does_not_depend_on_the_others(model):
    alone = [model.predict_log_proba(x) for x in X]
    for one, other in zip(alone, model.predict_log_proba(X), strict=True):
        assert_allclose(one, other, atol=1e-12)


# Alignment ----------------------------------------------------------------------------------------


def test_alignment_is_the_best_path(model):
    test, texts = problem(10, seed=3)
    for s, (labels, rows) in enumerate(
        zip(model.align(test, texts), model.predict_log_proba(test), strict=True)
    ):
        codes = ["abc".index(c) + 1 for c in texts[s]]
        expected = np.array([None, "a", "b", "c"], dtype=object)[best_alignment(rows, codes)[0]]
        assert_array_equal(labels, expected)
        assert "".join(c for c, _ in itertools.groupby(labels) if c) == texts[s]


def test_alignment_of_integers(model):
    y = [np.array(["abc".index(c) for c in text], dtype=int) for text in Y]
    ctc = clone(model).fit(X, y)
    found = ctc.align(X, y)
    assert found[1].dtype == y[1].dtype
    for one, other in zip(found, model.align(X, Y), strict=True):
        assert ["abc"[i] if i >= 0 else None for i in one] == other.tolist()
    signed = clone(model).fit(X, [one - 1 for one in y])
    assert signed.align(X[:1], [[]])[0].tolist() == [None] * len(X[0])


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (None, "requires y"),
        ("abc", "y='abc': must be a list"),
        (3, "y=3: must be a list"),
        (Y[:-1], "y has 59 label sequences: must have one for each of the 60 sequences"),
        ([*Y[:-1], 3], r"y\[59\]=3: must be the labels"),
        ([*Y[:-1], b"a"], r"y\[59\]=b'a': must be the labels"),
        ([*Y[:-1], ["a"]], "strings and other"),
        ([*map(list, Y[:-1]), [3]], "labels of the types int, str"),
        ([*map(list, Y[:-1]), [None]], r"y\[59\] has the label None"),
        ([*([1.0] for _ in Y[:-1]), [float("nan")]], r"y\[59\] has the label nan"),
        ([""] * 60, "no label in any sequence"),
        (
            [*Y[:-1], "a" * 30],
            r"sequence 59 has \d+ rows, too few for its 30 labels: .* at least 59",
        ),
    ],
)
def test_labels_that_cannot_be_used(model, y, text):
    ctc = copy.deepcopy(model)
    with pytest.raises(ValueError, match=text):
        ctc.fit(X, y)
    assert ctc.score(X, Y) == model.score(X, Y)
    with pytest.raises(AttributeError, match="no classes_"):
        _ = CTCTranscriber().classes_


def test_windows_and_beams_of_any_size():
    X, y = [np.eye(3)[:2], np.eye(3)], ["a", "ab"]
    ctc = CTCTranscriber(early_stopping=False, max_epochs=1, random_state=0)
    with pytest.raises(ValueError, match=r"context=6: must be <= n_samples, which is 5"):
        ctc.set_params(context=6).fit(X, y)
    ctc.set_params(context=5, beam_width=10**12).fit(X, y)
    # Three rows have no more than 15 label sequences.
    lines = ["".join(line) for u in range(4) for line in itertools.product("ab", repeat=u)]
    scores = [ctc.score([X[1]], [line]) * max(len(line), 1) for line in lines[1:]]
    assert ctc.predict(X[1:])[0] in ("", lines[1 + int(np.argmax(scores))])


def test_columns_without_values_and_distributed_rows(model):
    X, y = problem(8)
    frames = [pd.DataFrame({"a": x[:, 0], "b": np.nan}) for x in X]
    with pytest.raises(ValueError, match="X has no observed value in feature 'b': each feature"):
        CTCTranscriber().fit(frames, y)
    da = pytest.importorskip("dask.array")
    for call in (model.predict, model.predict_proba, lambda rows: model.align(rows, y[:1])):
        with pytest.raises(ValueError, match=r"X is a Dask array: this needs rows in memory"):
            call(da.from_array(X[0]))


def test_rows_of_labels_must_agree(model):
    per_row = [Y[g] for g in GROUPS]
    per_row[5] += "a"
    with pytest.raises(ValueError, match=r"y\[5\]='.*a': must be the same in all rows"):
        clone(model).fit(ROWS, per_row, groups=GROUPS)
    with pytest.raises(ValueError, match=f"or one for each of the {len(ROWS)} rows"):
        clone(model).fit(ROWS, Y[:5], groups=GROUPS)


def test_impossible_labels_have_probability_zero(model):
    assert model.score(X[:2], ["", "a" * 50]) == -np.inf
    assert model.score(X[:2], ["", "z"]) == -np.inf
    assert model.score([X[1][:3]], ["aa"]) > -np.inf == model.score([X[1][:2]], ["aa"])
    with pytest.raises(ValueError, match="no label in any sequence: score"):
        model.score(X[:1], [""])
    with pytest.raises(ValueError, match=r"sequence 1 has .* rows, too few"):
        model.align(X[:2], ["", "a" * 50])
    with pytest.raises(
        ValueError, match=r"y\[1\] has the label 'z', which is none of the 3 classes"
    ):
        model.align(X[:2], ["", "z"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("context", -1), ("context", 1.5), ("beam_width", 0), ("hidden_layer_sizes", 3)],
        *[("max_epochs", 0), ("lr", 0), ("tol", -1), ("activation", "step"), ("network", 3)],
        *[("validation_fraction", 1.0), ("optimizer", "bfgs"), ("device", "abacus")],
    ],
)
def test_parameters_are_checked(name, value):
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        CTCTranscriber(**{name: value}).fit(X, Y)


def test_one_sequence_and_too_few():
    with pytest.raises(ValueError, match="X is one sequence, and early_stopping=True"):
        CTCTranscriber(**QUICK).fit(X[1], [Y[1]])
    ctc = CTCTranscriber(**QUICK, early_stopping=False, max_epochs=2).fit(X[1], [Y[1]])
    assert type(ctc.predict(X[1])) is list
    with pytest.raises(NotFittedError):
        CTCTranscriber().predict(X)
    with pytest.raises(ValueError, match="beam_width=0"):
        ctc.set_params(beam_width=0).predict(X)


def test_a_display_of_states_refuses_it(model):
    with pytest.raises(TypeError, match="CTCTranscriber is no density of rows"):
        StatePathDisplay.from_estimator(model, X[0])


def test_compare_refuses_it():
    with pytest.raises(TypeError, match=r"CTCTranscriber.*no score_samples: compare takes density"):
        skvae.compare({"ctc": CTCTranscriber(), "hmm": EMHiddenMarkov()}, X)


# Networks -----------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """A network of all rows of a sequence, that needs the lengths of padded ones."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 8, batch_first=True, bidirectional=True)
        self.last = nn.Linear(16, 4)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        hidden, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        return self.last(hidden)


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(3, 16, 3, padding=1), nn.ReLU(), nn.Dropout(0.1), nn.Conv1d(16, 4, 1)
        )

    def forward(self, x):
        return self.layers(x.transpose(1, 2)).transpose(1, 2)


@pytest.mark.parametrize("network", [Convolutional, *slow(Recurrent)])
def test_any_network_of_sequences(network, tmp_path):
    ctc = CTCTranscriber(network=network, lr=2e-2, max_epochs=30, random_state=0).fit(X, Y)
    assert np.mean([a == b for a, b in zip(ctc.predict(X), Y, strict=True)]) > 0.8
    again = clone(ctc).fit(X, Y)
    assert again.score(X, Y) == ctc.score(X, Y)
    alone = [ctc.predict_log_proba(x) for x in X[:9]]
    for one, other in zip(alone, ctc.predict_log_proba(X), strict=False):
        assert_allclose(one, other, atol=1e-12)
    ctc.save(tmp_path / "ctc")
    with pytest.raises(ValueError, match="network: must be passed again"):
        CTCTranscriber.load(tmp_path / "ctc")
    assert CTCTranscriber.load(tmp_path / "ctc", network=network).score(X, Y) == ctc.score(X, Y)


def test_networks_of_another_size_are_one_clear_error():
    with pytest.raises(ValueError, match=r"network gave .*: must give a tensor of shape .*, 4\)"):
        CTCTranscriber(network=nn.Linear(3, 5)).fit(X, Y)


# Training, searches and storage -------------------------------------------------------------------


def test_same_seed_same_fit_and_global_state_untouched(model):
    before = torch.get_rng_state()
    again = clone(model).fit(X, Y)
    assert torch.equal(torch.get_rng_state(), before)
    assert again.lower_bounds_ == model.lower_bounds_
    assert again.predict(X) == model.predict(X)
    other = clone(model).set_params(random_state=1).fit(X, Y)
    assert other.lower_bounds_ != model.lower_bounds_


def test_early_stopping_keeps_the_best_weights():
    ctc = CTCTranscriber(**QUICK, n_iter_no_change=3, tol=0.1).fit(X, Y)
    assert ctc.converged_
    valid = ctc.history_["valid_bound"]
    assert np.argmax(valid) + 1 == ctc.n_iter_ <= len(valid) < 500
    assert_allclose(ctc.lower_bound_, max(valid), rtol=1e-4)


def test_warm_start_goes_on(model):
    ctc = clone(model).set_params(warm_start=True, max_epochs=2).fit(X, Y)
    first = ctc.score(X, Y)
    assert ctc.fit(X, Y).score(X, Y) > first
    assert len(ctc.history_["bound"]) == 4
    with pytest.raises(ValueError, match="label 'z', which is none of the 3 classes"):
        ctc.fit(X, [*Y[:-1], "z"])
    with pytest.raises(ValueError, match="context=3: warm_start=True continues"):
        ctc.set_params(context=3).fit(X, Y)


def test_ctrl_c_keeps_the_best_weights():
    class Interrupt(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted after 2 of 500 epochs|after 3 of 500"):
        ctc = CTCTranscriber(**QUICK, callbacks=[Interrupt()]).fit(X, Y)
    assert np.isfinite(ctc.score(X, Y))


def test_verbose_and_silent(capfd):
    CTCTranscriber(**QUICK, max_epochs=2).fit(X, Y)
    assert capfd.readouterr() == ("", "")
    CTCTranscriber(**QUICK, max_epochs=2, verbose=1).fit(X, Y)
    assert "lower bound" in capfd.readouterr().err


def test_checkpoint_of_skorch(tmp_path):
    checkpoint = Checkpoint(dirname=tmp_path, monitor="valid_loss_best", f_history=None)
    ctc = CTCTranscriber(**QUICK, max_epochs=3, callbacks=[checkpoint]).fit(X, Y)
    assert (tmp_path / "params.pt").exists()
    assert ctc.n_iter_ == 3


def test_copies_answer_alike(model, tmp_path):
    model.save(tmp_path / "ctc")
    copies = [pickle.loads(pickle.dumps(model)), CTCTranscriber.load(tmp_path / "ctc")]
    for other in [*copies, copy.deepcopy(model)]:
        assert other.score(X, Y) == model.score(X, Y)
        assert other.predict(X) == model.predict(X)
        assert_array_equal(other.classes_, model.classes_)
        assert other.get_params() == model.get_params()


def test_searches_of_lists_and_of_rows(model):
    grid = {"context": [0, 1]}
    quick = clone(model).set_params(max_epochs=4)
    search = GridSearchCV(quick, grid, cv=KFold(2), error_score="raise").fit(X, Y)
    assert np.isfinite(search.best_score_)
    assert len(cross_val_score(quick, X, Y, cv=2, error_score="raise")) == 2
    per_row = np.array(Y)[GROUPS]
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(quick, grid, cv=GroupKFold(2), error_score="raise")
        search.fit(ROWS, per_row, groups=GROUPS)
        assert np.isfinite(search.best_score_)
        pipe = make_pipeline(StandardScaler(), quick).fit(ROWS, Y, groups=GROUPS)
        assert len(pipe.predict(ROWS, groups=GROUPS)) == len(Y)
        assert np.isfinite(pipe.score(ROWS, Y, groups=GROUPS))
        search = GridSearchCV(
            make_pipeline(StandardScaler(), quick),
            {"ctctranscriber__context": [0, 1]},
            cv=GroupKFold(2),
            error_score="raise",
        )
        assert np.isfinite(search.fit(ROWS, per_row, groups=GROUPS).best_score_)


def test_scikit_learn_s_checks_fail_by_the_labels_alone():
    """They pass y with one number a row; all that do not fit with such y pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(CTCTranscriber(max_epochs=1), on_skip=None, on_fail=None)
    failed = [result for result in results if result["status"] == "failed"]
    for result in failed:
        error = result["exception"]
        text = f"{error} {error.__cause__}"
        assert "must be the labels of a sequence" in text, (result["check_name"], text)
    assert sum(result["status"] == "passed" for result in results) > 15


def test_skops_trusts_no_type(model):
    skops = pytest.importorskip("skops.io")
    data = skops.dumps(model)
    assert skops.get_untrusted_types(data=data) == [
        "skvae.deep_chain.ctc_transcriber.CTCTranscriber"
    ]
    other = skops.loads(data, trusted=["skvae.deep_chain.ctc_transcriber.CTCTranscriber"])
    assert other.score(X, Y) == model.score(X, Y)


def test_early_stopping_waits_until_labels_are_found():
    """At first all rows are blanks for many epochs of few steps, and the bound hardly rises."""
    few = CTCTranscriber(random_state=0, lr=1e-4, n_iter_no_change=1).fit(X[1:21], Y[1:21])
    n_steps = few.net_.history[-1]["train_batch_count"]
    assert len(few.history_["bound"]) * n_steps >= 300
