"""Fitted arrays as attributes with one truth, and new instances of an estimator's class."""

import inspect


class FittedArray:
    """A fitted array as an attribute: a new value is checked, and used.

    The array is in the instance's ``__dict__`` under the attribute's own name, where pickle and
    scikit-learn look for it. Its class has ``_set_fitted(name, value)``, which checks a new value
    and computes again the arrays that follow from it.

    Parameters
    ----------
    tied : bool
        Whether other attributes follow from the array. It is then read as a read-only view, as
        nothing would compute them again after a change in place.
    """

    def __init__(self, *, tied=False):
        self._tied = tied

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        try:
            array = vars(instance)[self._name]
        except KeyError:
            name = type(instance).__name__
            raise AttributeError(f"{name!r} object has no attribute {self._name!r}") from None
        if self._tied:
            array = array.view()
            array.flags.writeable = False
        return array

    def __set__(self, instance, value):
        if self._name not in vars(instance):
            raise AttributeError(f"{self._name} cannot be set before fit; {how_to_begin(instance)}")
        instance._set_fitted(self._name, value)


def how_to_begin(instance):
    """Return the advice for attributes that are set before a fit."""
    name = type(instance).__name__
    if hasattr(instance, "from_parameters"):
        return f"{name}.from_parameters takes all parameters at once"
    return f"fit this {name} first"


def new_instance(cls, **parameters):
    """Return a new instance of an estimator's class that has the given constructor parameters.

    A subclass may have another constructor: parameters that it does not take are set afterwards.
    """
    taken = inspect.signature(cls).parameters
    instance = cls(**{name: value for name, value in parameters.items() if name in taken})
    vars(instance).update(parameters)
    return instance
