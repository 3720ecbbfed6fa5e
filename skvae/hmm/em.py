"""Baum-Welch, exact EM for a hidden Markov model: the problem and its step."""

from functools import partial

import numpy as np

from skvae.ascent.loop import Collapse, Step
from skvae.blocks import is_complete
from skvae.chain import algorithms
from skvae.chain.passes import Buffers
from skvae.emissions.base import log_density_of
from skvae.hmm.dask_sequences import DistributedSequences
from skvae.hmm.e_step import EmissionReader, expect, log_likelihood_of
from skvae.hmm.initialization import check_chain, counted, first_states, windows_to_start_from
from skvae.hmm.parameters import ChainParameters, Coordinates
from skvae.initialization import MAX_ROWS


class HiddenMarkovProblem:
    """The fit of a hidden Markov model, for :func:`skvae.ascent.restarts.search`.

    Parameters
    ----------
    estimator : EMHiddenMarkov
        Its parameters of the chain and of the start are read.
    data : Sequences or DistributedSequences
        The sequences.
    emission : Emission
        The emission.
    summary : object
        Its summary of the data.
    earlier : tuple of (ChainParameters, float), optional
        For a warm start: the parameters of the earlier fit, and the bound one iteration before
        them.
    prior : ChainPrior, optional
        The prior of a chain that continues an earlier one; by default the estimator's parameters
        decide it.

    Attributes
    ----------
    prior : ChainPrior
        The prior of the chain.
    """

    def __init__(self, estimator, data, emission, summary, earlier=None, prior=None):
        self.earlier = earlier
        self._startprob, self._transmat, self.prior = check_chain(estimator)
        if prior is not None:
            self.prior = prior
        self._estimator = estimator
        self._data = data
        self._emission = emission
        self._summary = summary

    def first(self, rng):
        """Return the ChainParameters of a new start."""
        n, rows, emission = self._estimator.n_components, self._data.rows(), self._emission
        startprob, transmat, summary = self._startprob, self._transmat, self._summary
        if startprob is not None and transmat is not None and emission.is_given:
            unread = rows.chosen(np.zeros(1, dtype=np.intp))
            parameters = emission.first(unread, np.array([-1]), n, summary, rng)
            return ChainParameters(startprob, transmat, parameters)
        n_rows, offsets, places = len(self._data.X), self._data.offsets, None
        if n_rows > max(MAX_ROWS, 128 * n):
            places = windows_to_start_from(n_rows, n, rng)
        rows, index = rows.chosen(places), np.arange(n_rows) if places is None else places
        states = first_states(
            rows, index, offsets, self._estimator, emission, summary, self.prior, rng
        )
        parameters = emission.first(rows, states, n, summary, rng)
        flat = ChainParameters(np.full(n, 1 / n), np.full((n, n), 1 / n), parameters)
        by_count = self.prior.maximize(flat, counted(index, offsets, states, n))
        return ChainParameters(
            by_count[0] if startprob is None else startprob,
            by_count[1] if transmat is None else transmat,
            parameters,
        )

    def step(self, pool, _number):
        """Return the BaumWelchStep of a run."""
        return BaumWelchStep(self._data, self._emission, self._summary, self.prior, pool)

    def coordinates(self, parameters):
        """Return the Coordinates in which acceleration extrapolates."""
        return Coordinates(parameters, self.prior, self._summary)


class BaumWelchStep(Step):
    """The step of EM: ``parameters → (M step of their E step, their objective per row)``.

    The objective is the log-likelihood plus the log prior, in nats.

    Parameters
    ----------
    data : Sequences or DistributedSequences
        The sequences.
    emission : Emission
        The emission.
    summary : object
        Its summary of the data.
    prior : ChainPrior
        The prior of the chain.
    pool : Workers
        The threads.

    Attributes
    ----------
    n_steps : int
        The number of E steps with statistics.
    expect : callable
        ``parameters → (ChainStatistics, log-likelihood)``, the E step.
    """

    def __init__(self, data, emission, summary, prior, pool):
        self._data = data
        self._emission = emission
        self._summary = summary
        self._prior = prior
        self._total = data.total()
        if isinstance(data, DistributedSequences):
            self.expect, self._log_likelihood = data.expect, data.log_likelihood
        else:
            given = {"sequences": data, "pool": pool, "complete": is_complete(data.X)}
            self.expect = partial(expect, **given, buffers=Buffers())
            self._log_likelihood = partial(log_likelihood_of, **given)
        self.n_steps = 0

    def __call__(self, parameters):
        self.n_steps += 1
        statistics, log_likelihood = self.expect(parameters)
        if not np.isfinite(log_likelihood):
            raise self.impossible(parameters)
        return self.maximize(parameters, statistics), self.evaluate(parameters, log_likelihood)

    def maximize(self, parameters, statistics):
        """Return the M step."""
        chain = self._prior.maximize(parameters, statistics)
        emission = self._emission.maximize(parameters.emission, statistics.emission, self._summary)
        return ChainParameters(*chain, emission)

    def evaluate(self, parameters, log_likelihood=None):
        """Return the objective of the parameters, in nats per row.

        The log-likelihood is computed unless it is passed.
        """
        if log_likelihood is None:
            log_likelihood = self._log_likelihood(parameters)
        prior = self._prior.log_density(parameters.startprob, parameters.transmat)
        prior += self._emission.log_prior(parameters.emission, self._summary)
        return (log_likelihood + prior) / self._total

    def impossible(self, parameters):
        """Return the Collapse for a likelihood of zero, which names the first such sequence."""
        under = "has probability zero under the current parameters"
        zeros = {
            "startprob_init": not self._prior.start_allowed.all(),
            "transmat_init": not self._prior.allowed.all(),
        }
        names = [name for name, has_zeros in zeros.items() if has_zeros]
        if isinstance(self._data, DistributedSequences):
            remedy = f"Check the zeros of {' and '.join([*names, 'the emission'])}"
            return Collapse(f"a sequence {under}", remedy)
        sequence, row, states = first_impossible(parameters, self._data)
        if not len(states):
            remedy = (
                "Give the emission first values under which some state can produce the row, or fit "
                "a new estimator if an earlier fit excludes it"
            )
            return Collapse(f"sequence {sequence} {under}: no state can produce row {row}", remedy)
        where = f"state {states[0]}" if len(states) == 1 else f"the states {states.tolist()}"
        reason = (
            f"sequence {sequence} {under}: row {row} is possible in {where} only, and no path of "
            "states leads there"
        )
        named = " and ".join(names) or "the probabilities of starts and transitions"
        return Collapse(reason, f"Raise zeros of {named}, or zeros of the emission")


def first_impossible(parameters, sequences):
    """Return the first sequence of probability zero, its first impossible row, and its states.

    Returns
    -------
    sequence, row : int
        Places among the sequences, and among the rows of all sequences.
    states : ndarray of int
        The states that can produce the row by itself.
    """
    log_p = algorithms.predictive(
        *parameters.logs(),
        partial(EmissionReader, parameters.emission.kernel(), sequences.X),
        sequences.offsets,
    )
    row = int(np.argmax(np.isneginf(log_p)))
    sequence = int(np.searchsorted(sequences.offsets, row, side="right")) - 1
    found = log_density_of(parameters.emission, sequences.X[row : row + 1])
    return sequence, row, np.flatnonzero(found[0] > -np.inf)
