r"""What an emission family is: the density p(x | state) of a hidden Markov model, and its M step.

With responsibilities :math:`\gamma_t(k)` of the states, a family maximises
:math:`\sum_t \sum_k \gamma_t(k) \ln p(x_t \mid \theta_k) + \ln p(\theta)`. It needs statistics of
the rows for that, which add up over rows, blocks and sequences.

Three kinds of objects take part:

emission
    A scikit-learn estimator with the constructor parameters of a family, :class:`Emission`. It
    checks, starts and maximises; fitted, it holds the parameters as attributes. It never changes
    but in ``store``.
parameters
    A NamedTuple of arrays, one entry of the first axis for each state. It has ``n_components``,
    ``n_features``, ``kernel()``, ``n_parameters()``, ``sample(states, rng)``, ``means()`` (K, D),
    ``covariances()`` (K, D, D), ``statistics(weights)``: the statistics, of weight ``weights[k]``
    in state k, that the parameters are the maximiser of where there is no prior; and
    ``pack(summary)`` and ``unpack(vector, summary)``: coordinates without constraints, with −inf in
    them where a probability is zero; ``unpack`` raises Collapse where they are not usable.
kernel
    What reads a block of rows; :class:`skvae.gaussian.kernel.GaussianKernel` is the model of it:
    ``block_rows``, ``workspace()``, ``blocks(X, workspace)`` that yields (rows, block) with
    ``block.log_density()`` (K, n), in nats, and ``block.accumulate(sums, resp)``; ``sums()`` that
    add in place, and ``finish(sums)``, the statistics, that know ``a + b`` and ``a * weight``. A
    missing value counts for nothing: the density is that of what was observed in the row.
"""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from skvae.blocks import ranges
from skvae.validation import check_array_parameter

NO_ROWS = 1e-280  # a share of all weight at or below which a state has no direction to go


class Emission(BaseEstimator):
    """Base of the emission families: the density of a row given the state.

    A model calls, in this order, :meth:`check_parameters`, :meth:`check_rows`, :meth:`summarize`,
    :meth:`first`, then :meth:`maximize` and :meth:`log_prior` in each iteration, and :meth:`store`
    on the emission that it keeps.

    Examples
    --------
    >>> from skvae.hmm import PoissonEmission
    >>> from skvae.emissions import Emission
    >>> isinstance(PoissonEmission(), Emission)
    True
    """

    def __init_subclass__(cls, **kwargs):
        """Give a family's methods the docstrings of what they override."""
        super().__init_subclass__(**kwargs)
        for name, method in vars(cls).items():
            if callable(method) and not name.startswith("_") and method.__doc__ is None:
                method.__doc__ = getattr(super(cls, cls), name).__doc__

    # Whether one row tells so little of its state that first states are sought in averages over
    # neighbouring rows: a state per symbol is a fixed point of EM, and a poor one.
    smooth_start = False

    @property
    def is_given(self):
        """Return whether all first values are given, so that :meth:`first` reads no rows."""
        first = [v for n, v in self.get_params(deep=False).items() if n.endswith("_init")]
        return bool(first) and all(value is not None for value in first)

    def check_parameters(self, n_components):
        """Raise ValueError if a constructor parameter is not usable.

        Parameters
        ----------
        n_components : int
            The number of states, which first values must be given for.

        Raises
        ------
        ValueError
            Says the parameter, its value, and what it may be.

        Examples
        --------
        >>> from skvae.hmm import BernoulliEmission
        >>> BernoulliEmission(prior=0.5).check_parameters(2)
        Traceback (most recent call last):
            ...
        ValueError: prior=0.5: must be a finite number >= 1
        """
        raise NotImplementedError

    def check_rows(self, X, feature_names=None):
        """Raise ValueError if the family cannot have produced some row.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, float64 or float32, without infinities; NaN is missing.
        feature_names : ndarray of str, default=None
            The names of the features, for the message.

        Raises
        ------
        ValueError
            Says the column, the value, and what it may be.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission().check_rows(np.array([[0.0], [2.5]]))
        Traceback (most recent call last):
            ...
        ValueError: X[:, 0] holds 2.5: a Poisson emission takes whole numbers from 0 to 2**53
        """
        raise NotImplementedError

    def summarize(self, rows, pool, feature_names=None):
        """Return what first parameters, floors and units need to know about the data.

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
            Of the family's own kind; it does not change.

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
        raise NotImplementedError

    def first(self, rows, labels, n_components, summary, rng):
        """Return the parameters that learning starts from.

        Parameters
        ----------
        rows : skvae.blocks.Rows
            The data with their weights.
        labels : ndarray of int, shape (n_rows,)
            The state of each row in reading order; −1 is a row that is not used.
        n_components : int
            The number of states; a state may be without rows.
        summary : object
            What :meth:`summarize` returned.
        rng : RandomState
            The source of randomness.

        Returns
        -------
        parameters : NamedTuple
            With room to move: no probability is zero that was not given as zero.

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
        raise NotImplementedError

    def features(self, X, summary):
        """Return rows as points that k-means can cluster, for first states.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows; NaN is missing.
        summary : object
            What :meth:`summarize` returned.

        Returns
        -------
        points : ndarray of shape (n_samples, n_dimensions)
            As a rule the rows themselves; what is missing is NaN.

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
        old : NamedTuple
            The parameters so far, which a state without rows keeps.
        statistics : object
            The expected statistics under them.
        summary : object
            What :meth:`summarize` returned.

        Returns
        -------
        parameters : NamedTuple
            The exact maximiser.

        Raises
        ------
        skvae.ascent.loop.Collapse
            There is none that is usable.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> old = PoissonEmission.from_parameters([[1.0], [5.0]]).parameters()
        >>> PoissonEmission().maximize(old, 2 * old.statistics([0.5, 0.5]), None).rates
        array([[1.],
               [5.]])
        """
        raise NotImplementedError

    def log_prior(self, parameters, summary):
        """Return the log-density of the priors that :meth:`maximize` takes into account.

        Parameters
        ----------
        parameters : NamedTuple
            Where it is evaluated.
        summary : object
            What :meth:`summarize` returned.

        Returns
        -------
        log_prior : float
            In nats, relative to flat priors: their normalisers, which do not change while
            parameters are learned, are left out; 0.0 where there is no prior.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> emission = PoissonEmission.from_parameters([[1.0], [5.0]])
        >>> emission.log_prior(emission.parameters(), None)
        0.0
        """
        return 0.0

    def store(self, parameters):
        """Set the fitted attributes.

        Parameters
        ----------
        parameters : NamedTuple
            What they shall hold.

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
        raise NotImplementedError

    def parameters(self):
        """Return the parameters that the fitted attributes hold.

        Returns
        -------
        parameters : NamedTuple
            The parameters.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            There are no fitted attributes.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission.from_parameters([[1.0], [5.0]]).parameters().n_components
        2
        """
        if not hasattr(self, "n_features_in_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted: it has no parameters")
        return self._parameters()


# Helpers ------------------------------------------------------------------------------------------


def check_first_values(name, value, n_components, form):
    """Return given first values as an array with ``n_components`` rows, or None if there are none.

    Parameters
    ----------
    name : str
        The parameter's name, for messages.
    value : array-like or None
        What was passed.
    n_components : int
        The number of states.
    form : str
        The shape in words, such as ``"(n_components, n_features)"``: it fixes the number of axes.
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
    """Raise ValueError unless the second axis of given first values is the features'."""
    if array is not None and array.shape[1] != n_features:
        raise ValueError(
            f"{name} has shape {array.shape}: X has {n_features} features, so its second axis must "
            f"have {n_features} entries"
        )


def label_statistics(kernel, rows, labels):
    """Return the statistics of hard labels, weights included.

    Parameters
    ----------
    kernel : kernel
        Of any parameters: they decide nothing but what the statistics are measured from, and the
        conditional moments of missing values.
    rows : Rows
        The data.
    labels : ndarray of int, shape (n_rows,)
        The state of each row in reading order, −1 for none.
    """
    used = np.flatnonzero(labels >= 0)
    labels = labels[used]
    rows = rows._replace(order=used if rows.order is None else rows.order[used])
    sums, workspace = kernel.sums(), kernel.workspace()
    n_components = None
    for a, b in ranges(0, rows.n_rows, kernel.block_rows):
        X, weight = rows.take(a, b)
        for part, block in kernel.blocks(X, workspace):
            n_components = len(block.log_density())
            resp = labels[a:b][part] == np.arange(n_components)[:, None]
            resp = resp.astype(np.float64) if weight is None else resp * weight[part]
            block.accumulate(sums, resp)
    return kernel.finish(sums)


def mean_weight(rows):
    """Return what a row weighs on average: the unit of pseudo-counts."""
    return rows.weight() / rows.n_rows
