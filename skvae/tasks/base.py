"""The density inside an estimator of a task: checks, fits, log-densities, and rows of X."""

from copy import deepcopy
from inspect import signature

import numpy as np
from scipy.sparse import issparse
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    get_routing_for_object,
)
from sklearn.utils.validation import has_fit_parameter

from skvae.blocks.sequences import as_sequences
from skvae.documentation import page_fields, page_template

OF_DENSITY = {"groups": UNUSED}  # it is the density that requests them


class DensityTask(MetaEstimatorMixin, BaseEstimator):
    """Base of the tasks: an estimator around ``density``, which it clones and never changes.

    A fit takes the metadata that the density's ``fit`` requests; the other methods take the
    ``groups`` that the density's ``predict`` requests.
    """

    # scikit-learn's way to the page of an estimator from its HTML representation.
    _doc_link_module = "skvae"
    _doc_link_template = page_template
    _doc_link_url_param_generator = page_fields

    __metadata_request__fit = {"sample_weight": UNUSED, **OF_DENSITY}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if hasattr(self.density, "__sklearn_tags__") and not isinstance(self.density, type):
            inner = get_tags(self.density)
            tags.input_tags = deepcopy(inner.input_tags)
            tags.non_deterministic = inner.non_deterministic
        return tags

    def get_metadata_routing(self):
        """Return the routing of metadata, of the estimator's own requests and of the density's.

        Returns
        -------
        routing : sklearn.utils.metadata_routing.MetadataRouter
            The router that scikit-learn's meta-estimators read.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> from skvae.tasks import DensityImputer
        >>> type(DensityImputer(EMGaussianMixture()).get_metadata_routing()).__name__
        'MetadataRouter'
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        # Routing has no score_samples; the density's predict requests the same groups.
        for method in ("predict_proba", "predict_log_proba", "decision_function", "transform"):
            mapping.add(caller=method, callee="predict")
        mapping.add(caller="predict", callee="predict").add(caller="score", callee="predict")
        router = MetadataRouter(owner=self).add_self_request(self)
        return router.add(density=self.density, method_mapping=mapping)

    def _check_density(self, *methods):
        """Raise an error unless ``density`` is an estimator with ``fit`` and the methods."""
        density = self.density
        if isinstance(density, type):
            raise ValueError(
                f"density={density.__name__} is a class: pass an instance, {density.__name__}()"
            )
        if getattr(density, "refit", True) is False:
            raise ValueError(
                f"density={density!r} keeps no fitted model: set refit=True, or the name of a score"
            )
        for method in ("fit", *methods):
            if not hasattr(density, method) and not hasattr(_searched(density), method):
                raise TypeError(
                    f"density={density!r} has no {method}: must be an estimator with fit and "
                    f"{' and '.join(methods)}, such as EMGaussianMixture(3)"
                )

    def _set_features(self, density):
        """Copy the number and the names of the features from a fitted density."""
        for name in ("n_features_in_", "feature_names_in_"):
            vars(self).pop(name, None)
            if hasattr(density, name):
                setattr(self, name, getattr(density, name))


def _searched(model):
    """Return the density in searches, which may be nested; any other model itself."""
    while hasattr(model, "estimator"):
        model = model.estimator
    return model


def takes_groups(density):
    """Return whether a density, or the one in a Pipeline or a search, scores sequences of rows.

    Examples
    --------
    >>> from skvae import EMGaussianMixture, EMHiddenMarkov
    >>> from skvae.tasks.base import takes_groups
    >>> takes_groups(EMHiddenMarkov(2)), takes_groups(EMGaussianMixture(2))
    (True, False)
    """
    density = _searched(density)
    if isinstance(density, Pipeline):
        return takes_groups(density.steps[-1][1])
    return "groups" in signature(density.score_samples).parameters


def given(**params):
    """Return the metadata that are given, those that are not None, in a form to take rows of."""
    return {name: sliceable(value) for name, value in params.items() if value is not None}


def fitted(density, X, y=None, params=(), *, drop_groups=False):
    """Return a fitted clone of a density.

    Parameters
    ----------
    density : estimator
        A density, a search over one, or a Pipeline that ends in one.
    X : array-like or list of such
        Rows, or sequences of rows.
    y : array-like or None
        For the transformers of a Pipeline.
    params : dict
        Metadata of ``fit``. A Pipeline or a search passes them on by metadata routing, which need
        not be enabled.
    drop_groups : bool
        Whether ``groups`` may be left out for a density that does not request them.

    Raises
    ------
    ValueError
        ``groups`` or ``sample_weight`` is given and the density does not take it.
    """
    params = dict(params)
    if "groups" in params and not get_routing_for_object(density).consumes("fit", ["groups"]):
        if not drop_groups:
            raise ValueError(
                f"groups is given, and density={density!r} does not request it: leave it out, or "
                "use a density of sequences, such as EMHiddenMarkov(2)"
            )
        del params["groups"]
    nested = isinstance(density, Pipeline) or hasattr(density, "estimator")
    if "sample_weight" in params and not nested and not has_fit_parameter(density, "sample_weight"):
        raise ValueError(
            f"sample_weight is given, and {type(density).__name__}.fit does not take it: leave it "
            "out, or use another density, such as EMGaussianMixture"
        )
    routing = get_config()["enable_metadata_routing"] or (nested and bool(params))
    with config_context(enable_metadata_routing=routing):
        return clone(density).fit(X, y, **params)


def offsets_of(X, groups):
    """Return the rows at which sequences begin, and the number of rows, (n_sequences + 1,)."""
    return as_sequences(X, groups, lambda rows: rows).offsets


def sliceable(values):
    """Return data of which rows can be taken: arrays, tables and lists as they are."""
    known = hasattr(values, "shape") or isinstance(values, list | tuple)
    return values if known else np.asarray(values)


def part_of(values, index):
    """Return some rows of data, or some elements of a list."""
    if hasattr(values, "iloc"):
        return values.iloc[index]
    if issparse(values):
        return values.tocsr()[index]
    if isinstance(values, list | tuple):
        return [values[i] for i in index]
    return values[index]


def part_of_params(params, index, n):
    """Return the metadata of some of n rows; a value without that length is for all rows."""
    return {
        name: part_of(value, index) if _length(value) == n else value
        for name, value in params.items()
    }


def _length(value):
    shape = getattr(value, "shape", None)
    if shape is not None:
        return shape[0] if len(shape) else None
    return len(value) if isinstance(value, list | tuple) else None
