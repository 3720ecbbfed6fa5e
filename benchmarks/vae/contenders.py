"""The same net trained by a loop written by hand, and by pythae."""

import contextlib
import io
import logging
import math
import tempfile
import warnings
from functools import partial

import torch
from torch import nn
from torch.nn import functional

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pythae.data.datasets import BaseDataset
        from pythae.models import VAE, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
        from pythae.trainers import BaseTrainer, BaseTrainerConfig
except ImportError:
    HAS_PYTHAE = False
else:
    HAS_PYTHAE = True

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def networks(n_features, n_hidden, n_components):
    """Return encoder and decoder with one hidden layer, as the estimator makes them."""
    encoder = nn.Sequential(
        nn.Linear(n_features, n_hidden), nn.ReLU(), nn.Linear(n_hidden, 2 * n_components)
    )
    decoder = nn.Sequential(
        nn.Linear(n_components, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_features)
    )
    return encoder, decoder


class Beside(nn.Module):
    """A linear map beside a network."""

    def __init__(self, network):
        super().__init__()
        self.linear = nn.Linear(network[0].in_features, network[-1].out_features)
        self.network = network

    def forward(self, x):
        """Return the sum of both."""
        return self.linear(x) + self.network(x)


class Handwritten(nn.Module):
    """An autoencoder written by hand for a single purpose.

    Parameters
    ----------
    sizes : tuple of int
        Features, hidden units, latent dimensions.
    likelihood : {"bernoulli", "gaussian"}
        The Gaussian has a learned σ for each feature, and linear maps beside its networks, as the
        estimator's has.
    """

    def __init__(self, sizes, likelihood):
        super().__init__()
        self.encoder, self.decoder = networks(*sizes)
        if likelihood == "gaussian":
            self.encoder, self.decoder = Beside(self.encoder), Beside(self.decoder)
        self.log_sigma = nn.Parameter(torch.zeros(sizes[0])) if likelihood == "gaussian" else None

    def forward(self, x):
        """Return the negative bound, mean over the rows."""
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        outputs = self.decoder(z)
        if self.log_sigma is None:
            loss = functional.binary_cross_entropy_with_logits(outputs, x, reduction="sum")
        else:
            white = (x - outputs) * torch.exp(-self.log_sigma)
            peak = (self.log_sigma + HALF_LOG_2PI).sum()
            loss = 0.5 * white.square().sum() + len(x) * peak
        kl = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum()
        return (loss + kl) / len(x)


def train_by_hand(x, sizes, likelihood, *, batch_size, n_epochs, fused, mixed_precision=False):
    """Return the bound of the last epoch, nats per row, of a loop with the least overhead.

    Rows are in one tensor, batches are taken from it by index, nothing waits for a number.

    Parameters
    ----------
    x : tensor of shape (n, D)
    sizes, likelihood
        Of `Handwritten`.
    batch_size, n_epochs : int
    fused : bool
        Whether Adam is torch's kernel for all weights at once, as the estimator's is, or torch's
        default.
    mixed_precision : bool
        Whether the forward pass is in bfloat16 where that is safe.
    """
    device = x.device
    model = Handwritten(sizes, likelihood).to(device)
    lower = partial(torch.autocast, device.type, torch.bfloat16, enabled=mixed_precision)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused or None)
    for _ in range(n_epochs):
        total = torch.zeros((), device=device)
        for index in torch.randperm(len(x), device=device).split(batch_size):
            optimizer.zero_grad()
            with lower():
                loss = model(x[index])
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(index)
    return -float(total) / len(x)


# pythae -------------------------------------------------------------------------------------------


def pythae_model(sizes, likelihood, networks_=None):
    """Return pythae's VAE with the same net; a Gaussian's σ is one there.

    Parameters
    ----------
    sizes, likelihood
        As of `Handwritten`.
    networks_ : pair of nn.Module, default=None
        Encoder and decoder to use.
    """
    encoder, decoder = networks(*sizes) if networks_ is None else networks_

    class Encoder(BaseEncoder):
        def __init__(self):
            BaseEncoder.__init__(self)
            self.layers = encoder

        def forward(self, x):
            mean, log_var = self.layers(x).chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=log_var)

    class Decoder(BaseDecoder):
        def __init__(self):
            BaseDecoder.__init__(self)
            self.layers = decoder

        def forward(self, z):
            outputs = self.layers(z)
            if likelihood == "bernoulli":
                outputs = torch.sigmoid(outputs)
            return ModelOutput(reconstruction=outputs)

    loss = "bce" if likelihood == "bernoulli" else "mse"
    config = VAEConfig(input_dim=(sizes[0],), latent_dim=sizes[2], reconstruction_loss=loss)
    return VAE(config, encoder=Encoder(), decoder=Decoder())


def train_by_pythae(x, sizes, likelihood, *, batch_size, n_epochs):
    """Train pythae's VAE by its trainer, as in its documentation."""
    dataset = BaseDataset(x, torch.ones(len(x)))
    with tempfile.TemporaryDirectory() as folder, _silently():
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=n_epochs,
            per_device_train_batch_size=batch_size,
            learning_rate=1e-3,
            no_cuda=True,
        )
        model = pythae_model(sizes, likelihood)
        trainer = BaseTrainer(model, train_dataset=dataset, training_config=config)
        # Saving, once a training and not once an epoch, is left out: a class made within a function
        # cannot be.
        trainer.save_model = lambda *_args, **_params: None
        trainer.train()


@contextlib.contextmanager
def _silently():
    """Suppress pythae's progress messages."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
