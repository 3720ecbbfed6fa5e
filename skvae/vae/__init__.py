"""Variational autoencoders."""

from skvae.neural.importance import EffectiveSizeWarning
from skvae.vae.autoencoder import VariationalAutoencoder

__all__ = ["EffectiveSizeWarning", "VariationalAutoencoder"]
