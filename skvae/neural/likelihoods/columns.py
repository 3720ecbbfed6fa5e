r"""Columns of different kinds, each part with a likelihood of its own.

Given z the parts are independent, so log-densities add; the outputs of a decoder, and the inputs of
an encoder, are those of the parts, one after the other:

.. math:: \ln p(x \mid z) = \sum_k \ln p_k(x_{C_k} \mid o_k(z)).
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from skvae.columns import column_indices, columns_of_parts, in_part, part_names
from skvae.neural.likelihoods.base import Likelihood
from skvae.neural.likelihoods.binary import Bernoulli, ContinuousBernoulli
from skvae.neural.likelihoods.categorical import Categorical
from skvae.neural.likelihoods.counts import NegativeBinomial, Poisson
from skvae.neural.likelihoods.gaussian import Gaussian, StudentT
from skvae.neural.likelihoods.given import Given
from skvae.neural.likelihoods.positive import Beta, Gamma, LogNormal

FAMILIES = {
    family.name: family
    for family in (
        Gaussian,
        StudentT,
        Bernoulli,
        ContinuousBernoulli,
        Categorical,
        Poisson,
        NegativeBinomial,
        LogNormal,
        Gamma,
        Beta,
    )
}
_FORM = "a list of (name, columns) or (name, columns, params)"


class Columns(Likelihood):
    """Parts of the columns, each with a likelihood of its own.

    Parameters
    ----------
    parts : list of Likelihood
        The parts, or their settings.
    columns : list of sequences of int
        The columns of each part; each column of X in exactly one.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.neural.likelihoods.columns import Columns
    >>> X = np.array([[0.3, 2.0, 0.0], [0.7, 5.0, 1.0]])
    >>> likelihood = Columns.of_data(X, [("gaussian", 0), ("poisson", 1), ("categorical", [2])])
    >>> likelihood.n_features, likelihood.n_inputs, likelihood.n_outputs
    (3, 4, 4)
    """

    name = "columns"

    def __init__(self, parts, columns):
        parts = [p if isinstance(p, Likelihood) else family_of(p).from_settings(p) for p in parts]
        columns = [[int(j) for j in index] for index in columns]
        together = [j for index in columns for j in index]
        if (
            not together
            or sorted(together) != list(range(len(together)))
            or [len(c) for c in columns] != [part.n_features for part in parts]
        ):
            raise ValueError(
                f"columns={columns!r}: must be as many as the parts' features, each once"
            )
        super().__init__(
            len(together), sum(p.n_inputs for p in parts), sum(p.n_outputs for p in parts)
        )
        self.parts = nn.ModuleList(parts)
        self.columns = columns
        # The places of the features of X among those of the parts, one part after the other.
        order = torch.from_numpy(np.argsort(together))
        self.register_buffer("order", order, persistent=False)
        for k, index in enumerate(columns):
            self.register_buffer(f"columns_{k}", torch.tensor(index), persistent=False)
        if isinstance(parts[-1], Given):
            self.given, self.n_given = columns[-1], len(columns[-1])
            self.modelled = [j for j in range(len(together)) if j not in set(self.given)]

    @classmethod
    def of_data(cls, X, likelihoods, *, names=None, weight=None):
        """Return the likelihood of parts, each with first values from its columns of X.

        Parameters
        ----------
        X : ndarray or RowsOnDisk of shape (n_samples, n_features)
            Rows; NaN is missing.
        likelihoods : list of (str, columns) or (str, columns, dict)
            For each part the name of its family, its columns (an index, a slice, a list of indices,
            a boolean mask, or names of columns), and the family's parameters.
        names : sequence of str, default=None
            The features' names.
        weight : ndarray or RowsOnDisk, default=None
            The weights of the rows.

        Returns
        -------
        likelihood : Columns
            Each feature belongs to exactly one part.

        Raises
        ------
        ValueError
            The list is malformed, a feature is in no part or in two, or a part cannot have
            produced its columns.
        """
        columns = columns_of_likelihoods(likelihoods, X.shape[1], names)
        parts = []
        for (name, given, *params), index in zip(likelihoods, columns, strict=True):
            own = {"names": part_names(index, names), "weight": weight}
            if name is Given:
                parts.append(Given.of_data(X[:, index], **own))
                continue
            with in_part(f"({name!r}, {given!r})"):
                parts.append(likelihood_of(name, X[:, index], *params, **own))
        return cls(parts, columns)

    def _each(self):
        return zip(self.parts, self.columns, strict=True)

    def check(self, X, names=None):
        for part, index in self._each():
            part.check(X[:, index], part_names(index, names))

    def prepare(self, X):
        x = np.empty(X.shape)
        for part, index in self._each():
            x[:, index] = part.prepare(X[:, index])
        return x

    @property
    def log_jacobian(self):
        values = torch.empty(self.n_features, dtype=torch.float64)
        for part, index in self._each():
            values[index] = part.log_jacobian
        return values

    def _columns_of(self, k, x):
        return x.index_select(-1, self.get_buffer(f"columns_{k}"))

    def given_values(self, x):
        return self._columns_of(len(self.parts) - 1, x) if self.n_given else None

    def inputs(self, x):
        return torch.cat(
            [part.inputs(self._columns_of(k, x)) for k, part in enumerate(self.parts)], dim=-1
        )

    def _outputs_of_parts(self, outputs):
        return zip(
            self.parts, outputs.split([part.n_outputs for part in self.parts], dim=-1), strict=True
        )

    def log_prob(self, x, outputs, observed=None):
        total = 0.0
        for k, (part, own) in enumerate(self._outputs_of_parts(outputs)):
            seen = None if observed is None else self._columns_of(k, observed)
            total = total + part.log_prob(self._columns_of(k, x), own, seen)
        return total

    def log_terms(self, x, outputs):
        return self._gather(
            [
                part.log_terms(self._columns_of(k, x), own)
                for k, (part, own) in enumerate(self._outputs_of_parts(outputs))
            ]
        )

    def mean(self, outputs):
        return self._gather([part.mean(own) for part, own in self._outputs_of_parts(outputs)])

    def density_parameters(self, outputs):
        """Return the parameters by name; NaN for a feature that has none of the name."""
        found = [part.density_parameters(own) for part, own in self._outputs_of_parts(outputs)]
        together, shape = {}, outputs.shape[:-1]
        for name in dict.fromkeys(name for own in found for name in own):
            # An axis for categories comes after that of the features.
            more = max(own[name].shape[len(shape) + 1 :] for own in found if name in own)
            values = [
                _filled(own.get(name), (*shape, part.n_features, *more), outputs)
                for part, own in zip(self.parts, found, strict=True)
            ]
            together[name] = torch.cat(values, len(shape)).index_select(len(shape), self.order)
        return together

    def cdf(self, x, outputs):
        x, parts = torch.as_tensor(x), enumerate(self._outputs_of_parts(outputs))
        found = [part.cdf(self._columns_of(k, x).numpy(), own) for k, (part, own) in parts]
        return self._gather([torch.from_numpy(each) for each in found]).numpy()

    @property
    def n_expectations(self):
        return sum(part.n_expectations for part in self.parts)

    def expectations(self, outputs):
        parts = self._outputs_of_parts(outputs)
        return torch.cat([part.expectations(own) for part, own in parts], dim=-1)

    def values_of(self, expectations):
        parts = expectations.split([part.n_expectations for part in self.parts], dim=-1)
        return self._gather(
            [part.values_of(own) for part, own in zip(self.parts, parts, strict=True)]
        )

    def sample(self, outputs, generator):
        return self._gather(
            [part.sample(own, generator) for part, own in self._outputs_of_parts(outputs)]
        )

    def _gather(self, of_parts):
        """Return tensors of the parts' features as one, in the order of X."""
        return torch.cat(of_parts, dim=-1).index_select(-1, self.order)

    def rounded(self, X, dtype):
        found = np.empty(X.shape, dtype)
        for part, index in self._each():
            found[:, index] = part.rounded(X[:, index], dtype)
        return found

    def constants(self):
        return {"parts": [part.settings() for part in self.parts], "columns": self.columns}


def _filled(values, shape, like):
    """Return values filled with zeros up to a shape; None becomes NaN of the shape, float64."""
    if values is None:
        return like.new_full(shape, torch.nan, dtype=torch.float64)
    return functional.pad(values, (0, shape[-1] - values.shape[-1]))


def likelihood_of(name, X, params=None, *, names=None, weight=None):
    """Return the likelihood of a family with first values from X.

    Parameters
    ----------
    name : str
        A key of ``FAMILIES``.
    X : ndarray or RowsOnDisk of shape (n_samples, n_features)
        Rows; NaN is missing.
    params : dict, default=None
        The family's parameters.
    names : sequence of str, default=None
        The features' names, for messages.
    weight : ndarray or RowsOnDisk, default=None
        The weights of the rows.

    Returns
    -------
    likelihood : Likelihood
        Of the family.

    Raises
    ------
    ValueError
        There is no such family or parameter, or the family cannot have produced X.
    """
    if not isinstance(name, str) or name not in FAMILIES:
        listed = ", ".join(repr(known) for known in FAMILIES)
        raise ValueError(f"likelihood={name!r}: must be one of {listed}, or {_FORM}")
    params = {} if params is None else params
    family = FAMILIES[name]
    if not isinstance(params, dict):
        raise ValueError(f"likelihood_params={params!r}: must be a dict, or None")
    for key in params:
        if key not in family.takes:
            takes = ", ".join(repr(known) for known in family.takes) or "none"
            raise ValueError(f"likelihood_params has {key!r}: likelihood={name!r} takes {takes}")
    return family.of_data(X, names=names, weight=weight, **params)


def with_given(likelihoods, params, condition, n_features, names):
    """Return likelihoods and params with a last part of the columns that are given.

    Parameters
    ----------
    likelihoods : str or list
        The name of the family of all other columns, or the likelihoods of parts of them.
    params : dict or None
        Parameters of the one family.
    condition : int, slice, str, list or None
        The columns that are given; None are none, and nothing changes.
    n_features : int
        The number of columns of X.
    names : sequence of str or None
        Their names.

    Raises
    ------
    ValueError
        The columns are not usable.
    """
    if condition is None or not isinstance(likelihoods, str | list | tuple):
        return likelihoods, params
    given = column_indices(condition, n_features, names, "condition").tolist()
    modelled = [j for j in range(n_features) if j not in set(given)]
    if len(given) + len(modelled) > n_features or not modelled:
        rule = "columns of X, each once" if modelled else "some of the columns, not all"
        raise ValueError(f"condition={condition!r}: must be {rule}")
    if isinstance(likelihoods, str):
        likelihoods, params = [(likelihoods, modelled, params)], None
    return [*likelihoods, (Given, given)], params


def family_of(settings):
    """Return the class of a part's settings; raise ValueError if there is none."""
    name = settings.get("likelihood") if isinstance(settings, dict) else None
    if name == Given.name:
        return Given
    if not isinstance(name, str) or name not in FAMILIES:
        raise ValueError(f"likelihood={name!r} in the settings: must be one of {[*FAMILIES]}")
    return FAMILIES[name]


def columns_of_likelihoods(likelihoods, n_features, names):
    """Return the column indices of each part; raise ValueError unless each is in one."""
    if not isinstance(likelihoods, list | tuple) or not likelihoods:
        raise ValueError(f"likelihood={likelihoods!r}: must be a name or {_FORM}, not empty")
    for part in likelihoods:
        if not isinstance(part, list | tuple) or len(part) not in (2, 3):
            raise ValueError(f"likelihood has an entry {part!r}: must be {_FORM}")
    parts = [("condition" if part[0] is Given else part[0], part[1]) for part in likelihoods]
    return columns_of_parts(parts, n_features, names, "likelihood")
