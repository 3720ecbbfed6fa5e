"""Checks made by `compare` before fitting: models are density estimators, in one space."""

import warnings
from collections.abc import Mapping

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import column_or_1d

__all__ = ["check_models", "checked_groups", "warn_of_different_spaces"]


def check_models(models):
    """Raise an error unless `models` can be compared.

    Parameters
    ----------
    models : dict of str to estimator
        As :func:`skvae.compare` takes it.

    Raises
    ------
    ValueError
        If `models` is no dict or is empty, or holds a class where an instance is due.
    TypeError
        If a model has no ``fit`` or no ``score_samples``.

    Examples
    --------
    >>> from sklearn.neighbors import KernelDensity
    >>> from skvae.comparison.checks import check_models
    >>> check_models({"kernel density": KernelDensity})
    Traceback (most recent call last):
    ...
    ValueError: models['kernel density'] is the class KernelDensity: pass an instance of it.
    """
    if not isinstance(models, Mapping) or not models:
        raise ValueError(
            f"models={models!r} must be a dict from name to estimator, with at least one entry."
        )
    for name, model in models.items():
        if not isinstance(name, str):
            raise ValueError(f"models has the key {name!r}; a model's name must be a string.")
        if isinstance(model, type):
            raise ValueError(
                f"models[{name!r}] is the class {model.__name__}: pass an instance of it."
            )
        for method in ("fit", "score_samples"):
            if not hasattr(model, method):
                raise TypeError(
                    f"models[{name!r}] is {model!r}, which has no {method}: compare takes density "
                    "estimators with score_samples, the log-density of each row."
                )


def checked_groups(groups, n_rows):
    """Return the groups as an array, one for each row.

    Parameters
    ----------
    groups : array-like of shape (n_rows,)
        As :func:`skvae.compare` takes it.
    n_rows : int
        The number of rows of X.

    Raises
    ------
    ValueError
        If `groups` is not one label for each row.

    Examples
    --------
    >>> from skvae.comparison.checks import checked_groups
    >>> checked_groups("day", 3)
    Traceback (most recent call last):
    ...
    ValueError: groups has shape (): must be one label for each of 3 rows of X
    """
    groups = np.asarray(groups)
    shape = groups.shape
    if shape not in ((n_rows,), (n_rows, 1)):
        raise ValueError(
            f"groups has shape {shape}: must be one label for each of {n_rows} rows of X"
        )
    return column_or_1d(groups)


def warn_of_different_spaces(models):
    """Warn if log-densities of different spaces would be compared.

    They would if models are not behind the same transformers or have not the same ``condition``,
    or if a search varies either. The warnings point at the caller of the caller.

    Parameters
    ----------
    models : dict of str to estimator
        As :func:`skvae.compare` takes it.

    Examples
    --------
    >>> from sklearn.neighbors import KernelDensity
    >>> from skvae.comparison.checks import warn_of_different_spaces
    >>> warn_of_different_spaces({"a": KernelDensity(), "b": KernelDensity(bandwidth=2.0)})
    """
    spaces = {}
    for name, model in models.items():
        spaces[name], searched = _transformers(model)
        if searched:
            warnings.warn(
                f"models[{name!r}] searches over its transformers ({', '.join(searched)}), so its "
                "candidates score in different spaces, and their nats per row cannot be compared: "
                "neither with each other, in the search, nor with other models. Search over the "
                "density alone.",
                UserWarning,
                stacklevel=3,
            )
    if len(set(spaces.values())) > 1:
        described = "; ".join(
            f"{name!r} after {' and '.join(space)}" if space else f"{name!r} on X itself"
            for name, space in spaces.items()
        )
        warnings.warn(
            "The models score in different spaces, so their nats per row cannot be compared: "
            f"{described}. Put the same transformers before all of them, or transform X first.",
            UserWarning,
            stacklevel=3,
        )


def _transformers(model, searched=()):
    """Return, as text, the transformers before the density, and their parameters in a search.

    The columns that the density is conditional on count as one of them.

    `searched` are the parameters of `model` that an outer search varies.
    """
    while not isinstance(model, Pipeline) and hasattr(model, "estimator"):
        # A search, or another wrapper of one estimator. Its grid has the names of that estimator.
        searched = [*_below("estimator", searched), *_grid_names(model)]
        model = model.estimator
    if not isinstance(model, Pipeline):
        # A model of some columns given others has a density of those alone.
        condition = getattr(model, "condition", None)
        moved = tuple(name for name in searched if name == "condition")
        return () if condition is None else (f"condition={condition!r}",), moved
    *steps, (last_name, last) = model.steps
    moving = tuple(repr(step) for _, step in steps if step is not None and step != "passthrough")
    before = {"steps", *(name for name, _ in steps)}
    moved = tuple(name for name in searched if name.split("__")[0] in before)
    inner_moving, inner_moved = _transformers(last, _below(last_name, searched))
    return moving + inner_moving, moved + inner_moved


def _below(step, names):
    """Return the names of the parameters of one step, without the prefix."""
    prefix = f"{step}__"
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]


def _grid_names(search):
    """Return the names of the parameters that a search varies; other models have none."""
    grids = getattr(search, "param_grid", getattr(search, "param_distributions", ()))
    grids = [grids] if isinstance(grids, Mapping) else grids
    return list(dict.fromkeys(name for grid in grids for name in grid))
