"""Clusters of processes on this machine, and EM on rows in their memory."""

import warnings
from contextlib import contextmanager

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from benchmarks.mixture.problem import start_from
from benchmarks.timing import seconds_per_iteration
from skvae import EMGaussianMixture

FIRST, LAST = 1, 4


@contextmanager
def processes(n_workers):
    """Yield a client of a cluster of ``n_workers`` processes with one thread each."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs="ERROR",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def held(X, n_chunks):
    """Return rows as a Dask array in the memory of the workers."""
    import dask.array as da
    from distributed import wait

    with warnings.catch_warnings():  # the data are sent once, before the measurement
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        lazy = da.from_array(X, chunks=(-(-len(X) // n_chunks), -1), name=False).persist()
        wait(lazy)
    return lazy


def iteration(X, lazy, k, *, last=LAST, at_least=1.0):
    """Return seconds per EM iteration on an array that holds the rows X."""
    start = start_from(X[:100_000], k, "full", 0)

    def fit(n_iterations):
        model = EMGaussianMixture(k, **start.as_init, max_iter=n_iterations, tol=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(lazy)

    fit(1)
    return seconds_per_iteration(fit, first=FIRST, last=last, at_least=at_least)


def few_rows(n_samples, n_features, seed):
    """Return rows with a negligible time for an iteration."""
    return np.random.default_rng(seed).normal(size=(n_samples, n_features))
