"""The E step of a hidden Markov model, and inference: rows under an emission, and its chain.

Few rows are one block: their log-densities are one array, and :mod:`skvae.chain.one_block` runs
over all of them. Many rows are read in blocks, by several threads. :func:`_rows_of` chooses.
"""

from contextlib import nullcontext
from functools import partial

import numpy as np
from scipy.special import xlogy

from skvae.blocks import Sequences, Workers, is_complete, workers
from skvae.chain import algorithms, kernels_gaussian, one_block
from skvae.chain.segments import are_few
from skvae.emissions.base import log_density_of
from skvae.emissions.location_scale import GaussianParameters
from skvae.emissions.reading import EmissionReader, EmissionRows
from skvae.gaussian.statistics import GaussianStatistics
from skvae.hmm.known_states import KnownStatesReader, with_evidence
from skvae.hmm.parameters import ChainStatistics

_FEW_FEATURES = 8  # up to which few rows under Gaussians are faster without a matrix product


def _rows_of(parameters, X, complete=False):
    """Return the rows as one block under an emission, or None if they are too many for one."""
    emission, n_states = parameters.emission, len(parameters.startprob)
    gaussian = (
        isinstance(emission, GaussianParameters) and emission.locations.shape[1] <= _FEW_FEATURES
    )
    if not are_few(len(X), n_states, quick=gaussian):
        return None
    complete = complete or is_complete(X)
    if gaussian and complete:
        return GaussianRows(emission, X)
    return EmissionRows(emission.kernel(), X, complete) if are_few(len(X), n_states) else None


def rows_under(emission, kernel, X):
    """Return rows under the parameters of an emission, with ``log_density`` and ``statistics``.

    ``kernel`` is the emission's own, which takes longer to make than to use for a single row.
    """
    complete = is_complete(X)
    gaussian = isinstance(emission, GaussianParameters) and X.shape[1] <= _FEW_FEATURES
    if gaussian and complete:
        return GaussianRows(emission, X)
    return EmissionRows(kernel, X, complete)


def reader_of(kernel, sequences, complete=False):
    """Return a function that returns a reader of sequences under the kernel of an emission."""
    if sequences.states is not None:
        return partial(KnownStatesReader, sequences.states, kernel, sequences.X, complete)
    return partial(EmissionReader, kernel, sequences.X, complete)


def threads_for(data, n_components):
    """Return :func:`skvae.blocks.workers` for sequences, the calling thread alone for few rows."""
    if isinstance(data, Sequences) and are_few(len(data.X), n_components):
        return nullcontext(Workers(1))
    return workers()


def expect(parameters, sequences, pool, complete=False, buffers=None):
    """Return the ChainStatistics of sequences and their weighted log-likelihood, in nats.

    Parameters
    ----------
    parameters : ChainParameters
        The model.
    sequences : Sequences
        The rows.
    pool : Workers
        The threads.
    complete : bool
        Whether it is known that no row has a missing value.
    buffers : Buffers or None
        Memory of an earlier call, to be used again.
    """
    rows = _rows_of(parameters, sequences.X, complete)
    if rows is not None:
        start, transmat, _ = parameters
        given, log_density = (sequences.offsets, sequences.weight), rows.log_density()
        if sequences.states is not None:
            log_density = with_evidence(log_density, sequences.states)
        found, log_likelihood = one_block.smooth(start, transmat, log_density, *given)
        statistics = rows.statistics(found.posterior)
        return ChainStatistics(found.starts, found.pairs, statistics), log_likelihood
    kernel = parameters.emission.kernel()
    found = algorithms.expect(
        *parameters.logs(),
        reader_of(kernel, sequences, complete),
        sequences.offsets,
        weight=sequences.weight,
        pool=pool,
        buffers=buffers,
    )
    statistics = ChainStatistics(found.starts, found.pairs, kernel.finish(found.emission))
    return statistics, float(found.log_likelihood)


def infer(algorithm, parameters, sequences, complete=False, pool=None, **options):
    """Return the result of a function of :mod:`skvae.chain.algorithms` for sequences.

    Parameters
    ----------
    algorithm : callable
        The function.
    parameters, sequences, complete
        As for :func:`expect`.
    pool : Workers, optional
        The threads; None is as many as there can be.
    **options : dict
        Further arguments of the function.
    """
    rows = _rows_of(parameters, sequences.X, complete)
    if rows is not None:
        log_density = rows.log_density()
        if sequences.states is not None:
            log_density = with_evidence(log_density, sequences.states)
        return algorithm(*parameters.logs(), log_density.T, sequences.offsets, **options)
    reader = reader_of(parameters.emission.kernel(), sequences, complete)
    with workers() if pool is None else nullcontext(pool) as pool:
        return algorithm(*parameters.logs(), reader, sequences.offsets, pool=pool, **options)


def log_likelihood_of(parameters, sequences, pool=None, complete=False):
    """Return the weighted log-likelihood of sequences, in nats; the arguments are as above."""
    rows = _rows_of(parameters, sequences.X, complete)
    if rows is not None:
        start, transmat, _ = parameters
        log_density = rows.log_density()
        if sequences.states is not None:
            log_density = with_evidence(log_density, sequences.states)
        block = one_block.OneBlock(start, transmat, log_density, sequences.offsets)
        return block.log_likelihood(sequences.weight)
    given = parameters, sequences, complete, pool
    return infer(algorithms.log_likelihood_of, *given, weight=sequences.weight)


def path_entropy(parameters, sequences):
    """Return the entropy of the posterior over paths, summed over sequences, in nats.

    It is ln p(x) − E[ln p(x, z)], where z has its posterior; 0 if a sequence is impossible.
    """
    logs, offsets = parameters.logs(), sequences.offsets
    X = sequences.X.astype(np.float64, copy=False)
    log_density = log_density_of(parameters.emission, X)
    found = algorithms.smooth(*logs, log_density, offsets)
    if found.log_likelihood == -np.inf:
        return 0.0
    joint = xlogy(found.posterior[offsets[:-1]], parameters.startprob).sum()
    joint += xlogy(found.pairs, parameters.transmat).sum()
    used = found.posterior > 0
    joint += (found.posterior[used] * log_density[used]).sum()
    return max(0.0, float(found.log_likelihood - joint))


# Rows under an emission ---------------------------------------------------------------------------


class GaussianRows:
    """Few complete rows under Gaussian states of few features.

    Parameters
    ----------
    parameters : GaussianParameters
        The states.
    X : ndarray of shape (n_samples, n_features)
        The rows.
    """

    def __init__(self, parameters, X):
        kind = parameters.covariance_type
        if kind in ("full", "tied"):
            self._log_density = kernels_gaussian.full_log_density
            self._statistics = kernels_gaussian.full_statistics
        else:
            self._log_density = kernels_gaussian.diagonal_log_density
            self._statistics = kernels_gaussian.diagonal_statistics
        self._parameters = parameters
        self._X = np.array(X.T, dtype=np.float64, order="C")
        self._means = np.array(parameters.locations, order="C")
        factors = parameters.factors
        if kind == "tied":
            factors = np.broadcast_to(factors, (len(self._means), *factors.shape))
        elif kind == "spherical":
            factors = np.broadcast_to(factors[:, None], self._means.shape)
        self._factors = np.array(factors, order="C")

    def log_density(self):
        """Return ln p(x | state) of the rows, shape (K, n)."""
        out = np.empty((len(self._means), self._X.shape[1]))
        self._log_density(self._X, self._means, self._factors, out)
        return out

    def statistics(self, posterior):
        """Return the GaussianStatistics of the rows, weighted by ``posterior`` (n, K)."""
        counts, sums = np.zeros(len(self._means)), np.zeros(self._means.shape)
        scatter = np.zeros(self._factors.shape)
        self._statistics(self._X, self._means, posterior, counts, sums, scatter)
        kind = self._parameters.covariance_type
        if kind == "tied":
            scatter = scatter.sum(axis=0)
        elif kind == "spherical":
            scatter = scatter.mean(axis=1)
        return GaussianStatistics(kind, counts, sums, scatter, self._parameters.locations)
