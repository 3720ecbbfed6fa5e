r"""Categories: each column a code 0, 1, …, with a probability for each from the decoder.

.. math:: \ln p(x_j = c \mid z) = l_{jc} - \ln \sum_{c'} e^{l_{jc'}}, \qquad
          l_{jc} = \ln \hat p_{jc} + o_{jc}(z),

where :math:`\hat p` are the data's frequencies. The outputs are those of one column after the
other, a number for each category.
"""

import numpy as np
import torch

from skvae.columns import (
    CODE_RULE,
    categories_of_columns,
    check_codes,
    check_n_categories,
    check_values,
    is_code,
)
from skvae.neural.likelihoods.base import (
    Likelihood,
    moments_of,
    uniform,
)
from skvae.neural.training.rows_on_disk import blocks_of, with_weights


class Categorical(Likelihood):
    """Codes of categories, 0, 1, …, as many as each column has.

    Parameters
    ----------
    log_probabilities : list of array-like, one for each feature
        The log-probability of each category of the feature where outputs are zero, up to a
        constant.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.neural.likelihoods.categorical import Categorical
    >>> likelihood = Categorical.of_data(np.array([[0.0, 1.0], [2.0, 0.0]]))
    >>> likelihood.n_categories, likelihood.n_outputs
    ([3, 2], 5)
    """

    name = "categorical"
    rule = CODE_RULE
    takes = ("n_categories",)

    def __init__(self, log_probabilities):
        tables = [np.asarray(table, dtype=np.float64) for table in log_probabilities]
        if not tables or not all(t.ndim == 1 and t.size and np.isfinite(t).all() for t in tables):
            raise ValueError(
                f"log_probabilities={log_probabilities!r}: must be finite numbers, at least one "
                "for each feature"
            )
        sizes = np.array([len(table) for table in tables])
        super().__init__(len(tables), int(sizes.sum()), int(sizes.sum()))
        self.n_categories = sizes.tolist()
        inside = np.arange(sizes.max()) < sizes[:, None]
        padded = np.full(inside.shape, -np.inf)
        padded[inside] = np.concatenate(tables)
        self._constant("log_probabilities", padded)
        # The places of a feature's categories in the outputs. Those beyond its number of categories
        # have probability zero, so that any place serves.
        first = np.concatenate([[0], sizes.cumsum()[:-1]])
        places = np.where(inside, first[:, None] + np.arange(sizes.max()), 0)
        self.register_buffer("places", torch.from_numpy(places), persistent=False)
        owner, code = np.nonzero(inside)
        self.register_buffer("owner", torch.from_numpy(owner), persistent=False)
        self._constant("code", code)

    @classmethod
    def of_data(cls, X, *, names=None, weight=None, n_categories=None):
        """Return the likelihood that has the frequencies of X at zero outputs.

        Half an observation of each category is added, so that none is impossible.

        Parameters
        ----------
        X : ndarray or RowsOnDisk of shape (n_samples, n_features)
            Rows; NaN is missing.
        names : sequence of str, default=None
            The features' names, for messages.
        weight : ndarray or RowsOnDisk, default=None
            The weights of the rows.
        n_categories : int or sequence of int, default=None
            The number of categories of all columns, or of each column. None is, for each column,
            the largest code plus one: a larger code is then an error in later calls.

        Returns
        -------
        likelihood : Categorical
            With ``n_categories``, a list.

        Raises
        ------
        ValueError
            A value is no code or not below ``n_categories``, or a feature has no value.
        """
        check_values(blocks_of(X), names, cls.allowed, cls.rule)
        check_n_categories(n_categories)
        if n_categories is None:
            sizes = moments_of(X, names).magnitude.astype(np.int64) + 1
        else:
            sizes = categories_of_columns(n_categories, X.shape[1])
            check_codes(blocks_of(X), names, sizes, f"as n_categories={n_categories!r}")
        counts = [np.zeros(size) for size in sizes]
        for rows, of_rows in with_weights(X, weight):
            for column, count in zip(rows.T, counts, strict=True):
                seen = ~np.isnan(column)
                own = None if of_rows is None else of_rows[seen]
                count += np.bincount(column[seen].astype(np.int64), own, minlength=len(count))
        pairs = zip(counts, sizes, strict=True)
        return cls([np.log((count + 0.5) / (count.sum() + 0.5 * size)) for count, size in pairs])

    allowed = staticmethod(is_code)

    def check(self, X, names=None):
        reason = "the categories of the fit; give n_categories to have room for more"
        check_codes(blocks_of(X), names, self.n_categories, reason)

    def inputs(self, x):
        return (x.index_select(-1, self.owner) == self.code).to(x.dtype)  # NaN is no code

    def _log_weights(self, outputs):
        """Return l, shape (..., D, max n_categories), −∞ beyond a feature's own categories."""
        if self.places.numel() > self.n_outputs:
            outputs = outputs.index_select(-1, self.places.flatten())
        return outputs.unflatten(-1, self.places.shape) + self.log_probabilities

    def log_terms(self, x, outputs):
        log_p = torch.log_softmax(self._log_weights(outputs), dim=-1)
        shape = torch.broadcast_shapes(x.shape, log_p.shape[:-1])
        codes = x.long().expand(shape)[..., None]
        return log_p.expand(*shape, -1).gather(-1, codes)[..., 0]

    def mean(self, outputs):
        return self.values_of(self.expectations(outputs))

    @torch.no_grad()
    def density_parameters(self, outputs):
        return {"probabilities": torch.softmax(self._log_weights(outputs.double()), dim=-1)}

    @staticmethod
    def cdf_of(x, probabilities):
        codes = np.arange(probabilities.shape[-1])
        return np.where(codes <= x[..., None], probabilities, 0.0).sum(axis=-1)

    @property
    def n_expectations(self):
        return self.places.numel()

    def expectations(self, outputs):
        return self.density_parameters(outputs)["probabilities"].flatten(-2)

    def values_of(self, expectations):
        return expectations.unflatten(-1, self.places.shape).argmax(dim=-1).double()

    @torch.no_grad()
    def sample(self, outputs, generator):
        # The largest weight with Gumbel noise has the right probabilities (Gumbel-max), and
        # impossible categories stay at −∞.
        weights = self._log_weights(outputs.double())
        noise = -torch.log(-torch.log(uniform(weights, generator)))
        return (weights + noise).argmax(dim=-1).double()

    def constants(self):
        tables = self.log_probabilities.tolist()
        sizes = self.n_categories
        return {"log_probabilities": [t[:size] for t, size in zip(tables, sizes, strict=True)]}
