r"""The bound module of a transcriber: ln p(y | x) of whole sequences, with a network for each row.

.. math:: \ln p(y \mid x) = \ln \sum_{\pi:\, \mathcal{B}(\pi) = y} \; \prod_t p_t(\pi_t), \qquad
          \frac{\partial \ln p(y \mid x)}{\partial a_{tk}} = \gamma_t(k) - p_t(k)

with :math:`p_t = \mathrm{softmax}(a_t)` and the posterior :math:`\gamma_t(k)` of the symbols given
the labels (Graves et al., ICML 2006, eq. 16). torch's loss computes both; its gradient is right
only behind ``log_softmax``. The interface is described in :mod:`skvae.neural.training.net` and
:mod:`skvae.neural.training.sequences`.
"""

import inspect

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from skvae.neural.networks import mlp, resolve_module


class WindowNetwork(nn.Module):
    """A multilayer perceptron of a window of rows; beyond the ends of a sequence these are zeros.

    Parameters
    ----------
    layers : nn.Module
        Reads (2 · context + 1) · n_features numbers.
    context : int
        The number of rows before a row, and behind it, in its window.
    """

    def __init__(self, layers, context):
        super().__init__()
        self.layers, self.context = layers, context

    def forward(self, x):
        """Return the logits of padded sequences (n_sequences, n_rows, n_features)."""
        size = self.context
        windows = functional.pad(x, (0, 0, size, size)).unfold(1, 2 * size + 1, 1)
        return self.layers(windows.flatten(2))


class Transcriber(nn.Module):
    """Log-probabilities of the symbols of each row, from the logits of a network.

    Parameters
    ----------
    network : nn.Module
        Reads padded sequences (n_sequences, n_rows, n_features), and their lengths if its
        ``forward`` has an argument ``lengths``.
    n_symbols : int
        The number of labels, and one for the blank.
    """

    def __init__(self, network, n_symbols):
        super().__init__()
        self.network, self.n_symbols = network, n_symbols
        self._takes_lengths = "lengths" in inspect.signature(network.forward).parameters

    def forward(self, x, lengths):
        """Return ln p_t of the symbols, a tensor (n_sequences, n_rows, n_symbols).

        Parameters
        ----------
        x : tensor of shape (n_sequences, n_rows, n_features)
            Prepared rows; zeros behind the end of a sequence.
        lengths : tensor of int, shape (n_sequences,)
            The number of rows of each sequence.
        """
        logits = self.network(x, lengths=lengths) if self._takes_lengths else self.network(x)
        expected = (*x.shape[:2], self.n_symbols)
        if not isinstance(logits, torch.Tensor) or logits.shape != expected:
            found = getattr(logits, "shape", type(logits).__name__)
            found = tuple(found) if isinstance(found, torch.Size) else found
            raise ValueError(
                f"network gave {found} for sequences of shape {tuple(x.shape)}: must give a tensor "
                f"of shape {expected}, logits of the blank and of the {self.n_symbols - 1} classes"
            )
        return logits.log_softmax(2)


class TranscriptionBound(nn.Module):
    """Computes ln p(y | x) of each sequence, divided by its number of rows.

    Parameters
    ----------
    model : Transcriber
        The model to train, which is not copied.
    seed : int
        Seed of the order of sequences, ≥ 0.
    numbers_per_row : int
        The size of the largest tensor for one row.
    """

    term_names = ("bound",)
    fast_parts = ()

    def __init__(self, model, seed, numbers_per_row):
        super().__init__()
        self.model, self.seed, self.numbers_per_row = model, seed, numbers_per_row
        self.processes = None

    def forward(self, x, first, labels, observed=None):
        """Return (objective, bound), each of shape (n_rows,), in nats.

        Parameters
        ----------
        x : tensor of shape (n_rows, n_features)
            Prepared rows, all sequences one after the other.
        first : bool tensor of shape (n_rows,)
            Whether a row begins a sequence.
        labels : tensor of int, shape (n_rows,)
            The codes 1, ..., K of the labels of each sequence in its first rows; zeros in others.
        observed : bool tensor of shape (n_rows, n_features), optional
            Where x is not missing.
        """
        if observed is not None:
            x = torch.where(observed, x, 0.0)
        begins = torch.nonzero(first)[:, 0]
        lengths = torch.diff(begins, append=begins.new_tensor([len(x)]))
        sizes = lengths.tolist()
        targets = pad_sequence(labels.split(sizes), batch_first=True)
        log_proba = self.model(pad_sequence(x.split(sizes), batch_first=True), lengths)
        loss = functional.ctc_loss(
            log_proba.transpose(0, 1), targets, lengths, (targets > 0).sum(1), reduction="none"
        )
        bound = (-loss / lengths).repeat_interleave(lengths)
        return bound, bound

    def begin_epoch(self, epoch):
        """Do nothing: there is no noise."""


def transcription_bound(settings, n_features, n_classes, seed):
    """Return the TranscriptionBound of an estimator's parameters, with its first weights.

    Parameters
    ----------
    settings : dict
        The estimator's parameters.
    n_features, n_classes : int
        The numbers of features and of labels.
    seed : int
        Seed of the first weights, and of the order of sequences.
    """
    sizes = list(settings["hidden_layer_sizes"])
    if settings["network"] is not None:
        network = resolve_module(settings["network"], "network", seed)
    else:
        context = settings["context"]
        sizes = [(2 * context + 1) * n_features, *sizes, 1 + n_classes]
        generator = torch.Generator().manual_seed(seed)
        network = WindowNetwork(mlp(sizes, settings["activation"], generator), context)
    model = Transcriber(network, 1 + n_classes)
    return TranscriptionBound(model, seed, max(*sizes, n_features, 1 + n_classes))
