"""A former place of :class:`skvae.hmm.forecast.Forecast`: pickles written before name it."""

from skvae.hmm.forecast import Forecast

__all__ = ["Forecast"]
