"""Columns that are given: a model of the others conditions on them, and they have no density."""

import numpy as np
import torch

from skvae.columns import column_label
from skvae.neural.likelihoods.base import Likelihood, moments_of
from skvae.neural.training.rows_on_disk import blocks_of

_FAR = 1e100  # standard deviations, whose squares do not overflow


class Given(Likelihood):
    """Numbers that are given, as a part of the columns: its outputs are the numbers themselves.

    Parameters
    ----------
    location : array-like of shape (n_features,)
        The data's means, in the units of X.
    units : array-like of shape (n_features,)
        The data's standard deviations, the units of prepared rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.neural.likelihoods.given import Given
    >>> given = Given.of_data(np.array([[1.0, 2.0], [3.0, 6.0]]))
    >>> given.prepare(np.array([[3.0, 2.0]]))
    array([[ 1., -1.]])
    """

    name = "given"

    def __init__(self, location, units):
        self.location, self.units = (np.asarray(v, dtype=np.float64) for v in (location, units))
        n = len(self.location)
        super().__init__(n, n, n)

    @classmethod
    def of_data(cls, X, *, names=None, weight=None):
        """Return the likelihood in the units of some rows.

        Parameters
        ----------
        X : ndarray or RowsOnDisk of shape (n_samples, n_features)
            Rows without NaN.
        names : sequence of str, default=None
            The features' names, for messages.
        weight : ndarray or RowsOnDisk, default=None
            The weights of the rows.

        Returns
        -------
        likelihood : Given
            A constant feature has the unit 1.

        Raises
        ------
        ValueError
            A value is missing.
        """
        _check_observed(X, names)
        moments = moments_of(X, names, weight)
        constant = moments.variance <= moments.resolution
        return cls(moments.mean, np.sqrt(np.where(constant, 1.0, moments.variance)))

    def check(self, X, names=None):
        """Raise ValueError if a value is missing."""
        _check_observed(X, names)

    def prepare(self, X):
        with np.errstate(over="ignore"):
            x = (np.asarray(X, dtype=np.float64) - self.location) / self.units
        return np.clip(x, -_FAR, _FAR, out=x)

    def inputs(self, x):
        return x

    def log_prob(self, x, outputs, observed=None):
        return outputs.new_zeros(outputs.shape[:-1])

    def log_terms(self, x, outputs):
        return torch.zeros_like(outputs)

    def mean(self, outputs):
        location = torch.as_tensor(self.location, device=outputs.device)
        return location + torch.as_tensor(self.units, device=outputs.device) * outputs.double()

    def density_parameters(self, outputs):
        return {}

    def sample(self, outputs, generator):
        return self.mean(outputs)

    def constants(self):
        return {"location": self.location.tolist(), "units": self.units.tolist()}


def _check_observed(X, names):
    """Raise ValueError if a value is missing."""
    for rows in blocks_of(X):
        missing = np.isnan(rows).any(axis=0)
        if missing.any():
            j = int(np.flatnonzero(missing)[0])
            raise ValueError(
                f"{column_label(j, names)} has a missing value: columns of condition must be "
                "observed in every row; impute it before, or leave the column out of condition"
            )
