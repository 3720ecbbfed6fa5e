r"""The parameters of a hidden Markov model as one value, and the M step of its chain.

.. math:: p(x, z) = \pi_{z_1} \prod_{t>1} A_{z_{t-1} z_t} \prod_t p(x_t \mid \theta_{z_t})

With expected starts :math:`n_k` and transitions :math:`n_{ij}` under the posterior, and Dirichlet
priors of concentration a,

.. math:: \pi_k \propto n_k + a_k - 1, \qquad A_{ij} \propto n_{ij} + a_{ij} - 1

(Baum, Petrie, Soules & Weiss, Ann. Math. Stat. 41, 1970; Gauvain & Lee, IEEE Trans. Speech Audio
Process. 2, 1994, for the prior).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skvae.ascent.loop import Collapse
from skvae.chain.kernels_counts import fill_probabilities
from skvae.fixed import n_fixed_shares, share_rest, shares

# The least stored probability that is not a structural zero. EM leaves a zero where all posterior
# probabilities underflow, and its own iterations keep it, as the recursions have faster forms for
# zeros. A fit that continues could never raise it again, and a prior's density would be zero.
SMALLEST = 1e-300


class ChainParameters(NamedTuple):
    """Parameters of a hidden Markov model.

    Parameters
    ----------
    startprob : ndarray of shape (n_components,)
        π.
    transmat : ndarray of shape (n_components, n_components)
        A, from row to column; rows sum to one.
    emission : NamedTuple
        Parameters of an emission family.
    """

    startprob: np.ndarray
    transmat: np.ndarray
    emission: Any

    def kept(self, new, emission, fixed):
        """Return other parameters with the fixed values of these; of the emission, too."""
        startprob, transmat, others = new
        if "startprob" in fixed:
            startprob = share_rest(startprob, self.startprob, fixed["startprob"])
        if "transmat" in fixed:
            transmat = np.where(fixed["transmat"][:, None], self.transmat, transmat)
        return ChainParameters(
            startprob, transmat, emission._with_fixed(others, self.emission, fixed)
        )

    def logs(self):
        """Return (ln π, ln A)."""
        with np.errstate(divide="ignore"):
            return np.log(self.startprob), np.log(self.transmat)


@dataclass(frozen=True)
class ChainStatistics:
    """Expected statistics of sequences; they add.

    Parameters
    ----------
    starts : ndarray of shape (K,)
        Expected number of sequences that begin in each state.
    pairs : ndarray of shape (K, K)
        Expected number of transitions.
    emission : object
        The emission family's statistics.
    """

    starts: np.ndarray
    pairs: np.ndarray
    emission: Any

    def __add__(self, other):
        return ChainStatistics(
            self.starts + other.starts, self.pairs + other.pairs, self.emission + other.emission
        )

    def __mul__(self, weight):
        return ChainStatistics(self.starts * weight, self.pairs * weight, self.emission * weight)

    __rmul__ = __mul__


class ChainPrior(NamedTuple):
    """The prior of a chain, and its structural zeros.

    Parameters
    ----------
    startprob, transmat : ndarray of shape (K,) and (K, K)
        Concentrations of the Dirichlet priors, ≥ 1.
    start_allowed, allowed : ndarray of bool, shape (K,) and (K, K)
        Which starts and transitions there can be; the others stay zero.
    """

    startprob: np.ndarray
    transmat: np.ndarray
    start_allowed: np.ndarray
    allowed: np.ndarray

    def maximize(self, old, statistics):
        """Return (startprob, transmat) that maximise the expected log-likelihood plus log prior."""
        startprob, transmat = np.empty_like(statistics.starts), np.empty_like(statistics.pairs)
        counts = statistics.starts + self.startprob - 1.0
        rows = counts[None], self.start_allowed[None], old.startprob[None], startprob[None]
        fill_probabilities(*rows)
        counts = statistics.pairs + self.transmat - 1.0
        fill_probabilities(counts, self.allowed, old.transmat, transmat)
        return startprob, transmat

    def maximize_fixed(self, old, statistics, fixed):
        """Return the result of :meth:`maximize` in which those in ``fixed`` keep their values."""
        startprob, transmat = self.maximize(old, statistics)
        if "startprob" in fixed:
            counts = statistics.starts + self.startprob - 1.0
            startprob = shares(counts, self.start_allowed, old.startprob, fixed["startprob"])
        if "transmat" in fixed:
            transmat = np.where(fixed["transmat"][:, None], old.transmat, transmat)
        return startprob, transmat

    def n_fixed(self, fixed):
        """Return the number of free probabilities that are fixed."""
        count = 0
        if "startprob" in fixed:
            count += n_fixed_shares(self.start_allowed, fixed["startprob"])
        if "transmat" in fixed:
            count += int((self.allowed[fixed["transmat"]].sum(axis=1) - 1).sum())
        return count

    def earlier_counts(self, parameters, starts, pairs):
        """Return expected (starts, pairs) of earlier rows less the prior's share in them.

        Parameters
        ----------
        parameters : ChainParameters
            The result of the M step with this prior.
        starts, pairs : ndarray of shape (K,) and (K, K)
            Counts in proportion to its probabilities. The M step adds the prior to the returned
            counts, and gives the same probabilities.
        """
        found = []
        for counts, p, a, allowed in (
            (starts, parameters.startprob, self.startprob, self.start_allowed),
            (pairs, parameters.transmat, self.transmat, self.allowed),
        ):
            extra = np.where(allowed, a - 1.0, 0.0)
            whole = extra.sum(axis=-1, keepdims=True) * p - extra
            found.append(np.maximum(counts + whole, 0.0))
        return found

    def log_density(self, startprob, transmat):
        """Return the log prior of the free probabilities, relative to a flat one, in nats.

        The Dirichlet's constants are left out: they do not change while parameters are learned, and
        flat priors give 0.
        """
        total = 0.0
        for p, a, allowed in (
            (startprob, self.startprob, self.start_allowed),
            (transmat, self.transmat, self.allowed),
        ):
            counts = allowed & (a > 1.0)
            with np.errstate(divide="ignore"):
                total += float(((a[counts] - 1.0) * np.log(p[counts])).sum())
        return total


def expected_occupancy(startprob, transmat, lengths, weights):
    """Return (starts, pairs, occupancy) that sequences of the lengths have under the chain itself.

    Weighted sums over the sequences: (K,), (K, K), (K,).
    """
    counts = np.bincount(np.minimum(lengths, _LONGEST), weights)
    alive = counts[::-1].cumsum()[::-1]  # the weight of the sequences with at least t rows
    alive = np.append(alive[1:], 0.0)
    state, occupancy, departures = startprob, np.zeros_like(startprob), np.zeros_like(startprob)
    for t in range(len(alive) - 1):
        occupancy += alive[t] * state
        departures += alive[t + 1] * state
        following = state @ transmat
        if np.abs(following - state).max() < 1e-16:  # the other steps are alike
            occupancy += alive[t + 1 :].sum() * state
            departures += alive[t + 2 :].sum() * state
            break
        state = following
    # Beyond that the state's distribution is taken to have settled.
    rest = (lengths - np.minimum(lengths, _LONGEST)) @ weights
    occupancy += rest * state
    departures += rest * state
    return startprob * weights.sum(), departures[:, None] * transmat, occupancy


_LONGEST = 1000


class Coordinates:
    """Parameters as vectors without constraints, which acceleration extrapolates, and back.

    Parameters
    ----------
    parameters : ChainParameters
        Any parameters of the model: vectors are of the same form.
    prior : ChainPrior
        Which probabilities there are.
    summary : object
        The emission's summary of the data.
    """

    def __init__(self, parameters, prior, summary):
        self._emission = parameters.emission
        self._prior = prior
        self._summary = summary

    def pack(self, parameters):
        """Return the parameters as a vector."""
        start = parameters.startprob[self._prior.start_allowed]
        transmat = parameters.transmat[self._prior.allowed]
        logs = np.log(np.maximum(np.concatenate([start, transmat]), SMALLEST))
        return np.concatenate([logs, parameters.emission.pack(self._summary)])

    def unpack(self, vector):
        """Return the parameters of a vector; raise Collapse if they are not usable."""
        prior = self._prior
        n_start = int(prior.start_allowed.sum())
        n_chain = n_start + int(prior.allowed.sum())
        start, transmat = np.zeros(prior.startprob.shape), np.zeros(prior.transmat.shape)
        with np.errstate(over="ignore"):
            start[prior.start_allowed] = np.exp(vector[:n_start])
            transmat[prior.allowed] = np.exp(vector[n_start:n_chain])
            total, totals = start.sum(), transmat.sum(axis=1, keepdims=True)
        if not (np.isfinite(total) and np.isfinite(totals).all() and total > 0 and totals.all()):
            raise Collapse("the extrapolation overflows")
        emission = self._emission.unpack(vector[n_chain:], self._summary)
        return ChainParameters(start / total, transmat / totals, emission)
