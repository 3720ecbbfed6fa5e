r"""Emissions: the density p(x | state) of a hidden Markov model, and its M step.

With responsibilities :math:`\gamma_t(k)` of the states, the M step maximises

.. math:: \sum_t \sum_k \gamma_t(k) \ln p(x_t \mid \theta_k) + \ln p(\theta),

which depends on the rows through statistics that add over rows, blocks and sequences.

A family of emissions has two objects, of which it writes at most ten methods:

parameters
    θ as an immutable record of arrays, a frozen dataclass and a subclass of
    :class:`skvae.emissions.EmissionParameters`: ``log_density``, ``sufficient_statistics``,
    ``expected_statistics``, ``sample``, ``means``, ``variances``.
emission
    A scikit-learn estimator, a subclass of :class:`Emission`, with the class of its parameters as
    ``record``. Its constructor parameters are first values, named ``<field>_init``, and priors; its
    fitted attributes are θ, named ``<field>_``: ``__init__``, ``accepts``, ``start``, ``estimate``.
    Only ``store`` changes it.

A family may have a faster kernel than the one that calls these methods. ``parameters.kernel()``
returns an object that computes densities and statistics of blocks of rows, as
:class:`skvae.gaussian.kernel.GaussianKernel` does:

* ``block_rows``: the largest number of rows in a block,
* ``workspace()``: memory for one block, used again for the next,
* ``blocks(X, workspace)``: yields (rows of X, block),
* ``block.log_density()``: ln p(x | state), (K, n), in nats, of the observed values,
* ``block.accumulate(sums, resp)``: adds statistics with weights ``resp`` (K, n) in place; an
  earlier ``log_density()`` of the block saves work,
* ``sums()`` and ``finish(sums)``: empty sums, and the statistics of filled ones. Sums have
  ``+=``, statistics have ``a + b`` and ``a * weight``.
"""

import inspect
import re
from dataclasses import fields, replace

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array

from skvae.blocks import is_complete, pattern_order, ranges
from skvae.columns import check_values
from skvae.documentation import page_fields, page_template
from skvae.emissions.parameters import domains
from skvae.fitted import FittedArray, new_instance
from skvae.gaussian.moments import feature_moments
from skvae.validation import (
    check_array_parameter,
    check_as_fitted,
    numbers_of,
    reading,
    same_value,
)

NO_ROWS = 1e-280  # a state with at most this share of all weight keeps its parameters


class Emission(BaseEstimator):
    """Base of the emissions: the density of a row given the state.

    A family has ``record``, the class of its parameters, and the methods :meth:`accepts`,
    :meth:`start` and :meth:`estimate`; other methods have defaults, which a family may override.

    A model calls, in this order, :meth:`check_parameters`, :meth:`check_rows`, :meth:`summarize`,
    :meth:`first`, then :meth:`maximize` and :meth:`log_prior` in each iteration, and :meth:`store`
    on the emission that it keeps.

    A model that continues an earlier fit calls :meth:`continued` instead of :meth:`first`. A batch
    of ``partial_fit`` also has :meth:`summarize_batch` instead of :meth:`summarize`, and
    :meth:`earlier_statistics` for the rows before it.

    Examples
    --------
    >>> from skvae.hmm import PoissonEmission
    >>> from skvae.emissions import Emission
    >>> isinstance(PoissonEmission(), Emission)
    True
    """

    # scikit-learn's way to the page of an estimator from its HTML representation.
    _doc_link_module = "skvae"
    _doc_link_template = page_template
    _doc_link_url_param_generator = page_fields

    # The class of the parameters, a frozen dataclass that is derived from EmissionParameters.
    record = None

    # The end of the message about a value that `accepts` refuses, after the column and the value.
    rule = None

    # The smallest and the largest value of a family that has a prior and the value as statistic.
    limits = None

    # The fields that a state may have fixed without the others: `estimate` takes the name of one of
    # them as a third argument, ``fixed``.
    fixed_alone = ()

    # Whether first states are clusters of averages over neighbouring rows: a single row of
    # categories holds little about its state, and one state per symbol is a poor fixed point of EM.
    smooth_start = False

    # A method ``() → Emission or None``: the emission that is a special case of this one, with the
    # same summary of the data, if first values are not given. A subclass that has it also has
    # ``_containing(parameters, summary)``, a list of its own parameters: the first have the density
    # of the parameters of the special case, others are near them.
    _special_case = None

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if "record" in vars(cls):  # its fields are fitted attributes
            for field in fields(cls.record):
                attribute = FittedArray(tied=field.name not in domains(cls.record))
                attribute.__set_name__(cls, f"{field.name}_")
                setattr(cls, f"{field.name}_", attribute)
            if "from_parameters" not in vars(cls):
                cls.from_parameters = classmethod(_from_parameters_of(cls))

    @property
    def is_given(self):
        """Return whether all first values are given, so that :meth:`first` reads no rows."""
        first = [value for name, value in vars(self).items() if name.endswith("_init")]
        return bool(first) and all(value is not None for value in first)

    # A family writes these --------------------------------------------------------------------

    def accepts(self, values):
        """Return whether the emission can have produced each value.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_features)
            Finite numbers; the result is not used where a value is NaN.

        Returns
        -------
        accepted : ndarray of bool, shape (n_samples, n_features)
            It is not used by an emission whose ``rule`` is None, which accepts all numbers.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission().accepts(np.array([[1.0, -1.0, 0.5]]))
        array([[ True, False, False]])
        """
        return np.isfinite(values)

    def start(self, moments, n_rows):
        """Return the parameters of one state that has all rows, from which first states are made.

        Parameters
        ----------
        moments : skvae.gaussian.moments.Moments
            ``mean``, ``variance``, ``magnitude`` (the largest absolute value) and ``scale`` (a
            standard deviation, above zero also where a feature is constant) of each feature.
        n_rows : int
            The number of rows.

        Returns
        -------
        parameters : EmissionParameters
            Arrays of shape (n_features,) instead of (n_components, n_features). No probability and
            no rate is zero, as EM would not change it.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.gaussian.moments import Moments
        >>> from skvae.hmm import PoissonEmission
        >>> moments = Moments.of(np.array([0.0, 2.0]), np.array([0.0, 2.0]), np.array([0.0, 5.0]))
        >>> PoissonEmission().start(moments, 10).rates
        array([0.05, 2.  ])
        """
        raise NotImplementedError(f"{type(self).__name__} has no start")

    def estimate(self, averages, old):
        """Return the parameters of maximum likelihood from averages of the statistics.

        Parameters
        ----------
        averages : ndarray of shape (n_statistics, n_components, n_features)
            The weighted mean of the sufficient statistics in each state; where nothing was
            observed, that under the old parameters.
        old : EmissionParameters
            The present parameters, from which an iterative maximisation may begin.

        Returns
        -------
        parameters : EmissionParameters
            The maximum of the expected log-likelihood. A family with ``fixed_alone`` takes a third
            argument, ``fixed=None``, the name of a field whose values are those of ``old``.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission().estimate(np.array([[[1.0], [5.0]]]), None).rates
        array([[1.],
               [5.]])
        """
        raise NotImplementedError(f"{type(self).__name__} has no estimate")

    @classmethod
    def from_parameters(cls, *arrays, **named):
        """Return a fitted emission with known parameters.

        Parameters
        ----------
        *arrays : array-like of shape (n_components, n_features)
            The fields of the parameters, in their order.
        **named : array-like of shape (n_components, n_features)
            The fields of the parameters by name.

        Returns
        -------
        emission : Emission
            Fitted.

        Raises
        ------
        ValueError
            A shape does not fit, or an entry is outside the domain of its field.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission.from_parameters([[1.0], [5.0]]).rates_
        array([[1.],
               [5.]])
        """
        return cls._known(**inspect.signature(cls.record).bind(*arrays, **named).arguments)

    @classmethod
    def _known(cls, **values):
        """Return a fitted emission with checked values of the fields of its parameters."""
        form, first = "(n_components, n_features)", None
        for name, domain in domains(cls.record).items():
            array = check_array_parameter(name, values[name], None, form)
            if array.ndim != 2 or not array.size:
                raise ValueError(f"{name} has shape {array.shape}: must have shape {form}")
            domain.check(name, array)
            first = (name, array.shape) if first is None else first
            if array.shape != first[1]:
                raise ValueError(
                    f"{name} has shape {array.shape}: must have the shape of {first[0]}, {first[1]}"
                )
            values[name] = array
        emission = new_instance(cls)
        emission.store(cls.record(**values))
        return emission

    # A fitted emission ------------------------------------------------------------------------

    def log_density(self, X):
        r"""Return the log-density of each row in each state, ln p(x_t | state), in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is a missing value, and is integrated out.

        Returns
        -------
        log_density : ndarray of shape (n_samples, n_components)
            float64; −inf where the state cannot have produced the row, 0 for a row without any
            observed value.

        Raises
        ------
        ValueError
            X has another number of features than the emission, or a value that the emission cannot
            have produced.
        sklearn.exceptions.NotFittedError
            The emission has no fitted attributes.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.hmm import PoissonEmission
        >>> emission = PoissonEmission.from_parameters([[1.0], [5.0]])
        >>> emission.log_density([[0], [4], [np.nan]]).round(3)
        array([[-1.   , -5.   ],
               [-4.178, -1.74 ],
               [ 0.   ,  0.   ]])
        """
        parameters = self.parameters()
        with reading("X"):
            X = check_array(
                numbers_of(X, "X"), dtype=np.float64, ensure_all_finite="allow-nan", estimator=self
            )
        if X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        self.check_rows(X)
        return log_density_of(parameters, X)

    def parameters(self):
        """Return the parameters in the fitted attributes.

        Returns
        -------
        parameters : EmissionParameters
            The parameters.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            The emission has no fitted attributes.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission.from_parameters([[1.0], [5.0]]).parameters().n_components
        2
        """
        if not hasattr(self, "n_features_in_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted: it has no parameters")
        return self._parameters()

    def store(self, parameters):
        """Set the fitted attributes.

        Parameters
        ----------
        parameters : EmissionParameters
            Their values.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> known = PoissonEmission.from_parameters([[1.0], [5.0]])
        >>> emission = PoissonEmission()
        >>> emission.store(known.parameters())
        >>> emission.rates_
        array([[1.],
               [5.]])
        """
        for field in fields(parameters):
            vars(self)[f"{field.name}_"] = getattr(parameters, field.name)
        self.n_features_in_ = parameters.n_features

    def _parameters(self):
        """Return the fitted attributes as parameters."""
        fitted = vars(self)
        return self.record(*(fitted[f"{field.name}_"] for field in fields(self.record)))

    # A fit ------------------------------------------------------------------------------------

    def check_parameters(self, n_components):
        """Raise ValueError if a constructor parameter is not usable.

        Parameters
        ----------
        n_components : int
            The number of states; first values must have one entry for each.

        Raises
        ------
        ValueError
            With the parameter, its value, and the rule.

        Examples
        --------
        >>> from skvae.hmm import BernoulliEmission
        >>> BernoulliEmission(prior=0.5).check_parameters(2)
        Traceback (most recent call last):
            ...
        ValueError: prior=0.5: must be a finite number >= 1
        """
        self.conjugate_prior()
        given = self._first_values(n_components)
        if len(given) == len(domains(self.record)):
            self._check_not_excluded(given)

    def _check_not_excluded(self, given):
        """Raise ValueError if the prior excludes the first values of all fields."""
        first = self.record(**given)
        if self.log_prior(first, None) > -np.inf:
            return
        inside = first.inside()
        for name, array in given.items():
            for place in np.argwhere(array != getattr(inside, name)):
                entry, moved = array[*place], getattr(inside, name).copy()
                side = "above" if moved[*place] > entry else "below"
                moved[*place] = entry
                if self.log_prior(inside._replace(**{name: moved}), None) == -np.inf:
                    raise ValueError(
                        f"{name}_init has an entry {entry:g}: must be {side} it, as "
                        f"{self._prior_in_words()} excludes it"
                    )

    def _prior_in_words(self):
        """Return the constructor parameter of the prior with its value."""
        names = inspect.signature(type(self)).parameters
        return next(f"{name}={getattr(self, name)!r}" for name in names if "prior" in name)

    def _first_values(self, n_components, n_features=None):
        """Return the first values that are given, checked arrays by the names of the fields."""
        found = {}
        for name, domain in domains(self.record).items():
            parameter = f"{name}_init"
            array = check_first_values(
                parameter,
                getattr(self, parameter, None),
                n_components,
                "(n_components, n_features)",
            )
            if array is None:
                continue
            domain.check(parameter, array)
            if n_features is not None:
                check_width(parameter, array, n_features)
            found[name] = array
        return found

    def check_rows(self, X, feature_names=None):
        """Raise ValueError if the emission cannot have produced some row.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, float64 or float32, without infinities; NaN is missing.
        feature_names : ndarray of str, default=None
            The names of the features, for the message.

        Raises
        ------
        ValueError
            With the column, the value, and the rule.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission().check_rows(np.array([[0.0], [2.5]]))
        Traceback (most recent call last):
            ...
        ValueError: X[:, 0] holds 2.5: a Poisson emission takes whole numbers from 0 to 2**53
        """
        for name in domains(self.record):
            given = getattr(self, f"{name}_init", None)
            if given is not None:
                check_width(f"{name}_init", np.asarray(given), X.shape[1])
        self.conjugate_prior(X.shape[1])
        if self.rule is not None:
            check_values(X, feature_names, self.accepts, self.rule)

    def summarize(self, rows, pool, feature_names=None):
        """Return the properties of the data on which first values, floors and units depend.

        Parameters
        ----------
        rows : skvae.blocks.Rows
            The data with their weights.
        pool : skvae.blocks.Workers
            The threads.
        feature_names : ndarray of str, default=None
            The names of the features, for messages.

        Returns
        -------
        summary : object
            Immutable; the moments of the features, unless the family has its own.

        Raises
        ------
        ValueError
            A feature has no observed value.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.blocks import Rows, workers
        >>> from skvae.hmm import PoissonEmission
        >>> with workers() as pool:
        ...     summary = PoissonEmission().summarize(Rows(np.array([[0.0], [3.0]])), pool)
        >>> summary.mean
        array([1.5])
        """
        return feature_moments(rows, pool, feature_names)

    def first(self, rows, labels, n_components, summary, rng):
        """Return the first parameters of a fit.

        Parameters
        ----------
        rows : skvae.blocks.Rows
            The data with their weights.
        labels : ndarray of int, shape (n_rows,)
            The state of each row in reading order; a row with −1 is not used.
        n_components : int
            The number of states; a state may be without rows.
        summary : object
            The result of :meth:`summarize`.
        rng : RandomState
            The source of randomness.

        Returns
        -------
        parameters : EmissionParameters
            No probability is zero unless it was given as zero, as EM would not change it.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.blocks import Rows, workers
        >>> from skvae.hmm import PoissonEmission
        >>> rows = Rows(np.array([[0.0], [8.0], [10.0]]))
        >>> with workers() as pool:
        ...     summary = PoissonEmission().summarize(rows, pool)
        >>> rng = np.random.RandomState(0)
        >>> PoissonEmission().first(rows, np.array([0, 1, 1]), 2, summary, rng).rates
        array([[3.],
               [8.]])
        """
        given = self._first_values(n_components, rows.X.shape[1])
        if len(given) == len(fields(self.record)) and self.is_given:
            return self.record(**given)
        # The rows of a label and one row of all labels, under which no value is impossible.
        old = self.start(summary, rows.n_rows)._repeated(n_components)
        if len(given) == len(domains(self.record)) and self.is_given:  # the others are constants
            return replace(old, **given)
        unit = np.full(n_components, rows.weight() / rows.n_rows)
        statistics = label_statistics(old, rows, labels) + old.statistics(unit)
        empty = np.bincount(labels[labels >= 0], minlength=n_components) == 0
        found = self._maximum(old, statistics)
        # States with equal first parameters would stay equal.
        found = found._nudged(empty, getattr(summary, "scale", 1.0), rng)
        return found._replace(**given)

    def features(self, X, summary):
        """Return rows as points that k-means clusters into first states.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows; NaN is missing.
        summary : object
            The result of :meth:`summarize`.

        Returns
        -------
        points : ndarray of shape (n_samples, n_dimensions)
            By default the rows themselves; NaN is missing.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission().features(np.array([[3.0]]), None)
        array([[3.]])
        """
        return X

    def maximize(self, old, statistics, summary):
        """Return the M step: the parameters that maximise the expected log-density plus prior.

        Parameters
        ----------
        old : EmissionParameters
            The present parameters; a state without rows keeps them.
        statistics : object
            The expected statistics under them.
        summary : object
            The result of :meth:`summarize`.

        Returns
        -------
        parameters : EmissionParameters
            The exact maximiser.

        Raises
        ------
        skvae.ascent.loop.Collapse
            The maximiser is not usable.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> old = PoissonEmission.from_parameters([[1.0], [5.0]]).parameters()
        >>> PoissonEmission().maximize(old, 2 * old.statistics([0.5, 0.5]), None).rates
        array([[1.],
               [5.]])
        """
        return self._maximum(old, statistics + self.prior_statistics(old))

    def _maximum(self, old, statistics, *fixed):
        """Return the estimate from the averages of statistics, the old one where there are none."""
        weight, sums = statistics[0], statistics[1:]
        some = weight > NO_ROWS * weight.sum()
        if some.all():
            return self.estimate(sums / weight, old, *fixed)
        averages = np.where(some, sums / np.where(some, weight, 1.0), old.expected_statistics())
        return self.estimate(averages, old, *fixed)._kept(old, some)

    def conjugate_prior(self, n_features=None):
        """Return the conjugate prior as rows with their mean as statistic, checked.

        Parameters
        ----------
        n_features : int, default=None
            The number of features of X, which arrays of the prior must have; None is not known.

        Returns
        -------
        prior : tuple of (float or ndarray, float or ndarray) or None
            The weight of the rows, and the sums of their values, for each feature or for all;
            None without a prior, which is the default.

        Raises
        ------
        ValueError
            A constructor parameter of the prior is not usable.

        Examples
        --------
        >>> from skvae.hmm import BernoulliEmission
        >>> BernoulliEmission(prior=3.0).conjugate_prior()  # rows, ones
        (4.0, 2.0)
        """
        return

    def prior_statistics(self, parameters):
        """Return the statistics that a conjugate prior adds to those of the rows.

        Parameters
        ----------
        parameters : EmissionParameters
            Parameters of the emission, for their shape.

        Returns
        -------
        statistics : ndarray of shape (1 + n_statistics, n_components, n_features) or float
            Numbers of rows, and sums of their sufficient statistics; 0.0 without a prior. By
            default those of :meth:`conjugate_prior` in each state.

        Examples
        --------
        >>> from skvae.hmm import BernoulliEmission
        >>> emission = BernoulliEmission.from_parameters([[0.5]]).set_params(prior=3.0)
        >>> emission.prior_statistics(emission.parameters()).ravel()  # rows, ones
        array([4., 2.])
        """
        prior = self.conjugate_prior(parameters.n_features)
        if prior is None:
            return 0.0
        shape = parameters.n_components, parameters.n_features
        return np.stack([np.broadcast_to(each, shape) for each in prior])

    def log_prior(self, parameters, summary):
        """Return the log-density of the priors in the objective of :meth:`maximize`.

        Parameters
        ----------
        parameters : EmissionParameters
            The point at which it is evaluated.
        summary : object
            The result of :meth:`summarize`.

        Returns
        -------
        log_prior : float
            In nats, without the normalisers of the priors, which are constant; 0.0 without a prior.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> emission = PoissonEmission.from_parameters([[1.0], [5.0]])
        >>> emission.log_prior(emission.parameters(), None)
        0.0
        """
        return 0.0

    # Parameters that keep their values ----------------------------------------------------------

    # ``fixed`` is a dict from names of parameters to masks, arrays of bool with one entry a state.

    def _fixable(self):
        """Return the names of the parameters that can be fixed, and those that all states share."""
        return tuple(domains(self.record)), ()

    def _check_fixed(self, fixed):
        """Raise ValueError if a state has fixed parameters that cannot be fixed alone."""
        names = self._fixable()[0]
        given = [name for name in names if name in fixed]
        if not given:
            return
        n_fixed = sum(fixed[name].astype(int) for name in given)
        possible = (n_fixed == 0) | (n_fixed == len(names))
        for name in self.fixed_alone:
            possible |= fixed.get(name, False) & (n_fixed == 1)
        if not possible.all():
            alone = f", or one of {list(self.fixed_alone)} alone" if self.fixed_alone else ""
            raise ValueError(
                f"fixed has {given}: {type(self).__name__} fixes all parameters of a state or "
                f"none, {list(names)} for the same states{alone}"
            )

    def _maximize_fixed(self, old, statistics, summary, fixed):
        """Return the M step in which the fixed parameters keep their values."""
        new = self.maximize(old, statistics, summary)
        for name in self.fixed_alone:
            if name in fixed:
                where = np.repeat(fixed[name][:, None], old.n_features, axis=1)
                whole = statistics + self.prior_statistics(old)
                new = self._maximum(old, whole, name)._kept(new, where)
        return self._with_fixed(new, old, fixed)

    def _with_fixed(self, new, old, fixed):
        """Return the parameters ``new`` with the fixed ones of ``old``."""
        values = {}
        for name, _, now in new._arrays():
            if name in fixed:
                before = getattr(old, name)
                mask = fixed[name].reshape((-1,) + (1,) * (now.ndim - 1))
                values[name] = np.where(mask, before, now)
        return new._replace(**values)

    def _n_fixed(self, parameters, fixed):
        """Return the number of free parameters that are fixed."""
        n_free = parameters.n_free()
        return sum(int(fixed[name].sum()) * n_free[name] for name in n_free if name in fixed)

    # A fit that continues an earlier one ------------------------------------------------------

    def continued(self, earlier, why, feature_names=None):
        """Return the parameters of an earlier fit, from which this emission continues.

        Parameters
        ----------
        earlier : Emission
            The fitted emission of the earlier fit, of the same class.
        why : str
            The continuation, for messages: ``"partial_fit"`` or ``"warm_start=True"``.
        feature_names : ndarray of str, default=None
            The names of the features.

        Returns
        -------
        parameters : EmissionParameters
            Its parameters, with a finite log prior.

        Raises
        ------
        ValueError
            A constructor parameter that cannot be used any more was changed. By default these are
            first values, whose names end with ``_init``; None is always allowed.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> earlier = PoissonEmission.from_parameters([[1.0], [5.0]])
        >>> PoissonEmission(rates_init=[[2.0], [3.0]]).continued(earlier, "partial_fit")
        Traceback (most recent call last):
            ...
        ValueError: rates_init=[[2.0], [3.0]]: partial_fit continues a model that was fitted with \
rates_init=None; keep it, or fit a new estimator
        """
        for name, now in self.get_params(deep=False).items():
            if name.endswith("_init") and now is not None:
                check_as_fitted(name, now, getattr(earlier, name), why, same_value)
        parameters = earlier.parameters()
        if np.ndim(self.prior_statistics(parameters)) == 0:
            return parameters
        # Without a prior EM may have ended where the density of the prior is zero.
        return parameters.inside()

    def summarize_batch(self, parameters, rows, pool, feature_names=None):
        """Return the summary for the M step of a batch, in which a feature may be missing.

        Parameters
        ----------
        parameters : EmissionParameters
            The parameters before the batch.
        rows : skvae.blocks.Rows
            The batch.
        pool : skvae.blocks.Workers
            The threads.
        feature_names : ndarray of str, default=None
            The names of the features, for messages.

        Returns
        -------
        summary : object
            Of the kind that :meth:`summarize` returns, or None if the M step needs none, which is
            the default.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.blocks import Rows, workers
        >>> from skvae.hmm import GaussianEmission
        >>> emission = GaussianEmission.from_parameters([[0.0], [4.0]], [1.0, 1.0], "spherical")
        >>> with workers() as pool:
        ...     batch = Rows(np.array([[np.nan]]))
        ...     summary = emission.summarize_batch(emission.parameters(), batch, pool)
        >>> summary.moments.variance
        array([5.])
        """
        return

    def earlier_statistics(self, parameters, weights):
        """Return the expected statistics of earlier rows, so that the M step returns θ.

        Parameters
        ----------
        parameters : EmissionParameters
            The result θ of the M step of this emission, its priors included.
        weights : ndarray of shape (n_components,)
            The expected weight of the earlier rows in each state.

        Returns
        -------
        statistics : object
            Those of the rows alone: the priors are added in the next M step.

        Examples
        --------
        >>> from skvae.hmm import BernoulliEmission
        >>> emission = BernoulliEmission.from_parameters([[0.3]]).set_params(prior=2.0)
        >>> emission.earlier_statistics(emission.parameters(), [8.0])  # (2 + 1) / (8 + 2) = 0.3
        array([[[8.]],
        <BLANKLINE>
               [[2.]]])
        """
        prior = self.prior_statistics(parameters)
        if np.ndim(prior) == 0:
            return parameters.statistics(weights)
        # With them, the averages of all statistics are the expected ones of the parameters.
        total = np.asarray(weights, dtype=np.float64)[:, None] + prior[0]
        found = np.concatenate([total[None], total * parameters.expected_statistics()]) - prior
        if self.limits is not None:  # other parameters may be no result of the M step
            lowest, highest = self.limits
            np.clip(found[1:], lowest * found[0], highest * found[0], out=found[1:])
        return found

    # Fitted attributes that are set by hand ---------------------------------------------------

    def _set_fitted(self, name, value):
        """Replace one of the fitted arrays, checked together with the others."""
        parameter, shape = name.removesuffix("_"), vars(self)[name].shape
        taken = inspect.signature(self.from_parameters).parameters
        if parameter not in taken:
            raise AttributeError(f"{name} follows from covariances_ and cannot be set: set these")
        if np.shape(value) != shape:
            raise ValueError(f"{name} has shape {np.shape(value)}: must have shape {shape}")
        # A fitted array, or else a parameter of the constructor such as covariance_type.
        given = {n: vars(self).get(f"{n}_", getattr(self, n, None)) for n in taken}
        self.store(self.from_parameters(**{**given, parameter: value}).parameters())


# Helpers ------------------------------------------------------------------------------------------


def _from_parameters_of(family):
    """Return the ``from_parameters`` of a family, with the fields of its record as parameters.

    Its docstring has the "Parameters" of the record and the "Examples" of the family.
    """
    taken = inspect.signature(family.record)

    def from_parameters(cls, *arrays, **named):
        return cls._known(**taken.bind(*arrays, **named).arguments)

    own = inspect.Parameter("cls", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    each = (field.replace(annotation=own.empty) for field in taken.parameters.values())
    from_parameters.__signature__ = inspect.Signature([own, *each])
    from_parameters.__module__ = family.__module__
    from_parameters.__qualname__ = f"{family.__qualname__}.from_parameters"
    given = _section(family.record, "Parameters").replace(": ndarray", ": array-like")
    examples = _section(family, "Examples")
    if given and examples:
        from_parameters.__doc__ = _FROM_PARAMETERS.format(given, family.__name__, examples)
    return from_parameters


_FROM_PARAMETERS = """Return a fitted emission with known parameters.

Parameters
----------
{}

Returns
-------
emission : {}
    Fitted.

Raises
------
ValueError
    A shape does not fit, or an entry is outside the domain of its field.

Examples
--------
{}
"""


def _section(documented, title):
    """Return the lines of a section of a numpydoc docstring, or nothing."""
    parts = re.split(
        r"^(\w.*)\n-+\n", inspect.cleandoc(documented.__doc__ or ""), flags=re.MULTILINE
    )
    return dict(zip(parts[1::2], parts[2::2], strict=True)).get(title, "").strip()


def log_density_of(parameters, X):
    """Return ln p(x_t | state) of float64 rows, shape (n_samples, n_components), in nats.

    Parameters
    ----------
    parameters : EmissionParameters
        Parameters of an emission.
    X : ndarray of shape (n_samples, n_features)
        Rows that the emission can have produced; NaN is missing.
    """
    kernel = parameters.kernel()
    workspace = kernel.workspace()
    # Kernels are much faster if rows with equal patterns of missing values are neighbours.
    order = slice(None) if is_complete(X) else pattern_order(X)
    ordered, found = X[order], np.empty((len(X), parameters.n_components))
    for start, stop in ranges(0, len(X), kernel.block_rows):
        for rows, block in kernel.blocks(ordered[start:stop], workspace):
            found[start:stop][rows] = block.log_density().T
    log_density = np.empty_like(found)
    log_density[order] = found
    return log_density


def check_first_values(name, value, n_components, form):
    """Return first values as an array with ``n_components`` rows, or None if they are None.

    Parameters
    ----------
    name : str
        The parameter's name, for messages.
    value : array-like or None
        The value.
    n_components : int
        The number of states.
    form : str
        The shape in words, one word for each axis, such as ``"(n_components, n_features)"``.
    """
    if value is None:
        return None
    array = check_array_parameter(name, value, None, form)
    if array.ndim != form.count(",") + 1 or len(array) != n_components:
        raise ValueError(
            f"{name} has shape {array.shape}: must have shape {form}, with "
            f"n_components={n_components}"
        )
    return array


def check_width(name, array, n_features):
    """Raise ValueError unless the second axis of given first values has ``n_features`` entries."""
    if array is not None and array.shape[1] != n_features:
        raise ValueError(
            f"{name} has shape {array.shape}: X has {n_features} features, so its second axis must "
            f"have {n_features} entries"
        )


def label_statistics(parameters, rows, labels):
    """Return the statistics of rows with given states, with the weights of the rows.

    Parameters
    ----------
    parameters : EmissionParameters
        Any parameters of the emission.
    rows : Rows
        The data.
    labels : ndarray of shape (n_rows,) or (n_rows, n_components)
        The state of each row in reading order, −1 for none, or its responsibilities.
    """
    soft = labels.ndim == 2
    used = np.arange(len(labels)) if soft else np.flatnonzero(labels >= 0)
    labels = labels[used]
    rows = rows._replace(order=used if rows.order is None else rows.order[used])
    kernel, states = parameters.kernel(), np.arange(parameters.n_components)[:, None]
    sums, workspace = kernel.sums(), kernel.workspace()
    for a, b in ranges(0, rows.n_rows, kernel.block_rows):
        X, weight = rows.take(a, b)
        for part, block in kernel.blocks(X, workspace):
            resp = labels[a:b][part].T if soft else labels[a:b][part] == states
            resp = resp.astype(np.float64)
            if weight is not None:
                resp *= weight[part]
            block.accumulate(sums, resp)
    return kernel.finish(sums)
