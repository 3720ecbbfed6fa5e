"""The former place of :class:`skvae.hmm.base.Forecast`: pickles written before name it."""

from skvae.hmm.base import Forecast

__all__ = ["Forecast"]
