r"""Probabilistic context-free grammars by exact EM (inside-outside).

.. math:: p(x) = \sum_{z} p(z) \prod_t p(x_t \mid \theta_{z_t}), \qquad
          \ln p(x) = \max_q\; E_q[\ln p(z, x)] + H(q),

where z is a tree with the rows of a sentence as leaves, :math:`z_t` the label of leaf t, and
:math:`p(z)` the product of the probabilities of its root and of the choices of all nonterminals.
EM maximises the right-hand side in turn over q and over the parameters. The E step, the
inside-outside recursion, sets q to the posterior over trees; the M step maximises over the
probabilities and θ (Baker, J. Acoust. Soc. Am. 65, 1979; Lari & Young, Comput. Speech Lang. 4,
1990). Brackets restrict q to the trees in which they are constituents (Pereira & Schabes, Proc. ACL
1992).
"""

import warnings
from functools import partial
from itertools import pairwise

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from skvae.ascent.checkpoint import data_of
from skvae.ascent.estimator import AscentEstimator, text_of_floor
from skvae.ascent.restarts import search
from skvae.blocks import as_sequences, warn_of_lengths
from skvae.emissions import CategoricalEmission, Emission
from skvae.emissions.families import new_emission, same_form, states_on_floor
from skvae.fitted import new_instance
from skvae.gaussian.checks import check_batch
from skvae.grammar import brackets as spans
from skvae.grammar.base import ContextFreeGrammar
from skvae.grammar.e_step import Sentences, threads_for
from skvae.grammar.em import GrammarProblem
from skvae.grammar.initialization import check_grammar, check_rules
from skvae.grammar.notation import NamedRules, read_rules, write_rules
from skvae.grammar.parameters import (
    SMALLEST,
    GrammarParameters,
    GrammarPrior,
    GrammarStatistics,
    expected_choices,
    joined,
    parted,
)
from skvae.grammar.terminals import codes_of, is_words, refuse_words
from skvae.validation import check_as_fitted, check_stochastic, same_value

_LONG = 1000  # rows of a sentence above which a fit warns that groups may have been forgotten


class EMContextFreeGrammar(AscentEstimator, ContextFreeGrammar):
    """Probabilistic context-free grammar fitted by inside-outside: density, trees, sentences.

    Rows of X are the words of sentences: codes of symbols, or vectors. ``groups`` names the
    sentence of each row; without it X is one sentence. X may also be a list of 2-D arrays, or a 3-D
    array, in every method; a list of 1-D arrays of different lengths has sentences of one feature.
    A tree of binary rules is above each sentence, and its leaves have an emission family.

    Parameters
    ----------
    n_components : int, default=1
        The number of nonterminals.
    emission : str or Emission, default='categorical'
        The distribution of a row given the label of its leaf: 'categorical', 'gaussian', any other
        name that ``EMHiddenMarkov`` takes, or an object of :mod:`skvae.hmm`; its parameters can be
        searched as ``emission__...``.
    startprob_prior : float or array-like of shape (n_components,), default=1.0
        Concentration of the Dirichlet prior of the start probabilities, ≥ 1; 1 is no prior.
    rules_prior : float or array-like of shape (n_components,), default=1.0
        Concentration of the Dirichlet prior of each nonterminal's choices, its rules and its leaf,
        ≥ 1; 1 is no prior.
    tol : float, default=1e-3
        The fit has converged when an iteration changes the bound, in nats per row, by less than
        this.
    max_iter : int, default=100
        The largest number of iterations, each a pass over the data; 0 keeps the start.
    acceleration : {None, 'anderson'}, default=None
        'anderson' extrapolates over past iterations where that is not worse than an EM step; it
        needs far fewer iterations where components overlap.
    n_init : int, default=1
        The number of starts; the best one is kept.
    startprob_init : array-like of shape (n_components,), default=None
        First start probabilities; zeros stay zero, also in a fit or a batch that continues. A value
        that was changed since then replaces the learned probabilities.
    rules_init : array-like of shape (n_components, n_components, n_components), default=None
        First probabilities of A → B C, likewise. Entries of a nonterminal sum to at most one; the
        rest is the probability of its leaf.
    leafprob_init : array-like of shape (n_components,), default=None
        First probabilities of leaves, likewise. Without ``rules_init`` all rules of a nonterminal
        share the rest alike.
    random_state : int, RandomState instance or None, default=None
        Source of the starts, and of the draws of :meth:`sample` without its own ``random_state``.
    warm_start : bool, default=False
        Whether a further ``fit`` continues the earlier one instead of starting anew.
    verbose : int, default=0
        0 prints nothing, 1 shows a progress bar with the current bound, 2 prints the bound of each
        iteration.
    verbose_interval : int, default=10
        The number of iterations after which the progress bar shows the current bound.
    n_jobs : int, default=None
        How many starts run at a time, in threads. They share out the threads that the linear
        algebra library would use; a single run has them all.
    checkpoint : str or os.PathLike, default=None
        A file to which ``fit`` writes its progress every ten seconds. If it is interrupted or
        killed, the next ``fit`` with the same parameters and data continues from the file and gets
        the same result. The file is removed when the fit ends. Fits that run at the same time need
        different paths.

    Attributes
    ----------
    startprob_ : ndarray of shape (n_components,)
        Start probabilities.
    rules_ : ndarray of shape (n_components, n_components, n_components)
        Probabilities that nonterminal A, the first index, becomes B and C.
    leafprob_ : ndarray of shape (n_components,)
        Probabilities that a nonterminal is a leaf.
    unit_rules_ : ndarray of shape (n_components, n_components)
        Probabilities that nonterminal A becomes B alone: zero but after :meth:`from_rules` or
        :meth:`from_parameters`. With ``rules_`` and ``leafprob_`` they sum to one.
    emission_ : Emission
        The fitted emission, with its own attributes.
    nonterminals_ : tuple of str
        Names of the nonterminals, after :meth:`from_rules`; None for one that is a part of a longer
        rule.
    terminals_ : tuple of str
        The words in the order of their codes, after :meth:`from_rules`.
    lower_bound_ : float
        The log-likelihood of the stored parameters, lengths of sentences included, plus their log
        prior, in nats per row. A Dirichlet prior's constants are left out.
    lower_bounds_ : list of float
        The same after each iteration; it never falls.
    n_iter_ : int
        The number of iterations of the best run.
    n_e_steps_ : int
        The number of E steps it took: more than ``n_iter_`` with acceleration.
    converged_ : bool
        Whether a change below ``tol`` ended it.
    n_samples_seen_ : float
        The total weight of the rows that the parameters were learned from: in ``fit`` and, after
        it, in every ``partial_fit``.
    n_sequences_seen_ : float
        The total weight of their sequences.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if X had names that are all strings.

    See Also
    --------
    EMHiddenMarkov : Sequences by a chain: a grammar whose rules all branch to one side.

    Notes
    -----
    ``groups``, ``brackets`` and ``sequence_weight`` are requested by ``fit`` at class level, so
    that with ``sklearn.set_config(enable_metadata_routing=True)`` searches and Pipelines pass them
    on. A list of sentences needs no setting: scikit-learn's splitters split it, each element being
    a sample, and ``brackets`` with one entry for each sentence is split alike.

    A sentence of n rows takes O(n² K) memory and O(n³ K² + n² K³) operations in each iteration. NaN
    in X is a missing value (missing at random), marginalised exactly. Ctrl-C ends a fit with
    KeyboardInterrupt, and the earlier fit is kept. A Dask array is read into memory.

    Without brackets EM often stops at a poor maximum: several starts (``n_init``) help, and
    brackets help most.

    References
    ----------
    Lari & Young (1990), Comput. Speech Lang. 4. Pereira & Schabes (1992), Proc. ACL.

    Examples
    --------
    Strings a…ab…b of equal halves, which no hidden Markov model generates:

    >>> import numpy as np
    >>> from skvae import EMContextFreeGrammar
    >>> halves = np.random.default_rng(0).geometric(0.5, size=50)
    >>> sentences = [np.repeat([[0], [1]], n, axis=0) for n in halves]
    >>> brackets = [[(i, 2 * n - 1 - i) for i in range(n)] for n in halves]
    >>> grammar = EMContextFreeGrammar(4, n_init=4, random_state=0, tol=1e-5, max_iter=500)
    >>> grammar = grammar.fit(sentences, brackets=brackets)
    >>> bool(grammar.score(sentences) > -0.001)  # given its length, such a string is certain
    True
    """

    _of_the_start = ("n_init",)
    _last = None  # first values and priors of the last fit

    def __init__(
        self,
        n_components=1,
        *,
        emission="categorical",
        startprob_prior=1.0,
        rules_prior=1.0,
        tol=1e-3,
        max_iter=100,
        acceleration=None,
        n_init=1,
        startprob_init=None,
        rules_init=None,
        leafprob_init=None,
        random_state=None,
        warm_start=False,
        verbose=0,
        verbose_interval=10,
        n_jobs=None,
        checkpoint=None,
    ):
        self.n_components = n_components
        self.emission = emission
        self.startprob_prior = startprob_prior
        self.rules_prior = rules_prior
        self.tol = tol
        self.max_iter = max_iter
        self.acceleration = acceleration
        self.n_init = n_init
        self.startprob_init = startprob_init
        self.rules_init = rules_init
        self.leafprob_init = leafprob_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_jobs = n_jobs
        self.checkpoint = checkpoint

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if isinstance(self.emission, CategoricalEmission) or self.emission == "categorical":
            tags.input_tags.categorical = True  # whole numbers from 0 on
            tags.input_tags.positive_only = True
        return tags

    # Learning ---------------------------------------------------------------------------------

    def fit(self, X, y=None, *, groups=None, brackets=None, sequence_weight=None):
        """Return self, fitted by inside-outside from ``n_init`` starts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in the order of the sentence; NaN is missing.
        y : None
            Ignored.
        groups : array-like of shape (n_samples,), default=None
            The sentence of each row; None is one sentence.
        brackets : list of (list of (int, int)), default=None
            For each sentence the (first, last) rows, counted from 0 in the sentence, that a
            constituent must cover exactly. They do not cross. None, also of a single sentence, is
            no brackets.
        sequence_weight : array-like of shape (n_samples,), default=None
            Weights of the sentences, ≥ 0: one number for each row, the same within a sentence; for
            a list of sentences, one for each may be given.

        Returns
        -------
        self : EMContextFreeGrammar
            The fitted model. If the fit fails, the earlier fit is kept.

        Raises
        ------
        ValueError
            A parameter or X is not usable, brackets cross or are beyond a sentence, a sentence has
            probability zero from every start, or ``checkpoint`` is a file of another fit or cannot
            be written.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar(random_state=0).fit([[[0], [0], [0]], [[0]]])
        >>> grammar.leafprob_.round(3)  # 4 leaves among 6 nonterminals
        array([0.667])
        """
        with self._learning(" from every start", resumes=True) as checkpoint:
            # Another value than True or False is an error of _prepare.
            warm = isinstance(self.warm_start, bool | np.bool_) and self.warm_start
            warm = warm and hasattr(self, "converged_")
            if y is not None and groups is None:
                warn_of_lengths(y, X)
            data, emission = self._prepare(X, groups, brackets, sequence_weight, reset=not warm)
            sequences = data.sequences
            with threads_for(sequences, int(self.n_components)) as pool:
                names = getattr(self, "feature_names_in_", None)
                summary = emission.summarize(sequences.rows(), pool, names)
                earlier, prior, objective, random_state = None, None, None, self.random_state
                if warm:
                    earlier, prior = self._continued(data, emission, "warm_start=True")
                problem = GrammarProblem(self, data, emission, summary, prior)
                identity = partial(
                    data_of,
                    sequences.X,
                    summary,
                    sequences.total(),
                    groups=sequences.offsets,
                    brackets=spans.flat(data.brackets),
                    sequence_weight=sequences.weight,
                )
                if self.warm_start:
                    objective = self._objective_of(identity)
                if warm:
                    problem.earlier = self._earlier_fit(earlier, objective)
                if checkpoint is not None:
                    random_state = self._open(checkpoint, problem.earlier, identity)
                best, collapses = search(problem, self, random_state, pool, checkpoint)
            self._store(best.parameters, emission, problem.prior)
            notes, found = [], states_on_floor(best.parameters.emission, summary)
            # The bound does not depend on labels that no leaf has.
            n = len(best.parameters.leafprob)
            leaves = expected_choices(best.parameters, len(sequences.X))[:, n * n]
            found = [k for k in found if leaves[k] > 0.5]
            if found:
                floor = f"reg_covar of the {type(emission).__name__}"  # its repr has its arrays
                notes.append(text_of_floor(found, "leaf", floor))
            self._record(best, collapses, objective, notes)
            self._remember_fit(sequences.total(), warm=warm)
            self.n_sequences_seen_ = sequences.n_sequences()
        return self

    def partial_fit(self, X, y=None, *, groups=None, brackets=None, sequence_weight=None):
        """Return self after one step of stepwise EM on a batch of whole sentences.

        The expected statistics s of a row are averaged over batches,
        ``s ← (1 − ρ) s + ρ s_batch``, and maximised (Cappé & Moulines, J. R. Stat. Soc. B 71, 2009,
        eq. 12), with the rates of :meth:`skvae.EMHiddenMarkov.partial_fit`. The parameters alone
        represent the rows before: s are the statistics that they expect of as many rows. The first
        call starts like ``fit`` and makes one EM step. ``lower_bound_`` is the bound of the batch.
        Parameters that control the iterations of ``fit``, such as ``tol``, have no effect.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in the order of the sentence; NaN is missing.
        y : None
            Ignored.
        groups : array-like of shape (n_samples,), default=None
            The sentence of each row; None is one sentence.
        brackets : list of (list of (int, int)), default=None
            For each sentence the (first, last) rows, counted from 0 in the sentence, that a
            constituent must cover exactly. They do not cross. None, also of a single sentence, is
            no brackets.
        sequence_weight : array-like of shape (n_samples,), default=None
            Weights of the sentences, ≥ 0, relative to those of all sentences before: one number
            for each row, the same within a sentence; for a list of sentences, one for each may be
            given.

        Returns
        -------
        self : EMContextFreeGrammar
            The model; unchanged if the step fails.

        Raises
        ------
        ValueError
            A parameter or X is not usable, or a sentence has probability zero.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar(random_state=0)
        >>> for _ in range(3):
        ...     grammar = grammar.partial_fit([[[0], [0], [0]], [[0]]])
        >>> grammar.leafprob_.round(3)
        array([0.667])
        """
        with self._learning():
            first = not hasattr(self, "rules_")
            if y is not None and groups is None:
                warn_of_lengths(y, X)
            data, emission = self._prepare(
                X, groups, brackets, sequence_weight, reset=first, min_rows=2 if first else 1
            )
            sequences = data.sequences
            with threads_for(sequences, int(self.n_components)) as pool:
                names = getattr(self, "feature_names_in_", None)
                before = 0.0 if first else self._weight_before(sequences.total())
                if first:
                    summary = emission.summarize(sequences.rows(), pool, names)
                    problem = GrammarProblem(self, data, emission, summary)
                    step = problem.step(pool, 0)
                    new = step(problem.first(check_random_state(self.random_state)))[0]
                else:
                    old, prior = self._continued(data, emission, "partial_fit")
                    rows = sequences.rows()
                    summary = emission.summarize_batch(old.emission, rows, pool, names)
                    problem = GrammarProblem(self, data, emission, summary, prior)
                    step = problem.step(pool, 0)
                    statistics, log_likelihood = step.expect(old)
                    if not np.isfinite(log_likelihood):
                        raise step.impossible(old)
                    earlier = self._earlier_statistics(old, sequences, before, prior)
                    new = step.maximize(old, earlier + statistics)
                bound = step.evaluate(new)
                if not np.isfinite(bound):
                    raise step.impossible(new)
            if first:
                self._remember_fit(0.0)
                self.n_sequences_seen_ = 0.0
            self._store(new, emission, problem.prior)
            self._record_batch(bound)
            self._remember_batch(sequences.total(), before)
            self.n_sequences_seen_ += sequences.n_sequences()
        return self

    def _earlier_statistics(self, old, sequences, weight, prior):
        """Return the expected GrammarStatistics of the rows before a batch, of some weight."""
        if self.n_sequences_seen_ > 0:
            length = self.n_samples_seen_ / self.n_sequences_seen_
        else:
            length = sequences.total() / sequences.n_sequences()
        choices, n = expected_choices(old, weight), len(old.leafprob)
        if self._last is not None:
            last = self._last
            concentration = np.array(last["rules_prior"])[:, None]
            prior = GrammarPrior(
                np.array(last["startprob_prior"]),
                np.repeat(concentration, choices.shape[1], axis=1),
                self._start_allowed,
                self._allowed,
            )
        leaves = choices[:, n * n]
        counts = prior.earlier_counts(old, old.startprob * (weight / length), choices)
        emission = self.emission_.earlier_statistics(old.emission, leaves)
        return GrammarStatistics(*counts, emission)

    # From known parameters --------------------------------------------------------------------

    @classmethod
    def from_parameters(cls, startprob, rules, leafprob, emission, *, unit_rules=None):
        """Return a fitted model with known parameters.

        Parameters
        ----------
        startprob : array-like of shape (n_components,)
            Start probabilities, summing to one.
        rules : array-like of shape (n_components, n_components, n_components)
            Probabilities that nonterminal A, the first index, becomes B and C.
        leafprob : array-like of shape (n_components,)
            Probabilities that a nonterminal is a leaf.
        emission : Emission
            A fitted emission, as from ``CategoricalEmission.from_parameters``.
        unit_rules : array-like of shape (n_components, n_components), default=None
            Probabilities that nonterminal A becomes B alone; None is none. Those of ``rules``,
            ``leafprob`` and ``unit_rules`` of a nonterminal sum to one.

        Returns
        -------
        model : EMContextFreeGrammar
            As if fitted: ``lower_bound_`` is NaN, ``n_iter_`` and ``n_samples_seen_`` are 0. Zeros
            are structural: they are not counted by ``bic``, and stay zero in a fit or a batch that
            continues.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> from skvae.hmm import CategoricalEmission
        >>> emission = CategoricalEmission.from_parameters([[[0.5, 0.5]]])
        >>> grammar = EMContextFreeGrammar.from_parameters([1.0], [[[0.4]]], [0.6], emission)
        >>> grammar.log_likelihood([[0], [1]]).round(3)  # 0.4 · 0.6² · 0.5²
        array([-3.324])
        """
        if not isinstance(emission, Emission):
            raise ValueError(f"emission={emission!r}: must be a fitted emission of skvae.hmm")
        parameters = emission.parameters()
        n = parameters.n_components
        startprob = check_stochastic("startprob", startprob, (n,), "(n_components,)")
        if np.shape(leafprob) != (n,):
            raise ValueError(
                f"leafprob has shape {np.shape(leafprob)}: must have shape ({n},), one entry for "
                "each state of the emission"
            )
        found = GrammarParameters(startprob, *check_rules(rules, leafprob, unit_rules), parameters)
        model = new_instance(cls, n_components=n, emission=clone(emission))
        choices = found.choices()
        prior = GrammarPrior(np.ones(n), np.ones(choices.shape), startprob > 0, choices > 0)
        model._store(found, clone(emission), prior)
        model._remember_fit(0.0)
        model.n_sequences_seen_ = 0.0
        model.n_features_in_ = parameters.n_features
        model.lower_bound_ = np.nan
        model.lower_bounds_ = []
        model.n_iter_ = model.n_e_steps_ = 0
        model.converged_ = True
        return model

    @classmethod
    def from_rules(cls, text):
        """Return a fitted model of rules over words, in the notation of nltk.

        Parameters
        ----------
        text : str
            Rules such as ``S -> NP VP [0.8] | 'go' [0.2]``. Terminals are quoted. The first left
            side is the start symbol, unless a line ``%start S`` names another. Several lines may
            have one left side, and a line that begins with ``|`` continues the one above; ``#``
            begins a comment. A rule has any number of symbols on its right side, but not none: the
            longer ones are cut into binary rules, and trees and :meth:`to_rules` put them together
            again. In a fit, a bracket may also cover the end of a longer rule.

        Returns
        -------
        model : EMContextFreeGrammar
            As of :meth:`from_parameters`. Every method takes words: a list of str is a sentence, a
            list of these are sentences. They may also be given as codes, places in ``terminals_``.
            ``sample`` returns words. A fit that continues (``warm_start=True``) or a batch keeps
            the words; a fit that starts anew learns from codes and forgets them.

        Raises
        ------
        ValueError
            The message has the line and the symbol: a rule cannot be read, has no probability or
            is there twice; a nonterminal has no rules; the probabilities of a left side do not sum
            to one, up to 0.01; unit rules have a cycle of probability one.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar.from_rules(
        ...     \"\"\"
        ...     S  -> NP VP [1.0]
        ...     VP -> V NP [0.7] | 'sleeps' [0.3]
        ...     NP -> 'John' [0.5] | 'Mary' [0.5]
        ...     V  -> 'sees' [1.0]
        ...     \"\"\"
        ... )
        >>> trees, log_proba = grammar.parse("John sees Mary".split())
        >>> print(trees[0])
        (S (NP John) (VP (V sees) (NP Mary)))
        """
        found = read_rules(text)
        emission = CategoricalEmission.from_parameters(found.emission[:, None, :])
        model = cls.from_parameters(
            found.startprob, found.rules, found.leafprob, emission, unit_rules=found.units
        )
        model.nonterminals_, model.terminals_ = found.names, found.terminals
        return model

    def to_rules(self, *, decimals=None):
        """Return the rules in the notation of nltk, which :meth:`from_rules` reads.

        Parameters
        ----------
        decimals : int, default=None
            Round probabilities to this many decimals, so that those of each nonterminal sum to one;
            rules and words of probability zero are left out. None writes all digits, and the text
            is the same model up to rounding errors.

        Returns
        -------
        text : str
            One line or more for each nonterminal. Nonterminals and words without names are numbers:
            their places and codes. If several nonterminals can be at the root, there is one more,
            START, which becomes each of them by a unit rule.

        Raises
        ------
        ValueError
            The emission is not categorical with one feature: its rows are no words. A word has
            several lines, or both kinds of quotes.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar.from_rules("S -> S S [0.4] | 'a' [0.6]")
        >>> print(grammar.to_rules(decimals=2))
        S -> S S [0.4] | 'a' [0.6]
        """
        self._check_fitted()
        emission, n = self.emission_, len(self.startprob_)
        if not isinstance(emission, CategoricalEmission) or self.n_features_in_ != 1:
            raise ValueError(
                f"emission_={emission!r} of {self.n_features_in_} features: only leaves of a "
                "categorical emission with one feature can be written as words"
            )
        probabilities, parameters = emission.probabilities_[:, 0], self._parameters()
        terminals = getattr(self, "terminals_", None)
        if terminals is None:
            terminals = tuple(map(str, range(probabilities.shape[1])))
        names = getattr(self, "nonterminals_", tuple(range(n)))
        rules = NamedRules(
            names,
            terminals,
            parameters.startprob,
            parameters.rules,
            parameters.units,
            parameters.leafprob,
            probabilities,
        )
        return write_rules(rules, decimals)

    def _store(self, parameters, emission, prior):
        """Set the fitted attributes; ``emission`` is this model's own."""
        n = len(parameters.startprob)
        choices = np.maximum(parameters.choices(), SMALLEST * prior.allowed)
        rules, leafprob, _ = parted(choices)
        vars(self).update(
            startprob_=np.maximum(parameters.startprob, SMALLEST * prior.start_allowed),
            rules_=rules.copy(),
            leafprob_=leafprob.copy(),
            unit_rules_=choices[:, n * n + 1 :].copy(),
        )
        self.emission_ = emission
        self.emission_.store(parameters.emission)
        self._start_allowed, self._allowed = prior.start_allowed, prior.allowed
        # A fit or a batch that continues compares these with their values then.
        self._last = {
            "startprob_init": np.array(self.startprob_init, dtype=object).tolist(),
            "rules_init": np.array(self.rules_init, dtype=object).tolist(),
            "leafprob_init": np.array(self.leafprob_init, dtype=object).tolist(),
            "startprob_prior": prior.startprob.tolist(),
            "rules_prior": prior.choices[:, 0].tolist(),
        }
        self._n_features_out = n

    # Checks -----------------------------------------------------------------------------------

    def _prepare(self, X, groups, brackets, sequence_weight, *, reset, min_rows=2):
        """Return the checked Sentences and the emission; check the constructor's parameters too."""
        self._check_parameters()
        emission = new_emission(self.emission)
        emission.check_parameters(self.n_components)
        X = self._words_to_learn(X, reset)
        validate = partial(self._validate, reset=reset, min_rows=min_rows)
        sequences = as_sequences(X, groups, validate, None if reset else self.n_features_in_)
        if sequences.listed:
            sequence_weight = sequences.for_rows(sequence_weight)
        weight = self._validate_weight(sequence_weight, sequences.X, "sequence_weight")
        lengths = np.diff(sequences.offsets)
        data = Sentences(sequences, spans.check_brackets(brackets, lengths)).weighted(weight)
        n_sentences, n_rows = len(lengths), len(data.sequences.X)
        if n_sentences == len(sequences.X) > 1:
            warnings.warn(
                f"each of the {n_sentences} sentences has one row, so that no rule can be learned: "
                "groups must name the sentence of each row, not the row",
                UserWarning,
                stacklevel=3,
            )
        if groups is None and not sequences.listed and n_rows > _LONG:
            warnings.warn(
                f"X is one sentence of {n_rows} rows, which takes a time in proportion to the cube "
                "of its length: groups names the sentence of each row",
                UserWarning,
                stacklevel=3,
            )
        self._check_rows(data.sequences, emission)
        if reset and min_rows > 1 and n_rows < self.n_components:
            raise ValueError(
                f"n_components={self.n_components}: must be <= n_samples, which is {n_rows}"
                + ("" if weight is None else " without the sentences of weight zero")
            )
        return data, emission

    def _words_to_learn(self, X, reset):
        """Return X with words as codes; a fit that starts anew has none, and forgets the words."""
        terminals = getattr(self, "terminals_", None)
        if terminals is None:
            refuse_words(X)
            return X
        if not is_words(X):
            if reset:
                del self.terminals_, self.nonterminals_
            return X
        if reset:
            raise ValueError(
                "X has words, but a fit that starts anew learns from codes 0, 1, …: set "
                "warm_start=True to continue from the rules and their words, or pass the codes of "
                "terminals_"
            )
        coded = codes_of(X, terminals)
        listed = coded if isinstance(coded, list) else [coded]
        for s, codes in enumerate(listed):
            unknown = np.flatnonzero(codes[:, 0] == len(terminals))
            if len(unknown):
                sentence = X[s] if isinstance(coded, list) else X
                word = np.ravel(np.asarray(sentence, dtype=object))[unknown[0]]
                raise ValueError(
                    f"sentence {s} has the word {word!r}, which is not among terminals_: EM cannot "
                    "learn it from these rules; leave the sentence out, or add the word to a rule"
                )
        return coded

    def _check_rows(self, sequences, emission):
        """Raise ValueError that names the sentence if some row is impossible under an emission."""
        names = getattr(self, "feature_names_in_", None)
        try:
            emission.check_rows(sequences.X, names)
        except ValueError:
            # scikit-learn's words, which it expects of estimators that take no negative values.
            negative = "Negative values in data: " if (sequences.X < 0).any() else ""
            numbers = sequences.places()[0]
            for s, (a, b) in zip(numbers, pairwise(sequences.offsets), strict=True):
                try:
                    emission.check_rows(sequences.X[a:b], names)
                except ValueError as error:
                    raise ValueError(f"{negative}sentence {s}: {error}") from error
            raise

    def _continued(self, data, emission, why):
        """Return the fitted parameters and the GrammarPrior from which a fit or batch continues.

        Raises
        ------
        ValueError
            Model or rows do not go with them, or a parameter was changed that cannot be used.
        """
        check_as_fitted("n_components", self.n_components, len(self.startprob_), why)
        check_as_fitted("emission", emission, self.emission_, why, same_form)
        self._check_start_as_before(why)
        given, prior = check_grammar(self)
        fitted = vars(self)
        startprob, start_allowed = fitted["startprob_"], self._start_allowed
        allowed = self._allowed
        choices = joined(fitted["rules_"], fitted["leafprob_"], fitted["unit_rules_"])
        if given.startprob is not None and self._changed("startprob_init"):
            startprob, start_allowed = given.startprob, given.startprob > 0
        changed = self._changed("rules_init") or self._changed("leafprob_init")
        if given.choices is not None and changed:
            choices, allowed = given.choices, given.choices > 0
        prior = prior._replace(start_allowed=start_allowed, allowed=allowed)
        names = getattr(self, "feature_names_in_", None)
        parameters = GrammarParameters(
            np.maximum(startprob, SMALLEST * start_allowed),
            *parted(np.maximum(choices, SMALLEST * allowed)),
            emission.continued(self.emission_, why, names),
        )
        # EM cannot start from parameters under which a row has density zero.
        self._check_rows(data.sequences, self.emission_)
        means = parameters.emission.means()
        scale = np.sqrt(parameters.emission.covariances().diagonal(axis1=-2, axis2=-1).max(axis=0))
        offset = scale + np.abs(means).max(axis=0)
        check_batch(data.sequences.X, means.mean(axis=0), offset, why)
        return parameters, prior

    def _changed(self, name):
        """Return whether first values of the grammar differ from those in the last fit."""
        last = self._last
        return last is not None and not same_value(getattr(self, name), last[name])

    def _remedies(self):
        """Return the advice for leaves that are too narrow, which only Gaussian ones can be."""
        return (
            f"Raise reg_covar of the emission, lower n_components (now {self.n_components!r}), or "
            f"choose a simpler emission (now {self.emission!r})"
        )
