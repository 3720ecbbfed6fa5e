"""Files of rows, and passes over them in a separate process."""

import json
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from benchmarks.memory import peak_beyond_data
from benchmarks.mixture.problem import Problem, start_from
from benchmarks.timing import seconds

_SAMPLE = 100_000  # rows that a start is made from
METHODS = ("EM", "memoized")


def write(problem, path, seed):
    """Write the rows of a problem to a file that can be mapped."""
    shape = (problem.n_samples, problem.n_features)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=problem.dtype, shape=shape)
    problem.make(seed, out)
    out.flush()


def passes_over(problem, path, method, *, mapped=True, most_data=None):
    """Return (seconds of one pass, peak bytes beyond X) in a fresh process.

    Parameters
    ----------
    problem : Problem
    path : Path
        The file with its rows; the seconds are returned in a second file beside it.
    method : {"EM", "memoized"}
    mapped : bool
        Whether the file is mapped, or read into memory first.
    most_data : int or None
        A limit to the private memory of the process, in bytes.
    """
    times = path.with_suffix(".json")
    peak = peak_beyond_data(
        f"{__name__}:prepare",
        anonymous=mapped,
        problem=asdict(problem),
        path=str(path),
        method=method,
        mapped=mapped,
        most_data=most_data,
        times=str(times),
    )
    return json.loads(times.read_text())["seconds"], peak


def prepare(problem, path, method, mapped, most_data, times):
    """Return the fits to measure, with one pass and with two; the difference is the time of one."""
    if most_data is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (most_data, most_data))
    X = np.load(path, mmap_mode="r" if mapped else None)
    k = Problem(**problem).n_components
    fit = _fits(method, k, start_from(np.array(X[:_SAMPLE]), k, "full", 0))
    fit(np.array(X[:_SAMPLE]), 1)

    def action():
        short, long = (seconds(lambda n=n: fit(X, n))[0] for n in (1, 2))
        Path(times).write_text(json.dumps({"seconds": long - short}))

    return action


def _fits(method, k, start):
    """Return ``fit(X, number of passes)``."""
    from skvae import BayesianMixtureSVI, EMGaussianMixture

    def em(X, n):
        return EMGaussianMixture(k, **start.as_init, max_iter=n, tol=0).fit(X)

    def memoized(X, n):
        start = {"init_params": "random_from_data", "random_state": 0}
        return BayesianMixtureSVI(k, **start, moves=(), max_iter=n, tol=0).fit(X)

    def fit(X, n):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return {"EM": em, "memoized": memoized}[method](X, n)

    return fit
