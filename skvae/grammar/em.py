"""Inside-outside, exact EM for a probabilistic context-free grammar: the problem and its step."""

import math
from functools import partial

import numpy as np

from skvae.ascent.loop import Collapse, Step
from skvae.blocks import is_complete
from skvae.emissions.base import log_density_of
from skvae.grammar.e_step import expect, log_likelihood_of, log_likelihoods
from skvae.grammar.initialization import check_grammar, first_parameters
from skvae.grammar.parameters import Coordinates, GrammarParameters, parted


class GrammarProblem:
    """The fit of a grammar, for :func:`skvae.ascent.restarts.search`.

    Parameters
    ----------
    estimator : EMContextFreeGrammar
        Its parameters of the rules and of the start are read.
    data : Sentences
        The sentences.
    emission : Emission
        The emission.
    summary : object
        Its summary of the data.
    prior : GrammarPrior, optional
        The prior of a grammar that continues an earlier one; by default the estimator's parameters
        decide it.

    Attributes
    ----------
    earlier : Earlier or None
        The earlier fit, for a warm start.
    prior : GrammarPrior
        The prior of the rules.
    """

    def __init__(self, estimator, data, emission, summary, prior=None):
        self.earlier = None
        self._given, self.prior = check_grammar(estimator)
        if prior is not None:
            self.prior = prior
        self._data = data
        self._emission = emission
        self._summary = summary

    def first(self, rng):
        """Return the GrammarParameters of a new start."""
        given = self._given, self.prior, self._data, self._emission, self._summary
        return first_parameters(*given, rng)

    def step(self, pool, _number):
        """Return the InsideOutsideStep of a run."""
        return InsideOutsideStep(self._data, self._emission, self._summary, self.prior, pool)

    def coordinates(self, parameters):
        """Return the Coordinates in which acceleration extrapolates."""
        return Coordinates(parameters, self.prior, self._summary)


class InsideOutsideStep(Step):
    """The step of EM: ``parameters → (M step of their E step, their objective per row)``.

    The objective is the log-likelihood plus the log prior, in nats.

    Parameters
    ----------
    data : Sentences
        The sentences.
    emission : Emission
        The emission.
    summary : object
        Its summary of the data.
    prior : GrammarPrior
        The prior of the rules.
    pool : Workers
        The threads.

    Attributes
    ----------
    n_steps : int
        The number of E steps with statistics.
    expect : callable
        ``parameters → (GrammarStatistics, log-likelihood)``, the E step.
    """

    def __init__(self, data, emission, summary, prior, pool):
        self._data = data
        self._emission = emission
        self._summary = summary
        self._prior = prior
        self._is_flat = max(prior.startprob.max(), prior.choices.max()) <= 1.0
        self._total = data.sequences.total()
        given = {"sentences": data, "pool": pool, "complete": is_complete(data.sequences.X)}
        self.expect = partial(expect, **given)
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
        startprob, choices = self._prior.maximize(parameters, statistics)
        emission = self._emission.maximize(parameters.emission, statistics.emission, self._summary)
        return GrammarParameters(startprob, *parted(choices), emission)

    def evaluate(self, parameters, log_likelihood=None):
        """Return the objective of the parameters, in nats per row.

        The log-likelihood is computed unless it is passed.
        """
        if log_likelihood is None:
            log_likelihood = self._log_likelihood(parameters)
        prior = 0.0 if self._is_flat else self._prior.log_density(parameters)
        prior += self._emission.log_prior(parameters.emission, self._summary)
        return (log_likelihood + prior) / self._total

    def impossible(self, parameters):
        """Return the Collapse for a likelihood of zero, which names the first such sentence."""
        found = log_likelihoods(parameters, self._data)
        s = int(np.argmax(np.isneginf(found)))
        X, offsets, *_ = self._data.sequences
        number = self._data.sequences.places()[0, s]
        reason = f"sentence {number} has probability zero under the current parameters"
        leaves = log_density_of(parameters.emission, X[offsets[s] : offsets[s + 1]])
        possible = (leaves > -np.inf) & (parameters.leafprob > 0)
        if not possible.any(axis=1).all():
            row = int(np.argmin(possible.any(axis=1)))
            remedy = (
                "Give the emission first values under which some leaf can produce the row, or fit "
                "a new estimator if an earlier fit excludes it"
            )
            return Collapse(f"{reason}: no leaf can produce its row {row}", remedy)
        tree, n_rows = "no tree", offsets[s + 1] - offsets[s]
        remedy = (
            "Raise zeros of startprob_init, rules_init and leafprob_init, or zeros of the emission"
        )
        if self._data.brackets is not None and len(self._data.brackets[s]):
            tree, remedy = f"{tree} with its brackets", f"{remedy}, or remove some of the brackets"
        return Collapse(f"{reason}: {tree} has its {n_rows} rows as leaves", remedy)
