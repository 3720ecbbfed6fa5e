"""A hidden Markov model as its fitted attributes, and how it is asked about sequences."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.base import LatentVariableModel
from skvae.blocks import workers
from skvae.hmm.chain.sweep import Sequences
from skvae.hmm.expectation import ChainModel
from skvae.hmm.parameters import ChainParameters
from skvae.hmm.sequences import as_series


class AskableChain(LatentVariableModel):
    """A hidden Markov model that has its parameters."""

    def _parameters(self):
        """Return the fitted parameters as a value."""
        return ChainParameters(self.startprob_, self.transmat_, self.emission_.parameters())

    def _series(self, X, groups):
        """Return X as a Series of rows that the fitted model can have produced."""
        check_is_fitted(self)
        series = as_series(X, groups, self._validate)
        self.emission_.check_rows(series.X, getattr(self, "feature_names_in_", None))
        return series

    def _one_sequence(self, X, verb):
        series = self._series(X, None)
        if len(series.offsets) > 2:
            raise ValueError(
                f"{verb} takes one sequence: X holds {len(series.offsets) - 1} of them"
            )
        return series

    def _ask(self, series, question):
        """Return what ``question`` makes of the fitted model of some sequences."""
        with workers() as pool:
            return question(
                ChainModel(self._parameters(), series.X, Sequences(series.offsets), pool)
            )

    def _logs(self, series):
        """Return log start, log transition and all rows' log-likelihoods (T, K)."""
        with np.errstate(divide="ignore"):
            start, transmat = np.log(self.startprob_), np.log(self.transmat_)
        return start, transmat, self._ask(series, lambda model: model.log_emissions())
