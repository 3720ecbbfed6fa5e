"""Missing values, filled by a density that was fitted to other rows."""

from inspect import signature

from sklearn import get_config
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skvae.blocks.sequences import is_list_of_sequences
from skvae.tasks.base import OF_DENSITY, DensityTask, fitted, given
from skvae.tasks.tables import filled_table
from skvae.validation import check_choice, check_random


class DensityImputer(OneToOneFeatureMixin, TransformerMixin, DensityTask):
    """Imputation: a transformer that fills in missing values by a density of the rows.

    Parameters
    ----------
    density : estimator
        An estimator with ``fit`` and ``impute``, such as :class:`skvae.EMGaussianMixture`,
        :class:`skvae.BayesianMixtureSVI`, :class:`skvae.VariationalAutoencoder` or
        :class:`skvae.EMHiddenMarkov`, or a search over its parameters. It is cloned.
    draw : bool, default=False
        Whether missing values are drawn from their distribution given the observed values of the
        row, instead of being its expectation, for densities whose ``impute`` has ``draw``. Several
        imputers, each with another ``random_state``, are multiple imputation.
    random_state : int, RandomState instance or None, default=None
        The source of the draws. With an int, ``transform`` is deterministic.

    Attributes
    ----------
    density_ : estimator
        The fitted density.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Names of the features, if X has them.

    See Also
    --------
    sklearn.impute.SimpleImputer : One value for each column.
    sklearn.impute.IterativeImputer : A regression for each column.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import EMGaussianMixture
    >>> from skvae.datasets import load_geyser
    >>> from skvae.tasks import DensityImputer
    >>> imputer = DensityImputer(EMGaussianMixture(2, random_state=0)).fit(load_geyser().data)
    >>> imputer.transform([[50.0, np.nan], [80.0, np.nan]]).round(1)
    array([[50. ,  4.4],
           [80. ,  3. ]])
    """

    __metadata_request__transform = OF_DENSITY

    def __init__(self, density, *, draw=False, random_state=None):
        self.density = density
        self.draw = draw
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.non_deterministic = tags.non_deterministic or bool(self.draw)
        return tags

    def fit(self, X, y=None, sample_weight=None, *, groups=None, **params):
        """Return self after a fit of the density.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows, in which missing values may be missing; for a density of sequences also a list
            of them.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for a density that takes it.
        **params : dict
            More metadata of the density's ``fit``.

        Returns
        -------
        self : DensityImputer
            The imputer.

        Raises
        ------
        TypeError
            The density has no ``impute``.
        ValueError
            A parameter is not usable.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> from skvae.tasks import DensityImputer
        >>> DensityImputer(EMGaussianMixture(1)).fit([[0.0, 1.0], [1.0, 3.0]]).n_features_in_
        2
        """
        self._check_parameters()
        params = given(**params, sample_weight=sample_weight, groups=groups)
        density = fitted(self.density, X, None, params)
        self.density_ = density
        self._set_features(density)
        return self

    def _check_parameters(self):
        self._check_density("impute")
        check_choice("draw", self.draw, (True, False))
        check_random("random_state", self.random_state)

    def transform(self, X, *, groups=None):
        """Return X with its missing values filled in.

        Parameters
        ----------
        X : {array-like, DataFrame} of shape (n_samples, n_features), or list of such
            Rows; NaN, and None or ``pandas.NA`` in a data frame, are missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for a density that takes it.

        Returns
        -------
        X_filled : {ndarray, DataFrame} of shape (n_samples, n_features), or list of such
            A data frame of pandas or polars is returned as one, with its columns and its index,
            unless ``set_output`` has another container. Observed values are unchanged. Columns
            keep their dtypes: integers and categories too where the filled-in values are such,
            as the most probable values of categories are; others become floats.

        Examples
        --------
        >>> import pandas as pd
        >>> from skvae import EMGaussianMixture
        >>> from skvae.tasks import DensityImputer
        >>> X = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [1, 3, 5]}, index=["x", "y", "z"])
        >>> imputer = DensityImputer(EMGaussianMixture(1)).fit(X)
        >>> imputer.transform(pd.DataFrame({"a": [None, 4.0], "b": [3, 9]}, index=["u", "v"]))
             a  b
        u  1.0  3
        v  4.0  9
        """
        check_is_fitted(self)
        listed = is_list_of_sequences(X)
        # scikit-learn makes one table of all that transform returns.
        output = vars(self).get("_sklearn_output_config", {}).get("transform")
        if listed and (output or get_config()["transform_output"]) != "default":
            raise ValueError(
                "set_output makes no tables of a list of sequences: set transform='default'; data "
                "frames in the list are returned as such"
            )
        density = self.density_
        while hasattr(density, "best_estimator_"):
            density = density.best_estimator_
        filled = density.impute(X, **given(groups=groups), **self._draws(density))
        if listed:
            return [filled_table(*pair) for pair in zip(X, filled, strict=True)]
        return filled_table(X, filled)

    def _draws(self, density):
        """Return the arguments of draws."""
        self._check_parameters()
        if not self.draw:
            return {}
        if "draw" not in signature(density.impute).parameters:
            raise ValueError(
                f"draw={self.draw!r}: {type(density).__name__}.impute makes no draws; set "
                "draw=False, or use another density, such as EMGaussianMixture"
            )
        return {"draw": True, "random_state": self.random_state}

    def fit_transform(self, X, y=None, *, groups=None, **params):
        """Return X with its missing values filled in by a density that is fitted to X.

        Parameters
        ----------
        X : {array-like, DataFrame} of shape (n_samples, n_features), or list of such
            Rows.
        y : None
            Ignored.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for a density that takes it.
        **params : dict
            More metadata of ``fit``.

        Returns
        -------
        X_filled : {ndarray, DataFrame} of shape (n_samples, n_features), or list of such
            As of ``transform``.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> from skvae.tasks import DensityImputer
        >>> X = [[0.0, 1.0], [2.0, 3.0], [1.0, float("nan")]]
        >>> DensityImputer(EMGaussianMixture(1)).fit_transform(X).round(2)[2]
        array([1., 2.])
        """
        return self.fit(X, groups=groups, **params).transform(X, groups=groups)
