"""A problem for a hidden Markov model: its sizes, its data, and the start of all contenders."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

# Rows made at a time, so that making the data leaves no trace in a peak-memory figure.
_BLOCK = 16_384
_STAY = 0.9  # probability of a state to stay, in the data
_FIRST_STAY = 0.8  # the same where EM starts
# In a quick run: enough for every state to keep a covariance of full rank.
_ROWS_A_STATE = 60


class Chain(NamedTuple):
    """Parameters of a Gaussian hidden Markov model, `covariances` in the shape of the type."""

    covariance_type: str
    startprob: np.ndarray
    transmat: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


@dataclass(frozen=True)
class Problem:
    """Sizes of a problem, and its targets.

    Parameters
    ----------
    n_rows, n_features, n_states : int
    covariance_type : {"full", "diag"}
    n_sequences : int
        All of the same length, which divides `n_rows`.
    left_right : bool
        Whether a state is followed by itself or the next one only, from the first to the last.
    target, default_target : float or None
        Targets of the section that measures the problem, against hmmlearn's scaled implementation
        and its default in log space; the section defines their meaning.
    """

    n_rows: int
    n_features: int
    n_states: int
    covariance_type: str = "diag"
    n_sequences: int = 1
    left_right: bool = False
    target: float | None = None
    default_target: float | None = None

    @property
    def sizes(self):
        """The sizes as text, "T, D, K"."""
        return f"{self.n_rows:,}, {self.n_features}, {self.n_states}"

    @property
    def shape(self):
        """The covariance type, and the shape of the transitions where they are not all possible."""
        return self.covariance_type + (", left-right" if self.left_right else "")

    @property
    def length(self):
        """Rows of a sequence."""
        return self.n_rows // self.n_sequences

    def sized(self, settings):
        """Return the problem as it is, or in a quick run with a hundredth of the rows."""
        if not settings.quick:
            return self
        n_rows = min(self.n_rows, max(self.n_rows // 100, _ROWS_A_STATE * self.n_states))
        n_sequences = max(1, self.n_sequences * n_rows // self.n_rows)
        n_rows -= n_rows % n_sequences
        return replace(
            self, n_rows=n_rows, n_sequences=n_sequences, target=None, default_target=None
        )

    def truth(self, seed):
        """Return the Chain that `make` draws from: means 3 standard deviations apart, expected."""
        rng = np.random.default_rng(seed)
        k, d = self.n_states, self.n_features
        means = rng.normal(size=(k, d)) * 3 / np.sqrt(2 * d)
        deviations = rng.uniform(0.8, 1.2, size=(k, d))
        covariances = deviations**2
        if self.covariance_type == "full":
            mixing = np.eye(d) + rng.normal(size=(k, d, d)) * 0.3 / np.sqrt(d)
            covariances = mixing @ mixing.swapaxes(1, 2)
        return Chain(self.covariance_type, *self._transitions(_STAY), means, covariances)

    def make(self, seed):
        """Return rows (n_rows, n_features) drawn from the truth, sequence after sequence."""
        truth = self.truth(seed)
        rng = np.random.default_rng(seed + 1)
        d = self.n_features
        if self.covariance_type == "full":
            factors = np.linalg.cholesky(truth.covariances)
        else:
            factors = np.sqrt(truth.covariances)[:, :, np.newaxis] * np.eye(d)
        states = self._states(rng)
        X = np.empty((self.n_rows, d))
        for begin in range(0, self.n_rows, _BLOCK):
            block, labels = X[begin : begin + _BLOCK], states[begin : begin + _BLOCK]
            noise = rng.normal(size=block.shape)
            for state in np.unique(labels):
                rows = labels == state
                block[rows] = truth.means[state] + noise[rows] @ factors[state].T
        return X

    def start(self, X, seed):
        """Return the Chain from which EM starts: the data's variances, and means of some rows.

        A mean is that of D/4 random rows, or of a left-right chain's equal parts of the sequences.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_features)
            The result of `make`.
        seed : int
        """
        k, d = self.n_states, self.n_features
        if self.left_right:
            part = np.arange(self.length) * k // self.length
            parts = np.tile(part, self.n_sequences)
            means = np.array([X[parts == state].mean(axis=0) for state in range(k)])
        else:
            rng = np.random.default_rng(seed)
            rows = rng.choice(len(X), size=(k, max(1, d // 4)), replace=False)
            means = X[rows].mean(axis=1)
        variances = X[:: max(1, len(X) // 10_000)].var(axis=0)
        covariances = np.tile(variances, (k, 1))
        if self.covariance_type == "full":
            covariances = np.tile(np.diag(variances), (k, 1, 1))
        return Chain(self.covariance_type, *self._transitions(_FIRST_STAY), means, covariances)

    def _transitions(self, stay):
        """Return (start probabilities, transitions) of states that stay with a probability."""
        k = self.n_states
        if self.left_right:
            transmat = stay * np.eye(k) + (1 - stay) * np.eye(k, k=1)
            transmat[-1, -1] = 1.0
            return np.eye(k)[0], transmat
        leave = (1 - stay) / max(1, k - 1)
        transmat = np.full((k, k), leave) + (stay - leave) * np.eye(k)
        return np.full(k, 1 / k), transmat / transmat.sum(axis=1, keepdims=True)

    def _states(self, rng):
        """Return the state of each row."""
        if self.left_right:
            rows, inner = np.arange(self.length), np.arange(1, self.length)
            cuts = [
                np.sort(rng.choice(inner, size=self.n_states - 1, replace=False))
                for _ in range(self.n_sequences)
            ]
            return np.concatenate([np.searchsorted(cut, rows, side="right") for cut in cuts])
        begins = rng.random(self.n_rows) >= _STAY
        begins[:: self.length] = True
        return rng.integers(self.n_states, size=self.n_rows)[_last(begins)]


def _last(begins):
    """Return, for each row, the last marked row up to it; the first row counts as marked."""
    return np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))
