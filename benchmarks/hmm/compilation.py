"""The time of the first call of a process: compilation, or reading compiled code.

Run as a script it measures in its own process; see `measure`.
"""

import json
import sys
import tempfile

from benchmarks import report
from benchmarks.hmm.problem import Problem
from benchmarks.process import answer_of
from benchmarks.suite import Section
from benchmarks.timing import Spread, seconds

_DENSE = Problem(2000, 2, 4, n_sequences=4)
_LEFT_RIGHT = Problem(2000, 2, 12, n_sequences=4, left_right=True)

CASES = {
    "fit": ("fit", _DENSE),
    "fit-left-right": ("fit", _LEFT_RIGHT),
    "score": ("score", _DENSE),
    "predict": ("predict", _DENSE),
    "predict-left-right": ("predict", _LEFT_RIGHT),
}


def measure(case, settings):
    """Return the row of one call: the first with a cold and a warm cache, and a later one."""
    verb, problem = case
    order = {"verb": verb, "left_right": problem.left_right, "seed": settings.seed}
    cold, warm, later = [], [], []
    for _ in range(min(settings.rounds, 3)):
        with tempfile.TemporaryDirectory() as folder:
            for first in (cold, warm):
                times = answer_of("benchmarks.hmm.compilation", order, NUMBA_CACHE_DIR=folder)
                first.append(times[0])
            later.append(times[1])
    row = [verb, problem.shape, problem.sizes]
    return [[*row, *(report.duration(Spread(tuple(part))) for part in (cold, warm, later))]]


def _times(verb, left_right, seed):
    """Return the seconds of the first and the second call in this process, imports done."""
    import numba  # noqa: F401  the import is not a part of the measurement

    from benchmarks.hmm.contenders import SKVAE

    problem = _LEFT_RIGHT if left_right else _DENSE
    X = problem.make(seed)
    start, data = problem.start(X, seed), SKVAE.load(X, problem)
    if verb == "fit":
        return [seconds(lambda: SKVAE.fit(data, start, 1))[0] for _ in range(2)]
    model = SKVAE.known(start)
    return [seconds(lambda: getattr(SKVAE, verb)(model, data))[0] for _ in range(2)]


SECTION = Section(
    name="hmm-compilation",
    title="Hidden Markov models: compilation",
    method=(
        "skvae: the first call in a new process, after the imports, with an empty cache folder of "
        "numba and with the folder filled by the first process, and a second call in the same "
        "process."
    ),
    columns=["call", "covariance", "T, D, K", "first, cold cache", "first, warm cache", "second"],
    cases=CASES,
    measure=measure,
)


if __name__ == "__main__":
    print(json.dumps(_times(**json.loads(sys.argv[1]))))
