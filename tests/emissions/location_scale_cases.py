"""Helpers of the tests of location-scale emissions: a kernel over rows, EM of a mixture."""

import numpy as np

from skvae.blocks import Rows, workers
from skvae.gaussian.covariance import STRUCTURES
from tests.problems import random_covariance


def log_density(parameters, X):
    """ln p(x|k) of each row, (n, K), by the blocks of the kernel."""
    return evaluate(parameters, X, None)[0]


def evaluate(parameters, X, resp):
    """(ln p(x|k) (n, K), statistics of the responsibilities (n, K)), in several blocks.

    The log-densities are overwritten before the block accumulates, as a caller may do.
    """
    kernel = parameters.kernel()
    size = min(kernel.block_rows, 37 if len(X) < 1000 else 1000)
    workspace, sums = kernel.workspace(), kernel.sums()
    out = np.full((len(X), parameters.n_components), np.nan)
    for a in range(0, len(X), size):
        part = X[a : a + size]
        for rows, block in kernel.blocks(part, workspace):
            found = block.log_density()
            out[a : a + size][rows] = found.T
            found[:] = 7.0
            if resp is not None:
                found[:] = resp[a : a + size][rows].T
                block.accumulate(sums, found)
    return out, kernel.finish(sums) if resp is not None else None


def summary_of(emission, X, sample_weight=None):
    with workers(1) as pool:
        return emission.summarize(Rows(X, sample_weight), pool)


def fixed_weights_em(emission, parameters, X, n_iter, weights=None, fixed=True):
    """EM of the mixture Σ_k weights_k p(x|k): (log-likelihoods before each step, parameters)."""
    n_components = parameters.n_components
    weights = np.full(n_components, 1.0 / n_components) if weights is None else weights
    summary, trace = summary_of(emission, X), []
    for _ in range(n_iter):
        joint = log_density(parameters, X) + np.log(weights)
        top = joint.max(axis=1)
        log_p = top + np.log(np.exp(joint - top[:, None]).sum(axis=1))
        trace.append(log_p.sum())
        resp = np.exp(joint - log_p[:, None])
        _, statistics = evaluate(parameters, X, resp)
        parameters = emission.maximize(parameters, statistics, summary)
        weights = weights if fixed else resp.mean(axis=0)
    return np.array(trace), parameters


def random_scales(kind, n_components, n_features, seed=0, scale=1.0):
    """Covariances in the structure's shape."""
    rng = np.random.default_rng(seed)
    full = np.stack([random_covariance(rng, n_features, scale) for _ in range(n_components)])
    return {
        "full": full,
        "tied": full[0],
        "diag": np.diagonal(full, axis1=1, axis2=2).copy(),
        "spherical": np.trace(full, axis1=1, axis2=2) / n_features,
    }[kind]


def matrices(kind, scales, shape):
    """The covariances as (K, D, D)."""
    n_components, n_features = shape
    eye = np.eye(n_features)
    if kind in ("full", "tied"):
        return np.broadcast_to(scales, (n_components, n_features, n_features))
    return np.broadcast_to(np.reshape(scales, (n_components, -1)), shape)[:, :, None] * eye


def shaped(kind, scatters, counts):
    """Covariances of a structure that maximise the likelihood of scatters (K, D, D), no floor."""
    if kind == "tied":
        return np.sum(scatters, axis=0) / np.sum(counts)
    each = scatters / np.reshape(counts, (-1, 1, 1))
    if kind == "full":
        return each
    diagonal = np.diagonal(each, axis1=1, axis2=2)
    return diagonal if kind == "diag" else diagonal.mean(axis=1)


def assert_same_normals(found, expected, rtol=1e-9, atol=1e-10):
    assert found.covariance_type == expected.covariance_type
    np.testing.assert_allclose(found.locations, expected.locations, rtol=rtol, atol=atol)
    np.testing.assert_allclose(found.scales, expected.scales, rtol=rtol, atol=atol)
    precisions = STRUCTURES[found.covariance_type].precisions(found.factors)
    again = STRUCTURES[found.covariance_type].inverse(found.scales)
    np.testing.assert_allclose(precisions, again, rtol=1e-6, atol=1e-6 * np.abs(again).max())
