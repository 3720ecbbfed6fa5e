"""A fitted estimator with a net as a file of arrays and JSON, which holds data and no code.

The class of the estimator has

* ``_architecture``: the names of the parameters that decide the number and meaning of the weights;
* ``_module_names``: the names of its parameters that may be modules. A file holds their weights
  only; the modules are passed again to ``load``;
* ``_sizes``: the names of its stored attributes that are ints ≥ 0;
* ``_parameter_values()``: the values of all parameters by name;
* ``_restored_net(settings, state)``: the net of the parameters of the fit and of a stored state;
* in its pickles ``_settings``, the parameters of the fit, and ``_net_state``, the packed state.
"""

import numpy as np
from sklearn import config_context

from skvae.neural.model_file import load, pack_tensors, save, unpack_tensors

_ATTRIBUTES = {
    "lower_bound_": float,
    "lower_bounds_": list,
    "converged_": bool,
    "history_": dict,
    "feature_names_in_": np.ndarray,
    "categories_": list,
    "_kinds_of_categories": list,
    "_dtypes_in": list,
}
# Depending on X.
_SOMETIMES = {"feature_names_in_", "categories_", "_kinds_of_categories", "_dtypes_in"}


def write_estimator(estimator, path):
    """Write a fitted estimator to a file.

    Raises
    ------
    ValueError
        A parameter, or an attribute that the user has set, is no plain data.
    OSError
        The file cannot be written.
    """
    try:
        state = estimator.__getstate__()
    except TypeError as error:  # a callback has recorded an object in the history
        raise ValueError(f"net_ cannot be saved, a file holds data and no code: {error}") from error
    state.pop("_sklearn_version", None)
    net = state.pop("_net_state")
    values = estimator._parameter_values()
    parameters = {name: state.pop(name) for name in estimator.get_params(deep=False)}
    for name in values:  # of a subclass with another constructor, which sets them again
        state.pop(name, None)
    settings = dict(state.pop("_settings"))
    given = _given_modules(estimator, values, settings)
    for name, value in settings.items():
        if name not in estimator._architecture and not _is_plain(value):
            settings[name] = values[name]  # callbacks, for one: they trained the model
    for part in (parameters, settings):
        part.update({name: None for name in estimator._module_names if name in part})
        for name, value in part.items():
            _check_plain(name, value)
    further = _taken_further(estimator, state)
    _check_attributes(type(estimator), state)
    parts = {"parameters": parameters, "settings": settings, "attributes": state, **further}
    try:
        tree, arrays = pack_tensors(parts)
    except TypeError as error:  # a fitted attribute to which the user added an object
        raise ValueError(
            f"an attribute cannot be saved, a file holds data and no code: {error}"
        ) from error
    content = {"estimator": type(estimator).__name__, "modules": given, "parts": tree}
    content["net"], net_arrays = net
    arrays = {f"parts/{name}": array for name, array in arrays.items()}
    arrays |= {f"net/{name}": array for name, array in net_arrays.items()}
    save(path, content, arrays)


def read_estimator(cls, path, modules):
    """Return the estimator of a file, of a class.

    Parameters
    ----------
    cls : type
        The class.
    path : str or path-like
        The file.
    modules : dict
        The values of the parameters ``_module_names``, by name.

    Raises
    ------
    ValueError
        The file is damaged or not of such an estimator, or a module is missing.
    """
    content, arrays = load(path)
    try:
        parts, net, given = _parts_of(cls, content, arrays)
        for name, module in modules.items():
            if (module is None) == (name in given):
                verb = "must be passed again" if name in given else "must be None"
                raise ValueError(f"{name}: {verb}, as for the model that was saved")
            if name in parts["parameters"]:
                parts["parameters"][name] = module
            parts["settings"][name] = module
        estimator = cls(**parts["parameters"])
        settings = {**estimator._parameter_values(), **parts["settings"]}
        if foreign := settings.keys() - estimator._parameter_values().keys():
            raise ValueError(f"it has settings {sorted(foreign)} that are no parameters")
        estimator.__dict__.update(parts["attributes"], _settings=settings)
        estimator.net_ = cls._restored_net(settings, net)
        _set_further(estimator, parts)
    except Exception as error:  # of any kind: a changed file may have sizes beyond memory
        raise ValueError(f"{path} is no usable {cls.__name__}: {error}") from error
    return estimator


def _parts_of(cls, content, arrays):
    """Return (parts, state of the net, names of modules to pass) of a file's content."""
    found = content.get("estimator") if isinstance(content, dict) else None
    if found != cls.__name__:
        remedy = f"; load it by {found}.load" if isinstance(found, str) else ""
        raise ValueError(f"it holds {found!r}, and must hold estimator {cls.__name__!r}{remedy}")
    split = {"parts": {}, "net": {}}
    for name, array in arrays.items():
        part, _, rest = name.partition("/")
        split[part][rest] = array
    parts = unpack_tensors(content["parts"], split["parts"])
    _check_attributes(cls, parts["attributes"])
    return parts, unpack_tensors(content["net"], split["net"]), content["modules"]


def _kinds(cls):
    """Return the types of the attributes of a fitted estimator of a class, by name."""
    return {**dict.fromkeys(cls._sizes, int), **_ATTRIBUTES}


def _check_attributes(cls, attributes):
    """Raise ValueError unless the attributes are those of a fitted model, each of its type."""
    kinds = _kinds(cls)
    if {*attributes} | _SOMETIMES != kinds.keys():
        raise ValueError(f"its attributes {sorted(attributes)} are not those of a fitted model")
    for name, value in attributes.items():
        if type(value) is not kinds[name] or (name in cls._sizes and not 0 <= value < 2**63):
            raise ValueError(f"its attribute {name}={value!r} is not that of a fitted model")


def _given_modules(estimator, parameters, settings):
    """Return the names of the modules that a user passed before the fit."""
    given = [name for name in estimator._module_names if settings[name] is not None]
    for name in estimator._module_names:
        if (parameters[name] is None) == (name in given):
            before = "its value before the fit" if name in given else "None"
            raise ValueError(
                f"{name}={parameters[name]!r} was set after the fit and cannot be saved: "
                f"set_params({name}=...) to {before} first"
            )
    return given


def _taken_further(estimator, state):
    """Remove from a state, and return, everything that neither the constructor nor a fit has set.

    These are the settings of ``set_output``, the metadata requests, and the user's attributes.
    """
    further = {"output": state.pop("_sklearn_output_config", None)}
    if state.pop("_metadata_request", None) is not None:
        routing, methods = estimator.get_metadata_routing(), _routed_methods(type(estimator))
        further["requests"] = {name: dict(getattr(routing, name).requests) for name in methods}
    kinds = _kinds(type(estimator))
    further["own"] = {name: state.pop(name) for name in [*state] if name not in kinds}
    for name, value in further["own"].items():
        _check_own(type(estimator), name, value)
    return {name: part for name, part in further.items() if part}


def _set_further(estimator, parts):
    """Set everything that `_taken_further` has removed."""
    own = parts.get("own", {})
    for name, value in own.items():
        _check_own(type(estimator), name, value)
    estimator.__dict__.update(own)
    if "output" in parts:
        estimator.set_output(**parts["output"])
    with config_context(enable_metadata_routing=True):
        for method, requests in parts.get("requests", {}).items():
            if method not in _routed_methods(type(estimator)):
                raise ValueError(f"there is no set_{method}_request")
            getattr(estimator, f"set_{method}_request")(**requests)


def _routed_methods(cls):
    """Return the names of the methods whose metadata requests can be set."""
    setters = (name for name in dir(cls) if name.startswith("set_") and name.endswith("_request"))
    return [name.removeprefix("set_").removesuffix("_request") for name in setters]


def _check_own(cls, name, value):
    """Raise ValueError if a file cannot hold an attribute of the user's."""
    if hasattr(cls, name):
        raise ValueError(f"the attribute {name} cannot be saved, {cls.__name__} has a {name}")
    if not _is_plain(value):
        raise ValueError(
            f"the attribute {name}={value!r} cannot be saved, a file holds data and no code: "
            f"delete it, or set it to plain data first"
        )


def _is_plain(value):
    """Return whether a file can hold a value."""
    try:
        pack_tensors(value)
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
