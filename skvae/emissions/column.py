r"""Columns of different kinds: each part of the columns has its own emission.

Given the state the parts are independent,

.. math:: \ln p(x \mid k) = \sum_j \ln p_j(x_{C_j} \mid k),

so log-densities add, and each part has its own statistics and M step.
"""

import numpy as np
from sklearn.base import clone
from sklearn.utils import Bunch

from skvae.columns import columns_of_parts, in_part, part_names
from skvae.emissions.base import Emission
from skvae.emissions.column_parameters import (
    ColumnParameters,
    ColumnSummary,
    Parts,
    selector,
    summaries,
)
from skvae.fitted import new_instance
from skvae.validation import check_as_fitted

_FORM = "a list of (name, emission, columns)"


class ColumnEmission(Emission):
    """Emissions for columns of different kinds, independent given the state.

    As in a :class:`sklearn.compose.ColumnTransformer`, the parameters of a part are set as
    ``name__parameter``, and a part is replaced as ``name``.

    Parameters
    ----------
    emissions : list of (str, Emission, columns) tuples
        Parts. Columns are an index, a slice, a list of indices or a boolean mask, or, for data with
        named columns, a name or a list of names. Each column belongs to exactly one part.

    Attributes
    ----------
    emissions_ : list of (str, Emission, ndarray of int) tuples
        The fitted parts with the indices of their columns.
    named_emissions_ : sklearn.utils.Bunch
        The fitted parts by name.
    n_features_in_ : int
        The number of features.

    See Also
    --------
    sklearn.compose.ColumnTransformer : The same for transformers.

    Examples
    --------
    >>> from skvae.hmm import CategoricalEmission, ColumnEmission, PoissonEmission
    >>> emission = ColumnEmission(
    ...     [("answer", CategoricalEmission(), 0), ("counts", PoissonEmission(), [1, 2])]
    ... )
    >>> emission.set_params(answer__prior=2.0).get_params()["answer__prior"]
    2.0
    """

    def __init__(self, emissions):
        self.emissions = emissions

    @classmethod
    def from_parameters(cls, emissions):
        """Return a fitted emission made of fitted parts.

        Parameters
        ----------
        emissions : list of (str, Emission, columns) tuples
            Fitted parts; columns by index.

        Returns
        -------
        emission : ColumnEmission
            Fitted.

        Raises
        ------
        ValueError
            The parts are not usable together.

        Examples
        --------
        >>> from skvae.hmm import BernoulliEmission, ColumnEmission, PoissonEmission
        >>> emission = ColumnEmission.from_parameters(
        ...     [
        ...         ("counts", PoissonEmission.from_parameters([[1.0], [5.0]]), 1),
        ...         ("flag", BernoulliEmission.from_parameters([[0.1], [0.9]]), 0),
        ...     ]
        ... )
        >>> emission.parameters().means()
        array([[0.1, 1. ],
               [0.9, 5. ]])
        """
        emission = new_instance(cls, emissions=emissions)
        emission._check_form()
        parts = tuple(part.parameters() for _, part, _ in emissions)
        sizes = {
            name: part.n_components for (name, _, _), part in zip(emissions, parts, strict=True)
        }
        if len(set(sizes.values())) > 1:
            raise ValueError(f"emissions have n_components {sizes}: must have equally many states")
        columns = emission._columns_of_parts(sum(part.n_features for part in parts), None)
        for (name, _, given), part, index in zip(emissions, parts, columns, strict=True):
            if len(index) != part.n_features:
                raise ValueError(
                    f"in the part {name!r}: columns={given!r}: must be {part.n_features} columns, "
                    "as many as the emission has features"
                )
        emission.store(ColumnParameters(parts, columns))
        return emission

    # Parameters of parts ----------------------------------------------------------------------

    def get_params(self, deep=True):
        """Return the constructor parameters, with those of the parts as ``name__parameter``.

        Parameters
        ----------
        deep : bool, default=True
            Whether the parts and their parameters are included.

        Returns
        -------
        params : dict
            Values by name.

        Examples
        --------
        >>> from skvae.hmm import ColumnEmission, PoissonEmission
        >>> emission = ColumnEmission([("counts", PoissonEmission(), [0])])
        >>> [name for name in sorted(emission.get_params()) if "prior" not in name]
        ['counts', 'counts__rates_init', 'emissions']
        """
        params = super().get_params(deep=False)
        if deep:
            for name, part in self._parts_as_given():
                params[name] = part
                if hasattr(part, "get_params") and not isinstance(part, type):
                    inner = part.get_params(deep=True)
                    params.update({f"{name}__{key}": value for key, value in inner.items()})
        return params

    def set_params(self, **params):
        """Set constructor parameters, parts by their ``name``, and theirs as ``name__parameter``.

        Parameters
        ----------
        **params : dict
            Values by name.

        Returns
        -------
        self : ColumnEmission
            The same object.

        Raises
        ------
        ValueError
            There is no such parameter.

        Examples
        --------
        >>> from skvae.hmm import BernoulliEmission, ColumnEmission
        >>> emission = ColumnEmission([("flag", BernoulliEmission(), [0])])
        >>> emission.set_params(flag__prior=2.0)
        ColumnEmission(emissions=[('flag', BernoulliEmission(prior=2.0), [0])])
        """
        if "emissions" in params:
            self.emissions = params.pop("emissions")
        names = {name for name, _ in self._parts_as_given()}
        replaced = {name: params.pop(name) for name in list(params) if name in names}
        if replaced:  # in a new list: that of the caller stays as it is
            self.emissions = [
                (name, replaced.get(name, part), columns) for name, part, columns in self.emissions
            ]
        super().set_params(**params)
        return self

    def _parts_as_given(self):
        """Return the (name, emission) of all parts that have this form, unchecked."""
        try:
            return [(name, part) for name, part, _ in self.emissions if isinstance(name, str)]
        except (TypeError, ValueError):  # reported by check_parameters
            return []

    # A fit ------------------------------------------------------------------------------------

    def check_parameters(self, n_components):
        self._check_form()
        for name, part, _ in self.emissions:
            with in_part(repr(name)):
                part.check_parameters(n_components)

    def _check_form(self):
        """Raise ValueError unless the parts have the right form and different names."""
        parts = self.emissions
        if not isinstance(parts, list | tuple) or not parts:
            raise ValueError(f"emissions={parts!r}: must be {_FORM}, not empty")
        for part in parts:
            if not isinstance(part, list | tuple) or len(part) != 3:
                raise ValueError(f"emissions has an entry {part!r}: must be {_FORM}")
            name, emission, _ = part
            if not isinstance(name, str) or not name or "__" in name or name == "emissions":
                raise ValueError(
                    f"emissions has a name {name!r}: must be a string without '__', and not "
                    "'emissions'"
                )
            if not isinstance(emission, Emission):
                raise ValueError(
                    f"emissions has {emission!r} as {name!r}: must be an emission object, such as "
                    "PoissonEmission()"
                )
        names = [name for name, _, _ in parts]
        if len(set(names)) < len(names):
            raise ValueError(f"emissions has the names {names}: must be distinct")

    def _columns_of_parts(self, n_features, feature_names):
        """Return the column indices of each part, a tuple of arrays."""
        parts = [(name, given) for name, _, given in self.emissions]
        return columns_of_parts(parts, n_features, feature_names, "emissions")

    def check_rows(self, X, feature_names=None):
        if hasattr(self, "emissions_"):
            parts = self.emissions_
        else:
            columns = self._columns_of_parts(X.shape[1], feature_names)
            parts = [
                (name, part, index)
                for (name, part, _), index in zip(self.emissions, columns, strict=True)
            ]
        for name, part, index in parts:
            with in_part(repr(name)):
                part.check_rows(X[:, selector(index)], part_names(index, feature_names))

    def summarize(self, rows, pool, feature_names=None):
        columns = self._columns_of_parts(rows.X.shape[1], feature_names)
        summaries = []
        for (name, part, _), index in zip(self.emissions, columns, strict=True):
            with in_part(repr(name)):
                own = rows.columns(selector(index))
                summaries.append(part.summarize(own, pool, part_names(index, feature_names)))
        return ColumnSummary(tuple(summaries), columns)

    @property
    def smooth_start(self):
        """Return whether every part has it."""
        return all(part.smooth_start for _, part, _ in self.emissions)

    @property
    def is_given(self):
        """Return whether all first values of all parts are given."""
        return all(part.is_given for _, part, _ in self.emissions)

    def features(self, X, summary):
        parts = zip(self.emissions, summary.parts, summary.columns, strict=True)
        points = np.concatenate(
            [part.features(X[:, selector(index)], own) for (_, part, _), own, index in parts],
            axis=1,
            dtype=np.float64,
        )
        # Parts have different units.
        for j, column in enumerate(points.T):
            seen = column[~np.isnan(column)]
            if len(seen) and np.ptp(seen) > 0:
                points[:, j] /= seen.std()
        return points

    def first(self, rows, labels, n_components, summary, rng):
        parts = []
        triples = zip(self.emissions, summary.parts, summary.columns, strict=True)
        for (name, part, _), own, index in triples:
            with in_part(repr(name)):
                X = rows.columns(selector(index))
                parts.append(part.first(X, labels, n_components, own, rng))
        return ColumnParameters(tuple(parts), summary.columns)

    def _special_case(self):
        parts, found = [], False
        for name, part, columns in self.emissions:
            simpler = None if part._special_case is None else part._special_case()
            found = found or simpler is not None
            parts.append((name, clone(part) if simpler is None else simpler, columns))
        return ColumnEmission(parts) if found else None

    def _containing(self, parameters, summary):
        choices = []
        for (_, part, _), own, own_summary in zip(
            self.emissions, parameters.parts, summary.parts, strict=True
        ):
            simpler = part._special_case is not None and part._special_case() is not None
            choices.append(part._containing(own, own_summary) if simpler else [own, own])
        return [parameters._replace(parts=parts) for parts in zip(*choices, strict=True)]

    def maximize(self, old, statistics, summary):
        parts = [
            part.maximize(*values)
            for (_, part, _), *values in zip(
                self.emissions, old.parts, statistics.parts, summaries(summary, old), strict=True
            )
        ]
        return old._replace(parts=tuple(parts))

    def _fixable(self):
        names, shared = [], []
        for name, part, _ in self.emissions:
            of_part, of_all = part._fixable()
            names += (f"{name}__{each}" for each in of_part)
            shared += (f"{name}__{each}" for each in of_all)
        return tuple(names), tuple(shared)

    def _check_fixed(self, fixed):
        for name, part, _ in self.emissions:
            with in_part(repr(name)):
                part._check_fixed(_of_part(name, fixed))

    def _maximize_fixed(self, old, statistics, summary, fixed):
        own = old.parts, statistics.parts, summaries(summary, old)
        parts = [
            part._maximize_fixed(*values, _of_part(name, fixed))
            for (name, part, _), *values in zip(self.emissions, *own, strict=True)
        ]
        return old._replace(parts=tuple(parts))

    def _with_fixed(self, new, old, fixed):
        parts = [
            part._with_fixed(*values, _of_part(name, fixed))
            for (name, part, _), *values in zip(self.emissions, new.parts, old.parts, strict=True)
        ]
        return new._replace(parts=tuple(parts))

    def _n_fixed(self, parameters, fixed):
        return sum(
            part._n_fixed(own, _of_part(name, fixed))
            for (name, part, _), own in zip(self.emissions, parameters.parts, strict=True)
        )

    def log_prior(self, parameters, summary):
        return sum(
            part.log_prior(*values)
            for (_, part, _), *values in zip(
                self.emissions, parameters.parts, summaries(summary, parameters), strict=True
            )
        )

    def continued(self, earlier, why, feature_names=None):
        columns = self._columns_of_parts(earlier.n_features_in_, feature_names)
        parts = []
        for (name, part, _), index, (_, before, index_before) in zip(
            self.emissions, columns, earlier.emissions_, strict=True
        ):
            with in_part(repr(name)):
                check_as_fitted("columns", index, index_before, why, np.array_equal)
                own = part_names(index, feature_names)
                parts.append(part.continued(before, why, own))
        return ColumnParameters(tuple(parts), columns)

    def summarize_batch(self, parameters, rows, pool, feature_names=None):
        found = []
        for (_, part, _), own, index in zip(
            self.emissions, parameters.parts, parameters.columns, strict=True
        ):
            names = part_names(index, feature_names)
            mine = rows.columns(selector(index))
            found.append(part.summarize_batch(own, mine, pool, names))
        return ColumnSummary(tuple(found), parameters.columns)

    def earlier_statistics(self, parameters, weights):
        parts = zip(self.emissions, parameters.parts, strict=True)
        return Parts(part.earlier_statistics(own, weights) for (_, part, _), own in parts)

    @property
    def named_emissions_(self):
        """Return the fitted parts by name."""
        return Bunch(**{name: part for name, part, _ in self.emissions_})

    def store(self, parameters):
        self.emissions_ = []
        for (name, part, _), own, index in zip(
            self.emissions, parameters.parts, parameters.columns, strict=True
        ):
            fitted = clone(part)
            fitted.store(own)
            self.emissions_.append((name, fitted, index))
        self.n_features_in_ = parameters.n_features

    def _parameters(self):
        return ColumnParameters(
            tuple(part.parameters() for _, part, _ in self.emissions_),
            tuple(index for _, _, index in self.emissions_),
        )


def _of_part(name, fixed):
    """Return the masks of the parameters of a part."""
    first = f"{name}__"
    return {
        each.removeprefix(first): mask for each, mask in fixed.items() if each.startswith(first)
    }
