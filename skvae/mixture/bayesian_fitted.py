"""The former place of ``CredibleInterval``: pickles written before name it."""

from skvae.mixture.bayesian_mixture import CredibleInterval

__all__ = ["CredibleInterval"]
