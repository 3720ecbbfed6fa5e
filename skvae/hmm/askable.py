"""A hidden Markov model as its fitted attributes, and how it is asked about sequences."""

from copy import copy

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.base import LatentVariableModel
from skvae.blocks import is_distributed, workers
from skvae.chain.sweep import Sequences
from skvae.hmm.dask_sequences import DistributedRecordings
from skvae.hmm.e_step import ChainModel
from skvae.hmm.parameters import ChainParameters
from skvae.hmm.sequences import as_series


class AskableChain(LatentVariableModel):
    """A hidden Markov model that has its parameters."""

    _sums_over_chunks = True

    def _parameters(self):
        """Return the fitted parameters as a value."""
        return ChainParameters(self.startprob_, self.transmat_, self.emission_.parameters())

    def _series(self, X, groups):
        """Return X as a Series of rows that the fitted model can have produced."""
        check_is_fitted(self)
        if is_distributed(X):
            raise ValueError("X is a Dask array: this needs rows in memory, as X.compute() gives")
        series = as_series(X, groups, self._validate)
        self.emission_.check_rows(series.X, getattr(self, "feature_names_in_", None))
        return series

    def _distributed(self, X, groups):
        """Return (DistributedRecordings of a Dask array, the model that says of them what it does).

        The model is a copy: what is computed later does not see a later fit.
        """
        check_is_fitted(self)
        series = as_series(X, groups, self._validate)
        model = copy(self)
        model.__dict__.pop("feature_names_in_", None)  # checked here, once
        return DistributedRecordings.of(series.X, series.offsets), model

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
