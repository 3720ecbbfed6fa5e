"""Many fits in one process: ``python -m tests.faults.soak --fits 1000``.

Estimators of all kinds are fitted, asked, copied, stored and dropped, some in threads, some with an
error. Prints resident memory, threads and open files as it goes; the exit status is 1 where one of
them has grown. A first part of the fits is not counted: caches fill. Linux only.
"""

# ruff: noqa: T201
import argparse
import contextlib
import ctypes
import gc
import os
import pickle
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov, VariationalAutoencoder
from tests.problems import blobs, knock_out

_ASCENT = {"max_iter": 10}
_NET = {"max_epochs": 3, "hidden_layer_sizes": (8,), "device": "cpu"}
KINDS = (
    lambda seed: EMGaussianMixture(4, random_state=seed, **_ASCENT),
    lambda seed: EMHiddenMarkov(3, random_state=seed, **_ASCENT),
    lambda seed: BayesianMixtureSVI(4, random_state=seed, **_ASCENT),
    lambda seed: VariationalAutoencoder(2, random_state=seed, **_NET),
    lambda seed: EMGaussianMixture(3, n_init=2, n_jobs=2, random_state=seed, **_ASCENT),
    lambda seed: EMHiddenMarkov(2, emission="student_t", random_state=seed, **_ASCENT),
    lambda seed: BayesianMixtureSVI(3, learning_method="online", random_state=seed, **_ASCENT),
    lambda seed: VariationalAutoencoder(2, prior="mixture", random_state=seed, **_NET),
)


class Figures(NamedTuple):
    """What a process holds.

    Parameters
    ----------
    memory : float
        Resident, in MB.
    threads : int
        Of the operating system.
    python_threads : int
        Of Python.
    files : int
        Open.
    """

    memory: float
    threads: int
    python_threads: int
    files: int


def figures():
    """Return what this process holds now, when all that can be is collected and given back.

    What the allocator keeps in pieces for later would look like a leak: it grows for hours.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc's alone
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    process = Path("/proc/self")
    pages = int((process / "statm").read_text().split()[1])
    return Figures(
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        len(list((process / "task").iterdir())),
        threading.active_count(),
        len(os.listdir(process / "fd")),
    )


def one(i, folder):
    """Fit the i-th estimator to rows of its own, ask it, store it, and make it fail."""
    X = blobs(400 + i % 7, 3, 3, seed=i)
    X = knock_out(X, 0.1, seed=i) if i % 5 == 4 else X
    model = KINDS[i % len(KINDS)](i).fit(X)
    model.score(X)
    model.transform(X)
    model.sample(10)
    pickle.loads(pickle.dumps(model)).partial_fit(X[:50])
    if isinstance(model, VariationalAutoencoder):
        path = Path(folder) / f"{i % 3}.safetensors"
        model.save(path)
        VariationalAutoencoder.load(path).score(X)
    try:
        model.fit(np.where(X > 2, np.inf, X))
    except ValueError:
        return
    raise AssertionError("infinite rows were fitted")


def soak(n_fits, every):
    """Yield (fits so far, Figures) every so many fits; each fourth lot is fitted in threads."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for start in range(0, n_fits, every):
            lot = range(start, min(start + every, n_fits))
            if start // every % 4 == 3:
                with ThreadPoolExecutor(2) as executor:
                    list(executor.map(lambda i: one(i, f"{folder}"), lot))
            else:
                for i in lot:
                    one(i, folder)
            yield lot.stop, figures()


def growth(found):
    """Return how much each figure grew from the first third to the last, by their medians."""
    third = max(1, len(found) // 3)
    first, last = (np.median(part, axis=0) for part in (found[third : 2 * third], found[-third:]))
    return Figures(*(last - first))


def main(arguments):
    """Soak, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fits", type=int, default=1000)
    parser.add_argument("--every", type=int, default=50)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found, started = [], time.perf_counter()
    print(f"{'fits':>6}{'MB':>9}{'threads':>9}{'Python':>8}{'files':>7}{'seconds':>9}")
    for n, now in soak(options.fits, options.every):
        found.append(now)
        seconds = time.perf_counter() - started
        print(
            f"{n:6}{now.memory:9.1f}{now.threads:9}{now.python_threads:8}{now.files:7}"
            f"{seconds:9.0f}",
            flush=True,
        )
    grown = growth(found)
    print(f"from the second third to the last: {grown}")
    return int(grown.memory > 5 or max(grown[1:]) > 0)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main(sys.argv[1:]))
