"""Baum-Welch, exact EM for a hidden Markov model: the problem and its step."""

import math
from contextlib import suppress
from functools import partial
from operator import attrgetter
from types import SimpleNamespace

import numpy as np

from skvae.ascent.loop import Collapse, Step, ascend
from skvae.ascent.restarts import search
from skvae.blocks import Rows, Sequences, is_complete
from skvae.chain import algorithms
from skvae.chain.passes import Buffers
from skvae.emissions.base import label_statistics, log_density_of
from skvae.fixed import KeptCoordinates
from skvae.hmm.dask_sequences import DistributedSequences, check_known
from skvae.hmm.e_step import expect, log_likelihood_of, reader_of
from skvae.hmm.initialization import (
    JUDGED,
    SMOOTHING,
    carried_on,
    check_chain,
    first_states,
    rows_to_judge_from,
    windows_to_start_from,
)
from skvae.hmm.known_states import (
    known_alone,
    with_evidence,
)
from skvae.hmm.parameters import ChainParameters, ChainStatistics, Coordinates
from skvae.initialization import MAX_ROWS, assignment_of, completed, responsibilities_of

_STEPS = 3  # of each start, before the best is chosen


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
    pool : Workers
        The threads.
    prior : ChainPrior, optional
        The prior of a chain that continues an earlier one; by default the estimator's parameters
        decide it.
    fixed : dict of str to ndarray of bool, or None
        The states of which some parameters are fixed.

    Attributes
    ----------
    earlier : Earlier or None
        The earlier fit, for a warm start.
    n_empty : int
        The largest number of states that had no rows at a start.
    all_known : bool
        Whether the states of all rows of a start were known.
    prior : ChainPrior
        The prior of the chain.
    """

    def __init__(self, estimator, data, emission, summary, pool, prior=None, fixed=None):
        self.earlier = None
        self._fixed = fixed
        self.n_empty, self.all_known = 0, False
        self._startprob, self._transmat, self.prior = check_chain(estimator)
        if prior is not None:
            self.prior = prior
        if data.states is not None:
            check_known(data, self.prior)
        self._estimator = estimator
        self._data = data
        self._emission = emission
        self._summary = summary
        self._pool = pool
        self._n_starts = 0

    def first(self, rng):
        """Return the ChainParameters of a new start: the best of its kinds after a few steps."""
        n, rows, emission = int(self._estimator.n_components), self._data.rows(), self._emission
        if self._startprob is not None and self._transmat is not None and emission.is_given:
            unread = rows.chosen(np.zeros(1, dtype=np.intp))
            parameters = emission.first(unread, np.array([-1]), n, self._summary, rng)
            return ChainParameters(self._startprob, self._transmat, parameters)
        n_rows, offsets, places = len(self._data.X), self._data.offsets, None
        if n_rows > max(MAX_ROWS, 128 * n):
            places = windows_to_start_from(n_rows, n, rng)
        rows, index = rows.chosen(places), np.arange(n_rows) if places is None else places
        X, weight = rows.take(0, rows.n_rows)
        unseen, complete = np.zeros(len(X), dtype=bool), X
        if not is_complete(X):
            unseen, complete = np.isnan(X).all(axis=1), completed(X, rng)
        number, self._n_starts = self._n_starts, self._n_starts + 1
        given = complete, weight, index, offsets, self._estimator, emission, self._summary
        known = self._data.states
        if known is not None:  # of a Dask array these are computed here
            known = np.asarray(known[slice(None) if places is None else places], dtype=np.intp)
        self.all_known = known is not None and bool((known >= 0).all())
        given_start = None
        if not isinstance(self._estimator.init_params, str):
            given_start = self._given_start(rng, known, places)
        if self.all_known:
            candidates = [known]
        elif given_start is not None:
            candidates = [given_start]
        else:
            candidates = list(first_states(*given, self.prior, number, rng, known))
            if known is not None and number == 0 and n > 1:
                candidates.append(known_alone(candidates[-1], known, n))
        step = None
        if len(candidates) > 1:
            sequences = self._data
            if len(X) > JUDGED or not isinstance(sequences, Sequences):
                # A part of a sequence may begin in a state in which no sequence begins.
                evidence = known if self.prior.start_allowed.all() else None
                sequences = rows_to_judge_from(X, weight, index, self._data, evidence)
            shared = self.prior, self._pool, self._fixed
            step = BaumWelchStep(sequences, emission, self._summary, *shared)
        best, failure = None, None
        for states in candidates:
            try:
                found = self._tried(Rows(complete, weight), index, states, unseen, known, step, rng)
            except Collapse as collapse:
                failure = collapse
                continue
            if best is None or found[0] > best[0]:
                best = found
                used = states.any(axis=0) if states.ndim == 2 else np.unique(states[states >= 0])
                n_empty = n - np.count_nonzero(used) if states.ndim == 2 else n - len(used)
        if best is None:
            raise failure
        self.n_empty = max(self.n_empty, n_empty)
        return best[1]

    def _given_start(self, rng, known, places):
        """Return the given labels or responsibilities of some rows; known states are kept."""
        n, given = int(self._estimator.n_components), self._data.start
        if given is None:  # a callable
            given = assignment_of(self._estimator.init_params, self._data.X, n, rng)
        given = given if places is None else given[places]
        if known is None:
            return given
        if given.ndim == 1:
            return np.where(known >= 0, known, given)
        return np.where(known[:, None] >= 0, responsibilities_of(known, n), given)

    def _softly(self, rows, index, resp, rng):
        """Return the emission's parameters, starts and pairs of responsibilities (n, K) of rows.

        The parameters are those of an M step from the parameters for the most probable states.
        """
        n = int(self._estimator.n_components)
        old = self._emission.first(rows, resp.argmax(axis=1), n, self._summary, rng)
        of_emission = old, label_statistics(old, rows, resp), self._summary
        if self._fixed is not None:
            parameters = self._emission._maximize_fixed(*of_emission, self._fixed)
        else:
            parameters = self._emission.maximize(*of_emission)
        begins = np.isin(index, self._data.offsets[:-1])
        follows = (np.diff(index) == 1) & ~begins[1:]
        pairs = resp[:-1][follows].T @ resp[1:][follows]
        return parameters, resp[begins].sum(axis=0), pairs

    def _tried(self, rows, index, states, unseen, known, step, rng):
        """Return (bound after a few steps, start) of a start from rows in given states.

        Transitions are the maximum given the smoothed counts of the states. ``unseen`` rows have no
        value. Without a step the bound is 0.
        """
        n = int(self._estimator.n_components)
        if states.ndim == 2:
            parameters, starts, pairs = self._softly(rows, index, states, rng)
        else:
            used = np.where(unseen, -1, states)
            parameters = self._emission.first(rows, used, n, self._summary, rng)
            if unseen.any():
                states = carried_on(states, unseen)
                states = states if known is None else np.where(known >= 0, known, states)
            index, states = index[states >= 0], states[states >= 0]
            begins = np.isin(index, self._data.offsets[:-1])
            starts = np.bincount(states[begins], minlength=n).astype(np.float64)
            follows = (np.diff(index) == 1) & ~begins[1:]
            pairs = np.zeros((n, n))
            np.add.at(pairs, (states[:-1][follows], states[1:][follows]), 1.0)
        flat = ChainParameters(np.full(n, 1 / n), np.full((n, n), 1 / n), parameters)
        counts = ChainStatistics(starts + SMOOTHING, pairs + SMOOTHING, None)
        startprob, transmat = self.prior.maximize(flat, counts)
        start = proposal = ChainParameters(
            startprob if self._startprob is None else self._startprob,
            transmat if self._transmat is None else self._transmat,
            parameters,
        )
        if step is None:
            return 0.0, start
        for _ in range(_STEPS):
            proposal, _ = step(proposal)
        return step.evaluate(proposal), start

    def above_special_case(self, best, random_state):
        """Return an Ascent whose bound is not below that of the special case of the emission.

        EM of an emission with more parameters can stop at a lower maximum than that of its special
        case, or converge so slowly that it ends below it.

        Parameters
        ----------
        best : Ascent
            The best of the runs, converged.
        random_state : int, RandomState or None
            The source of the starts of the special case.
        """
        settings, emission = self._estimator, self._emission._special_case()
        if emission is None:
            return best
        limits = {"max_iter": settings.max_iter, "tol": settings.tol}
        quiet = SimpleNamespace(
            **limits,
            n_init=settings.n_init,
            n_jobs=settings.n_jobs,
            acceleration=settings.acceleration,
            verbose=0,
        )
        given = self._summary, self._pool, self.prior, self._fixed
        special = HiddenMarkovProblem(settings, self._data, emission, *given)
        ascents = [best]
        with suppress(Collapse):
            simpler, _ = search(special, quiet, random_state, self._pool)
            *chain, parameters = simpler.parameters
            if not simpler.bound > best.bound:
                return best
            for near in self._emission._containing(parameters, self._summary):
                start = ChainParameters(*chain, near)
                with suppress(Collapse):
                    ascents.append(ascend(self.step(self._pool, 0), start, **limits))
        return max(ascents, key=attrgetter("bound"))

    def step(self, pool, _number):
        """Return the BaumWelchStep of a run."""
        shared = self.prior, pool, self._fixed
        return BaumWelchStep(self._data, self._emission, self._summary, *shared)

    def coordinates(self, parameters):
        """Return the Coordinates in which acceleration extrapolates."""
        coordinates = Coordinates(parameters, self.prior, self._summary)
        if self._fixed is None:
            return coordinates
        keep = partial(parameters.kept, emission=self._emission, fixed=self._fixed)
        return KeptCoordinates(coordinates, keep)


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
    fixed : dict of str to ndarray of bool, or None
        The states of which some parameters are fixed.

    Attributes
    ----------
    n_steps : int
        The number of E steps with statistics.
    expect : callable
        ``parameters → (ChainStatistics, log-likelihood)``, the E step.
    """

    def __init__(self, data, emission, summary, prior, pool, fixed=None):
        self._fixed = fixed
        self._data = data
        self._emission = emission
        self._summary = summary
        self._prior = prior
        self._is_flat = max(prior.startprob.max(), prior.transmat.max()) <= 1.0
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
        if not math.isfinite(log_likelihood):
            raise self.impossible(parameters)
        return self.maximize(parameters, statistics), self.evaluate(parameters, log_likelihood)

    def maximize(self, parameters, statistics):
        """Return the M step."""
        of_emission = parameters.emission, statistics.emission, self._summary
        if self._fixed is not None:
            chain = self._prior.maximize_fixed(parameters, statistics, self._fixed)
            emission = self._emission._maximize_fixed(*of_emission, self._fixed)
            return ChainParameters(*chain, emission)
        chain = self._prior.maximize(parameters, statistics)
        return ChainParameters(*chain, self._emission.maximize(*of_emission))

    def evaluate(self, parameters, log_likelihood=None):
        """Return the objective of the parameters, in nats per row.

        The log-likelihood is computed unless it is passed.
        """
        if log_likelihood is None:
            log_likelihood = self._log_likelihood(parameters)
        prior = 0.0
        if not self._is_flat:
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
            remedy += "" if self._data.states is None else ", and the states that are known"
            return Collapse(f"a sequence {under}", remedy)
        sequence, row, states = first_impossible(parameters, self._data)
        known = -1 if self._data.states is None else self._data.states[row]
        number, start = self._data.places()[:, sequence]
        row = start + row - self._data.offsets[sequence]
        if not len(states) and known >= 0:
            remedy = "Check that entry of states, or give the emission other first values"
            return Collapse(
                f"sequence {number} {under}: row {row} is in state {known}, by the known states, "
                "which cannot produce it",
                remedy,
            )
        if not len(states):
            remedy = (
                "Give the emission first values under which some state can produce the row, or fit "
                "a new estimator if an earlier fit excludes it"
            )
            return Collapse(f"sequence {number} {under}: no state can produce row {row}", remedy)
        where = f"state {states[0]}" if len(states) == 1 else f"the states {states.tolist()}"
        reason = (
            f"sequence {number} {under}: row {row} is possible in {where} only, and no path of "
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
        reader_of(parameters.emission.kernel(), sequences),
        sequences.offsets,
    )
    row = int(np.argmax(np.isneginf(log_p)))
    sequence = int(np.searchsorted(sequences.offsets, row, side="right")) - 1
    found = log_density_of(parameters.emission, sequences.X[row : row + 1])
    if sequences.states is not None:
        found = with_evidence(found.T, sequences.states[row : row + 1]).T
    return sequence, row, np.flatnonzero(found[0] > -np.inf)
