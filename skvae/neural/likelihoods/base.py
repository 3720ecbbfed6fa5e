r"""The likelihood p(x | z): prepared rows, their log-densities, means and draws.

Given z the features are independent, so that missing values drop out of the sum,

.. math:: \ln p(x \mid z) = \sum_{j \text{ observed}} \ln p(x_j \mid o_j(z)),

where the *outputs* :math:`o(z)` are the numbers from a decoder. Outputs of zero are the
independent model of the features, with first values from the data: a decoder with small first
weights starts there, for any units of X.

Symbols: B rows, D features. Rows are X, in the user's units, or *prepared*, in the family's own
units; NaN is missing in both. Log-densities are in units of the family too: ``log_jacobian``, a
constant of each feature, is added for those in the user's units. Constants of the data (locations,
units, numbers of categories) are arguments of the constructor and in ``settings``; learned
parameters are in the ``state_dict``.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from skvae.blocks import Rows, workers
from skvae.columns import check_values
from skvae.gaussian.moments import feature_moments
from skvae.neural.training.rows_on_disk import RowsOnDisk, WeightedOnDisk, blocks_of, with_weights

_STRAIGHT = 36.0  # from here on ln(1 + e^x) is x in float64


class Likelihood(nn.Module):
    """Base of the families: the density of a row given the outputs of a decoder.

    A family has ``name``, ``rule`` (the end of the message for a wrong value), ``takes`` (the names
    of its likelihood_params), and

    * ``of_data(X, *, names=None, weight=None, **likelihood_params)``, the likelihood with first
      values from X,
    * ``allowed(values)``, whether its density is positive,
    * ``log_terms``, ``mean``, ``density_parameters``, ``sample``, ``inputs``, ``constants``,
    * if its values are nominal, ``expectations`` and ``values_of``.

    Parameters
    ----------
    n_features : int
        D, the number of features of X.
    n_inputs : int
        The number of encoder inputs of a row.
    n_outputs : int
        The number of decoder outputs of a row.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.neural.likelihoods import make_likelihood
    >>> likelihood = make_likelihood("poisson", np.array([[0.0, 9.0], [2.0, 7.0]]))
    >>> likelihood.n_features, likelihood.n_inputs, likelihood.n_outputs
    (2, 2, 2)
    """

    name = rule = None
    takes = ()
    # Columns that are given, and those that have a density, as an index of columns.
    given, n_given, modelled = (), 0, slice(None)

    def __init__(self, n_features, n_inputs, n_outputs):
        super().__init__()
        self.n_features = n_features
        self.n_inputs = n_inputs
        self.n_outputs = n_outputs

    def _constant(self, name, values):
        """Keep an array as a float32 buffer that follows the module but is not in its state.

        float32 also where the module is float64, or its densities would change with a conversion.
        """
        tensor = torch.as_tensor(np.asarray(values, dtype=np.float64), dtype=torch.float32)
        self.register_buffer(name, tensor, persistent=False)

    # Rows ---------------------------------------------------------------------------------------

    @staticmethod
    def allowed(values):
        """Return which values the family can have produced; the result for NaN is not used.

        Parameters
        ----------
        values : ndarray
            Numbers in the user's units.

        Returns
        -------
        allowed : ndarray of bool
            An array of the same shape.
        """
        raise NotImplementedError

    def check(self, X, names=None):
        """Raise ValueError unless the likelihood can have produced the rows.

        Parameters
        ----------
        X : ndarray of shape (B, D)
            Rows in the user's units; NaN is missing.
        names : sequence of str, default=None
            The names of the features, for the message.

        Raises
        ------
        ValueError
            With the first wrong value, its column and the rule.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.neural.likelihoods import make_likelihood
        >>> likelihood = make_likelihood("bernoulli", np.array([[0.0, 1.0], [1.0, 1.0]]))
        >>> likelihood.check(np.array([[0.0, 0.5]]))
        Traceback (most recent call last):
        ValueError: X[:, 1] holds 0.5: a Bernoulli likelihood takes 0 and 1; round the column, or
        take 'continuous_bernoulli' for numbers from 0 to 1
        """
        check_values(blocks_of(X), names, self.allowed, self.rule)

    def prepare(self, X):
        """Return the rows in units of the family, shape (B, D), float64.

        Parameters
        ----------
        X : ndarray of shape (B, D)
            Rows in the user's units, checked; NaN is missing.

        Returns
        -------
        x : ndarray of shape (B, D)
            float64, and X itself if its units are the family's and it is float64.
        """
        return np.asarray(X, dtype=np.float64)

    @property
    def log_jacobian(self):
        """Return the change of the log-density of each feature to the units of X; float64, (D,).

        The log-density of a row in the units of X is ``log_prob`` plus their sum over its observed
        features: ln \\|d x / d X\\| if prepared rows are X in other units. It is on the CPU and no
        buffer, so that no conversion of the module rounds it.
        """
        return torch.zeros(self.n_features, dtype=torch.float64)

    def log_volume(self, X):
        """Return the sum of ``log_jacobian`` over each row's observed features, shape (B,), nats.

        Parameters
        ----------
        X : ndarray of shape (B, D)
            Rows, prepared or not; NaN is missing.

        Returns
        -------
        log_volume : ndarray of shape (B,)
            float64; independent of the other rows.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.neural.likelihoods import make_likelihood
        >>> X = np.array([[0.0, -5.0], [20.0, 5.0]])
        >>> likelihood = make_likelihood("gaussian", X)  # standard deviations of 10 and 5
        >>> likelihood.log_volume(np.array([[0.0, 0.0], [np.nan, 1.0]])).round(3)
        array([-3.912, -1.609])
        """
        return np.where(np.isnan(X), 0.0, self.log_jacobian.numpy()).sum(axis=1)

    def given_values(self, x):
        """Return the values of given columns of prepared rows, (B, n_given); None if none are."""
        return

    def inputs(self, x):
        """Return the encoder's inputs of rows: finite, and zero where a value is missing.

        Numbers are centred, so that zero is their mean; a category is an indicator of its own.

        Parameters
        ----------
        x : tensor of shape (B, D)
            Prepared rows; NaN is missing.

        Returns
        -------
        inputs : tensor of shape (B, n_inputs)
            In the dtype of x.
        """
        raise NotImplementedError

    # Densities ----------------------------------------------------------------------------------

    def log_prob(self, x, outputs, observed=None):
        """Return ln p(x | z) of the observed features, nats, without ``log_jacobian``.

        Parameters
        ----------
        x : tensor of shape (B, D)
            Prepared rows; NaN only where ``observed`` is False.
        outputs : tensor of shape (..., B, n_outputs)
            The decoder's outputs.
        observed : tensor of bool, shape (B, D), default=None
            Whether a value is observed. None: all are, which is faster.

        Returns
        -------
        log_prob : tensor of shape (..., B)
            Gradients are finite, also where values are missing.

        Examples
        --------
        >>> import numpy as np
        >>> import torch
        >>> from skvae.neural.likelihoods import make_likelihood
        >>> likelihood = make_likelihood("gaussian", np.array([[1.0, 2.0], [3.0, 6.0]]))
        >>> x = torch.tensor([[0.0, float("nan")]])
        >>> likelihood.log_prob(x, torch.zeros(1, 2), ~x.isnan())  # −½ ln 2π
        tensor([-0.9189], grad_fn=<SumBackward1>)
        """
        outputs = outputs.to(x.dtype)  # half precision is not enough for sums over features
        if observed is None:
            return self.log_terms(x, outputs).sum(-1)
        # Zero, which every family allows, instead of NaN: NaN times a gradient of zero is NaN.
        terms = self.log_terms(torch.where(observed, x, 0.0), outputs)
        return torch.where(observed, terms, 0.0).sum(-1)

    def log_terms(self, x, outputs):
        """Return ln p(x_j | z) feature by feature, nats, without ``log_jacobian``.

        Parameters
        ----------
        x : tensor of shape (B, D)
            Prepared rows with nothing missing.
        outputs : tensor of shape (..., B, n_outputs)
            The decoder's outputs, in the dtype of x.

        Returns
        -------
        log_terms : tensor of shape (..., B, D)
            Their sum over the features is ``log_prob``.
        """
        raise NotImplementedError

    def mean(self, outputs):
        """Return E[x | z] in the user's units, shape (..., D), float64.

        Parameters
        ----------
        outputs : tensor of shape (..., n_outputs)
            The decoder's outputs.

        Returns
        -------
        mean : tensor of shape (..., D)
            On the device of the outputs. Codes have no mean: of a categorical feature it is the
            most probable code.

        Examples
        --------
        >>> import numpy as np
        >>> import torch
        >>> from skvae.neural.likelihoods import make_likelihood
        >>> likelihood = make_likelihood("gaussian", np.array([[1.0, 2.0], [3.0, 6.0]]))
        >>> likelihood.mean(torch.tensor([[0.0, 1.0]]))
        tensor([[2., 6.]], dtype=torch.float64)
        """
        raise NotImplementedError

    def density_parameters(self, outputs):
        """Return the parameters of p(x | z) by name, in the user's units.

        Parameters
        ----------
        outputs : tensor of shape (..., n_outputs)
            The decoder's outputs.

        Returns
        -------
        parameters : dict of str to tensor of shape (..., D)
            float64; of a categorical feature (..., D, C), zero beyond its own categories.

        Examples
        --------
        >>> import numpy as np
        >>> import torch
        >>> from skvae.neural.likelihoods import make_likelihood
        >>> likelihood = make_likelihood("gaussian", np.array([[1.0, 2.0], [3.0, 6.0]]))
        >>> parameters = likelihood.density_parameters(torch.zeros(1, 2))
        >>> parameters["mean"]
        tensor([[2., 4.]], dtype=torch.float64)
        """
        raise NotImplementedError

    def cdf(self, x, outputs):
        """Return the probability of values up to x of each feature, for quantiles of forecasts.

        Parameters
        ----------
        x : ndarray of shape (..., D)
            Values, in the user's units.
        outputs : tensor of shape (..., n_outputs)
            The decoder's outputs, on the CPU.

        Returns
        -------
        cdf : ndarray of shape (..., D)
            NaN by default: quantiles are then those of draws.

        Examples
        --------
        >>> import numpy as np
        >>> import torch
        >>> from skvae.neural.likelihoods import make_likelihood
        >>> likelihood = make_likelihood("bernoulli", np.array([[0.0], [1.0]]))
        >>> likelihood.cdf(np.array([[0.0], [1.0]]), torch.zeros(1, 1))
        array([[0.5],
               [1. ]])
        """
        parameters = self.density_parameters(outputs)
        return self.cdf_of(x, **{name: value.numpy() for name, value in parameters.items()})

    @staticmethod
    def cdf_of(x, **parameters):
        """Return :meth:`cdf` from the density's parameters."""
        shape = np.broadcast_shapes(x.shape, next(iter(parameters.values())).shape)
        return np.full(shape, np.nan)

    @property
    def n_expectations(self):
        """The number of expectations of a row."""
        return self.n_features

    def expectations(self, outputs):
        """Return the expectations given z that :meth:`values_of` needs, (..., n_expectations).

        They are linear in p(x | z), so that a posterior mean over z gives those of p(x).

        Parameters
        ----------
        outputs : tensor of shape (..., n_outputs)
            The decoder's outputs.

        Returns
        -------
        expectations : tensor of shape (..., n_expectations)
            float64: the mean of a number, the probabilities of a category's codes.
        """
        return self.mean(outputs)

    def values_of(self, expectations):
        """Return the mean, or of a nominal feature the most probable value, (..., D), float64.

        Parameters
        ----------
        expectations : tensor of shape (..., n_expectations)
            From :meth:`expectations`, or a mean of such.

        Returns
        -------
        values : tensor of shape (..., D)
            In the user's units: the mean of a number, the most probable value of a nominal
            feature.

        Examples
        --------
        >>> import numpy as np
        >>> import torch
        >>> from skvae.neural.likelihoods import make_likelihood
        >>> likelihood = make_likelihood("categorical", np.array([[0.0], [2.0], [2.0]]))
        >>> likelihood.values_of(likelihood.expectations(torch.zeros(1, 3)))
        tensor([[2.]], dtype=torch.float64)
        """
        return expectations

    def sample(self, outputs, generator):
        """Return a draw from p(x | z) in the user's units, shape (..., D), float64.

        Parameters
        ----------
        outputs : tensor of shape (..., n_outputs)
            The decoder's outputs, one draw for each.
        generator : torch.Generator
            The source of randomness.

        Returns
        -------
        sample : tensor of shape (..., D)
            Without a gradient, on the device of the outputs.
        """
        raise NotImplementedError

    @staticmethod
    def limits(info):
        """Return the lowest and the highest value of the family, of a dtype with a ``finfo``."""
        return -info.max, info.max

    def rounded(self, X, dtype):
        """Return rows in a dtype, each value rounded to one that the family takes.

        The nearest float32 of a number just below 1 is 1, and that of one just above 0 is 0.

        Parameters
        ----------
        X : ndarray of shape (n, D), float64
            Expected rows or draws, in the user's units.
        dtype : dtype
            float64 or float32.

        Returns
        -------
        rounded : ndarray of shape (n, D)
            X itself in float64.
        """
        if dtype == np.float64:
            return X
        return np.clip(X, *self.limits(np.finfo(dtype))).astype(dtype)

    # Storage ------------------------------------------------------------------------------------

    def constants(self):
        """Return the constructor's arguments as numbers, strings and lists, by name."""
        raise NotImplementedError

    def settings(self):
        """Return a dict for JSON that rebuilds the likelihood, together with its ``state_dict``.

        Returns
        -------
        settings : dict
            The name of the family as ``"likelihood"``, and its constants.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.neural.likelihoods import make_likelihood
        >>> make_likelihood("gaussian", np.array([[1.0], [3.0]])).settings()
        {'likelihood': 'gaussian', 'location': [2.0], 'units': [1.0], 'scale': 'feature',
         'min_scale': 0.001}
        """
        return {"likelihood": self.name, **self.constants()}

    @classmethod
    def from_settings(cls, settings):
        """Return the likelihood of settings, with the first values of its learned parameters.

        Parameters
        ----------
        settings : dict
            From ``settings``.

        Returns
        -------
        likelihood : Likelihood
            A likelihood of this class.

        Raises
        ------
        ValueError
            The settings are not those of this family.
        """
        given = dict(settings)
        name = given.pop("likelihood", None)
        if name != cls.name:
            raise ValueError(f"likelihood={name!r} in the settings: must be {cls.name!r}")
        try:
            return cls(**given)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"settings of likelihood={name!r} are not usable: {error}") from error


def moments_of(X, names, weight=None):
    """Return the Moments of the features, NaN left out.

    It raises ValueError for a feature without observed values, or with values whose squares
    overflow. The weights of rows are as in :func:`skvae.neural.training.rows_on_disk.with_weights`.
    """
    rows = WeightedOnDisk(X, weight) if isinstance(X, RowsOnDisk) else Rows(X, weight)
    with workers() as pool:
        return feature_moments(rows, pool, names)


def n_observed(X, weight=None):
    """Return the number of observed values of each feature, or their total weight, shape (D,)."""
    if weight is None:
        return sum(len(rows) - np.isnan(rows).sum(axis=0) for rows in blocks_of(X))
    return sum(of_rows @ ~np.isnan(rows) for rows, of_rows in with_weights(X, weight))


def prepared(likelihood, X):
    """Return rows in a likelihood's units: an array, or RowsOnDisk that are prepared when read."""
    return X.mapped(likelihood.prepare) if isinstance(X, RowsOnDisk) else likelihood.prepare(X)


def softplus(x):
    """Return ln(1 + e^x): in float64 exactly, and the same at every place in a tensor.

    torch's own is a single operation, which is faster in training. But it is x from 20 on, and it
    rounds the last numbers of a tensor, which do not fill a vector, differently from the others.
    """
    if x.dtype != torch.float64:
        return functional.softplus(x)
    return x.clamp(max=_STRAIGHT).exp().log1p() + functional.relu(x - _STRAIGHT)


def uniform(like, generator):
    """Return numbers of [0, 1) in the shape of a tensor and on its device, float64."""
    device = generator.device
    draw = torch.rand(like.shape, generator=generator, device=device, dtype=torch.float64)
    return draw.to(like.device)
