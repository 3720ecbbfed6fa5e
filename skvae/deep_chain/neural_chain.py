r"""A hidden Markov model whose emissions are networks of the earlier rows of a sequence.

.. math:: p(x, z) = \pi_{z_1} p_1(x_1 \mid z_1)
          \prod_{t>1} A_{z_{t-1} z_t}(h_t)\, p(x_t \mid o_{z_t}(h_t)), \qquad
          h_t = (x_{t-1}, \ldots, x_{t-H}),

where o_k(h) are the parameters of a likelihood, linear in h plus a multilayer perceptron of it.
With a history the first row of a sequence, which has none, has parameters of its own; without one
it is like all others. The parameters that a likelihood learns, such as a covariance, differ
between states.

Symbols: n rows, K states, D features, H rows of history. Rows are prepared by the likelihood.
"""

import copy

import torch
from torch import nn

from skvae.deep_chain.chain_likelihood import chain_log_likelihood, chain_predictive
from skvae.deep_chain.full_gaussian import FullGaussian
from skvae.neural.likelihoods import likelihood_from_settings, make_likelihood
from skvae.neural.networks import enough_memory, mlp
from skvae.validation import check_choice


def chain_likelihood(spec, X, params, names):
    """Return the likelihood of X, of the families of :mod:`skvae.neural.likelihoods`.

    ``params={"covariance": "full"}`` of "gaussian" is a FullGaussian; the other arguments are those
    of :func:`skvae.neural.likelihoods.make_likelihood`.
    """
    if spec != "gaussian" or not isinstance(params, dict) or "covariance" not in params:
        return make_likelihood(spec, X, params, names=names)
    params = dict(params)
    covariance = params.pop("covariance")
    check_choice("covariance", covariance, ("diag", "full"))
    if covariance == "diag":
        return make_likelihood(spec, X, params, names=names)
    if foreign := params.keys() - {"min_scale"}:
        raise ValueError(
            f"likelihood_params has {sorted(foreign)[0]!r}: with covariance='full' it takes "
            "'min_scale' alone"
        )
    return FullGaussian.of_data(X, names=names, **params)


def restored_likelihood(settings):
    """Return the likelihood of ``settings``, with the first values of its learned parameters."""
    if isinstance(settings, dict) and settings.get("likelihood") == FullGaussian.name:
        return FullGaussian.from_settings(settings)
    return likelihood_from_settings(settings)


class StateDensities(nn.Module):
    """The densities of a row given each of K states.

    Parameters
    ----------
    likelihood : Likelihood
        Copied for each state if it learns parameters.
    n_states : int
        K.
    """

    def __init__(self, likelihood, n_states):
        super().__init__()
        self.n_states = n_states
        learns = any(True for _ in likelihood.parameters())
        n_copies = n_states if learns else 1
        self.likelihoods = nn.ModuleList(copy.deepcopy(likelihood) for _ in range(n_copies))

    def of_state(self, k):
        """Return the likelihood of a state."""
        return self.likelihoods[k if len(self.likelihoods) > 1 else 0]

    def log_prob(self, x, outputs, observed):
        """Return ln p(x | k), (n, K), of prepared rows (n, D) and outputs (n, K, n_outputs)."""
        if len(self.likelihoods) == 1:
            return self.likelihoods[0].log_prob(x, outputs.transpose(0, 1), observed).T
        states = range(self.n_states)
        found = [self.of_state(k).log_prob(x, outputs[:, k], observed) for k in states]
        return torch.stack(found, dim=1)


class HistoryNetwork(nn.Module):
    """A linear map of the history plus a multilayer perceptron of it, if there are hidden layers.

    The perceptron begins at zero. Without inputs it is a bias.

    Parameters
    ----------
    n_inputs, n_outputs : int
        The numbers of inputs and outputs of a row.
    hidden_layer_sizes : sequence of int
        The widths of the hidden layers.
    activation : str
        Applied after a hidden layer.
    generator : torch.Generator
        Draws the first weights.
    """

    def __init__(self, n_inputs, n_outputs, hidden_layer_sizes, activation, generator):
        super().__init__()
        with enough_memory(f"a layer of {n_inputs} inputs and {n_outputs} units"):
            self.weight = nn.Parameter(torch.zeros(n_outputs, n_inputs))
            self.bias = nn.Parameter(torch.zeros(n_outputs))
        self.hidden = None
        if n_inputs and len(hidden_layer_sizes):
            sizes = (n_inputs, *hidden_layer_sizes, n_outputs)
            self.hidden = mlp(sizes, activation, generator, last_gain=0.0)

    def forward(self, inputs):
        """Return the outputs (n, n_outputs)."""
        if not inputs.shape[1]:
            return self.bias.expand(len(inputs), -1)
        outputs = nn.functional.linear(inputs, self.weight, self.bias)
        return outputs if self.hidden is None else outputs + self.hidden(inputs)


class NeuralChain(nn.Module):
    """The hidden Markov model with neural emissions.

    Parameters
    ----------
    likelihood : Likelihood
        p(x | k), with its first parameters; copied.
    n_states : int
        K.
    history : int
        H, the number of earlier rows that the networks read.
    flags : bool
        Whether the networks also read which values of the history are missing.
    hidden_layer_sizes, activation
        Of the networks.
    varying : bool
        Whether the transitions depend on the history.
    allowed : tensor of bool, shape (K, K)
        Which transitions there are.
    seed : int
        Seed of the first weights.
    """

    def __init__(
        self,
        likelihood,
        *,
        n_states,
        history=0,
        flags=False,
        hidden_layer_sizes=(),
        activation="relu",
        varying=False,
        allowed,
        seed=0,
    ):
        super().__init__()
        self.n_states, self.history, self.flags = n_states, history, flags
        self.n_outputs = n_outputs = likelihood.n_outputs
        generator = torch.Generator().manual_seed(seed)
        per_row = likelihood.n_inputs + (likelihood.n_features if flags else 0)
        self.n_inputs = history * per_row + max(history - 1, 0)
        layers = hidden_layer_sizes, activation, generator
        self.emission = HistoryNetwork(self.n_inputs, n_states * n_outputs, *layers)
        self.densities = StateDensities(likelihood, n_states)
        self.first_outputs = self.first_densities = None
        if history:
            self.first_outputs = nn.Parameter(torch.zeros(n_states, n_outputs))
            self.first_densities = StateDensities(likelihood, n_states)
        self.start = nn.Parameter(torch.zeros(n_states))
        self.transitions = nn.Parameter(torch.zeros(n_states, n_states))
        self.register_buffer("allowed", torch.as_tensor(allowed, dtype=torch.bool))
        self.transition_network = None
        if varying and history:
            self.transition_network = HistoryNetwork(self.n_inputs, n_states**2, *layers)
            self.transition_network.bias.requires_grad_(False)  # `transitions` is the bias

    @property
    def likelihood(self):
        """The likelihood of the first state: all states have its units."""
        return self.densities.of_state(0)

    def inputs(self, x, first):
        """Return the inputs of the networks, (n, n_inputs): the earlier rows of each sequence.

        A row that a sequence does not have is zero, and so is a missing value. Of all but the last
        row, which only a first row lacks, there is a flag that it is not there.
        """
        parts, away = [], first
        values = self.likelihood.inputs(x)
        if self.flags:
            values = torch.cat([values, torch.isnan(x).to(values.dtype)], dim=1)
        for lag in range(1, self.history + 1):
            if lag > 1:
                away = first | _earlier(away, 1)
                parts.append(away[:, None].to(values.dtype))
            parts.append(torch.where(away[:, None], 0.0, _earlier(values, lag)))
        return torch.cat(parts, dim=1) if parts else values[:, :0]

    def outputs(self, inputs):
        """Return the likelihood's parameters (n, K, n_outputs) of rows that are no first rows."""
        return self.emission(inputs).unflatten(1, (self.n_states, self.n_outputs))

    def log_density(self, x, first, observed=None, inputs=None):
        """Return ln p(x_t | z_t = k, earlier rows), (n, K), of prepared rows, in nats."""
        inputs = self.inputs(x, first) if inputs is None else inputs
        log_p = self.densities.log_prob(x, self.outputs(inputs), observed)
        if not self.history:
            return log_p
        begins = torch.nonzero(first)[:, 0]
        seen = None if observed is None else observed[begins]
        outputs = self.first_outputs.expand(len(begins), -1, -1)
        own = self.first_densities.log_prob(x[begins], outputs, seen)
        return log_p.index_copy(0, begins, own)

    def log_start(self):
        """Return ln π, (K,)."""
        return torch.log_softmax(self.start, 0)

    def log_transmat(self, inputs=None):
        """Return ln A (K, K); of rows' inputs, if transitions depend on them, (n, K, K)."""
        logits = self.transitions
        if self.transition_network is not None and inputs is not None:
            more = self.transition_network(inputs)
            logits = logits + more.unflatten(1, (self.n_states, self.n_states))
        return torch.log_softmax(torch.where(self.allowed, logits, -torch.inf), -1)


def _earlier(values, lag):
    """Return the values of the row `lag` rows before; of the first rows of the batch zeros."""
    lag = min(lag, len(values))
    return torch.cat([torch.zeros_like(values[:lag]), values[: len(values) - lag]])


class ChainBound(nn.Module):
    """The bound module of a NeuralChain: the exact log-likelihood of each sequence.

    Its interface is that of :mod:`skvae.neural.training.net`, for batches of sequences.

    Parameters
    ----------
    model : NeuralChain
        Trained in place.
    seed : int
        Seed of the order of sequences.
    """

    term_names = ("bound",)
    fast_parts = ()  # the start has found σ and the transitions
    processes = None

    def __init__(self, model, *, seed):
        super().__init__()
        self.model, self.seed = model, seed

    def forward(self, x, first, observed=None, weight=None):
        """Return (objective, bound), each (n,): ln p of a row's sequence over its length, in nats.

        ``weight`` (n,) multiplies both.
        """
        *chain, offsets = self._chain(x, first, observed)
        total = chain_log_likelihood(*chain, offsets.numpy())
        lengths = offsets.diff().to(x.device)
        bound = (total / lengths).repeat_interleave(lengths)
        bound = bound if weight is None else bound * weight.to(bound)
        return bound, bound

    @torch.no_grad()
    def predictive(self, x, first, observed=None, weight=None):
        """Return ln p(x_t | x_1..x_{t−1}) of each row (n,), in nats, times its weight."""
        *chain, offsets = self._chain(x, first, observed)
        log_p = chain_predictive(*chain, offsets.numpy())
        return log_p if weight is None else log_p * weight.to(log_p)

    def _chain(self, x, first, observed):
        """Return ln π, ln A, the log-densities, and where sequences begin and end."""
        model = self.model
        inputs = model.inputs(x, first)
        log_density = model.log_density(x, first, observed, inputs)
        varying = model.transition_network is not None
        log_transmat = model.log_transmat(inputs if varying else None)
        begins = torch.nonzero(first)[:, 0].cpu()
        offsets = torch.cat([begins, torch.tensor([len(x)])])
        return model.log_start(), log_transmat, log_density, offsets

    def begin_epoch(self, epoch):
        """Do nothing: there is no noise."""

    @property
    def numbers_per_row(self):
        """The number of numbers in the largest tensor of a row."""
        model = self.model
        squares = model.n_states**2 if model.transition_network is not None else 1
        return max(model.n_states * model.n_outputs, squares)
