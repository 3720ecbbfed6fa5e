"""The contenders: EM of a grammar by skvae and by two programs in torch; parsers of skvae and nltk.

All have one thread within `one_thread`.
"""

import warnings
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from benchmarks.grammar.problem import Grammar
from skvae import EMContextFreeGrammar
from skvae.hmm import CategoricalEmission


class Fitted(NamedTuple):
    """The result of a fit.

    Parameters
    ----------
    rules : ndarray of shape (K, K, K)
    log_likelihood : float
        Of all sentences, before the last M step. NaN if skvae made one iteration only: its bounds
        are those after an iteration.
    """

    rules: np.ndarray
    log_likelihood: float


class Skvae:
    """skvae's EMContextFreeGrammar."""

    def load(self, X):
        """Return rows and the sentence of each."""
        return X.reshape(-1, 1), np.repeat(np.arange(len(X)), X.shape[1])

    def fit(self, data, start, n_iterations):
        """Return the Fitted of exactly `n_iterations` from `start`."""
        X, groups = data
        model = EMContextFreeGrammar(
            len(start.startprob),
            emission=CategoricalEmission(probabilities_init=start.emission[:, np.newaxis]),
            startprob_init=start.startprob,
            rules_init=start.rules,
            leafprob_init=start.leafprob,
            max_iter=n_iterations,
            tol=0.0,
        )
        with warnings.catch_warnings():
            # The number of iterations is fixed, so the warning has no meaning.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, groups=groups)
        if model.n_iter_ != n_iterations:
            raise RuntimeError(f"skvae did {model.n_iter_} iterations instead of {n_iterations}.")
        bound = model.lower_bounds_[-2] if n_iterations > 1 else np.nan
        return Fitted(model.rules_, bound * len(X))

    def known(self, grammar):
        """Return a model with known parameters."""
        emission = CategoricalEmission.from_parameters(grammar.emission[:, np.newaxis])
        return EMContextFreeGrammar.from_parameters(
            grammar.startprob, grammar.rules, grammar.leafprob, emission
        )


class Torch:
    """EM with the E step of a program in torch.

    Parameters
    ----------
    name : {"by_autograd", "by_hand"}
        The function of :mod:`benchmarks.grammar.inside_outside`.
    """

    def __init__(self, name):
        self.name = name

    def load(self, X):
        """Return the words of the sentences as a tensor."""
        import torch

        return torch.from_numpy(X)

    def fit(self, data, start, n_iterations):
        """Return the Fitted of exactly `n_iterations` from `start`."""
        import torch

        from benchmarks.grammar import inside_outside

        expect = getattr(inside_outside, self.name)
        startprob, rules, leafprob, emission = map(torch.from_numpy, start)
        n_words, n_labels = emission.shape[1], len(startprob)
        words = data.reshape(-1)
        for _ in range(n_iterations):
            counts = expect(startprob, rules, leafprob, emission.T.log()[data])
            uses = counts.rules.new_zeros(n_words, n_labels)
            uses.index_add_(0, words, counts.leaves.reshape(-1, n_labels))
            leaves = uses.sum(0)
            total = counts.rules.sum((1, 2)) + leaves
            startprob = counts.starts / counts.starts.sum()
            rules, leafprob = counts.rules / total[:, None, None], leaves / total
            emission = (uses / leaves).T
        return Fitted(rules.numpy(), counts.log_likelihood)


SKVAE = Skvae()
SENTCFG, LEAN = "torch, log space", "torch, lean"
PEERS = {SENTCFG: Torch("by_autograd"), LEAN: Torch("by_hand")}


def nltk_parser(grammar: Grammar):
    """Return nltk's ViterbiParser of a grammar whose trees all have the same label at the root.

    The words are "w0", "w1", and so on.
    """
    from nltk import PCFG, Nonterminal, ProbabilisticProduction
    from nltk.parse import ViterbiParser

    labels = [Nonterminal(f"N{k}") for k in range(len(grammar.startprob))]
    productions = [
        ProbabilisticProduction(labels[a], [labels[b], labels[c]], prob=probability)
        for (a, b, c), probability in np.ndenumerate(grammar.rules)
    ]
    words = grammar.leafprob[:, np.newaxis] * grammar.emission
    productions += [
        ProbabilisticProduction(labels[a], [f"w{word}"], prob=probability)
        for (a, word), probability in np.ndenumerate(words)
    ]
    root = labels[int(grammar.startprob.argmax())]
    return ViterbiParser(PCFG(root, productions), max_time=None)


@contextmanager
def one_thread():
    """Confine the thread pools of all libraries to one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
