"""Helpers of the tests of emissions: kernels over whole arrays, and a plain EM."""

import numpy as np
from scipy.special import logsumexp

from skvae.blocks import Rows, ranges, workers


def log_density(parameters, X, block_rows=None):
    """ln p(x | state) of the rows, (K, n), gathered from the kernel's blocks."""
    kernel = parameters.kernel()
    workspace = kernel.workspace()
    out = np.full((parameters.n_components, len(X)), np.nan)
    for a, b in ranges(0, len(X), block_rows or kernel.block_rows):
        for rows, block in kernel.blocks(X[a:b], workspace):
            out[:, np.arange(a, b)[rows]] = block.log_density()
    return out


def statistics(parameters, X, resp, block_rows=None):
    """Statistics of responsibilities (K, n), over the kernel's blocks."""
    kernel = parameters.kernel()
    workspace, sums = kernel.workspace(), kernel.sums()
    for a, b in ranges(0, len(X), block_rows or kernel.block_rows):
        for rows, block in kernel.blocks(X[a:b], workspace):
            block.log_density()
            block.accumulate(sums, resp[:, np.arange(a, b)[rows]])
    return kernel.finish(sums)


def summary_of(emission, X, sample_weight=None, feature_names=None):
    """The emission's summary of the rows."""
    with workers() as pool:
        return emission.summarize(Rows(X, sample_weight), pool, feature_names)


def first_of(emission, X, labels, n_components, seed=0, sample_weight=None):
    """The first parameters of hard labels."""
    summary = summary_of(emission, X, sample_weight)
    rng = np.random.RandomState(seed)
    return emission.first(Rows(X, sample_weight), labels, n_components, summary, rng)


def mixture_bounds(emission, parameters, X, summary, n_iter):
    """EM of a mixture with equal weights: log-likelihood plus log prior at each iteration."""
    bounds = []
    for _ in range(n_iter):
        joint = log_density(parameters, X) - np.log(parameters.n_components)
        log_p = logsumexp(joint, axis=0)
        bounds.append(log_p.sum() + emission.log_prior(parameters, summary))
        found = statistics(parameters, X, np.exp(joint - log_p))
        parameters = emission.maximize(parameters, found, summary)
    return np.array(bounds), parameters


def some_resp(n_components, n_rows, seed=0):
    """Responsibilities times weights, (K, n), as a transposed view."""
    rng = np.random.default_rng(seed)
    resp = rng.dirichlet(np.ones(n_components), size=n_rows)
    return (resp * rng.uniform(0.1, 3.0, size=(n_rows, 1))).T


def holes(X, share=0.3, seed=0):
    """A copy of X with missing values, of which the first row has nothing else."""
    X = np.array(X, dtype=np.float64)
    X[np.random.default_rng(seed).random(X.shape) < share] = np.nan
    X[0] = np.nan
    return X
