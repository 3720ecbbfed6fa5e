r"""First weights of a NeuralChain: the best linear autoregression, then a state for each regime.

1. All states are the linear autoregression of highest likelihood: least squares with a Gaussian
   likelihood and no missing values, else gradient ascent (L-BFGS) on the likelihood of one state.
2. States are split by clusters of rows and by windows, and the chain of linear autoregressions is
   fitted: by EM with a Gaussian likelihood and no missing values, where the M step is weighted
   least squares,

   .. math:: B_k = \Bigl(\sum_t \gamma_t(k) h_t h_t^T\Bigr)^{-1}
             \sum_t \gamma_t(k) h_t x_t^T, \qquad
             \Sigma_k = \frac{\sum_t \gamma_t(k) (x_t - B_k^T h_t)(x_t - B_k^T h_t)^T}
             {\sum_t \gamma_t(k)},

   by L-BFGS on the exact likelihood otherwise (Hamilton, Econometrica 57, 1989).

Of all these models the one with the highest likelihood of the sequences kept aside remains. With a
history it must be better than the linear autoregression by two standard errors.
"""

import copy
from itertools import pairwise

import numpy as np
import torch

from skvae.chain import algorithms
from skvae.deep_chain.full_gaussian import FullGaussian
from skvae.deep_chain.neural_chain import ChainBound, NeuralChain
from skvae.deep_chain.training import is_certain
from skvae.initialization import MAX_ROWS, completed, first_labels
from skvae.neural.likelihoods.gaussian import Gaussian

_TRIED, _MOST = 5, 200  # iterations of EM from each split, and from the best
_TOL = 1e-5  # nats per row by which EM still improves
_PATIENCE = 10  # iterations without a higher likelihood of the sequences kept aside
_WINDOW = 10  # rows of a window
_PRIOR = 1.0  # rows of the pooled model that are added to those of a state
_FIRST = 0.9  # the posterior of a row's first state
_STAY = 0.9  # the first probability of a state to stay
_LEAST = 1e-10  # the least transition probability of a start, so that gradients can raise it
_STEPS, _ROUNDS = 10, 20  # of L-BFGS: steps in a round, and rounds


def start_at_autoregression(bound, training, validation, rng, transmat=None):
    """Set the weights of a new chain to the best start for some sequences.

    Parameters
    ----------
    bound : ChainBound
        Changed in place.
    training, validation : PreparedSequences
        The sequences; ``validation`` may be None: then the likelihood of ``training`` decides.
    rng : RandomState
        Draws the windows, and the starts of k-means.
    transmat : ndarray of shape (K, K), default=None
        First transition probabilities.
    """
    work = ChainBound(copy.deepcopy(bound.model).cpu().double(), seed=0)
    # The closed forms need all values; the gradient marginalises those that are missing.
    complete = not np.isnan(training.joined(validation).x).any()
    gaussian = complete and isinstance(work.model.likelihood, Gaussian | FullGaussian)
    if gaussian and work.model.n_states == 1:
        # A closed form needs no validation, and the optimum is that of all rows.
        training, validation = training.joined(validation), None
    rows = _Batch(work.model, training)
    held_out = rows if validation is None else _Batch(work.model, validation)
    _set_transitions(work.model, transmat)
    pooled = _Pooled(work.model, rows) if gaussian else None
    if gaussian:
        pooled.fit(work.model, np.full((len(rows.x), work.model.n_states), 1.0))
    else:
        _set_single_state(work.model, training, held_out)
    best = _Best(work, held_out)
    best.rank()
    if work.model.n_states > 1:
        if gaussian:
            _split_by_em(work, rows, pooled, best, rng, transmat)
        else:
            _split_by_gradients(work, rows, best, rng)
    work.model.load_state_dict(best.state)
    if validation is not None and work.model.history and not best.is_certain():
        work.model.load_state_dict(best.first_state)
        if gaussian:  # the closed form has seen the training rows alone
            rows = _Batch(work.model, training.joined(validation))
            _Pooled(work.model, rows).fit(work.model, np.ones((len(rows.x), work.model.n_states)))
    bound.model.load_state_dict(work.model.state_dict())


class _Batch:
    """All rows of sequences as float64 tensors, with the inputs of the networks.

    Parameters
    ----------
    model : NeuralChain
        In float64.
    sequences : PreparedSequences
        The rows.
    """

    def __init__(self, model, sequences):
        self.x = torch.as_tensor(np.array(sequences.x, dtype=np.float64))
        self.offsets = sequences.offsets
        self.first = torch.zeros(len(self.x), dtype=torch.bool)
        self.first[torch.as_tensor(self.offsets[:-1])] = True
        missing = torch.isnan(self.x)
        self.observed = ~missing if bool(missing.any()) else None
        weight = sequences.more.get("weight")
        self.weight = None if weight is None else torch.as_tensor(weight, dtype=torch.float64)
        with torch.no_grad():
            self.inputs = model.inputs(self.x, self.first)

    def bound(self, bound):
        """Return the mean log-likelihood of the rows, a tensor."""
        return bound(self.x, self.first, self.observed, self.weight)[1].mean()

    def predictive(self, bound):
        """Return the log-likelihood of each row given those before it, (n_rows,)."""
        return bound.predictive(self.x, self.first, self.observed, self.weight).numpy()

    def smooth(self, model):
        """Return the Smoothed posterior under constant transitions."""
        with torch.no_grad():
            log_density = model.log_density(self.x, self.first, self.observed, self.inputs)
            logs = model.log_start(), model.log_transmat(), log_density
        return algorithms.smooth(*(part.numpy() for part in logs), self.offsets)


class _Best:
    """The weights with the highest likelihood of the sequences kept aside.

    Parameters
    ----------
    work : ChainBound
        The model.
    held_out : _Batch
        These sequences.

    Attributes
    ----------
    state : dict
        The weights.
    first_state : dict
        The first that were ranked, those of the linear autoregression.
    """

    def __init__(self, work, held_out):
        self._work, self._held_out = work, held_out
        self.state, self.value, self.misses = None, -np.inf, 0
        self.first_state = None

    def rank(self):
        """Keep the current weights if they are better; count those that are not."""
        found = self._held_out.predictive(self._work)
        self.misses += 1
        if self.state is None or found.mean() > self.value:
            self.state = copy.deepcopy(self._work.model.state_dict())
            self.value, self.misses = found.mean(), 0
            self._found = found
        if self.first_state is None:
            self.first_state, self._first_found = self.state, found

    def is_certain(self):
        """Return whether the weights are better than the first, beyond chance."""
        return is_certain(self._found - self._first_found, self._held_out.offsets)


# A Gaussian likelihood: EM ------------------------------------------------------------------------


class _Pooled:
    """Weighted least squares of the rows on their inputs, and the M step of a chain of such.

    Parameters
    ----------
    model : NeuralChain
        Its likelihood is Gaussian.
    rows : _Batch
        The rows.
    """

    def __init__(self, model, rows):
        self._later = ~rows.first.numpy() if model.history else np.full(len(rows.x), True)
        self._x = completed(rows.x.numpy(), np.random.RandomState(0))
        inputs = rows.inputs.numpy()
        self._design = np.column_stack([np.ones(len(inputs)), inputs])
        self._weight = np.ones(len(inputs)) if rows.weight is None else rows.weight.numpy()
        self.residual = self._x.copy()
        a, x, w = self._design[self._later], self._x[self._later], self._weight[self._later]
        total, unit = max(w.sum(), 1e-300), np.eye(self._design.shape[1])
        self._gram = (a * w[:, None]).T @ a / total
        # Of sequences of one row there are no later rows: their density is that of all rows.
        self._gram += 1e-8 * np.trace(self._gram) / len(unit) * unit if w.any() else unit
        moment = (a * w[:, None]).T @ x / total
        self._slopes = np.linalg.solve(self._gram, moment)
        self.residual[self._later] = x - a @ self._slopes
        n_rows, n_features = self._x.shape
        self._spread = np.eye(n_features)  # of prepared rows; a few rows have no covariance
        if n_rows > n_features:
            spread = np.cov(self._x.T, aweights=self._weight, bias=True)
            self._spread = spread.reshape(n_features, n_features)

    @torch.no_grad()
    def fit(self, model, resp):
        """Set the emissions of a model to the maximum for some posteriors (n, K)."""
        resp = resp * self._weight[:, None]
        parts = [self._regression(resp[:, k]) for k in range(resp.shape[1])]
        total = resp[self._later].sum()
        tied = sum(scatter for _, scatter, _ in parts) / total if total > 0 else self._spread
        n_outputs, n_features = model.n_outputs, self._x.shape[1]
        for k, (slopes, scatter, count) in enumerate(parts):
            covariance = (scatter + _PRIOR * tied) / (count + _PRIOR)
            place = slice(k * n_outputs, k * n_outputs + n_features)
            model.emission.bias[place] = torch.from_numpy(slopes[0])
            model.emission.weight[place] = torch.from_numpy(slopes[1:].T.copy())
            raw = _set_noise(model.densities.of_state(k), covariance)
            if raw is not None:
                model.emission.bias[place.stop : place.stop + n_features] = raw
        if model.history:
            self._fit_first(model, resp[~self._later], self._weight[~self._later])

    def _regression(self, weight):
        """Return (slopes, scatter, total weight) of a weighted regression of later rows."""
        w = weight[self._later]
        a, x = self._design[self._later], self._x[self._later]
        gram = (a * w[:, None]).T @ a + _PRIOR * self._gram
        moment = (a * w[:, None]).T @ x + _PRIOR * self._gram @ self._slopes
        slopes = np.linalg.solve(gram, moment)
        rest = x - a @ slopes
        return slopes, (rest * w[:, None]).T @ rest, w.sum()

    def _fit_first(self, model, resp, weight):
        """Set the densities of the first rows: means and covariances, near those of all states."""
        x = self._x[~self._later]
        n_features = x.shape[1]
        total = weight.sum()
        mean = weight @ x / max(total, 1e-300)
        scatter = ((x - mean) * weight[:, None]).T @ (x - mean)
        spread = (scatter + n_features * self._spread) / (total + n_features)
        for k in range(resp.shape[1]):
            w = resp[:, k]
            own = (w @ x + _PRIOR * mean) / (w.sum() + _PRIOR)
            scatter = ((x - own) * w[:, None]).T @ (x - own)
            covariance = (scatter + n_features * spread) / (w.sum() + n_features)
            model.first_outputs[k, :n_features] = torch.from_numpy(own)
            raw = _set_noise(model.first_densities.of_state(k), covariance)
            if raw is not None:
                model.first_outputs[k, n_features:] = raw


@torch.no_grad()
def _set_noise(likelihood, covariance):
    """Set the noise of a Gaussian likelihood; return outputs for σ if the network gives it."""
    if isinstance(likelihood, FullGaussian):
        likelihood.set_covariance(covariance)
        return None
    variances = np.maximum(np.diag(covariance), 1e-12)
    if likelihood.scale == "shared":
        variances = np.full_like(variances, variances.mean())
    raw = likelihood.raw_of(torch.from_numpy(np.sqrt(variances)))
    if likelihood.raw_scale is None:
        return raw
    likelihood.raw_scale.copy_(raw[: len(likelihood.raw_scale)])
    return None


def _split_by_em(work, rows, pooled, best, rng, transmat):
    """Fit the chain of linear autoregressions by EM from several splits of the rows."""
    model = work.model
    found = []
    for labels in _splits(rows, pooled.residual, model, rng):
        _set_labels(model, pooled, labels, rows, transmat)
        _, value = _em(model, rows, pooled, best, _TRIED, ranked=False)
        found.append((value, copy.deepcopy(model.state_dict())))
    _, state = max(found, key=lambda pair: pair[0])
    model.load_state_dict(state)
    _em(model, rows, pooled, best, _MOST, ranked=True)


def _set_labels(model, pooled, labels, rows, transmat):
    """Set a model to the M step of the first states of rows, with counted transitions."""
    n_states = model.n_states
    resp = np.full((len(labels), n_states), (1.0 - _FIRST) / n_states)
    resp[np.arange(len(labels)), labels] += _FIRST
    pooled.fit(model, resp)
    inside = ~rows.first.numpy()[1:]
    pairs = np.zeros((n_states, n_states))
    np.add.at(pairs, (labels[:-1][inside], labels[1:][inside]), 1.0)
    _set_chain(model, np.full(n_states, 1.0), pairs + 1.0)
    if transmat is not None:
        _set_transitions(model, transmat)


def _em(model, rows, pooled, best, n_iter, *, ranked):
    """Run EM; return the iterations and the last log-likelihood per row."""
    before = -np.inf
    for number in range(n_iter):
        found = rows.smooth(model)
        value = found.log_likelihood / len(rows.x)
        if value - before < _TOL and number > _TRIED:
            break
        before = value
        pooled.fit(model, found.posterior)
        _set_chain(model, found.posterior[rows.offsets[:-1]].sum(axis=0), found.pairs)
        if ranked:
            best.rank()
            if best.misses >= _PATIENCE:
                break
    return number, before


@torch.no_grad()
def _set_chain(model, starts, pairs):
    """Set start and transition probabilities to expected counts."""
    allowed = model.allowed.numpy()
    model.start.copy_(torch.from_numpy(np.log(np.maximum(starts / starts.sum(), _LEAST))))
    pairs = np.where(allowed, pairs, 0.0)
    total = pairs.sum(axis=1, keepdims=True)
    probabilities = np.where(total > 0, pairs / np.maximum(total, 1e-300), 1.0)
    model.transitions.copy_(torch.from_numpy(np.log(np.maximum(probabilities, _LEAST))))


@torch.no_grad()
def _set_transitions(model, transmat):
    """Set the first transition probabilities: those given, or such that states last."""
    if transmat is None:
        n = model.n_states
        transmat = np.full((n, n), (1.0 - _STAY) / max(n - 1, 1))
        np.fill_diagonal(transmat, _STAY)
    model.transitions.copy_(torch.from_numpy(np.log(np.maximum(transmat, _LEAST))))


def _splits(rows, residual, model, rng):
    """Yield first states of the rows: clusters of rows, residuals and energies, and windows."""
    n_states, n_rows = model.n_states, len(rows.x)
    lengths = np.diff(rows.offsets)
    place = np.arange(n_rows) - np.repeat(rows.offsets[:-1], lengths)
    if not bool(model.allowed.tril(-1).any()):  # a state is never left for an earlier one
        yield np.minimum(place * n_states // np.repeat(lengths, lengths), n_states - 1)
        return
    values = model.likelihood.inputs(rows.x).numpy()
    values = completed(np.where(np.isnan(values), np.nan, values), rng)
    features = [values]
    if model.history:
        features += [residual, _smoothed(np.log(np.square(residual) + 1e-6), rows.offsets)]
    for part in features:
        yield _clusters(part, n_states, rng)
    window = np.cumsum((place % _WINDOW == 0).astype(np.int64)) - 1
    for _ in range(2 if n_states > 1 else 0):
        yield rng.randint(n_states, size=window[-1] + 1)[window]


def _smoothed(values, offsets):
    """Return means over windows about each row, within its sequence."""
    out = np.empty_like(values)
    for begin, end in pairwise(offsets):
        total = np.cumsum(np.vstack([np.zeros(values.shape[1]), values[begin:end]]), axis=0)
        place = np.arange(end - begin)
        low = np.maximum(place - _WINDOW // 2, 0)
        high = np.minimum(place + _WINDOW // 2 + 1, end - begin)
        out[begin:end] = (total[high] - total[low]) / (high - low)[:, None]
    return out


def _clusters(values, n_states, rng):
    """Return the cluster of each row, by k-means of at most MAX_ROWS of them."""
    chosen = values
    if len(values) > MAX_ROWS:
        chosen = values[rng.choice(len(values), MAX_ROWS, replace=False)]
    if len(chosen) < n_states:
        return np.arange(len(values)) % n_states
    labels = first_labels(chosen, None, n_states, "kmeans", rng, n_init=3)
    if len(chosen) == len(values):
        return labels
    centres = np.array([chosen[labels == k].mean(axis=0) for k in np.unique(labels)])
    distances = [np.square(values - centre).sum(axis=1) for centre in centres]
    return np.argmin(distances, axis=0)


# Any other likelihood: L-BFGS ---------------------------------------------------------------------


def _set_single_state(model, training, held_out):
    """Set all states of a model to the linear autoregression of highest likelihood."""
    single = NeuralChain(
        model.likelihood,
        n_states=1,
        history=model.history,
        flags=model.flags,
        allowed=[[True]],
    ).double()
    work = ChainBound(single, seed=0)
    best = _Best(work, held_out)
    best.rank()
    _climb(work, _Batch(single, training), best)
    single.load_state_dict(best.state)
    with torch.no_grad():
        n = model.n_states
        model.emission.weight.copy_(single.emission.weight.repeat(n, 1))
        model.emission.bias.copy_(single.emission.bias.repeat(n))
        if model.history:
            model.first_outputs.copy_(single.first_outputs.repeat(n, 1))
    pairs = [(model.densities, single.densities)]
    pairs += [(model.first_densities, single.first_densities)] if model.history else []
    for many, one in pairs:
        for likelihood in many.likelihoods:
            likelihood.load_state_dict(one.likelihoods[0].state_dict())


def _climb(work, rows, best, objective=None, n_rounds=_ROUNDS):
    """Ascend the log-likelihood of some rows by L-BFGS, as long as the ranked one rises."""
    model = work.model
    hidden = [*model.emission.hidden.parameters()] if model.emission.hidden is not None else []
    fixed = {id(weight) for weight in hidden}
    if model.transition_network is not None:
        fixed |= {id(weight) for weight in model.transition_network.parameters()}
    weights = [w for w in model.parameters() if w.requires_grad and id(w) not in fixed]
    optimizer = torch.optim.LBFGS(
        weights, max_iter=_STEPS, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = -(rows.bound(work) if objective is None else objective())
        loss.backward()
        return loss

    before, stuck = np.inf, 0
    for _ in range(n_rounds):
        value = float(optimizer.step(closure).detach())
        if best is not None:
            best.rank()
        stuck = stuck + 1 if before - value < _TOL * _STEPS else 0
        if stuck > 1 or not np.isfinite(value) or (best is not None and best.misses > 2):
            break
        before = value
    optimizer.zero_grad(set_to_none=True)


def _split_by_gradients(work, rows, best, rng):
    """Fit the chain of linear autoregressions by L-BFGS from the best of several splits."""
    model, common = work.model, copy.deepcopy(work.model.state_dict())
    found = []
    residual = np.nan_to_num(rows.x.numpy())
    for labels in _splits(rows, residual, model, rng):
        model.load_state_dict(common)
        chosen = torch.as_tensor(labels)[:, None]
        share = (1.0 - _FIRST) / model.n_states

        def expected(chosen=chosen, share=share):
            log_p = model.log_density(rows.x, rows.first, rows.observed, rows.inputs)
            return (_FIRST * log_p.gather(1, chosen)[:, 0] + share * log_p.sum(1)).mean()

        _climb(work, rows, None, expected, n_rounds=1)
        _climb(work, rows, None, n_rounds=1)
        with torch.no_grad():
            found.append((float(rows.bound(work)), copy.deepcopy(model.state_dict())))
    finite = [pair for pair in found if np.isfinite(pair[0])]
    if finite:
        model.load_state_dict(max(finite, key=lambda pair: pair[0])[1])
        _climb(work, rows, best)
