r"""The parameters of an emission as an immutable record with its arithmetic, and their kernel.

A family writes the log-density, sufficient statistics T(x), draws and moments. From these the base
has the kernel, which computes for blocks of rows

.. math:: n_{kd} = \sum_t r_{tk}\, [x_{td} \text{ observed}], \qquad
          s_{kd} = \sum_t r_{tk}\, T(x_{td}),

the coordinates in which acceleration extrapolates, and the number of free parameters.
"""

from dataclasses import fields, replace
from functools import cache
from typing import get_type_hints

import numpy as np

from skvae.blocks import block_rows
from skvae.emissions.domains import Real


class EmissionParameters:
    """Base of the parameters of an emission family: a frozen dataclass of arrays.

    The annotation of a field is the domain of its array (n_components, n_features), such as
    :class:`skvae.emissions.Positive`. One field may be a record itself, with one component or
    several in each state. Another field is a constant of the family: no M step changes it. A family
    overrides :meth:`log_density`, :meth:`sample`, :meth:`means` and :meth:`variances`;
    :meth:`sufficient_statistics` and :meth:`expected_statistics`, unless the mean of the rows is
    sufficient.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> from skvae.emissions import EmissionParameters, Positive
    >>> @dataclass(frozen=True)
    ... class ExponentialParameters(EmissionParameters):
    ...     rates: Positive
    ...
    ...     def log_density(self, X):
    ...         rates = self.rates[:, None]
    ...         return np.log(rates) - rates * X
    >>> parameters = ExponentialParameters(np.array([[1.0], [2.0]]))
    >>> parameters.log_density(np.array([[0.5]])).shape  # states, rows, features
    (2, 1, 1)
    >>> parameters.n_components, parameters.n_parameters()
    (2, 2)
    """

    # A family writes these -------------------------------------------------------------------

    def log_density(self, X):
        """Return the log-density of rows in each state, in nats.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            Rows, float64; NaN is missing.

        Returns
        -------
        log_density : ndarray of shape (n_components, n, n_features) or (n_components, n)
            With three axes the features are independent given the state: terms of missing values
            are left out, and the others are summed. With two axes, the record itself integrates
            missing values out.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.emissions import EmissionParameters
        >>> EmissionParameters().log_density(np.zeros((1, 1)))
        Traceback (most recent call last):
            ...
        NotImplementedError: EmissionParameters has no log_density
        """
        raise NotImplementedError(f"{type(self).__name__} has no log_density")

    def sufficient_statistics(self, X):
        """Return T(x), whose weighted sums are sufficient for the M step.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            Rows, float64; NaN is missing, and its statistics are left out.

        Returns
        -------
        statistics : ndarray of shape (n_statistics, n, n_features)
            The value x itself by default. Expected statistics that depend on the state, such as
            those of a latent variable, have the shape (n_statistics, n_components, n, n_features).

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.emissions import EmissionParameters
        >>> EmissionParameters().sufficient_statistics(np.array([[3.0]]))
        array([[[3.]]])
        """
        return X[None]

    def expected_statistics(self):
        """Return the mean of the sufficient statistics under the parameters.

        Returns
        -------
        statistics : ndarray of shape (n_statistics, n_components, n_features)
            The means of the states by default.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission.from_parameters([[1.0], [5.0]]).parameters().expected_statistics()
        array([[[1.],
                [5.]]])
        """
        return self.means()[None]

    def sample(self, states, rng):
        """Return a draw for each of the states.

        Parameters
        ----------
        states : ndarray of int, shape (n,)
            The states.
        rng : RandomState
            The source of randomness.

        Returns
        -------
        X : ndarray of shape (n, n_features)
            The draws.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.hmm import PoissonEmission
        >>> parameters = PoissonEmission.from_parameters([[1.0], [5.0]]).parameters()
        >>> parameters.sample(np.array([0, 1]), np.random.RandomState(0))
        array([[2.],
               [9.]])
        """
        raise NotImplementedError(f"{type(self).__name__} has no sample")

    def means(self):
        """Return the mean of each state.

        Returns
        -------
        means : ndarray of shape (n_components, n_features)
            The means.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission.from_parameters([[1.0], [5.0]]).parameters().means()
        array([[1.],
               [5.]])
        """
        raise NotImplementedError(f"{type(self).__name__} has no means")

    def variances(self):
        """Return the variance of each feature in each state.

        Returns
        -------
        variances : ndarray of shape (n_components, n_features)
            The variances. A record whose features are dependent overrides :meth:`covariances`.

        Examples
        --------
        >>> from skvae.hmm import BernoulliEmission
        >>> BernoulliEmission.from_parameters([[0.5]]).parameters().variances()
        array([[0.25]])
        """
        raise NotImplementedError(f"{type(self).__name__} has no variances")

    # The models use these --------------------------------------------------------------------

    @property
    def n_components(self):
        """Return the number of states."""
        return len(getattr(self, next(iter(domains(type(self))))))

    @property
    def n_features(self):
        """Return the number of features."""
        for name in records(type(self)):
            return getattr(self, name).n_features
        return getattr(self, next(iter(domains(type(self))))).shape[1]

    def n_parameters(self, n_states=None):
        """Return the number of free parameters.

        Parameters
        ----------
        n_states : int, default=None
            The number of states that count; None is all of them.

        Returns
        -------
        n_parameters : int
            The number of free parameters of these states.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission.from_parameters([[1.0], [5.0]]).parameters().n_parameters()
        2
        """
        n_states = self.n_components if n_states is None else n_states
        inner = (
            record.n_parameters(n_states * record.n_components // self.n_components)
            for _, record in self._records()
        )
        return n_states * sum(self.n_free().values()) + sum(inner)

    def n_free(self):
        """Return the number of free parameters of a state in each field.

        Returns
        -------
        n_free : dict of str to int
            By the names of the fields that have a domain.

        Examples
        --------
        >>> from skvae.hmm import GammaEmission
        >>> GammaEmission.from_parameters([[1.0, 2.0]], [[3.0, 4.0]]).parameters().n_free()
        {'shapes': 2, 'scales': 2}
        """
        return {name: domain.n_free(array.shape) for name, domain, array in self._learned()}

    def covariances(self):
        """Return the covariance of the features in each state.

        Returns
        -------
        covariances : ndarray of shape (n_components, n_features, n_features)
            Diagonal matrices of :meth:`variances` by default.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission.from_parameters([[1.0, 2.0]]).parameters().covariances()
        array([[[1., 0.],
                [0., 2.]]])
        """
        return self.variances()[:, :, None] * np.eye(self.n_features)

    def statistics(self, weights):
        """Return the expected statistics of rows drawn from the parameters.

        Parameters
        ----------
        weights : array-like of shape (n_components,)
            The weight of the rows of each state.

        Returns
        -------
        statistics : ndarray of shape (1 + n_statistics, n_components, n_features)
            The weight, and the sums of the sufficient statistics. The M step without a prior
            returns the same parameters.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission.from_parameters([[1.0], [5.0]]).parameters().statistics([2.0, 3.0])
        array([[[ 2.],
                [ 3.]],
        <BLANKLINE>
               [[ 2.],
                [15.]]])
        """
        weights = np.asarray(weights, dtype=np.float64)[:, None]
        expected = self.expected_statistics()
        return np.concatenate([np.ones((1, *expected.shape[1:])), expected]) * weights

    def pack(self, summary):
        """Return the parameters as a vector of numbers without limits.

        Parameters
        ----------
        summary : object
            The summary of the data, whose ``scale`` is the unit of each feature if it has one.

        Returns
        -------
        vector : ndarray of shape (n_coordinates,)
            The coordinates of all fields that have a domain; a probability of zero is −inf.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission.from_parameters([[1.0], [0.0]]).parameters().pack(None)
        array([  0., -inf])
        """
        unit = getattr(summary, "scale", 1.0)
        own = [d.coordinates(array, unit).ravel() for _, d, array in self._learned()]
        return np.concatenate([*own, *(record.pack(summary) for _, record in self._records())])

    def unpack(self, vector, summary):
        """Return the parameters that :meth:`pack` returns as the given vector.

        Parameters
        ----------
        vector : ndarray of shape (n_coordinates,)
            Coordinates.
        summary : object
            The summary of the data.

        Returns
        -------
        parameters : EmissionParameters
            The parameters; constants are those of this record.

        Raises
        ------
        skvae.ascent.loop.Collapse
            There are no such parameters.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.hmm import PoissonEmission
        >>> parameters = PoissonEmission.from_parameters([[1.0], [5.0]]).parameters()
        >>> parameters.unpack(np.array([0.0, np.log(2.0)]), None).rates
        array([[1.],
               [2.]])
        """
        unit, found, first = getattr(summary, "scale", 1.0), {}, 0
        for name, domain, array in self._learned():
            last = first + array.size
            with np.errstate(over="ignore", invalid="ignore"):
                found[name] = domain.entries(vector[first:last].reshape(array.shape), unit)
            first = last
        for name, record in self._records():  # one at most
            found[name] = record.unpack(vector[first:], summary)
        return replace(self, **found)

    def kernel(self):
        """Return the kernel, which computes densities and statistics of blocks of rows.

        Returns
        -------
        kernel : object
            It calls :meth:`log_density` and :meth:`sufficient_statistics` for each block. A family
            may have a faster one, see :mod:`skvae.emissions.base`.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission.from_parameters([[1.0]]).parameters().kernel().block_rows
        16384
        """
        return DensityKernel(self)

    def __iter__(self):
        """Yield the fields in their order."""
        return (getattr(self, field.name) for field in fields(self))

    def _arrays(self):
        """Yield (name, domain, array) of the fields that have a domain."""
        for name, domain in domains(type(self)).items():
            yield name, domain, getattr(self, name)

    def _learned(self):
        """Yield (name, domain, array) of the fields that M steps change."""
        return self._arrays()

    def _records(self):
        """Yield (name, record) of the field that is a record itself, if there is one."""
        for name in records(type(self)):
            yield name, getattr(self, name)

    def cdf(self, x):
        """Return the probability of values up to x, for quantiles of forecasts.

        Parameters
        ----------
        x : ndarray of shape (..., n_features)
            Values.

        Returns
        -------
        cdf : ndarray of shape (..., n_components, n_features)
            P(feature ≤ x | state); NaN by default: quantiles are then those of draws.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.hmm import BernoulliEmission
        >>> BernoulliEmission.from_parameters([[0.25]]).parameters().cdf(np.array([0.0]))
        array([[0.75]])
        """
        return np.full((*x.shape[:-1], self.n_components, self.n_features), np.nan)

    def imputed(self, X, posterior):
        """Return a copy of rows with their missing values filled in.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            Rows; NaN is missing.
        posterior : ndarray of shape (n, n_components)
            The probabilities of the states of each row.

        Returns
        -------
        X : ndarray of shape (n, n_features)
            By default the means of the states, weighted by ``posterior``, which is exact where
            features are independent given the state; the most probable value of a category.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.hmm import PoissonEmission
        >>> parameters = PoissonEmission.from_parameters([[1.0], [5.0]]).parameters()
        >>> parameters.imputed(np.array([[np.nan]]), np.array([[0.5, 0.5]]))
        array([[3.]])
        """
        X = np.array(X, order="C")
        rows = np.flatnonzero(np.isnan(X).any(axis=1))
        if len(rows):
            X[rows] = self._filled(X[rows], np.asarray(posterior[rows], dtype=np.float64))
        return X

    def _filled(self, X, posterior):
        """Return rows, each with a missing value, with their missing values filled in."""
        return np.where(np.isnan(X), posterior @ self.means(), X)

    def reordered(self, order):
        """Return the parameters with their states in another order.

        Parameters
        ----------
        order : ndarray of int, shape (n_components,)
            State ``order[i]`` comes to place i.

        Returns
        -------
        parameters : EmissionParameters
            The parameters of the same states.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.hmm import PoissonEmission
        >>> parameters = PoissonEmission.from_parameters([[1.0], [5.0]]).parameters()
        >>> parameters.reordered(np.array([1, 0])).rates
        array([[5.],
               [1.]])
        """
        found = {name: array[order] for name, _, array in self._arrays()}
        for name, record in self._records():
            size = record.n_components // self.n_components  # those of a state are neighbours
            found[name] = record.reordered((order[:, None] * size + np.arange(size)).ravel())
        return replace(self, **found)

    def inside(self):
        """Return the parameters without entries on the border of their domains.

        Returns
        -------
        parameters : EmissionParameters
            The density of a prior may be zero on a border.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission.from_parameters([[0.0], [5.0]]).parameters().inside().rates
        array([[1.e-300],
               [5.e+000]])
        """
        return replace(self, **{name: d.inside(array) for name, d, array in self._arrays()})

    def _replace(self, **values):
        """Return the record with other values of some fields."""
        return replace(self, **values)

    def _kept(self, old, some):
        """Return the record with the old entries where nothing was observed.

        Parameters
        ----------
        old : EmissionParameters
            The parameters before the M step.
        some : ndarray of bool, shape (n_components, n_features)
            Where a value was observed.
        """
        found = {}
        for name, domain, array in self._arrays():
            if domain.joint or array.shape != some.shape:
                where = some.any(axis=1).reshape(-1, *(1,) * (array.ndim - 1))
            else:
                where = some
            found[name] = np.where(where, array, getattr(old, name))
        return replace(self, **found)

    def _repeated(self, n_components):
        """Return a record of one state, with arrays (n_features,), as one of several equal ones."""
        arrays = {
            name: np.tile(array, (n_components, *(1,) * array.ndim))
            for name, _, array in self._arrays()
        }
        return replace(self, **arrays)

    def _nudged(self, empty, unit, rng):
        """Return the record with random changes of the states ``empty`` (n_components,)."""
        found = {}
        for name, domain, array in self._arrays():
            array = array.copy()
            array[empty] = domain.nudged(array[empty], unit, rng)
            found[name] = array
        return replace(self, **found)


@cache
def domains(record):
    """Return the domains of the fields of a record by name; constants have none.

    Parameters
    ----------
    record : type
        A subclass of EmissionParameters.
    """
    return _fields_of(record, Real)


@cache
def records(record):
    """Return the classes of the fields of a record that are records themselves, by name.

    Parameters
    ----------
    record : type
        A subclass of EmissionParameters.
    """
    return _fields_of(record, EmissionParameters)


def _fields_of(record, base):
    """Return the annotations of the fields of a record that are subclasses of ``base``."""
    kinds = {field.name: field.type for field in fields(record)}
    if any(isinstance(kind, str) for kind in kinds.values()):  # annotations that are postponed
        kinds = {name: get_type_hints(record)[name] for name in kinds}
    return {name: d for name, d in kinds.items() if isinstance(d, type) and issubclass(d, base)}


# The kernel of a record ---------------------------------------------------------------------------


class DensityKernel:
    """Log-densities and statistics of blocks of rows by the methods of the parameters.

    Parameters
    ----------
    parameters : EmissionParameters
        The parameters.
    """

    def __init__(self, parameters):
        expected = parameters.expected_statistics()
        self._parameters = parameters
        self._shape = (1 + len(expected), *expected.shape[1:])
        self.block_rows = block_rows(3 * int(np.prod(self._shape)))

    def workspace(self):
        """Return None: each block allocates its own memory."""
        return

    def blocks(self, X, workspace):
        """Yield (slice(None), block): all rows are one block, also those with missing values."""
        yield slice(None), _DensityBlock(self._parameters, np.asarray(X, dtype=np.float64))

    def sums(self):
        """Return empty sums (1 + S, K, D): the weight observed, and Σ r T(x)."""
        return np.zeros(self._shape)

    def finish(self, sums):
        """Return the statistics, which are the sums."""
        return sums


class _DensityBlock:
    """A block of rows under a DensityKernel."""

    __slots__ = ("_X", "_missing", "_parameters")

    def __init__(self, parameters, X):
        self._parameters = parameters
        self._X = X
        missing = np.isnan(X)
        self._missing = missing if missing.any() else None

    def log_density(self):
        """Return the log-densities (K, n), in nats."""
        terms = self._parameters.log_density(self._X)
        if terms.ndim == 2:
            return terms
        if self._missing is not None:
            terms = np.where(self._missing, 0.0, terms)
        return terms.sum(axis=2)

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the sums in place."""
        found = self._parameters.sufficient_statistics(self._X)
        if self._missing is None:
            sums[0] += resp.sum(axis=1)[:, None]
        else:
            found = np.where(self._missing, 0.0, found)
            sums[0] += resp @ ~self._missing
        if found.ndim == 3:
            sums[1:] += resp @ found
        else:
            sums[1:] += np.einsum("kn,sknd->skd", resp, found)
