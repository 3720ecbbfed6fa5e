"""Fits that are broken off and taken up again: the answer is that of one fit, to the bit."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import zipfile
from copy import copy
from hashlib import sha256
from io import BytesIO

import dask.array as da
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skvae.ascent.checkpoint
import skvae.storage
from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov
from skvae.ascent import restarts
from skvae.ascent.checkpoint import Checkpoint
from skvae.ascent.loop import Ascent, Collapse, Progress, Step
from skvae.hmm import ColumnEmission, GaussianEmission, GaussianMixtureEmission, StudentTEmission
from skvae.mixture.em import EMStep
from skvae.storage import encoded, read
from tests.combinations import slow
from tests.faults.lines import interrupted_at, lines_of
from tests.problems import blobs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LONG = {"n_components": 3, "random_state": 0, "max_iter": 12, "tol": 0.0}
TWO = {**LONG, "n_init": 2, "max_iter": 6}
CASES = {
    "EM": EMGaussianMixture(**LONG),
    "EM, tied": EMGaussianMixture(covariance_type="tied", **LONG),
    "EM, accelerated": EMGaussianMixture(acceleration="anderson", **LONG),
    "EM, two starts": EMGaussianMixture(init_params="random", **TWO),
    "chain": EMHiddenMarkov(**LONG),
    "chain, accelerated": EMHiddenMarkov(acceleration="anderson", covariance_type="diag", **LONG),
    "chain, two starts": EMHiddenMarkov(init_params="random", **TWO),
    "chain, mixtures": EMHiddenMarkov(emission=GaussianMixtureEmission(2), **LONG),
    "chain, Student": EMHiddenMarkov(emission="student_t", acceleration="anderson", **LONG),
    "chain, columns": EMHiddenMarkov(
        emission=ColumnEmission([("a", GaussianEmission(), [0]), ("b", StudentTEmission(), [1])]),
        **LONG,
    ),
    "batch": BayesianMixtureSVI(learning_method="batch", **LONG),
    "memoized": BayesianMixtureSVI(batch_size=40, **LONG),
    "memoized, tied": BayesianMixtureSVI(
        batch_size=40, weight_concentration_prior_type="dirichlet_distribution",
        covariance_type="tied", **LONG,
    ),
    "memoized, two starts": BayesianMixtureSVI(batch_size=40, init_params="random", **TWO),
    "moves": BayesianMixtureSVI(
        batch_size=100, moves=("birth", "merge", "delete"), **{**LONG, "max_iter": 4}
    ),
    "online": BayesianMixtureSVI(learning_method="online", batch_size=30, **LONG),
    "online, two starts": BayesianMixtureSVI(learning_method="online", batch_size=30, **TWO),
}  # fmt: skip
THREE = [CASES["EM"], CASES["chain"], CASES["memoized"]]
every_case = pytest.mark.parametrize(
    "case", [*(case for case in CASES if case != "moves"), *slow("moves")]
)
every_estimator = pytest.mark.parametrize("model", THREE, ids=lambda m: type(m).__name__)


@pytest.fixture(autouse=True)
def _always_due(monkeypatch):
    """The file is written after every iteration."""
    monkeypatch.setattr(skvae.ascent.checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(skvae.ascent.checkpoint, "SHARE", np.inf)


@pytest.fixture(scope="module")
def X():
    return blobs(200, 2, 3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.npz"


def reports(fit, *, at=None, error=KeyboardInterrupt):
    """How many iterations a fit made; it is broken off in one of them."""
    n, plain = 0, restarts.ascend

    def watched(*arguments, observers=(), **options):
        def observe(_progress, _change):
            nonlocal n
            n += 1
            if n == at:
                raise error

        return plain(*arguments, observers=[observe, *observers], **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restarts, "ascend", watched)
        if at is None:
            fit()
        else:
            with pytest.raises(error):
                fit()
    return n


def broken_off(model, X, path, at=5, **fit_params):
    """The model with a checkpoint, whose fit was broken off."""
    model = clone(model).set_params(checkpoint=path)
    reports(lambda: model.fit(X, **fit_params), at=at)
    assert path.exists() == (at > 1)  # before the first iteration is over there is nothing to keep
    return model


def assert_same_fit(one, other, X):
    for name in ("lower_bounds_", "lower_bound_", "n_iter_", "n_e_steps_", "converged_"):
        assert getattr(one, name) == getattr(other, name), name
    assert_array_equal(one.score_samples(X), other.score_samples(X))
    assert_array_equal(one.transform(X), other.transform(X))


# The same answer ----------------------------------------------------------------------------------


@every_case
def test_a_fit_goes_on_where_it_was_broken_off(case, X, path):
    model = clone(CASES[case])
    model.set_params(max_iter=min(model.max_iter, 6))
    n = reports(lambda: model.fit(X))
    for at in (1, n // 2 + 1, n):
        other = broken_off(model, X, path, at)
        # The iteration that was broken off is made again, and none before it.
        assert reports(lambda other=other: other.fit(X)) == n - at + 1
        assert_same_fit(other, model, X)
        assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("case", ["EM", "chain, accelerated", *slow("moves"), "online"])
def test_again_and_again(case, X, path):
    model, other = clone(CASES[case]).fit(X), clone(CASES[case]).set_params(checkpoint=path)
    for _ in range(3):
        reports(lambda: other.fit(X), at=2)
    assert_same_fit(other.fit(X), model, X)


@pytest.mark.parametrize("case", ["EM, two starts", *slow("memoized")])
def test_interruption_in_any_line(case, X, path):
    model = clone(CASES[case]).set_params(max_iter=3).fit(X)
    other = clone(model).set_params(checkpoint=path)
    n_lines = lines_of(lambda: other.fit(X))
    for line in np.random.default_rng(0).choice(n_lines, size=10, replace=False):
        with pytest.raises(KeyboardInterrupt):
            interrupted_at(line, lambda: clone(other).fit(X))
        assert_same_fit(clone(other).fit(X), model, X)
        assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("tol", [1e-2, 1e9])
def test_an_ascent_that_had_converged_makes_no_further_step(tol, X, path, monkeypatch):
    model = EMGaussianMixture(3, random_state=0, tol=tol, max_iter=500).fit(X)
    other = clone(model).set_params(checkpoint=path)

    def failing(self, parameters):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(EMStep, "evaluate", failing)
        with pytest.raises(MemoryError):
            other.fit(X)
    assert reports(lambda: other.fit(X)) == 0
    assert_same_fit(other, model, X)


@every_estimator
def test_starts_in_threads_are_taken_up_each(model, X, path):
    model = clone(model).set_params(n_init=3, n_jobs=2, max_iter=6, init_params="random")
    whole = clone(model).fit(X)
    for at in (3, 14):
        other = broken_off(model, X, path, at)
        assert 0 < len(read(path)["runs"]) <= 3
        other.set_params(n_jobs=1, verbose=0)  # which do not matter
        assert_same_fit(other.fit(X), whole, X)


def test_weights_groups_and_missing_values(X, path):
    X = np.where(np.random.default_rng(0).random(X.shape) < 0.2, np.nan, X)
    weight = np.linspace(0.0, 2.0, len(X))
    model = clone(CASES["EM"]).fit(X, sample_weight=weight)
    other = broken_off(CASES["EM"], X, path, sample_weight=weight)
    assert_same_fit(other.fit(X, sample_weight=weight), model, X)
    groups = np.repeat(np.arange(10), 20)
    model = clone(CASES["chain"]).fit(X, groups=groups, sequence_weight=1.0 + groups)
    other = broken_off(CASES["chain"], X, path, groups=groups, sequence_weight=1.0 + groups)
    assert_same_fit(other.fit(X, groups=groups, sequence_weight=1.0 + groups), model, X)


@every_estimator
def test_a_warm_start_is_taken_up(model, X, path):
    earlier = clone(model).set_params(max_iter=3).fit(X)
    earlier.set_params(warm_start=True, max_iter=8)
    whole = clone(earlier)
    whole.__dict__ = dict(earlier.__dict__)
    whole.fit(X)
    earlier.set_params(checkpoint=path)
    reports(lambda: earlier.fit(X), at=4)
    other = clone(model).set_params(max_iter=8, warm_start=True, checkpoint=path)
    with pytest.raises(ValueError, match="earlier fit differs"):
        other.fit(X)  # which has no earlier fit
    assert reports(lambda: earlier.fit(X)) == 5
    assert_same_fit(earlier, whole, X)


@pytest.mark.parametrize("case", ["EM, two starts", "chain, two starts", "online, two starts"])
def test_a_generator_begins_where_it_began(case, X, path):
    model = clone(CASES[case])
    rng = np.random.RandomState(3)
    model.random_state = rng
    model.fit(X)
    after = rng.randint(1 << 30)
    other = clone(model).set_params(checkpoint=path)
    other.random_state = rng = np.random.RandomState(3)
    reports(lambda: other.fit(X), at=2)
    assert_same_fit(other.fit(X), model, X)
    assert rng.randint(1 << 30) == after


def test_the_generator_of_all_programs_begins_where_it_began(X, path):
    state = np.random.get_state()  # noqa: NPY002
    model = clone(CASES["online, two starts"]).set_params(random_state=None).fit(X)
    np.random.set_state(state)  # noqa: NPY002
    other = broken_off(model, X, path, 2)
    state = np.random.get_state()  # noqa: NPY002
    assert_same_fit(other.fit(X), model, X)
    assert_array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002


def test_starts_that_collapsed_are_not_made_again(X, path, monkeypatch):
    plain, starts = EMStep.__call__, []

    def collapsing(self, parameters):
        if self.n_steps == 0:
            starts.append(1)
        if self.n_steps == 2 and len(starts) == 1:
            raise Collapse("a component is empty")
        return plain(self, parameters)

    monkeypatch.setattr(EMStep, "__call__", collapsing)
    with pytest.warns(ConvergenceWarning, match="1 of the runs of EM collapsed .* is empty"):
        model = clone(CASES["EM, two starts"]).fit(X)
    assert len(starts) == 3
    starts.clear()
    other = broken_off(CASES["EM, two starts"], X, path, 6)
    with pytest.warns(ConvergenceWarning, match="1 of the runs of EM collapsed .* is empty"):
        other.fit(X)
    assert len(starts) == 3
    assert_same_fit(other, model, X)


def test_a_fit_that_collapses_has_ended(X, path):
    X = np.repeat(X[:2], 10, axis=0)
    model = EMGaussianMixture(2, reg_covar=0.0, random_state=0, checkpoint=path)
    with pytest.raises(ValueError, match="EM failed from every start"):
        model.fit(X)
    assert list(path.parent.iterdir()) == []


@pytest.mark.slow
def test_rows_of_dask(X, path):
    chunked = da.from_array(X, chunks=(50, 2))
    weight = np.linspace(1.0, 2.0, len(X))
    for case, fit_params in {
        "EM": {"sample_weight": weight},
        "chain": {"groups": np.repeat(np.arange(10), 20)},
        "memoized": {},
    }.items():
        model = clone(CASES[case]).fit(chunked, **fit_params)
        other = broken_off(CASES[case], chunked, path, **fit_params)
        with pytest.raises(ValueError, match="moments of X differs"):
            other.fit(chunked + 1e-3, **fit_params)
        other.fit(da.from_array(X, chunks=(70, 2)), **fit_params)
        assert_allclose(other.lower_bounds_, model.lower_bounds_, rtol=1e-12)
        assert other.n_iter_ == model.n_iter_
        assert not path.exists()


def test_partial_fit_writes_nothing(X, path):
    for model in THREE:
        clone(model).set_params(checkpoint=path).partial_fit(X).partial_fit(X)
        assert not path.exists()


# What a file belongs to ---------------------------------------------------------------------------

OTHERS = {
    "n_components": (2, "n_components was 3 and is 2"),
    "tol": (1e-4, r"tol was 0.0 and is 0.0001"),
    "max_iter": (13, "max_iter was 12 and is 13"),
    "n_init": (2, "n_init was 1 and is 2"),
    "init_params": ("random", "init_params was 'kmeans' and is 'random'"),
    "random_state": (1, "random_state was 0 and is 1"),
    "covariance_type": ("diag", "covariance_type was 'full' and is 'diag'"),
}


@every_estimator
def test_other_parameters_are_told(model, X, path):
    model = broken_off(model, X, path)
    content = path.read_bytes()
    for name, (value, text) in OTHERS.items():
        with pytest.raises(ValueError, match=text) as caught:
            clone(model).set_params(**{name: value}).fit(X)
        assert str(caught.value).startswith(f"checkpoint={path!r}: the fit cannot continue from")
        assert str(caught.value).endswith("; delete it, or choose another path")
    assert path.read_bytes() == content
    model.set_params(verbose=False, verbose_interval=3, n_jobs=2, checkpoint=str(path)).fit(X)


@every_estimator
def test_other_data_are_told(model, X, path):
    model = broken_off(model, X, path)
    content, changed = path.read_bytes(), X.copy()
    changed[77, 1] += 1e-9
    weight = "sequence_weight" if isinstance(model, EMHiddenMarkov) else "sample_weight"
    for other, text in {
        "value": (changed, r"another fit \(X differs\)"),
        "shape": (X[1:], r"shape of X was \[200, 2\] and is \[199, 2\]; "),
        "dtype": (X.astype(np.float32), "dtype of X was 'float64' and is 'float32'"),
        "order": (X[::-1], r"\(X differs\)"),
    }.values():
        with pytest.raises(ValueError, match=text):
            clone(model).fit(other)
    with pytest.raises(ValueError, match=f"{weight} differs"):
        clone(model).fit(X, **{weight: np.full(len(X), 2.0)})
    assert path.read_bytes() == content
    clone(model).fit(np.asfortranarray(X))  # the same numbers


def test_arrays_and_emissions_are_compared_by_value(X, path):
    means = X[:3].tolist()
    model = broken_off(clone(CASES["EM"]).set_params(means_init=means), X, path)
    with pytest.raises(ValueError, match="means_init differs"):
        clone(model).set_params(means_init=X[1:4]).fit(X)
    clone(model).set_params(means_init=np.array(means)).fit(X)
    model = broken_off(CASES["chain, columns"], X, path)
    with pytest.raises(ValueError, match="emission differs"):
        clone(model).set_params(emission="student_t").fit(X)
    with pytest.raises(ValueError, match="estimator was 'EMHiddenMarkov' and is 'EMGaussianM"):
        clone(CASES["EM"]).set_params(checkpoint=path).fit(X)
    clone(model).fit(X)


class OtherParameters:
    n_components = 1


def test_parameters_that_no_file_holds(X, path):
    class OtherEmission(GaussianEmission):
        def first(self, *arguments):
            return OtherParameters()

    # A start of one kind: of several, the best is chosen by steps that need real parameters.
    model = EMHiddenMarkov(3, emission=OtherEmission(), init_params="random", checkpoint=path)
    with pytest.raises(ValueError, match=r"a file cannot hold .* of type OtherParameters"):
        model.fit(X)
    assert not path.exists()


def test_searches_and_pipelines(X, path):
    model = clone(CASES["EM"]).set_params(checkpoint=path)
    assert clone(model).checkpoint == path
    search = GridSearchCV(model, {"n_components": [1, 2]}, cv=2, error_score="raise").fit(X)
    plain = GridSearchCV(CASES["EM"], {"n_components": [1, 2]}, cv=2, error_score="raise").fit(X)
    assert_array_equal(search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])
    broken_off(CASES["EM"], X, path)
    with pytest.raises(ValueError, match="belongs to another fit"):  # one that is under way, say
        clone(search).fit(X)
    path.unlink()
    pipeline = make_pipeline(StandardScaler(), model)
    reports(lambda: pipeline.fit(X), at=5)
    assert reports(lambda: pipeline.fit(X)) == 8
    assert not path.exists()


# Files that are none ------------------------------------------------------------------------------


def with_lists(state):
    """A state whose tuples are lists, which can be changed and are read as well."""
    if isinstance(state, dict):
        return {key: with_lists(value) for key, value in state.items()}
    return [with_lists(item) for item in state] if isinstance(state, list | tuple) else state


def forged(change):
    """What writes a file as this library would, with a right digest, but changed."""

    def write(path):
        state = with_lists(read(path))
        change(state)
        path.write_bytes(encoded(state))

    return write


def in_run(change):
    return forged(lambda state: change(state["runs"]["1"]))


def signed(buffer):
    """The bytes of an archive with the digest of them."""
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"0" * 64
    content = buffer.getvalue()[:-64]
    return content + sha256(content).hexdigest().encode()


def with_arrays(change, save=np.savez):
    """What writes a file with a right digest and changed arrays of the first run."""

    def write(path):
        with np.load(path) as archive:
            arrays = dict(archive)
        for name, array in arrays.items():
            if ".runs." in name and array.dtype.kind == "f":
                arrays[name] = change(array)
        buffer = BytesIO()
        save(buffer, **arrays)
        path.write_bytes(signed(buffer))

    return write


def beyond(path):
    """An array whose header has more entries than the file."""
    buffer, header = BytesIO(path.read_bytes()), BytesIO()
    form = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_1_0(header, form)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("more.npy", header.getvalue() + bytes(800))
    path.write_bytes(signed(buffer))


def larger(path):
    """Two names of one member, as in an archive that is smaller than its content."""
    buffer = BytesIO(path.read_bytes())
    with zipfile.ZipFile(buffer, "a") as archive:
        most = max(archive.infolist(), key=lambda member: member.file_size)
        for i in range(3):
            again = copy(most)
            again.filename = f"again{i}.npy"
            archive.filelist.append(again)
        archive.writestr("more", b"")
    path.write_bytes(signed(buffer))


def spoiled(value):
    def change(array):
        array = array.copy()
        array.flat[-1] = value
        return array

    return change


def turned(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def as_archive(path):
    with open(path, "wb") as file:
        np.savez(file, X=np.ones(100))


def as_folder(path):
    path.unlink()
    path.mkdir()


def as_pipe(path):
    path.unlink()
    os.mkfifo(path)


BAD = {
    "short": lambda path: path.write_bytes(b"PK"),
    "text": lambda path: path.write_text("PK\3\4 a text of mine" * 10),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "one bit": turned,
    "archive": as_archive,
    "folder": as_folder,
    "pipe": as_pipe,
    "list": lambda path: path.write_bytes(encoded([1, 2])),
    "no header": lambda path: path.write_bytes(encoded({"fit": {}, "runs": {}})),
    "other format": forged(lambda state: state["fit"].update(format=0)),
    "more in it": forged(lambda state: state["fit"].update(more=1)),
    "runs": forged(lambda state: state.update(runs=[1])),
    "run": forged(lambda state: state["runs"].update({"1": ["exec", "1"]})),
    "run of nothing": forged(lambda state: state["runs"].update({"1": None})),
    "no state": in_run(lambda run: run.pop()),
    "steps": in_run(lambda run: run[2].update(n_steps="1")),
    "bounds": in_run(lambda run: run[1].__setitem__(1, [None])),
    "converged": in_run(lambda run: run[1].__setitem__(3, 1)),
    "parameters": in_run(lambda run: run[1].__setitem__(0, [])),
    "shape": in_run(lambda run: run[1][0].__setitem__(-1, np.ones((2, 2)))),
    "NaN": with_arrays(spoiled(np.nan)),
    "infinite": with_arrays(spoiled(np.inf)),
    "complex": with_arrays(lambda array: array + 1j),
    "a bound of NaN": in_run(lambda run: run[1][1].__setitem__(0, float("nan"))),
    "compressed": with_arrays(lambda array: array, np.savez_compressed),
    "beyond the file": beyond,
    "members beyond the file": larger,
}


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_file_of_the_fit_is_told_and_stays(bad, X, path):
    model = broken_off(CASES["EM"], X, path)
    if bad == "pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("there are no pipes")
    BAD[bad](path)
    before = path.read_bytes() if path.is_file() else path.stat().st_mode
    with pytest.raises(ValueError, match=r"cannot continue from .* delete it, or choose") as caught:
        model.fit(X)
    assert repr(path) in str(caught.value)
    assert not hasattr(model, "means_")
    assert (path.read_bytes() if path.is_file() else path.stat().st_mode) == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("case", ["EM, accelerated", "chain, Student", "memoized", "moves"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_arrays_that_are_not_finite_are_told_in_every_model(case, value, X, path):
    model = broken_off(CASES[case], X, path, 3 if case == "moves" else 5)
    with_arrays(spoiled(value))(path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match=r"it is damaged \(expected an array of finite") as caught:
        model.fit(X)
    assert repr(path) in str(caught.value)
    assert path.read_bytes() == content


def test_components_of_a_stored_posterior_are_equally_many(X, path):
    model = broken_off(CASES["moves"], X, path, 3)

    def change(run):
        _, weights, _ = run[1][0]
        weights[0] = weights[0][:1]

    in_run(change)(path)
    with pytest.raises(ValueError, match="it is damaged"):
        model.fit(X)


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("online", lambda step: step.update(random={"bit_generator": "MT19937"})),
        ("online", lambda step: step.update(t=-1.5)),
        ("online", lambda step: step.update(statistics=None)),
        ("memoized", lambda step: step["memory"].pop()),
        ("memoized", lambda step: step["memory"][0].pop()),
        ("moves", lambda step: step["failed"].update(merge=1)),
        ("moves", lambda step: step["step"].pop("memory")),
        ("EM, accelerated", lambda step: step["history"].append([np.ones(2), np.ones(2)])),
        ("EM, accelerated", lambda step: step["attempts"].pop("mix")),
    ],
)
def test_what_a_step_does_not_remember_is_told(case, change, X, path):
    model = broken_off(CASES[case], X, path, 3 if case == "moves" else 4)
    in_run(lambda run: change(run[2]))(path)
    with pytest.raises(ValueError, match="it is damaged"):
        model.fit(X)
    assert path.exists()


@pytest.mark.parametrize("name", ["a" * 237, "a" * 240, "é" * 120, "a" * 255, "é" * 127 + "a"])
def test_the_longest_names_can_be_written_in_mid_fit(name, X, path):
    path = path.with_name(name)
    model = broken_off(CASES["EM"], X, path, 8)  # a warning that it was not written is an error
    assert reports(lambda: model.fit(X)) == 5
    assert list(path.parent.iterdir()) == []
    (path.parent / ".other.part-123456789abc").touch()
    (path.parent / f"{name[:-9]}.part-abc").touch()
    model.fit(X)
    assert len(list(path.parent.iterdir())) == 2  # those of others stay


def test_an_empty_file_is_a_place_to_write_to(X, path):
    path.touch()
    model = clone(CASES["EM"]).set_params(checkpoint=path)
    assert reports(lambda: model.fit(X)) == 12
    assert not path.exists()


# Disks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), MemoryError()])
def test_a_full_disk_costs_a_warning(error, X, path, monkeypatch):
    model, written = clone(CASES["EM"]).fit(X), []
    plain = os.fsync

    def full(file):
        written.append(path.read_bytes())
        if len(written) > 3:
            raise error
        plain(file)

    monkeypatch.setattr(skvae.storage.os, "fsync", full)
    other = clone(model).set_params(checkpoint=path)
    text = "could not be written .*; the fit continues, and an earlier file"
    with pytest.warns(UserWarning, match=text) as caught:
        assert_same_fit(other.fit(X), model, X)
    ours = [w for w in caught if "checkpoint" in str(w.message)]
    assert len(ours) == 1
    assert len(written) == 12
    assert list(path.parent.iterdir()) == []
    written.clear()
    with pytest.warns(UserWarning, match=text):
        other = broken_off(CASES["EM"], X, path, 8)
    assert path.read_bytes() == written[-1] == written[4]  # of the third iteration
    assert list(path.parent.iterdir()) == [path]
    monkeypatch.setattr(skvae.storage.os, "fsync", plain)
    assert reports(lambda: other.fit(X)) == 9
    assert_same_fit(other, model, X)


UNUSABLE = r"cannot be written .*; choose a path in a folder that exists, may be written to"


def test_a_damaged_run_stops_no_other_run(path, monkeypatch):
    monkeypatch.setattr(skvae.ascent.checkpoint, "SECONDS", 0.0)
    step, start = Step(), np.zeros(2)
    first = Checkpoint(path)
    first.open(dict, 0)
    first.record(2, Ascent("no parameters", 0.0, [], True))
    first.leave(ended=False)
    content = path.read_bytes()
    checkpoint = Checkpoint(path)
    checkpoint.open(dict, 0)
    with pytest.raises(ValueError, match="it is damaged"):
        checkpoint.found(2, start, step)
    checkpoint.observer(1, step)(Progress(start, [], 0.0, False), 0.0)
    checkpoint.leave(ended=False)
    assert path.read_bytes() == content


@every_estimator
def test_a_path_that_cannot_be_written_is_told_first(model, X, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("mine")
    for path in (tmp_path / "none" / "fit", str(file / "fit"), "a\0b", "a" * 5000):
        model = clone(model).set_params(checkpoint=path)

        def fit(model=model):
            with pytest.raises(ValueError, match=UNUSABLE) as caught:
                model.fit(X)
            assert str(caught.value).startswith(f"checkpoint={model.checkpoint!r}: ")

        assert reports(fit) == 0
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may all")
def test_a_folder_that_may_not_be_written_to(X, path):
    model = broken_off(CASES["EM"], X, path)
    path.parent.chmod(0o500)
    try:
        for other in (path, path.with_name("new")):
            with pytest.raises(ValueError, match=UNUSABLE):
                clone(model).set_params(checkpoint=other).fit(X)
    finally:
        path.parent.chmod(0o700)
    model.fit(X)


def test_a_disk_that_is_full_at_the_start(X, path, monkeypatch):
    def full(state):
        raise OSError(errno.ENOSPC, "No space left")

    broken_off(CASES["EM"], X, path)
    content = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(skvae.storage.os, "fsync", full)
        with pytest.raises(ValueError, match=UNUSABLE):
            clone(CASES["EM"]).set_params(checkpoint=path).fit(X)
    assert path.read_bytes() == content


@every_estimator
def test_what_is_no_path_is_told(model, X):
    for value in (3, True, b"a", "", ["a"]):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (all of it is compared)
            clone(model).set_params(checkpoint=value).fit(X)
        assert str(caught.value) == (
            f"checkpoint={value!r}: must be None or the path of a file, as str or os.PathLike"
        )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets few make links")
def test_links_are_followed(X, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ValueError, match=r"cannot be written|cannot continue"):
        clone(CASES["EM"]).set_params(checkpoint=tmp_path / "loop").fit(X)
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk" / "fit")
    model = broken_off(CASES["EM"], X, link)
    assert link.is_symlink()
    assert reports(lambda: model.fit(X)) == 8
    assert list((tmp_path / "disk").iterdir()) == []


@pytest.mark.parametrize("length", [240, 255])
def test_long_names_are_names(length, X, tmp_path):
    path = tmp_path / ("a" * length)
    model = broken_off(CASES["EM"], X, path)
    assert reports(lambda: model.fit(X)) == 8
    assert list(tmp_path.iterdir()) == []


def test_a_path_at_which_no_file_can_be_written_is_told_before_the_fit(X, tmp_path):
    path = tmp_path / ("a" * 256)
    with pytest.raises(ValueError, match=r"cannot be written \(.*too long.*choose a path"):
        clone(CASES["EM"]).set_params(checkpoint=path).fit(X)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_may_change_in_mid_fit(X, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    model, plain = clone(CASES["EM"]).set_params(checkpoint="fit"), Checkpoint._write

    def moving(self, place):
        monkeypatch.chdir(tmp_path / "elsewhere")
        plain(self, place)

    monkeypatch.setattr(Checkpoint, "_write", moving)
    reports(lambda: model.fit(X), at=3)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["fit"]


def test_it_is_written_every_few_seconds(X, path, monkeypatch):
    """Of the time that a clock shows which is a second further each time it is asked."""
    now, written = 0.0, []

    def clock():
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr(skvae.ascent.checkpoint.time, "monotonic", clock)
    monkeypatch.setattr(skvae.ascent.checkpoint, "write", lambda *_: written.append(now))
    model = clone(CASES["EM"]).set_params(checkpoint=path, max_iter=100)
    monkeypatch.setattr(skvae.ascent.checkpoint, "SECONDS", 10.0)
    model.fit(X)
    assert np.diff(written).min() == np.diff(written).max() == 12.0  # it took one itself
    written.clear()
    monkeypatch.setattr(
        skvae.ascent.checkpoint, "SHARE", 0.02
    )  # and so it may once in fifty seconds
    model.fit(X)
    assert np.diff(written).min() == np.diff(written).max() == 52.0


KILLED = """
    import os, signal, sys
    import numpy as np
    import skvae.ascent.checkpoint
    from skvae import BayesianMixtureSVI

    skvae.ascent.checkpoint.SECONDS, skvae.ascent.checkpoint.SHARE = 0.0, float("inf")
    plain, n = os.replace, 0

    def replace(*paths):
        global n
        n += 1
        if n == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        plain(*paths)

    os.replace = replace
    model = BayesianMixtureSVI(3, batch_size=40, random_state=0, max_iter=12, tol=0.0)
    model.set_params(checkpoint=sys.argv[2]).fit(np.load(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no such signal")
def test_a_process_that_is_killed_as_it_writes(X, path):
    """Between writing the new file and putting it in the old one's place."""
    np.save(path.parent / "X.npy", X)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), path.parent / "X.npy", path],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert len(list(path.parent.iterdir())) == 3  # with what it left beside
    model, other = clone(CASES["memoized"]).fit(X), clone(CASES["memoized"])
    assert reports(lambda: other.set_params(checkpoint=path).fit(X)) == 8  # four were written
    assert_same_fit(other, model, X)
    assert [p.name for p in path.parent.iterdir()] == ["X.npy"]
