"""Running a case: a result that keeps every promise, a clear error, or a `Fault`."""

import contextlib
import io
import re
import signal
import traceback
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import skvae
from tests.faults.arguments import GROUPS, JUNK, WEIGHTS
from tests.faults.cases import CHAIN, FAMILIES, QUESTIONS, SMALL, estimator_of
from tests.faults.promises import Fault, check_answer, check_learned
from tests.faults.rows import build, snapshot

PATIENCE = 60  # seconds for one call, numba's compilation included

_HOME = Path(skvae.__file__).parent
# They hand X, weights or groups to scikit-learn, whose messages are those that its users know.
_DELEGATES = (
    *("_validated", "_validate_weight", "_offsets_of", "check_random", "_random_state_of"),
    *("inverse_transform", "_latent_vectors"),
)
_CONVERSION = re.compile(
    r"could not convert|float\(\) argument|setting an array element|inhomogeneous|Cannot cast|"
    r"must be real number|invalid literal|[Nn]ot supported|"
    r"Cannot interpret|cannot be promoted|unsupported|cannot convert"
)
_QUIET_WARNINGS = (ConvergenceWarning,)
# Feature names that were there and no longer are, or the other way round: scikit-learn's.
_EXPECTED = re.compile(
    r"has? (valid )?feature names|have (valid )?feature names|sequences has one row"
)


class Hang(BaseException):
    """A call that took too long; no handler of Exceptions stops it."""


@contextlib.contextmanager
def at_most(seconds):
    """Raise Hang in the main thread after so many seconds, where the platform has alarms."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(signum, frame):
        raise Hang(f"more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Earlier fits -------------------------------------------------------------------------------------


def good_rows(family=""):
    """Rows that a family could have made, (20, 2)."""
    rows = np.random.default_rng(0).integers(2, size=(20, 2)).astype(float)
    return rows + 1.0 if family == "gamma" else rows


@cache
def _earlier(name, family):
    """An estimator that was fitted before, and how it scores good rows."""
    parameters = {**SMALL[name], **FAMILIES[name][family]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = estimator_of(name)(**parameters).fit(good_rows(family))
        return model, model.score_samples(good_rows(family))


def model_of(case):
    """The estimator before the call, with the parameters of the call."""
    if case.fresh:
        return estimator_of(case.estimator)(**case.parameters())
    family = case.family or next(iter(FAMILIES[case.estimator]))
    known, _ = _earlier(case.estimator, family)
    model = object.__new__(type(known))
    model.__dict__.update(known.__dict__)  # nothing that was fitted is ever changed in place
    model.set_params(**case.parameters())
    return model


def assert_kept(model, before, case):
    """Nothing of an estimator was changed by a call that should not change it."""
    now = vars(model)
    changed = [k for k in {*now, *before} if now.get(k, Fault) is not before.get(k, Fault)]
    if changed:
        raise Fault(f"changed by the call: {sorted(changed)}")
    if case.fresh:
        return
    family = case.family or next(iter(FAMILIES[case.estimator]))
    known, scores = _earlier(case.estimator, family)
    model.__dict__.update(known.get_params(deep=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not np.array_equal(model.score_samples(good_rows(family)), scores):
            raise Fault("the earlier fit answers otherwise than before")


# The call -----------------------------------------------------------------------------------------


def _arguments(case):
    """(X, weights or None, groups or None), or None where there is no such X."""
    rng = np.random.default_rng(case.rows.seed)
    try:
        X = build(case.rows)
    except Exception:  # no table of no columns, no frame of longdoubles
        return None
    n = case.rows.n_rows
    return X, WEIGHTS[case.weight](n, rng), GROUPS[case.groups](n, rng)


def _call(model, case, X, weight, groups):
    keywords = {}
    if weight is not None:
        chain = case.estimator == CHAIN and case.learns
        keywords["sequence_weight" if chain else "sample_weight"] = weight
    if groups is not None:
        keywords["groups"] = groups
    further = {"k_best": (2,), "forecast": (2,)}.get(case.verb, ())
    if case.verb == "k_best":
        keywords.pop("groups", None)
    return getattr(model, case.verb)(X, *further, **keywords)


def run(case):
    """Run a case and return how it ended: "result", "ValueError", "TypeError" or "no such X".

    Raises
    ------
    Fault
        It ended in any other way, or a promise was broken.
    """
    if case.verb in QUESTIONS:
        model = model_of(case)
        junk = JUNK[dict(case.junk)["argument"]]()
        return _guarded(case, model, None, lambda: QUESTIONS[case.verb](model, junk))
    arguments = _arguments(case)
    if arguments is None:
        return "no such X"
    return _guarded(case, model_of(case), arguments, None)


def _guarded(case, model, arguments, question):
    before, seen = dict(vars(model)), [snapshot(part) for part in arguments or ()]
    call = question or (lambda: _call(model, case, *arguments))
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    outcome, answer = _watched(case, call)
    if [snapshot(part) for part in arguments or ()] != seen:
        raise Fault("X, its weights or its groups were changed")
    seeded = model.__dict__.get("random_state", None) is not None
    if seeded and not np.array_equal(np.random.get_state()[1], state):  # noqa: NPY002
        raise Fault("NumPy's global random state was touched")
    if outcome != "result" or not case.learns:
        assert_kept(model, before, case)
    if outcome != "result" or question:
        return outcome
    if case.learns:
        for name, value in model.get_params(deep=False).items():
            if value is not before[name]:
                raise Fault(f"the parameter {name} was changed")
        check_learned(case, model, *arguments, watched=lambda ask: _answer(case, ask))
    if case.verb not in ("fit", "partial_fit"):
        check_answer(case.estimator, case.verb, answer, arguments[0], case.rows)
    return outcome


def _answer(case, ask):
    """What a fitted model answers of the rows it was fitted to: there is no excuse."""
    outcome, answer = _watched(case, ask)
    if outcome != "result":
        raise Fault(f"after a fit that succeeded: {answer!r}")
    return answer


def _watched(case, call):
    """("result", answer) or (name of the error, the error) of a call that neither hangs nor warns.

    Errors were raised on purpose and, if a parameter is to blame, name it and its value.
    """
    out = io.StringIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with at_most(PATIENCE), _redirected(out):
                outcome, answer = "result", call()
        except (ValueError, TypeError) as error:
            outcome, answer = type(error).__name__, error
            _check_error(case, error)
            outcome = "TypeError" if isinstance(error, TypeError) else "ValueError"
        except (Exception, Hang) as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise Fault(f"{error!r} at {where.filename}:{where.lineno}") from error
    for warning in caught:
        _check_warning(warning)
    verbose = any(name == "verbose" for name, _ in case.junk)
    if out.getvalue() and not verbose:
        raise Fault(f"printed {out.getvalue()[:80]!r}")
    return outcome, answer


@contextlib.contextmanager
def _redirected(out):
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        yield


def _check_warning(warning):
    text = str(warning.message)
    if issubclass(warning.category, _QUIET_WARNINGS) or _EXPECTED.search(text):
        return
    if warning.category.__name__ == "EffectiveSizeWarning":
        return
    raise Fault(f"{warning.category.__name__}: {text} at {warning.filename}:{warning.lineno}")


def _check_error(case, error):
    if not said_on_purpose(error):
        frames = [f"{Path(f.filename).name}:{f.lineno}" for f in _frames(error)[-3:]]
        raise Fault(f"by accident: {error!r} at {' < '.join(frames)}") from error
    if not case.junk or case.verb in QUESTIONS:
        return
    ((name, word),) = case.junk
    value, text = JUNK[word](), str(error)
    if name not in text:
        others = [setting for setting, _ in case.settings if setting in text]
        if not others and run(replace(case, junk=())) == "result":
            raise Fault(f"does not name {name}={value!r}: {error!r}") from error
        return
    plain = isinstance(value, bool | int | float | complex | str | bytes | np.generic)
    if isinstance(error, TypeError) or (
        plain and repr(value) not in text and str(value) not in text
    ):
        raise Fault(f"does not say what {name} was, {value!r}: {error!r}") from error


def _frames(error):
    return traceback.extract_tb(error.__traceback__)


def said_on_purpose(error):
    """Whether an error was raised by a statement of this library, or by scikit-learn's checks.

    It is an accident where some call in the library failed that was not made to check anything.
    """
    if isinstance(error, NotFittedError):
        return True
    frames = _frames(error)
    ours = [i for i, f in enumerate(frames) if _HOME in Path(f.filename).parents]
    if not ours:
        return False
    last = frames[ours[-1]]
    if last.line.startswith("raise"):
        return True
    if last.name not in _DELEGATES:
        return False
    return frames[-1].line.startswith("raise") or bool(_CONVERSION.search(str(error)))
