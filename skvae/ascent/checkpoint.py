"""Fits that can be interrupted: the file from which another call of ``fit`` continues.

The file holds the parameters of the fit, a digest of its rows, the state of its random numbers, and
the progress of the ascent from each start. A call with the same parameters and rows draws the same
starts again and continues each ascent from the file. Every further step is the one that the
interrupted fit would have made, so the result is the same.
"""

import os
import time
import warnings
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from threading import Lock

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skvae.ascent.loop import Ascent, Collapse, Progress
from skvae.blocks import is_distributed, ranges
from skvae.storage import encoded, pack, read, rebuilt, remove, write

SECONDS = 10.0  # between two times that a running fit writes its file
SHARE = 0.05  # largest share of a fit's time spent on writing: large states are written less often
_FORMAT = 2  # raised whenever the state of a step, or the steps themselves, change
_MOMENTS = "moments of X"  # with other chunks they differ in rounding
_HASHED = 1 << 24  # bytes at a time


def check_path(name, value):
    """Raise ValueError unless ``value`` is None or a path."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if value is not None and (not isinstance(path, str) or not path):
        raise ValueError(
            f"{name}={value!r}: must be None or the path of a file, as str or os.PathLike"
        )


# The identity of a fit ----------------------------------------------------------------------------


def digest_of(array):
    """Return a digest of an array's entries, dtype and shape, the same in any layout."""
    array = np.asarray(array)
    digest = blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    array = np.atleast_1d(array)
    block = max(1, _HASHED * len(array) // max(array.nbytes, 1))
    for a, b in ranges(0, len(array), block):
        digest.update(np.ascontiguousarray(array[a:b]).reshape(-1).view(np.uint8))
    return {"digest": digest.hexdigest()}


def digest_of_state(state):
    """Return a digest of numbers and arrays in tuples, dataclasses, lists or dicts."""
    tree, arrays = pack(state)
    digests = [digest_of(array)["digest"] for array in arrays.values()]
    return {"digest": blake2b(f"{tree}{digests}".encode(), digest_size=16).hexdigest()}


def settings_of(estimator, without=()):
    """Return the constructor's parameters as plain values that compare, arrays as digests.

    Raises
    ------
    TypeError
        A parameter has a type that cannot be compared.
    """
    settings = estimator.get_params(deep=False)
    return {name: _plain(value) for name, value in settings.items() if name not in without}


def _plain(value):
    """Return a parameter as a plain value, equal exactly for equal parameters."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, BaseEstimator):
        return {"type": type(value).__name__, **settings_of(value)}
    try:
        return digest_of(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError, OverflowError):  # not a table of numbers
        return _plain_parts(value)


def _plain_parts(value):
    if isinstance(value, slice):
        return repr(value)
    if hasattr(value, "__array__"):
        value = np.asarray(value, dtype=object).tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {repr(key): _plain(item) for key, item in value.items()}
    raise TypeError(
        f"{type(value).__name__} is not a number, string, array, or collection of these"
    )


def data_of(X, summary, total, **beside):
    """Return the identity of the data of a fit, as plain values.

    Rows in memory are read once and hashed, which takes less time than an iteration. The rows of a
    Dask array are not read again: their moments, which are known already, identify them.

    Parameters
    ----------
    X : ndarray or dask.array.Array
        The checked rows.
    summary : object
        Numbers and arrays computed from the rows.
    total : float
        Their total weight.
    **beside : ndarray, dask.array.Array or None
        Further inputs of the fit, by name.
    """
    found = {"shape of X": list(X.shape), "dtype of X": X.dtype.name}
    for name, array in beside.items():
        if not is_distributed(array):
            found[name] = None if array is None else digest_of(array)
    if not is_distributed(X):
        return {**found, "X": digest_of(X)}
    try:
        arrays = pack(summary)[1].values()
    except TypeError:  # the summary of a user's own emission
        arrays = ()
    numbers = [[total], *(np.ravel(array).tolist() for array in arrays)]
    return {**found, _MOMENTS: sum(numbers, [])}  # noqa: RUF017 (few and short)


def _same(name, now, before):
    if name != _MOMENTS:
        return now == before
    try:
        return np.allclose(now, before, rtol=1e-9, atol=0.0, equal_nan=True)
    except (TypeError, ValueError):
        return False


def _difference(name, now, before):
    """Return a text on the difference of one setting between two fits."""
    if name == _MOMENTS or isinstance(now, dict) or isinstance(before, dict):
        return f"{name} differs"
    return f"{name} was {before!r} and is {now!r}"


# The file -----------------------------------------------------------------------------------------


@contextmanager
def resumable(path):
    """Yield the Checkpoint of one fit, and remove or write its file when the fit ends.

    Parameters
    ----------
    path : str or PathLike
        The file.
    """
    checkpoint = Checkpoint(path)
    try:
        yield checkpoint
    except BaseException as error:
        # A fit that collapsed has ended too: it cannot be continued.
        checkpoint.leave(ended=isinstance(error, Collapse))
        raise
    checkpoint.leave(ended=True)


class Checkpoint:
    """The identity of a fit, the progress of each of its runs, and the file that holds them.

    Several threads may call it at a time.

    Parameters
    ----------
    path : str or PathLike
        The file.
    """

    def __init__(self, path):
        self._path = path
        self._place = None  # until it is open, nothing is written or removed
        self._earlier = {}  # runs in the file of an interrupted fit
        self._runs = {}
        self._warned = False
        self._writing = Lock()

    # The whole fit ----------------------------------------------------------------------------

    def open(self, identity, random_state):
        """Return the random state to start from; write the file, or read the existing one.

        Parameters
        ----------
        identity : callable
            ``() → dict`` of plain values, which must equal those of the file.
        random_state : int, RandomState or None
            The parameter of the estimator.

        Raises
        ------
        ValueError
            The file cannot be written, belongs to another fit, or is not a whole checkpoint. It
            stays as it is.
        """
        rng = check_random_state(random_state)
        seeded = isinstance(random_state, int | np.integer)
        seed = int(random_state) if seeded else "from a generator"
        try:
            identity = {"format": _FORMAT, **identity(), "random_state": seed}
        except TypeError as error:
            raise self._unsupported(error) from error
        self._fit = {
            "fit": identity,
            "random": None if seeded else rng.get_state(legacy=False),
        }
        place = self._claimed()
        if place is None:
            if rng is check_random_state(None):
                rng = np.random.RandomState()  # leave the global one alone
            place = self._taken_over(None if seeded else rng)
        self._due = time.monotonic() + SECONDS
        self._place = place
        return random_state if seeded else rng

    def _claimed(self):
        """Return the path of a new file with the fit's identity; None if a file exists."""
        place = None
        try:
            content = encoded({**self._fit, "runs": {}})
            wanted = Path(self._path).resolve()
            with open(wanted, "xb") as file:
                place = wanted
                file.write(content)
        except FileExistsError:
            if wanted.is_file() and not wanted.stat().st_size:
                # An empty file holds nothing to lose: an interruption while writing leaves one.
                return self._replaced(wanted, content)
            return None
        except BaseException as error:
            if place is not None:
                place.unlink(missing_ok=True)
            if isinstance(error, OSError | RuntimeError | ValueError):  # a loop of links, a NUL
                raise self._unwritable(error) from error
            raise
        return place

    def _taken_over(self, rng):
        """Return the path of the existing file if it belongs to the same fit; restore ``rng``."""
        place = Path(self._path).resolve()
        try:
            found = read(place)
            before, now = dict(found["fit"]), self._fit["fit"]
            self._check(now, before)
            if rng is not None:
                rng.set_state(found["random"])
            self._earlier = dict(found["runs"])
        except Exception as error:
            known = isinstance(error, OSError | ValueError)
            raise self._refusal(error if known else "it is not a checkpoint") from error
        self._runs = dict(self._earlier)
        self._fit["random"] = found["random"]
        # The same bytes: a run that is not usable is found when its start is known.
        return self._replaced(place, place.read_bytes())

    def _replaced(self, place, content):
        """Return the path of a file after writing it anew, which shows that it can be written."""
        try:
            write(place, content)
        except OSError as error:
            raise self._unwritable(error) from error
        return place

    def _check(self, now, before):
        """Raise ValueError unless two fits are the same."""
        names = [*now, *(name for name in before if name not in now)]
        pairs = [(name, now.get(name), before.get(name)) for name in names]
        differences = [_difference(*pair) for pair in pairs if not _same(*pair)]
        if differences:
            raise ValueError(f"it belongs to another fit ({'; '.join(differences[:5])})")

    def _unsupported(self, error):
        return ValueError(
            f"checkpoint={self._path!r}: a file cannot hold the parameters of this model "
            f"({error}); fit it with checkpoint=None"
        )

    def _unwritable(self, error):
        return ValueError(
            f"checkpoint={self._path!r}: cannot be written ({error}); choose a path in a folder "
            "that exists, may be written to and has room"
        )

    def _refusal(self, reason):
        return ValueError(
            f"checkpoint={self._path!r}: the fit cannot continue from the existing file: "
            f"{reason}; delete it, or choose another path"
        )

    def leave(self, *, ended):
        """Remove the file if the fit has ended or no run has begun; otherwise write it."""
        place, self._place = self._place, None
        if place is None:
            return
        if not ended and self._runs:
            self._write(place)
            return
        try:
            remove(place)
        except OSError as error:
            self._warn(f"could not be removed ({error}); delete it")

    # One run ----------------------------------------------------------------------------------

    def found(self, number, start, step):
        """Return the file's state of a run: Ascent, Collapse, Progress, or None.

        Parameters
        ----------
        number : int
            The number of the run.
        start : Any
            Its first parameters.
        step : Step
            Its step, which is restored to the state in the file.

        Raises
        ------
        ValueError
            The file is damaged, or cannot hold the parameters of the model.
        """
        if self._place is None:
            return None
        try:
            pack(start)
        except TypeError as error:
            raise self._unsupported(error) from error
        try:
            if str(number) not in self._earlier:
                return None
            kind, *found = self._earlier[str(number)]
            return _READERS[kind](start, step, *found)
        except Exception as error:
            self._place = None  # the file stays as it is
            raise self._refusal(f"it is damaged ({error})") from error

    def observer(self, number, step):
        """Return an observer of a run: it notes the Progress, and writes the file when it is due.

        Parameters
        ----------
        number : int
            The number of the run.
        step : Step
            Its step.
        """

        def observe(progress, _change):
            self._runs[str(number)] = "progress", progress, step.state()
            place = self._place  # None once another run has found the file damaged
            if place is None or time.monotonic() < self._due:
                return
            # Do not block: an interrupted thread may still hold the lock.
            if self._writing.acquire(blocking=False):
                try:
                    self._write(place)
                finally:
                    self._writing.release()

        return observe

    def record(self, number, outcome):
        """Note the Ascent of a run, or the Collapse that ended it."""
        collapsed = isinstance(outcome, Collapse)
        self._runs[str(number)] = ("collapse", str(outcome)) if collapsed else ("ascent", outcome)

    def _write(self, place):
        """Write the file; if that fails, the earlier file stays and the fit continues."""
        began = time.monotonic()
        try:
            write(place, encoded({**self._fit, "runs": dict(self._runs)}))
        except (OSError, MemoryError) as error:
            self._warn(
                f"could not be written ({error or 'not enough memory'}); the fit continues, and an "
                "earlier file stays as it was"
            )
        now = time.monotonic()
        self._due = now + max(SECONDS, (now - began) / SHARE)

    def _warn(self, text):
        if not self._warned:
            self._warned = True
            warnings.warn(f"checkpoint={self._path!r}: {text}", UserWarning, stacklevel=2)


# Runs in a file -----------------------------------------------------------------------------------


def _collapse_of(_start, _step, text):
    return Collapse(str(text))


def _ascent_of(start, step, tree):
    parameters, bound, bounds, *others = tree
    parameters = step.read(start, parameters)
    bounds = list(rebuilt((0.0,) * len(bounds), bounds))
    return Ascent(parameters, rebuilt(0.0, bound), bounds, *rebuilt((False, 0, 0.0), others))


def _progress_of(start, step, tree, state):
    parameters, bounds, *others = tree
    parameters = step.read(start, parameters)
    step.restore(state, parameters)
    bounds = list(rebuilt((0.0,) * len(bounds), bounds))
    return Progress(parameters, bounds, *rebuilt((0.0, False), others))


_READERS = {"collapse": _collapse_of, "ascent": _ascent_of, "progress": _progress_of}
