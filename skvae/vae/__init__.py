"""Variational autoencoders."""

from skvae.vae.autoencoder import VariationalAutoencoder
from skvae.vae.importance import EffectiveSizeWarning

__all__ = ["EffectiveSizeWarning", "VariationalAutoencoder"]
