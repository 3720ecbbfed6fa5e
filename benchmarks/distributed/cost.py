"""The overhead of distribution in an iteration: seconds, and bytes sent and returned."""

import pickle
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from benchmarks.distributed.cluster import few_rows, held, iteration, processes
from benchmarks.mixture.problem import Problem, start_from
from benchmarks.suite import Section
from skvae.blocks import Rows, workers
from skvae.gaussian.covariance import STRUCTURES
from skvae.mixture.e_step import expect
from skvae.mixture.parameters import MixtureParameters

_CHUNKS = (2, 32, 128)
_ROWS = 400  # of a chunk


class Cost(NamedTuple):
    """The overhead of an iteration.

    Parameters
    ----------
    seconds : tuple of float
        Of an iteration over ``_CHUNKS`` chunks of few rows.
    fixed, per_task : float
        The line through them: seconds of an iteration, and of each chunk.
    sent, returned : int
        Bytes of the parameters for each worker, and of the statistics of each task.
    """

    seconds: tuple
    fixed: float
    per_task: float
    sent: int
    returned: int


@lru_cache(maxsize=4)
def cost_of(n_features, k, seed, quick):
    """Return the Cost with two processes on this machine."""
    chunks = _CHUNKS[:2] if quick else _CHUNKS
    taken = []
    with processes(2):
        for n in chunks:
            X = few_rows(n * _ROWS, n_features, seed)
            taken.append(iteration(X, held(X, n), k, last=9, at_least=0.1 if quick else 2.0))
    per_task, fixed = np.polyfit(chunks, taken, 1)
    return Cost(tuple(taken), float(fixed), float(per_task), *_bytes(n_features, k, seed))


def _bytes(n_features, k, seed):
    """Return the sizes of a task's parameters and of its result, in bytes."""
    X = few_rows(20 * k * n_features, n_features, seed)
    start = start_from(X, k, "full", seed)
    structure = STRUCTURES["full"]
    parameters = MixtureParameters.of(
        "full", start.weights, start.means, structure.inverse(start.precisions)
    )
    kernel = parameters.kernel()
    with workers(1) as pool:
        found = expect(Rows(X), kernel, pool)
    return len(pickle.dumps(kernel)), len(pickle.dumps(found))


CASES = {
    "full-8-32": Problem(0, 8, 32),
    "full-64-32": Problem(0, 64, 32),
}


def measure(problem, settings):
    """Return the row of one problem."""
    d, k = problem.n_features, problem.n_components
    cost = cost_of(d, k, settings.seed, settings.quick)
    times = ", ".join(f"{1e3 * t:.1f}" for t in cost.seconds)
    row = [
        f"{d}, {k}",
        f"{times} ms",
        f"{1e3 * cost.fixed:.1f} ms",
        f"{1e3 * cost.per_task:.2f} ms",
    ]
    return [[*row, f"{cost.sent / 1e3:,.0f} kB", f"{cost.returned / 1e3:,.0f} kB"]]


SECTION = Section(
    name="distribution",
    title="The overhead of distribution",
    method=(
        f"Two worker processes. Seconds per EM iteration over {', '.join(map(str, _CHUNKS))} "
        f"chunks of {_ROWS} rows each, with negligible work, and the line through them: the "
        "overhead of an iteration, and of each chunk. Bytes, pickled: the kernel, sent to every "
        "worker once an iteration, and the statistics, returned by every task."
    ),
    columns=[
        "D, K",
        "an iteration",
        "fixed",
        "per chunk",
        "sent to a worker",
        "returned by a task",
    ],
    cases=CASES,
    measure=measure,
)
