"""A fitted grammar: densities, trees, posteriors of labels and spans, draws, criteria."""

from numbers import Integral

import numpy as np
from sklearn.utils.metadata_routing import UNUSED

from skvae.base import LatentVariableModel, not_named
from skvae.blocks import as_sequences, is_list_of_sequences, warn_of_lengths
from skvae.chart import algorithms
from skvae.emissions import CategoricalEmission
from skvae.emissions.base import log_density_of
from skvae.fitted import FittedArray
from skvae.grammar.e_step import Sentences, infer, log_likelihoods
from skvae.grammar.initialization import check_rules
from skvae.grammar.parameters import GrammarParameters, joined, mean_matrix, spectral_radius
from skvae.grammar.terminals import codes_of, is_words, refuse_words, words_of
from skvae.grammar.tree import Tree
from skvae.validation import check_number, check_stochastic

_LEARNING = {"groups": True, "brackets": True, "sequence_weight": True, "sample_weight": UNUSED}
_SLACK = 1e-6  # of the spectral radius above one: a fit that has not converged may exceed one


# auto_wrap_output_keys=None, as set_output would make one table of a list of sentences.
@not_named
class ContextFreeGrammar(LatentVariableModel, auto_wrap_output_keys=None):
    """A fitted context-free grammar: densities, trees, posteriors and draws.

    A subclass sets ``startprob_``, ``rules_``, ``leafprob_``, ``unit_rules_``, ``emission_``, and
    the boolean arrays ``_start_allowed`` and ``_allowed``, which mark the probabilities that are
    free parameters.
    """

    startprob_ = FittedArray(tied=True)
    rules_ = FittedArray(tied=True)
    leafprob_ = FittedArray(tied=True)
    unit_rules_ = FittedArray(tied=True)

    # Learning weighs sentences, not rows.
    __metadata_request__fit = _LEARNING
    __metadata_request__partial_fit = _LEARNING
    __metadata_request__score = {"groups": True}
    __metadata_request__predict = {"groups": True}
    __metadata_request__predict_proba = {"groups": True}
    __metadata_request__transform = {"groups": True}

    def _parameters(self):
        """Return the fitted parameters as a value."""
        fitted = vars(self)
        units = fitted["unit_rules_"]
        return GrammarParameters(
            fitted["startprob_"],
            fitted["rules_"],
            fitted["leafprob_"],
            units if units.any() else None,
            self.emission_.parameters(),
        )

    def _set_fitted(self, name, value):
        """Replace probabilities; zeros are structural, as in ``from_parameters``."""
        fitted = vars(self)
        if name == "startprob_":
            array = check_stochastic(name, value, fitted[name].shape, "as before")
            fitted[name], self._start_allowed = array, array > 0
            return
        names = "rules_", "leafprob_", "unit_rules_"
        given = [value if each == name else fitted[each] for each in names]
        rules, leafprob, units = check_rules(*given, names=names)
        allowed = joined(rules, leafprob, units) > 0
        units = np.zeros(allowed.shape[:1] * 2) if units is None else units
        fitted.update(rules_=rules, leafprob_=leafprob, unit_rules_=units, _allowed=allowed)

    def _sentences(self, X, groups):
        """Return X as Sentences, checked to be possible values of the leaves."""
        self._check_fitted()
        sequences = as_sequences(self._coded(X), groups, self._validate, self.n_features_in_)
        emission = self.emission_
        if isinstance(emission, CategoricalEmission):
            emission = CategoricalEmission()  # a code beyond those of the fit has probability zero
        emission.check_rows(sequences.X, getattr(self, "feature_names_in_", None))
        return Sentences(sequences)

    def _coded(self, X):
        """Return X with words as codes, if the grammar has words and X too."""
        terminals = getattr(self, "terminals_", None)
        if terminals is None:
            refuse_words(X)
            return X
        return codes_of(X, terminals) if is_words(X) else X

    def _words(self, codes):
        """Return the words of codes; without terminals they are the codes as str."""
        terminals = getattr(self, "terminals_", None)
        if terminals is None:
            terminals = tuple(map(str, range(self.emission_.probabilities_.shape[2])))
        return words_of(codes, terminals)

    # Rows -----------------------------------------------------------------------------------------

    def score_samples(self, X, *, groups=None):
        """Return the log-density of each row given those before it and the length, in nats.

        The terms ln p(x_t | x_1..x_{t−1}, n) sum to ln p(x) − ln p(n), n the number of rows of the
        sentence, and their mean can be compared with the ``score`` of a model of sequences, which
        are given their lengths too.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in the order of the sentence; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sentence of each row; None is one sentence.

        Returns
        -------
        log_density : ndarray of shape (n_samples,), or list of such
            −inf for a row that is impossible after those before it, which then counts as missing,
            and in all rows of a sentence of impossible length; float32 if X is.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar.from_rules("S -> S S [0.4] | 'a' [0.3] | 'b' [0.3]")
        >>> grammar.score_samples([["a", "b"]])[0].round(3)
        array([-0.693, -0.693])
        """
        sentences = self._sentences(X, groups)
        return sentences.sequences.in_form(self._predictive(sentences, sentences.sequences.X.dtype))

    def _predictive(self, sentences, dtype=np.float64):
        """Return ln p(x_t | x_1..x_{t−1}, n) of each row."""
        found = np.concatenate(infer(algorithms.predictive, self._parameters(), sentences))
        return found.astype(dtype, copy=False)

    def score(self, X, y=None, sample_weight=None, *, groups=None):
        """Return the (weighted) mean log-density of the rows, in nats per row: larger is better.

        The density of a row is conditional on the earlier rows of its sentence and on the length of
        the sentence, as in :meth:`score_samples`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in the order of the sentence; NaN is missing.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, ≥ 0.
        groups : array-like of shape (n_samples,), default=None
            The sentence of each row; None is one sentence.

        Returns
        -------
        score : float
            In nats per row.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar.from_rules("S -> S S [0.4] | 'a' [0.3] | 'b' [0.3]")
        >>> round(grammar.score([["a", "b"], ["b"]]), 3)
        -0.693
        """
        if y is not None and groups is None:
            warn_of_lengths(y, X)
        sentences = self._sentences(X, groups)
        sequences = sentences.sequences
        if sample_weight is not None:
            sample_weight = sequences.for_rows(sample_weight)
            weight = self._validate_weight(sample_weight, sequences.X, relative=True)
            log_p, used = self._predictive(sentences), weight > 0
            return float(log_p[used] @ weight[used] / weight.sum())
        parameters, lengths = self._parameters(), np.diff(sequences.offsets)
        log_p = log_likelihoods(parameters, sentences)
        if np.isneginf(log_p).any():
            return -np.inf
        log_length = algorithms.log_length(parameters.for_chart(), int(lengths.max()))
        return float((log_p.sum() - log_length[lengths - 1].sum()) / len(sequences.X))

    def predict_proba(self, X, *, groups=None):
        """Return the posterior probabilities of the labels of the leaves, given their sentences.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in the order of the sentence; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sentence of each row; None is one sentence.

        Returns
        -------
        posterior : ndarray of shape (n_samples, n_components), or list of such
            Each row sums to one; float32 if X is. In a sentence of probability zero, rows that are
            impossible after those before them count as missing.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar.from_rules(
        ...     "S -> A S [0.5] | 'a' [0.2] | 'b' [0.3]  A -> 'a' [1.0]"
        ... )
        >>> grammar.predict_proba([["a", "a", "b"]])[0]
        array([[0., 1.],
               [0., 1.],
               [1., 0.]])
        """
        sentences = self._sentences(X, groups)
        sequences, parameters = sentences.sequences, self._parameters()
        shape = len(sequences.X), len(parameters.startprob)
        posterior, row = np.empty(shape, dtype=sequences.X.dtype), 0
        for part in infer(algorithms.leaf_posterior, parameters, sentences):
            posterior[row : row + len(part)] = part
            row += len(part)
        return sequences.in_form(posterior)

    def transform(self, X, *, groups=None):
        """Return the posterior probabilities of the labels of the leaves, as ``predict_proba``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in the order of the sentence; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sentence of each row; None is one sentence.

        Returns
        -------
        posterior : ndarray of shape (n_samples, n_components), or list of such
            Each row sums to one; float32 if X is.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar.from_rules(
        ...     "S -> A S [0.5] | 'a' [0.2] | 'b' [0.3]  A -> 'a' [1.0]"
        ... )
        >>> grammar.transform([["a", "b"]])[0]
        array([[0., 1.],
               [1., 0.]])
        """
        X = self._coded(X)
        if is_list_of_sequences(X):
            return self._listed(self.predict_proba(X, groups=groups), X)
        return super().transform(X, groups=groups)

    def fit_transform(self, X, y=None, **params):
        """Return the posterior probabilities of the labels of the leaves of X, after fitting to it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in the order of the sentence; NaN is missing.
        y : None
            Ignored.
        **params : dict
            Arguments of ``fit``; ``groups`` goes to ``transform`` too.

        Returns
        -------
        posterior : ndarray of shape (n_samples, n_components), or list of such
            Each row sums to one; float32 if X is.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> EMContextFreeGrammar(random_state=0).fit_transform([[0], [1], [1]])
        array([[1.],
               [1.],
               [1.]])
        """
        if y is not None and params.get("groups") is None:
            warn_of_lengths(y, X)
        return self.fit(X, **params).transform(X, groups=params.get("groups"))

    # Trees ----------------------------------------------------------------------------------------

    def predict(self, X, *, groups=None):
        """Return the most probable tree's label of the leaf of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in the order of the sentence; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sentence of each row; None is one sentence.

        Returns
        -------
        labels : ndarray of shape (n_samples,), or list of such
            Nonterminals, int; −1 in a sentence of probability zero.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar.from_rules(
        ...     "S -> A S [0.5] | 'a' [0.2] | 'b' [0.3]  A -> 'a' [1.0]"
        ... )
        >>> grammar.predict([["a", "a", "b"]])
        [array([1, 1, 0])]
        """
        sentences = self._sentences(X, groups)
        labels, offsets = np.full(len(sentences.sequences.X), -1), sentences.sequences.offsets
        for start, nodes in zip(offsets, self._best(sentences)[1], strict=False):
            leaves = nodes[nodes[:, 3] < 0]
            labels[start + leaves[:, 1]] = leaves[:, 0]
        return sentences.sequences.in_form(labels)

    def parse(self, X, *, groups=None):
        """Return the most probable tree of each sentence, and its log-probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in the order of the sentence; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sentence of each row; None is one sentence.

        Returns
        -------
        trees : list of skvae.grammar.Tree
            One for each sentence; None for a sentence of probability zero. Words are those of the
            grammar, or codes as str; a missing value and a vector are no words.
        log_proba : ndarray of shape (n_sentences,)
            ln p(tree, x), in nats.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar.from_rules(
        ...     "S -> A S [0.5] | 'a' [0.2] | 'b' [0.3]  A -> 'a' [1.0]"
        ... )
        >>> trees, log_proba = grammar.parse([["a", "a", "b"]])
        >>> print(trees[0])
        (S (A a) (S (A a) (S b)))
        >>> log_proba.round(3)
        array([-2.59])
        """
        sentences = self._sentences(X, groups)
        X, offsets, *_ = sentences.sequences
        log_proba, nodes = self._best(sentences)
        names, words = getattr(self, "nonterminals_", None), None
        if isinstance(self.emission_, CategoricalEmission) and self.n_features_in_ == 1:
            words = self._words(X[:, 0]).tolist()
        trees = []
        for start, stop, found in zip(offsets[:-1], offsets[1:], nodes, strict=True):
            own = None if words is None else words[start:stop]
            trees.append(Tree.from_nodes(found, names, own) if len(found) else None)
        return trees, log_proba

    def _best(self, sentences):
        """Return (log probabilities, nodes) of the most probable trees of all sentences."""
        parts = infer(algorithms.best_trees, self._parameters(), sentences)
        nodes = [each for _, found in parts for each in found]
        return np.concatenate([log_proba for log_proba, _ in parts]), nodes

    def span_proba(self, X):
        """Return the probability of each span of one sentence to be a constituent of each label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            One sentence; NaN is missing.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_samples, n_components)
            Entry (i, j, k) is the probability that the rows from i to j, j included, are a
            constituent with label k. Zero for j < i, and everywhere if the sentence has probability
            zero.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar.from_rules("S -> S S [0.4] | 'a' [0.6]")
        >>> grammar.span_proba(["a", "a", "a"])[..., 0]
        array([[1. , 0.5, 1. ],
               [0. , 1. , 0.5],
               [0. , 0. , 1. ]])
        """
        sentences = self._sentences(X, None)
        if len(sentences.sequences.offsets) > 2:
            n_sentences = len(sentences.sequences.offsets) - 1
            raise ValueError(f"span_proba takes one sentence: X holds {n_sentences} of them")
        parameters = self._parameters()
        log_density = log_density_of(parameters.emission, sentences.sequences.X)
        return algorithms.span_posterior(parameters.for_chart(), log_density)

    # Sentences ------------------------------------------------------------------------------------

    def log_likelihood(self, X, *, groups=None):
        """Return the log-probability of each sentence, its length included, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in the order of the sentence; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sentence of each row; None is one sentence.

        Returns
        -------
        log_likelihood : ndarray of shape (n_sentences,)
            ln p(x): the sum over all trees; −inf for a sentence that the grammar excludes.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar.from_rules("S -> S S [0.4] | 'a' [0.6]")
        >>> grammar.log_likelihood([["a"], ["a", "a"]]).round(3)
        array([-0.511, -1.938])
        """
        return log_likelihoods(self._parameters_checked(), self._sentences(X, groups))

    def log_length_proba(self, n_max):
        """Return the log-probabilities of the lengths of sentences, in nats.

        Parameters
        ----------
        n_max : int
            The largest length.

        Returns
        -------
        log_proba : ndarray of shape (n_max,)
            ln p(n) of n = 1, …, n_max; −inf for a length that no sentence has.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar.from_rules("S -> S S [0.4] | 'a' [0.6]")
        >>> np.exp(grammar.log_length_proba(3)).round(3)
        array([0.6  , 0.144, 0.069])
        """
        check_number("n_max", n_max, Integral, 1)
        return algorithms.log_length(self._parameters_checked().for_chart(), int(n_max))

    def _parameters_checked(self):
        self._check_fitted()
        return self._parameters()

    # Draws ----------------------------------------------------------------------------------------

    def sample(self, n_samples=1, *, n_sentences=None, random_state=None):
        """Return rows drawn from the model, and the label that each was drawn from.

        Parameters
        ----------
        n_samples : int, default=1
            The number of rows, which form whole sentences, but for the last one, which is cut.
        n_sentences : int, default=None
            The number of sentences; ``n_samples`` then has no effect.
        random_state : int, RandomState instance or None, default=None
            None is the estimator's own ``random_state``.

        Returns
        -------
        X : {ndarray, DataFrame} of shape (n_samples, n_features), or list of such
            Rows in the order of their sentences; with ``n_sentences`` a list with one entry for
            each sentence. A grammar with words gives words. With ``set_output`` tables.
        labels : ndarray of shape (n_samples,), or list of such
            Nonterminals of the leaves, int.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar.from_rules("S -> S S [0.4] | 'a' [0.6]")
        >>> X, labels = grammar.sample(n_sentences=3, random_state=0)
        >>> len(X), labels[0].dtype.kind
        (3, 'i')
        """
        self._check_fitted()
        check_number("n_samples", n_samples, Integral, 1)
        if n_sentences is not None:
            check_number("n_sentences", n_sentences, Integral, 1)
        rng, parameters = self._random_state_of(random_state), self._parameters()
        if n_sentences is None:
            number = {"n_rows": int(n_samples)}
        else:
            number = {"n_sentences": int(n_sentences)}
            _check_consistent(parameters)
        labels, offsets = algorithms.sample_trees(parameters.for_chart(), **number, rng=rng)
        X, terminals = parameters.emission.sample(labels, rng), getattr(self, "terminals_", None)
        if terminals is not None:
            X = words_of(X, terminals)
        if n_sentences is None:
            return self._as_set(X), labels
        sentences = map(self._as_set, np.split(X, offsets[1:-1]))
        return list(sentences), np.split(labels, offsets[1:-1])

    # Criteria -------------------------------------------------------------------------------------

    def bic(self, X, *, groups=None):
        """Return the Bayesian information criterion, −2 ln p(X) + d ln N: smaller is better.

        d is the number of free parameters: rules, leaves and roots that are ruled out by zeros of
        ``rules_init``, ``leafprob_init`` and ``startprob_init`` do not count, nor do the emissions
        of nonterminals that are never leaves. N is the number of rows. ln p(X) is the sum of
        :meth:`log_likelihood`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in the order of the sentence; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sentence of each row; None is one sentence.

        Returns
        -------
        criterion : float
            In nats, times two.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar.from_rules("S -> S S [0.4] | 'a' [0.6]")
        >>> round(grammar.bic([["a"], ["a", "a"]]), 3)
        5.996
        """
        n_rows, log_likelihood = self._log_likelihood(X, groups)
        return float(-2 * log_likelihood + self._n_parameters() * np.log(n_rows))

    def aic(self, X, *, groups=None):
        """Return Akaike's information criterion, −2 ln p(X) + 2 d: smaller is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in the order of the sentence; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sentence of each row; None is one sentence.

        Returns
        -------
        criterion : float
            In nats, times two.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> grammar = EMContextFreeGrammar.from_rules("S -> S S [0.4] | 'a' [0.6]")
        >>> round(grammar.aic([["a"], ["a", "a"]]), 3)
        6.898
        """
        _, log_likelihood = self._log_likelihood(X, groups)
        return float(-2 * log_likelihood + 2 * self._n_parameters())

    def _log_likelihood(self, X, groups):
        """Return the number of rows and their log-likelihood, in nats."""
        sentences = self._sentences(X, groups)
        return len(sentences.sequences.X), log_likelihoods(self._parameters(), sentences).sum()

    def _n_parameters(self):
        """Return the number of free parameters, of emissions those of leaves alone."""
        rules = self._start_allowed.sum() - 1 + (self._allowed.sum(axis=1) - 1).sum()
        n_leaves = int(self._allowed[:, len(self._allowed) ** 2].sum())
        return int(rules) + self.emission_.parameters().n_parameters(n_leaves)


def _check_consistent(parameters):
    """Raise ValueError if trees have no end with a positive probability."""
    radius = spectral_radius(mean_matrix(parameters))
    if radius > 1 + _SLACK:
        raise ValueError(
            "n_sentences needs sentences that end: under these rules a nonterminal becomes "
            f"{radius:.6g} on average (the spectral radius of the mean matrix), which must be at "
            "most 1; raise leafprob_, or draw rows by n_samples"
        )
