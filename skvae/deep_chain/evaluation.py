"""A NeuralChain on some sequences, in float64: densities, posteriors, paths, forecasts, draws."""

from typing import NamedTuple

import numpy as np
import torch

from skvae.blocks import ranges
from skvae.blocks.sequences import Sequences
from skvae.chain import algorithms
from skvae.chain.varying import VaryingBlock, best_paths
from skvae.deep_chain.full_gaussian import FullGaussian
from skvae.deep_chain.neural_chain import NeuralChain, StateDensities
from skvae.hmm.forecast import forecasts_of
from skvae.neural.likelihoods.gaussian import Gaussian

_NUMBERS = 2**22  # of the outputs of a block of rows
_DRAWS = 10_000  # for the covariance of a likelihood


class Evaluated(NamedTuple):
    """The log-densities and the chain of some sequences.

    Parameters
    ----------
    model : NeuralChain
        In float64 on the CPU.
    sequences : Sequences
        Checked, in the units of X.
    x : ndarray of shape (n_rows, n_features)
        Prepared rows.
    log_density : ndarray of shape (n_rows, K)
        ln p(x_t | z_t = k, earlier rows), of prepared rows.
    log_start : ndarray of shape (K,)
        ln π.
    log_transmat : ndarray of shape (K, K) or (n_rows, K, K)
        ln A.
    volume : ndarray of shape (n_rows,)
        ln |dx / dX|, from X to prepared rows.
    """

    model: NeuralChain
    sequences: Sequences
    x: np.ndarray
    log_density: np.ndarray
    log_start: np.ndarray
    log_transmat: np.ndarray
    volume: np.ndarray

    def in_form(self, result):
        """Return a result in the dtype and the form that X had."""
        with np.errstate(over="ignore"):  # −inf where float32 holds no more
            return self.sequences.in_form(result.astype(self.sequences.X.dtype, copy=False))

    def _arguments(self):
        return self.log_start, self.log_transmat, self.log_density, self.sequences.offsets

    def _varying(self):
        return VaryingBlock(*self._arguments()) if self.log_transmat.ndim == 3 else None

    def predictive(self):
        """Return ln p(x_t | x_1..x_{t−1}) of each row in the units of X, (n_rows,)."""
        block = self._varying()
        log_p = algorithms.predictive(*self._arguments()) if block is None else block.log_p
        return log_p + self.volume

    def filtered(self):
        """Return p(z_t | x_1..x_t), (n_rows, K)."""
        block = self._varying()
        return algorithms.filtered(*self._arguments()) if block is None else block.filtered()

    def smoothed(self):
        """Return p(z_t | x), (n_rows, K)."""
        block = self._varying()
        if block is None:
            return algorithms.smooth(*self._arguments()).posterior
        return block.smooth().posterior

    def best_paths(self):
        """Return (ln p(path, x) of prepared rows, states (n_rows,)) of the best paths."""
        find = algorithms.viterbi if self.log_transmat.ndim == 2 else best_paths
        return find(*self._arguments())

    @torch.no_grad()
    def forecasts(self, estimator, n_steps, indices):
        """Return the Forecast of the rows after the end of each sequence."""
        model, offsets, found = self.model, self.sequences.offsets, []
        last = self.filtered()[offsets[1:] - 1]
        # Without a history the next row of all sequences has one density.
        together = 1 if model.history else len(last)
        for s in range(0, len(last), together):
            inputs = next_inputs(model, self.x[offsets[s] : offsets[s + 1]])
            log_transmat = model.log_transmat(inputs).numpy()
            transmat = np.exp(log_transmat[0] if log_transmat.ndim == 3 else log_transmat)
            row = NextRow(model.densities, model.outputs(inputs)[0])
            some = slice(s, s + together)
            found += forecasts_of(estimator, row, transmat, last[some], n_steps, indices[some])
        return found


class NextRow(NamedTuple):
    """The densities of the next row given its state, for forecasts.

    Parameters
    ----------
    densities : StateDensities
        The likelihood of each state.
    outputs : tensor of shape (K, n_outputs)
        Its parameters.
    """

    densities: StateDensities
    outputs: torch.Tensor

    def _each(self):
        """Yield (likelihood, outputs) of each state."""
        return ((self.densities.of_state(k), row) for k, row in enumerate(self.outputs))

    def means(self):
        """Return the means, (K, D)."""
        return np.array([likelihood.mean(outputs).numpy() for likelihood, outputs in self._each()])

    def covariances(self):
        """Return the covariances, (K, D, D)."""
        return np.array([covariance_of(*each) for each in self._each()])

    def cdf(self, x):
        """Return P(feature ≤ x | state) of values (..., D), shape (..., K, D)."""
        return np.stack([likelihood.cdf(x, own) for likelihood, own in self._each()], axis=-2)

    def sample(self, states, rng):
        """Return a row drawn from each of some states, (n, D)."""
        generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
        out = np.empty((len(states), self.densities.of_state(0).n_features))
        for k, (likelihood, outputs) in enumerate(self._each()):
            own = np.flatnonzero(states == k)
            out[own] = likelihood.sample(outputs.expand(len(own), -1), generator).numpy()
        return out


@torch.no_grad()
def evaluated(model, sequences):
    """Return the Evaluated of checked Sequences."""
    likelihood = model.likelihood
    x = np.ascontiguousarray(likelihood.prepare(sequences.X))
    rows = torch.as_tensor(np.array(x, dtype=np.float64))
    first = torch.zeros(len(x), dtype=torch.bool)
    first[torch.as_tensor(sequences.offsets[:-1])] = True
    missing = torch.isnan(rows)
    observed = ~missing if bool(missing.any()) else None
    inputs = model.inputs(rows, first)
    width = max(1, model.n_states * model.n_outputs)
    parts = [
        model.log_density(
            rows[a:b], first[a:b], None if observed is None else observed[a:b], inputs[a:b]
        )
        for a, b in ranges(0, len(x), max(1, _NUMBERS // width))
    ]
    varying = model.transition_network is not None
    return Evaluated(
        model,
        sequences,
        x,
        torch.cat(parts).numpy(),
        model.log_start().numpy(),
        model.log_transmat(inputs if varying else None).numpy(),
        likelihood.log_volume(x),
    )


def next_inputs(model, x):
    """Return the networks' inputs (1, n_inputs) of the row after prepared rows (n, D) ≥ 1."""
    window = np.vstack([x[-max(model.history, 1) :], np.zeros((1, x.shape[1]))])
    first = torch.zeros(len(window), dtype=torch.bool)
    first[0] = len(x) < len(window)  # or there are earlier rows, which are not read
    return model.inputs(torch.as_tensor(window), first)[-1:]


def covariance_of(likelihood, outputs):
    """Return the covariance (D, D) of a row in the units of X.

    That of a likelihood that is not Gaussian is the covariance of draws.
    """
    if isinstance(likelihood, FullGaussian):
        return likelihood.covariance().numpy() * np.outer(likelihood.units, likelihood.units)
    if type(likelihood) is Gaussian:
        return np.diag(likelihood.variance(outputs).numpy() * likelihood.units**2)
    generator = torch.Generator().manual_seed(0)
    draws = likelihood.sample(outputs.expand(_DRAWS, -1), generator).numpy()
    return np.cov(draws.T, bias=True).reshape(2 * (draws.shape[1],))


@torch.no_grad()
def drawn(model, n_rows, rng, before=None, proba=None):
    """Return (X, states): rows drawn from a chain, in the units of X, one after the other.

    They begin a sequence, or continue prepared rows ``before`` (n, D), whose last state has the
    probabilities ``proba`` (K,).
    """
    generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
    X = np.empty((n_rows, model.likelihood.n_features))
    x, states = np.empty(X.shape), np.empty(n_rows, dtype=np.int64)
    uniform, depth = rng.uniform(size=n_rows), max(model.history, 1)
    for t in range(n_rows):
        if t == 0 and before is None:
            row, outputs = np.cumsum(model.log_start().exp().numpy()), model.first_outputs
            densities = model.first_densities if model.history else model.densities
        else:
            earlier = x[max(0, t - depth) : t]
            if before is not None:
                earlier = np.vstack([before[-depth:], earlier])
            inputs = next_inputs(model, earlier)
            logs = model.log_transmat(inputs)
            transmat = (logs[0] if logs.ndim == 3 else logs).exp().numpy()
            row = np.cumsum(transmat[states[t - 1]] if t else proba @ transmat)
            outputs, densities = model.outputs(inputs)[0], model.densities
        if outputs is None:  # without a history the first row is like all others
            outputs = model.outputs(model.emission.bias.new_zeros(1, 0))[0]
        k = states[t] = min(np.searchsorted(row, uniform[t] * row[-1]), len(row) - 1)
        X[t] = densities.of_state(k).sample(outputs[k], generator).numpy()
        x[t] = model.likelihood.prepare(X[t : t + 1])[0]
    return X, states
