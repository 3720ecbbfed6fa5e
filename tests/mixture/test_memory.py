"""Memory beyond X stays bounded, whatever the number of rows."""

import tracemalloc

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skvae import EMGaussianMixture
from tests.problems import start

pytestmark = pytest.mark.slow  # by default the contract has one such test

N_SAMPLES, N_FEATURES, N_COMPONENTS = 200_000, 8, 32
# One n_samples × n_components array of float64, which `fit` must do without.
FORBIDDEN = N_SAMPLES * N_COMPONENTS * 8


def peak_of(call):
    """Bytes that NumPy and Python allocated at most during the call, over what they held before."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def rows():
    return np.random.default_rng(0).normal(size=(N_SAMPLES, N_FEATURES))


def fit(X, **changes):
    parameters, _ = start(X[:2000], N_COMPONENTS, changes.pop("covariance_type", "full"))
    sample_weight = changes.pop("sample_weight", None)
    model = EMGaussianMixture(**(parameters | {"max_iter": 2, "tol": 0.0} | changes))
    with pytest.warns(ConvergenceWarning):
        model.fit(X, sample_weight=sample_weight)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_fit_makes_no_array_of_rows_by_components(covariance_type, dtype):
    X = rows().astype(dtype)
    assert peak_of(lambda: fit(X, covariance_type=covariance_type)) < 0.4 * FORBIDDEN


def test_with_weights_and_acceleration():
    X = rows()
    weight = np.random.default_rng(0).uniform(size=N_SAMPLES)
    peak = peak_of(lambda: fit(X, sample_weight=weight, acceleration="anderson"))
    assert peak < 0.4 * FORBIDDEN


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_from_every_start(init_params):
    X = rows()
    changes = {"weights_init": None, "means_init": None, "precisions_init": None}
    peak = peak_of(
        lambda: fit(X, init_params=init_params, random_state=0, reg_covar=1e-3, **changes)
    )
    assert peak < 0.7 * FORBIDDEN


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_with_missing_values(covariance_type):
    """Work space for the patterns is large but does not grow with the rows."""
    X = rows()
    X[np.random.default_rng(0).random(X.shape) < 0.03] = np.nan
    few = X[: N_SAMPLES // 4]
    peaks = [peak_of(lambda X=X: fit(X, covariance_type=covariance_type)) for X in (few, X)]
    assert peaks[1] - peaks[0] < 0.5 * 0.75 * FORBIDDEN
    assert peaks[1] < FORBIDDEN


def test_partial_fit_and_score():
    X = rows()
    parameters, _ = start(X[:2000], N_COMPONENTS, "full")
    model = EMGaussianMixture(**parameters).partial_fit(X[:1000])
    assert peak_of(lambda: model.partial_fit(X)) < 0.4 * FORBIDDEN
    assert peak_of(lambda: model.score(X)) < 0.4 * FORBIDDEN


def test_a_file_is_not_read_into_memory(tmp_path):
    shape = (600_000, 16)  # 77 MB
    path = tmp_path / "X.npy"
    X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=shape)
    rng = np.random.default_rng(0)
    for block in np.array_split(np.arange(len(X)), 20):
        X[block[0] : block[-1] + 1] = rng.normal(size=(len(block), shape[1]))
    X.flush()
    mapped = np.load(path, mmap_mode="r")
    parameters, _ = start(np.array(mapped[:2000]), 4, "full")
    model = EMGaussianMixture(**parameters, max_iter=2, tol=0.0)

    def fit_and_score():
        with pytest.warns(ConvergenceWarning):
            model.fit(mapped)
        model.score(mapped)

    assert peak_of(fit_and_score) < 0.4 * mapped.nbytes
