r"""The generative model p(z) p(x | z) with its encoder q(z | x), and the terms of its weights.

Rows come prepared by the likelihood, in its own units: densities of x are those of prepared rows.
B is the number of rows, S of draws a row, D of features, L of latent dimensions; everything is in
nats.
"""

import copy
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from skvae.neural.networks import LinearBeside, isolated_random, mlp, resolve_module
from skvae.neural.posteriors import (
    COVARIANCES,
    DiagonalPosterior,
    FullPosterior,
    n_encoder_outputs,
    posterior_from,
)
from skvae.neural.priors import make_prior
from skvae.validation import check_choice


class Terms(NamedTuple):
    """The parts of the log weights of draws from the encoder.

    Parameters
    ----------
    log_likelihood : Tensor of shape (S, B)
        ln p(x | z).
    log_prior : Tensor of shape (S, B)
        ln p(z).
    log_q : Tensor of shape (S, B)
        ln q(z | x).
    z : Tensor of shape (S, B, L)
        The draws.
    posterior : DiagonalPosterior or FullPosterior
        The posterior that was drawn from.
    """

    log_likelihood: torch.Tensor
    log_prior: torch.Tensor
    log_q: torch.Tensor
    z: torch.Tensor
    posterior: DiagonalPosterior | FullPosterior


class LatentModel(nn.Module):
    """A deep latent-variable model.

    Parameters
    ----------
    encoder : nn.Module
        Maps the likelihood's inputs (B, n_inputs) to the outputs that :func:`posterior_from` reads.
    decoder : nn.Module
        Maps latent vectors (n, L), followed by the values of given columns if there are any, to the
        likelihood's parameters (n, n_outputs).
    likelihood : Likelihood
        p(x | z), as a module.
    prior : Normal, Mixture or Vamp
        p(z), as a module.
    n_components : int
        The number of latent dimensions L.
    covariance : {'diag', 'full'}
        The form of the posterior's covariance.
    """

    def __init__(self, encoder, decoder, likelihood, prior, n_components, covariance="diag"):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.prior = prior
        self.n_components = n_components
        self.covariance = covariance
        self.n_outputs = likelihood.n_outputs - likelihood.n_given

    def encode(self, x):
        """Return the posterior q(z | x) of prepared rows x (B, D); NaN is missing."""
        return self.encode_inputs(self.likelihood.inputs(x))

    def encode_inputs(self, inputs):
        """Return the posterior of rows as the encoder reads them, (n, n_inputs)."""
        return posterior_from(self.encoder(inputs), self.n_components, self.covariance)

    def decode(self, z, x=None):
        """Return the likelihood's parameters, (..., n_outputs), of latent vectors (..., L).

        Parameters
        ----------
        z : Tensor of shape (..., L)
            Latent vectors.
        x : Tensor of shape (B, D), default=None
            Prepared rows of the latent vectors (..., B, L): needed if the likelihood has given
            columns. The decoder reads their values, and they are the last outputs.

        Raises
        ------
        ValueError
            The decoder gave another shape.
        """
        given = self.likelihood.given_values(x)
        if given is not None:
            given = given.expand(*z.shape[:-1], -1)
            z = torch.cat([z, given], -1)
        rows = z if z.ndim == 2 else z.reshape(-1, z.shape[-1])
        outputs = self.decoder(rows)
        if not isinstance(outputs, torch.Tensor) or outputs.shape != (len(rows), self.n_outputs):
            raise ValueError(_decoder_message(outputs, (len(rows), self.n_outputs)))
        if z.ndim > 2:
            outputs = outputs.reshape(*z.shape[:-1], self.n_outputs)
        return outputs if given is None else torch.cat([outputs, given], -1)

    def log_likelihood(self, x, observed, z):
        """Return ln p(x | z), (..., B), of prepared rows (B, D) and latent vectors (..., B, L)."""
        return self.likelihood.log_prob(x, self.decode(z, x), observed)

    def prior_density(self):
        """Return the density p(z) with the current parameters."""
        return self.prior.density(self.encode_inputs)

    def terms(self, x, observed, noise):
        """Return the parts of the log weights of draws made from noise.

        Parameters
        ----------
        x : Tensor of shape (B, D)
            Prepared rows; NaN is missing.
        observed : Tensor of bool, shape (B, D), or None
            Whether a value is observed; None if all are.
        noise : Tensor of shape (S, B, L)
            Standard normal numbers.

        Returns
        -------
        terms : Terms
            In nats.
        """
        density = self.prior_density()
        posterior = self.encode(x)
        z = posterior.draw(noise)
        log_likelihood = self.log_likelihood(x, observed, z)
        return Terms(
            log_likelihood, density.log_prob(z), posterior.log_prob_of(noise), z, posterior
        )

    def check(self, seed=0):
        """Run two rows of zeros through both modules, as a trial.

        Lazy modules get their weights by it. Statistics of modules, and torch's global random
        state, are as they were.

        Parameters
        ----------
        seed : int
            Seed of the draws that modules make meanwhile.

        Raises
        ------
        ValueError
            A module cannot read its inputs, or its outputs have another shape than is needed.
        """
        weights = (p for p in self.parameters() if p.is_floating_point())
        like = next(weights, torch.zeros(1))
        n_inputs = self.likelihood.n_inputs
        inputs = torch.zeros(2, n_inputs, dtype=like.dtype, device=like.device)
        with torch.no_grad(), isolated_random(seed), _evaluating(self):
            with _naming("encoder", f"rows of {n_inputs} numbers"):
                outputs = self.encoder(inputs)
            mean = posterior_from(outputs, self.n_components, self.covariance).mean
            n_given, more = self.likelihood.n_given, ""
            if n_given:
                more = f" and {n_given} of condition"
            with _naming("decoder", f"rows of n_components={self.n_components} numbers{more}"):
                outputs = self.decoder(mean.new_zeros(2, self.n_components + n_given))
        wanted = (2, self.n_outputs)
        if not isinstance(outputs, torch.Tensor) or outputs.shape != wanted:
            raise ValueError(_decoder_message(outputs, wanted))


def make_model(
    likelihood,
    *,
    n_components,
    hidden_layer_sizes=(64,),
    activation="relu",
    encoder=None,
    decoder=None,
    covariance="diag",
    prior="normal",
    n_prior_components=10,
    pseudo_inputs=None,
    linear_beside=False,
    seed,
):
    """Return a model with its first weights, on the CPU.

    Parameters
    ----------
    likelihood : Likelihood
        p(x | z); the model takes a copy.
    n_components : int
        The number of latent dimensions L.
    hidden_layer_sizes : sequence of int
        The widths of the encoder's hidden layers; the decoder has them in reverse. Without any
        both are linear maps.
    activation : str
        Applied after a hidden layer; see ``skvae.neural.networks.ACTIVATIONS``.
    encoder, decoder : nn.Module, class or callable, default=None
        A module instead of a multilayer perceptron: copied if it is one, called without arguments
        otherwise.
    covariance : {'diag', 'full'}
        The form of the posterior's covariance.
    prior : {'normal', 'mixture', 'vamp'}
        The kind of p(z).
    n_prior_components : int
        The number of components of a mixture, or of pseudo-inputs.
    pseudo_inputs : Tensor of shape (n, n_inputs), default=None
        Data rows as the encoder reads them, ``likelihood.inputs(x)``, that VampPrior starts from.
    linear_beside : bool
        Whether both perceptrons with hidden layers have a linear map beside them.
    seed : int
        Seeds all first weights. Torch's global random state stays as it is.

    Returns
    -------
    model : LatentModel
        Checked by :meth:`LatentModel.check`; its modules' weights are float32.

    Raises
    ------
    ValueError
        A parameter is not usable.
    """
    check_choice("covariance", covariance, COVARIANCES)
    generator = torch.Generator().manual_seed(seed)
    # One seed for each, so that none depends on the others.
    seeds = torch.randint(1 << 62, (5,), generator=generator).tolist()
    generators = [torch.Generator().manual_seed(s) for s in seeds]
    hidden = tuple(hidden_layer_sizes)
    if encoder is None:
        # Unlike the decoder's, its first outputs are not small: the decoder learns from a z that
        # differs between rows at once, before the prior has drawn all z to the same place.
        sizes = (likelihood.n_inputs, *hidden, n_encoder_outputs(n_components, covariance))
        encoder = mlp(sizes, activation, generators[0], last_gain=1.0)
        encoder = LinearBeside(encoder) if linear_beside else encoder
    else:
        encoder = resolve_module(encoder, "encoder", seeds[0])
    if decoder is None:
        n_given = likelihood.n_given
        sizes = (n_components + n_given, *reversed(hidden), likelihood.n_outputs - n_given)
        decoder = mlp(sizes, activation, generators[1])
        decoder = LinearBeside(decoder) if linear_beside else decoder
    else:
        decoder = resolve_module(decoder, "decoder", seeds[1])
    prior = make_prior(
        prior,
        n_components,
        n_prior_components=n_prior_components,
        n_inputs=likelihood.n_inputs,
        pseudo_inputs=pseudo_inputs,
        generator=generators[2],
    )
    modules = [module.float() for module in (encoder, decoder, prior)]
    likelihood = copy.deepcopy(likelihood)
    model = LatentModel(*modules[:2], likelihood, modules[2], n_components, covariance)
    model.check(seeds[3])
    return model


def in_lower_precision(model):
    """Return the same model, weights shared, with encoder and decoder in bfloat16."""
    return LatentModel(
        LowerPrecision(model.encoder),
        LowerPrecision(model.decoder),
        model.likelihood,
        model.prior,
        model.n_components,
        model.covariance,
    )


class LowerPrecision(nn.Module):
    """A module that computes in bfloat16 where torch considers that safe, with float32 outputs.

    Parameters
    ----------
    module : nn.Module
        The module, which is not copied.
    """

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, inputs):
        """Return the module's outputs, one tensor or several, in the precision of its inputs."""
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16):
            outputs = self.module(inputs)
        if isinstance(outputs, torch.Tensor):
            return outputs.to(inputs.dtype)
        return type(outputs)(part.to(inputs.dtype) for part in outputs)


def _decoder_message(outputs, wanted):
    """Return the error message for a decoder's outputs."""
    given = type(outputs).__name__
    if isinstance(outputs, torch.Tensor):
        given = f"shape {tuple(outputs.shape)}"
    return (
        f"decoder gave {given}: must give one tensor of shape {wanted}, the likelihood's "
        f"parameters, {wanted[1]} a row"
    )


@contextmanager
def _evaluating(module):
    """Set evaluation mode of a module and its parts inside, and restore their modes."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def _naming(name, inputs):
    """Turn an exception of a user's module into a ValueError that names the module."""
    try:
        yield
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot read {inputs}: {error}") from error
