"""A problem for a context-free grammar: its sizes, its sentences, and the start of all contenders.

The sentences are random codes, all of one length, which batched programs can do without padding.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

# In a quick run.
_FEW_SENTENCES, _FEW_WORDS = 3, 6


class Grammar(NamedTuple):
    """Parameters of a grammar in Chomsky's normal form, with words 0 to ``emission.shape[1]`` - 1.

    Parameters
    ----------
    startprob : ndarray of shape (K,)
        Probabilities of the root's label.
    rules : ndarray of shape (K, K, K)
        Probabilities of A -> B C.
    leafprob : ndarray of shape (K,)
        Probabilities of a leaf; with the rules of its nonterminal they add up to 1.
    emission : ndarray of shape (K, n_words)
        Probabilities of a leaf's word.
    """

    startprob: np.ndarray
    rules: np.ndarray
    leafprob: np.ndarray
    emission: np.ndarray


@dataclass(frozen=True)
class Problem:
    """Sizes of a problem, and its targets.

    Parameters
    ----------
    n_components : int
        Nonterminals, K.
    length : int
        Words of each sentence, n.
    n_sentences : int
    target, lean_target : float or None
        Targets of the section that measures the problem; the section defines their meaning.
    n_words : int
        Different words.
    """

    n_components: int
    length: int
    n_sentences: int
    target: float | None = None
    lean_target: float | None = None
    n_words: int = 20

    @property
    def sizes(self):
        """The sizes as text, "K, n, sentences"."""
        return f"{self.n_components}, {self.length}, {self.n_sentences:,}"

    @property
    def work(self):
        """Products of an inside pass over a sentence in thousands, n³K² + n²K³."""
        n, k = self.length, self.n_components
        return (n**3 * k**2 + n**2 * k**3) / 1000

    def sized(self, settings):
        """Return the problem as it is, or in a quick run with few short sentences."""
        if not settings.quick:
            return self
        return replace(
            self,
            length=min(self.length, _FEW_WORDS),
            n_sentences=max(_FEW_SENTENCES, self.n_components // 2),
            target=None,
            lean_target=None,
        )

    def make(self, seed):
        """Return random codes of words, (n_sentences, length)."""
        rng = np.random.default_rng(seed)
        return rng.integers(self.n_words, size=(self.n_sentences, self.length))

    def start(self, seed):
        """Return a random Grammar in which every rule is possible, half of all children leaves.

        Parameters
        ----------
        seed : int
        """
        rng = np.random.default_rng(seed + 1)
        k = self.n_components
        leafprob = rng.uniform(0.5, 0.7, size=k)
        rules = rng.dirichlet(np.full(k * k, 2.0), size=k) * (1 - leafprob)[:, np.newaxis]
        emission = rng.dirichlet(np.full(self.n_words, 2.0), size=k)
        startprob = rng.dirichlet(np.full(k, 2.0))
        return Grammar(startprob, rules.reshape(k, k, k), leafprob, emission)
