"""Saving a fitted autoencoder: as arrays in a pickle, or as a file that holds data and no code."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.neural.model_file import load, pack, save, unpack
from skvae.vae.assembly import ARCHITECTURE, net_state, restored

_MODULES = ("encoder", "decoder")  # may be code, which a file does not hold
_SIZES = ("n_features_in_", "n_iter_", "_noise_seed", "_n_features_out")
_ATTRIBUTES = {
    **dict.fromkeys(_SIZES, int),
    "lower_bound_": float,
    "lower_bounds_": list,
    "converged_": bool,
    "history_": dict,
    "feature_names_in_": np.ndarray,
}


class SavedAutoencoder:
    """Has a net, ``net_``, that is pickled as plain arrays, and ``_settings`` it was built with.

    So a model that was fitted on CUDA is read where there is none, and skops need trust no type.
    """

    def __getstate__(self):
        state = dict(super().__getstate__())
        if "net_" in state:
            state["_net_state"] = pack(net_state(state.pop("net_")))
        return state

    def __setstate__(self, state):
        state = dict(state)
        packed = state.pop("_net_state", None)
        super().__setstate__(state)
        if packed is not None:
            self.net_ = restored(self._settings, unpack(*packed))

    def save(self, path):
        """Write the fitted estimator to a file that holds arrays and JSON, and no code.

        Parameters
        ----------
        path : str or path-like
            The file, in the format of safetensors; replaced if it exists, as a whole or not at all.

        Raises
        ------
        ValueError
            A parameter is no plain data, as ``callbacks`` or a generator as ``random_state``: set
            it to another value first. Modules passed as ``encoder`` and ``decoder`` are left out,
            their weights are not; :meth:`load` is given the modules again.

        Examples
        --------
        >>> import os, tempfile
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "geyser.safetensors")
        ...     vae.save(path)
        ...     VariationalAutoencoder.load(path).score(X) == vae.score(X)
        True
        """
        check_is_fitted(self)
        state = self.__getstate__()
        state.pop("_sklearn_version", None)
        net = state.pop("_net_state")
        parameters = {name: state.pop(name) for name in self.get_params(deep=False)}
        settings = dict(state.pop("_settings"))
        given = [name for name in _MODULES if settings[name] is not None]
        for name, value in settings.items():
            if name not in ARCHITECTURE and not _is_plain(value):
                settings[name] = parameters[name]  # callbacks, say: how it trained, not what it is
        parts = {"parameters": parameters, "settings": settings, "attributes": state}
        for part in (parameters, settings):
            part.update(dict.fromkeys(_MODULES))
            for name, value in part.items():
                _check_plain(name, value)
        tree, arrays = pack(parts)
        content = {"estimator": type(self).__name__, "modules": given, "parts": tree}
        content["net"], net_arrays = net
        arrays = {f"parts/{name}": array for name, array in arrays.items()}
        arrays |= {f"net/{name}": array for name, array in net_arrays.items()}
        save(path, content, arrays)

    @classmethod
    def load(cls, path, *, encoder=None, decoder=None):
        """Return the estimator that was written by :meth:`save`; nothing in the file is executed.

        Parameters
        ----------
        path : str or path-like
            The file.
        encoder, decoder : nn.Module, class or callable, default=None
            What was passed as the parameter of that name; needed if something was.

        Returns
        -------
        estimator : VariationalAutoencoder
            Fitted, on the device that its ``device`` says, or on the CPU if there is no such.

        Raises
        ------
        ValueError
            The file is damaged or not of such an estimator, or a module is missing.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from skvae import VariationalAutoencoder
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "data.txt"
        ...     _ = path.write_text("no model")
        ...     VariationalAutoencoder.load(path)
        Traceback (most recent call last):
        ValueError: ...
        """
        content, arrays = load(path)
        try:
            parts, net, given = _parts_of(cls, content, arrays)
            modules = {"encoder": encoder, "decoder": decoder}
            for name, module in modules.items():
                if (module is None) == (name in given):
                    verb = "must be passed again" if name in given else "must be None"
                    raise ValueError(f"{name}: {verb}, as for the model that was saved")
                parts["parameters"][name] = parts["settings"][name] = module
            estimator = cls(**parts["parameters"])
            settings = cls(**parts["settings"]).get_params(deep=False)
            estimator.__dict__.update(parts["attributes"], _settings=settings)
            estimator.net_ = restored(settings, net)
        except Exception as error:  # whatever a changed file leads to: sizes beyond memory, too
            raise ValueError(f"{path} is no usable {cls.__name__}: {error}") from error
        return estimator


def _parts_of(cls, content, arrays):
    """Return (parts, state of the net, modules to be given) of a file's content."""
    if not isinstance(content, dict) or content.get("estimator") != cls.__name__:
        raise ValueError(f"it must hold estimator {cls.__name__!r}")
    split = {"parts": {}, "net": {}}
    for name, array in arrays.items():
        part, _, rest = name.partition("/")
        split[part][rest] = array
    parts = unpack(content["parts"], split["parts"])
    _check_attributes(parts["attributes"])
    return parts, unpack(content["net"], split["net"]), content["modules"]


def _check_attributes(attributes):
    """Raise ValueError unless they are those of a fitted model, each of its type."""
    if {*attributes, "feature_names_in_"} != _ATTRIBUTES.keys():
        raise ValueError(f"its attributes {sorted(attributes)} are not those of a fitted model")
    for name, value in attributes.items():
        if type(value) is not _ATTRIBUTES[name] or (name in _SIZES and not 0 <= value < 2**63):
            raise ValueError(f"its attribute {name}={value!r} is not that of a fitted model")


def _is_plain(value):
    """Return whether a file can hold a value."""
    try:
        pack(value)
    except TypeError:
        return False
    return True


def _check_plain(name, value):
    """Raise ValueError if a parameter is not plain data."""
    if not _is_plain(value):
        raise ValueError(
            f"{name}={value!r} cannot be saved, a file holds data and no code: "
            f"set_params({name}=...) to plain data first"
        )
