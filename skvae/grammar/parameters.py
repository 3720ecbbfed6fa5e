r"""The parameters of a probabilistic context-free grammar as one value, and its M step.

A nonterminal A becomes two nonterminals, :math:`A \to B\,C`, with probability :math:`R_{ABC}`; one
other, :math:`A \to B`, by a unit rule, with :math:`U_{AB}`; or a leaf with :math:`\lambda_A`, whose
row has the density :math:`p(x \mid \theta_A)`. These are the choices of a nonterminal:

.. math:: \sum_{BC} R_{ABC} + \lambda_A + \sum_B U_{AB} = 1.

With expected counts n of the choices under the posterior over trees, and a Dirichlet prior of
concentration a over all choices of a nonterminal, the M step is :math:`p \propto n + a - 1` (Baker,
J. Acoust. Soc. Am. 65, 1979; Lari & Young, Comput. Speech Lang. 4, 1990).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skvae.ascent.loop import Collapse
from skvae.chain.kernels_counts import fill_probabilities
from skvae.chart.algorithms import Rules

# The least stored probability that is not a structural zero: see skvae.hmm.parameters.
SMALLEST = 1e-300
# The largest spectral radius of the mean matrix for which its geometric series is summed.
_LARGEST_RADIUS = 0.999


class GrammarParameters(NamedTuple):
    """Parameters of a probabilistic context-free grammar.

    Parameters
    ----------
    startprob : ndarray of shape (K,)
        Probabilities of the nonterminal at the root.
    rules : ndarray of shape (K, K, K)
        R, the probabilities of A → B C.
    leafprob : ndarray of shape (K,)
        λ, the probabilities that a nonterminal is a leaf.
    units : ndarray of shape (K, K) or None
        U, the probabilities of A → B; None where there are no unit rules.
    emission : NamedTuple
        Parameters of an emission family, with one state for each nonterminal.
    """

    startprob: np.ndarray
    rules: np.ndarray
    leafprob: np.ndarray
    units: np.ndarray | None
    emission: Any

    def for_chart(self):
        """Return the parameters without the emission, for :mod:`skvae.chart.algorithms`."""
        return Rules(*self[:4])

    def choices(self):
        """Return the probabilities of all choices of each nonterminal, a row for each."""
        return joined(*self[1:4])


def joined(rules, leafprob, units):
    """Return rules, leaves and unit rules as rows of choices, shape (K, K² + 1 + K)."""
    n = len(leafprob)
    units = np.zeros((n, n)) if units is None else units
    return np.hstack([np.reshape(rules, (n, n * n)), np.reshape(leafprob, (n, 1)), units])


def parted(choices):
    """Return (rules, leafprob, units) of rows of choices; units are None if all are zero."""
    n = len(choices)
    units = choices[:, n * n + 1 :]
    rules = choices[:, : n * n].reshape(n, n, n)
    return rules, choices[:, n * n], units if units.any() else None


def mean_matrix(parameters):
    """Return the expected number of nonterminals B that one nonterminal A becomes, (K, K)."""
    rules, units = parameters.rules, parameters.units
    means = rules.sum(axis=2) + rules.sum(axis=1)
    return means if units is None else means + units


def spectral_radius(matrix):
    """Return the largest absolute value of the eigenvalues of a square matrix."""
    return float(np.abs(np.linalg.eigvals(matrix)).max())


@dataclass(frozen=True)
class GrammarStatistics:
    """Expected statistics of sentences; they add.

    Parameters
    ----------
    starts : ndarray of shape (K,)
        Expected number of roots with each label.
    choices : ndarray of shape (K, K² + 1 + K)
        Expected number of each choice, as :func:`joined` orders them.
    emission : object
        The emission family's statistics.
    """

    starts: np.ndarray
    choices: np.ndarray
    emission: Any

    def __add__(self, other):
        return GrammarStatistics(
            self.starts + other.starts,
            self.choices + other.choices,
            self.emission + other.emission,
        )

    def __mul__(self, weight):
        return GrammarStatistics(
            self.starts * weight, self.choices * weight, self.emission * weight
        )

    __rmul__ = __mul__


class GrammarPrior(NamedTuple):
    """The prior of a grammar, and its structural zeros.

    Parameters
    ----------
    startprob, choices : ndarray of shape (K,) and (K, K² + 1 + K)
        Concentrations of the Dirichlet priors, ≥ 1.
    start_allowed, allowed : ndarray of bool, of the same shapes
        Which roots and choices there can be; the others stay zero.
    """

    startprob: np.ndarray
    choices: np.ndarray
    start_allowed: np.ndarray
    allowed: np.ndarray

    def maximize(self, old, statistics):
        """Return (startprob, choices) that maximise the expected log-likelihood plus log prior."""
        startprob, choices = np.empty_like(statistics.starts), np.empty_like(statistics.choices)
        counts = statistics.starts + self.startprob - 1.0
        rows = counts, self.start_allowed, old.startprob, startprob
        fill_probabilities(*(array[None] for array in rows))
        counts = statistics.choices + self.choices - 1.0
        fill_probabilities(counts, self.allowed, old.choices(), choices)
        return startprob, choices

    def earlier_counts(self, parameters, starts, choices):
        """Return expected (starts, choices) of earlier rows less the prior's share in them.

        Parameters
        ----------
        parameters : GrammarParameters
            The result of the M step with this prior.
        starts, choices : ndarray
            Counts in proportion to its probabilities. The M step adds the prior to the returned
            counts, and gives the same probabilities.
        """
        found = []
        for counts, p, a, allowed in (
            (starts, parameters.startprob, self.startprob, self.start_allowed),
            (choices, parameters.choices(), self.choices, self.allowed),
        ):
            extra = np.where(allowed, a - 1.0, 0.0)
            whole = extra.sum(axis=-1, keepdims=True) * p - extra
            found.append(np.maximum(counts + whole, 0.0))
        return found

    def log_density(self, parameters):
        """Return the log prior of the free probabilities, relative to a flat one, in nats.

        The Dirichlet's constants are left out: they do not change while parameters are learned, and
        flat priors give 0.
        """
        total = 0.0
        for p, a, allowed in (
            (parameters.startprob, self.startprob, self.start_allowed),
            (parameters.choices(), self.choices, self.allowed),
        ):
            counts = allowed & (a > 1.0)
            with np.errstate(divide="ignore"):
                total += float(((a[counts] - 1.0) * np.log(p[counts])).sum())
        return total


def expected_choices(parameters, n_rows):
    """Return the expected number of each choice in sentences of a total number of rows.

    A nonterminal at the root brings :math:`(I - M)^{-1}` nonterminals, M the mean matrix. The
    result, of shape (K, K² + 1 + K), is scaled so that it has ``n_rows`` leaves.
    """
    means, choices = mean_matrix(parameters), parameters.choices()
    radius = spectral_radius(means)
    if radius > _LARGEST_RADIUS:  # the expected sentence is very long, or has no end
        means = means * (_LARGEST_RADIUS / radius)
    visits = np.linalg.solve(np.eye(len(means)) - means.T, parameters.startprob)
    visits = np.maximum(visits, 0.0)
    return visits[:, None] * choices * (n_rows / max(visits @ parameters.leafprob, SMALLEST))


class Coordinates:
    """Parameters as vectors without constraints, which acceleration extrapolates, and back.

    Parameters
    ----------
    parameters : GrammarParameters
        Any parameters of the model: vectors are of the same form.
    prior : GrammarPrior
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
        choices = parameters.choices()[self._prior.allowed]
        logs = np.log(np.maximum(np.concatenate([start, choices]), SMALLEST))
        return np.concatenate([logs, parameters.emission.pack(self._summary)])

    def unpack(self, vector):
        """Return the parameters of a vector; raise Collapse if they are not usable."""
        prior = self._prior
        n_start = int(prior.start_allowed.sum())
        n_rules = n_start + int(prior.allowed.sum())
        start, choices = np.zeros(prior.startprob.shape), np.zeros(prior.choices.shape)
        with np.errstate(over="ignore"):
            start[prior.start_allowed] = np.exp(vector[:n_start])
            choices[prior.allowed] = np.exp(vector[n_start:n_rules])
            total, totals = start.sum(), choices.sum(axis=1, keepdims=True)
        if not (np.isfinite(total) and np.isfinite(totals).all() and total > 0 and totals.all()):
            raise Collapse("the extrapolation overflows")
        rules, leafprob, units = parted(choices / totals)
        if units is not None and spectral_radius(units) >= 1.0:
            raise Collapse("the extrapolation has a cycle of unit rules of probability one")
        emission = self._emission.unpack(vector[n_rules:], self._summary)
        return GrammarParameters(start / total, rules, leafprob, units, emission)
