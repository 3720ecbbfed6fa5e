"""Likelihoods p(x | z): families of densities with parameters from a decoder."""

from skvae.neural.likelihoods.base import Likelihood
from skvae.neural.likelihoods.columns import FAMILIES, Columns, likelihood_of

LIKELIHOODS = {**FAMILIES, Columns.name: Columns}

__all__ = ["LIKELIHOODS", "Likelihood", "likelihood_from_settings", "make_likelihood"]


def make_likelihood(spec, X, params=None, *, names=None, weight=None):
    """Return the likelihood with first parameters from data.

    Outputs of zero are then the independent model of the features of X.

    Parameters
    ----------
    spec : str or list of (str, columns) or (str, columns, dict)
        The name of a family: "gaussian", "student_t", "bernoulli", "continuous_bernoulli",
        "categorical", "poisson", "negative_binomial", "log_normal", "gamma", "beta"; or one for
        each of several parts of the columns, with its parameters. Columns are an index, a slice, a
        list of indices, a boolean mask or, where there are names, names.
    X : ndarray or RowsOnDisk of shape (n_samples, n_features)
        Rows in the user's units; NaN is missing.
    params : dict, default=None
        Parameters of the one family: ``scale``, ``min_scale`` of "gaussian", "student_t",
        "log_normal", "gamma" and "beta", ``dof`` of "student_t", ``n_categories`` of "categorical".
    names : sequence of str, default=None
        The names of the columns, for messages and for parts.
    weight : ndarray of shape (n_samples,) or RowsOnDisk of shape (n_samples, 1), default=None
        The weights of the rows, > 0; None is one each.

    Returns
    -------
    likelihood : Likelihood
        An ``nn.Module``.

    Raises
    ------
    ValueError
        There is no such family or parameter, a column is in no part or in two, or a family cannot
        have produced X.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.neural.likelihoods import make_likelihood
    >>> X = np.array([[1.5, 0.0, 2.0], [2.5, 1.0, 0.0]])
    >>> parts = [("student_t", 0, {"dof": 4.0}), ("categorical", [1, 2])]
    >>> make_likelihood(parts, X).n_outputs  # one, two and three
    6
    """
    if isinstance(spec, str):
        return likelihood_of(spec, X, params, names=names, weight=weight)
    if params:
        raise ValueError(
            f"likelihood_params={params!r}: must be None where likelihood is a list; each of its "
            "parts may have its own, (name, columns, params)"
        )
    return Columns.of_data(X, spec, names=names, weight=weight)


def likelihood_from_settings(settings):
    """Return the likelihood of ``settings``, with the first values of its learned parameters.

    Parameters
    ----------
    settings : dict
        From ``Likelihood.settings``.

    Returns
    -------
    likelihood : Likelihood
        Load its ``state_dict`` for the learned parameters.

    Raises
    ------
    ValueError
        The settings are not those of a likelihood.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.neural.likelihoods import likelihood_from_settings, make_likelihood
    >>> likelihood = make_likelihood("bernoulli", np.array([[0.0], [1.0]]))
    >>> likelihood_from_settings(likelihood.settings())
    Bernoulli()
    """
    name = settings.get("likelihood") if isinstance(settings, dict) else None
    if not isinstance(name, str) or name not in LIKELIHOODS:
        listed = ", ".join(repr(known) for known in LIKELIHOODS)
        raise ValueError(f"likelihood={name!r} in the settings: must be one of {listed}")
    return LIKELIHOODS[name].from_settings(settings)
