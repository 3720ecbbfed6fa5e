"""Which values the autoencoder's parameters may have; parts of the model check their own."""

from numbers import Integral, Real

from skvae.neural.networks import ACTIVATIONS
from skvae.neural.posteriors import COVARIANCES
from skvae.neural.priors import PRIORS
from skvae.validation import check_choice, check_number, check_random

_LARGEST = 1e30  # that float32 can multiply with


def check_parameters(estimator):
    """Raise ValueError if a parameter is not usable; the device is not looked at."""
    for name in ("n_components", "n_prior_components", "n_importance_samples"):
        check_number(name, getattr(estimator, name), Integral, 1)
    for name in ("n_score_samples", "max_epochs", "n_iter_no_change"):
        check_number(name, getattr(estimator, name), Integral, 1)
    if estimator.batch_size is not None:
        check_number("batch_size", estimator.batch_size, Integral, 1)
    for name in ("beta", "free_bits"):
        check_number(name, getattr(estimator, name), Real, 0, _LARGEST)
    check_number("tol", estimator.tol, Real, 0)
    check_number("kl_warmup", estimator.kl_warmup, Integral, 0)
    if estimator.free_bits and estimator.n_importance_samples > 1:
        raise ValueError(
            f"free_bits={estimator.free_bits!r}: must be 0 with n_importance_samples > 1, as that "
            "bound has no divergence of its own"
        )
    _check_rates(estimator)
    check_number("validation_fraction", estimator.validation_fraction, Real, 0)
    if not 0 < estimator.validation_fraction < 1:
        raise ValueError(
            f"validation_fraction={estimator.validation_fraction!r}: must be in (0, 1)"
        )
    check_choice("activation", estimator.activation, tuple(ACTIVATIONS))
    check_choice("encoder_covariance", estimator.encoder_covariance, COVARIANCES)
    check_choice("prior", estimator.prior, PRIORS)
    for name in ("early_stopping", "mixed_precision", "warm_start"):
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
        check_number(name, value, Real, 0, _LARGEST)
        if value == 0:
            raise ValueError(f"{name}={value!r}: must be > 0")


def _check_layers(estimator):
    sizes = estimator.hidden_layer_sizes
    good = isinstance(sizes, tuple | list) and all(
        isinstance(size, Integral) and not isinstance(size, bool) and size >= 1 for size in sizes
    )
    if not good:
        raise ValueError(f"hidden_layer_sizes={sizes!r}: must be a tuple of integers >= 1, or ()")
