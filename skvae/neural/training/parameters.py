"""Checks of the parameters of training that estimators share, and whether two values are alike."""

from numbers import Integral, Real

import numpy as np

from skvae.neural.networks import ACTIVATIONS
from skvae.validation import check_choice, check_number, check_random

LARGEST = 1e30  # that float32 can multiply with


def check_training(estimator):
    """Raise ValueError if a parameter of networks or training is not usable.

    The device is not checked, as a model fitted on another machine may continue here.

    Parameters
    ----------
    estimator : object
        It has all these parameters as attributes.
    """
    for name in ("max_epochs", "n_iter_no_change"):
        check_number(name, getattr(estimator, name), Integral, 1)
    if estimator.batch_size is not None:
        check_number("batch_size", estimator.batch_size, Integral, 1)
    check_number("tol", estimator.tol, Real, 0)
    _check_rates(estimator)
    check_number("validation_fraction", estimator.validation_fraction, Real, 0)
    if not 0 < estimator.validation_fraction < 1:
        raise ValueError(
            f"validation_fraction={estimator.validation_fraction!r}: must be in (0, 1)"
        )
    check_choice("activation", estimator.activation, tuple(ACTIVATIONS))
    for name in ("early_stopping", "warm_start"):
        check_choice(name, getattr(estimator, name), (True, False))
    if isinstance(estimator.net_params, dict) and "train_split" in estimator.net_params:
        raise ValueError(
            "net_params has 'train_split': rows are kept aside by validation_fraction, or not "
            "at all by early_stopping=False"
        )
    check_random("random_state", estimator.random_state)
    check_number("verbose", estimator.verbose, Integral, 0, flags=True)
    _check_layers(estimator)


def _check_rates(estimator):
    for name in ("lr", "gradient_clip"):
        value = getattr(estimator, name)
        if name == "gradient_clip" and value is None:
            continue
        check_number(name, value, Real, 0, LARGEST)
        if value == 0:
            raise ValueError(f"{name}={value!r}: must be > 0")


def _check_layers(estimator):
    sizes = estimator.hidden_layer_sizes
    good = isinstance(sizes, tuple | list) and all(
        isinstance(size, Integral) and not isinstance(size, bool) and size >= 1 for size in sizes
    )
    if not good:
        raise ValueError(f"hidden_layer_sizes={sizes!r}: must be a tuple of integers >= 1, or ()")


def same(before, now):
    """Return whether two values of a parameter mean the same."""
    if isinstance(before, list | tuple) and isinstance(now, list | tuple):
        return len(before) == len(now) and all(map(same, before, now))
    if isinstance(before, dict) and isinstance(now, dict):
        return before.keys() == now.keys() and all(same(before[key], now[key]) for key in now)
    if isinstance(before, np.ndarray) or isinstance(now, np.ndarray):
        return np.array_equal(before, now)
    return before is now or bool(before == now)
