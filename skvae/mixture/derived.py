"""A Gaussian mixture that holds its parameters, and the mixtures that can be made of it."""

from copy import copy

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.base import LatentVariableModel
from skvae.gaussian.checks import check_positive_definite, check_weights
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.moments import LARGEST
from skvae.mixture.parameters import MixtureParameters
from skvae.validation import check_array_parameter, check_choice


class DerivableMixture(LatentVariableModel):
    """A mixture as its fitted attributes: made of known parameters, restricted, conditioned."""

    # The parameters as a value --------------------------------------------------------------------

    def _parameters(self):
        """Return the fitted parameters as a value."""
        return MixtureParameters(
            self._covariance_type,
            self.weights_,
            self.means_,
            self.covariances_,
            self.precisions_cholesky_,
        )

    def _store(self, parameters):
        self.weights_ = parameters.weights
        self.means_ = parameters.means
        self.covariances_ = parameters.covariances
        self.precisions_cholesky_ = parameters.precisions_cholesky
        self.precisions_ = parameters.structure.precisions(parameters.precisions_cholesky)
        self._covariance_type = parameters.covariance_type
        self._n_features_out = len(parameters.weights)

    @classmethod
    def from_parameters(cls, weights, means, covariances, covariance_type="full"):
        """Return a fitted mixture with known parameters.

        Parameters
        ----------
        weights : array-like of shape (n_components,)
            Weights, summing to one.
        means : array-like of shape (n_components, n_features)
            Means.
        covariances : array-like
            Covariances in the shape of ``covariances_``.
        covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
            Their form.

        Returns
        -------
        mixture : EMGaussianMixture
            As if fitted: ``lower_bound_`` is NaN, ``n_iter_`` 0.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0.0], [4.0]], [1, 1], "spherical"
        ... )
        >>> mixture.predict([[1.0], [3.0]])
        array([0, 1])
        """
        check_choice("covariance_type", covariance_type, tuple(STRUCTURES))
        means = check_array_parameter(
            "means", means, None, "(n_components, n_features)", largest=LARGEST
        )
        shape = means.shape
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"means has shape {shape}: must have shape (n_components, n_features)")
        weights = check_array_parameter("weights", weights, shape[:1], "(n_components,)")
        check_weights("weights", weights)
        structure = STRUCTURES[covariance_type]
        covariances = check_array_parameter(
            "covariances", covariances, structure.shape(*shape), f"for {covariance_type!r}"
        )
        check_positive_definite("covariances", covariances, structure)
        weights = weights / weights.sum()
        return cls._of(MixtureParameters.of(covariance_type, weights, means, covariances))

    @classmethod
    def _of(cls, parameters, **like):
        """Return a fitted mixture with parameters that are known to be good."""
        mixture = cls(len(parameters.weights), covariance_type=parameters.covariance_type, **like)
        mixture._store(MixtureParameters(*(copy(part) for part in parameters)))
        mixture.n_features_in_ = parameters.means.shape[1]
        mixture.lower_bound_ = np.nan
        mixture.lower_bounds_ = []
        mixture.n_iter_ = mixture.n_e_steps_ = 0
        mixture.converged_ = True
        return mixture

    # Other distributions ------------------------------------------------------------------------

    def marginal(self, features):
        """Return the mixture of a subset of the features, fitted.

        Parameters
        ----------
        features : array-like of int or str
            Which features, in the order they shall have: indices, or names if X had names.

        Returns
        -------
        mixture : EMGaussianMixture
            With the same weights.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0, 0], [4, 8]], [[[1, 0.5], [0.5, 1]]] * 2
        ... )
        >>> mixture.marginal([1]).means_
        array([[0.],
               [8.]])
        """
        check_is_fitted(self)
        index = self._feature_index(features)
        return self._with_features(self._parameters().marginal(index), index)

    def conditional(self, features, values):
        """Return the mixture of the other features given values of some, fitted.

        Parameters
        ----------
        features : array-like of int or str
            The features that are known: indices, or names if X had names.
        values : array-like of shape (len(features),)
            Their values.

        Returns
        -------
        mixture : EMGaussianMixture
            Of the other features, in their order. Its weights are the responsibilities given the
            values (Bishop, Pattern Recognition and Machine Learning, eq. 2.81-2.82).

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0, 0], [4, 8]], [[[1, 0.5], [0.5, 1]]] * 2
        ... )
        >>> given = mixture.conditional([0], [1.0])
        >>> given.means_
        array([[0.5],
               [6.5]])
        >>> given.weights_.round(3)
        array([0.982, 0.018])
        """
        check_is_fitted(self)
        index = self._feature_index(features)
        rest = np.setdiff1d(np.arange(self.n_features_in_), index)
        if not len(rest):
            raise ValueError(
                f"features={features!r}: must leave at least one of the {self.n_features_in_} "
                "features of the mixture"
            )
        values = check_array_parameter("values", values, None, "(len(features),)").reshape(-1)
        if values.shape != index.shape:
            raise ValueError(f"values has shape {values.shape}: must have shape {index.shape}")
        return self._with_features(self._parameters().conditional(index, values), rest)

    def _feature_index(self, features):
        """Return features, given as indices or names, as distinct indices."""
        try:
            given = np.atleast_1d(np.asarray(features))
        except (RuntimeError, TypeError, ValueError):  # ragged, or no array
            given = np.empty((0, 0))
        names = getattr(self, "feature_names_in_", None)
        if given.ndim != 1 or not len(given):
            raise ValueError(f"features={features!r}: must be a list of at least one index or name")
        if given.dtype.kind in "US" or given.dtype == object:
            if names is None:
                raise ValueError(
                    f"features={features!r}: must be indices, as X had no names in fit"
                )
            place = {name: j for j, name in enumerate(names)}
            unknown = [name for name in given if name not in place]
            if unknown:
                raise ValueError(f"features={features!r}: must be among {list(names)}")
            index = np.array([place[name] for name in given])
        elif given.dtype.kind in "iu":
            index = given.astype(np.intp)
            n_features = self.n_features_in_
            if (index < -n_features).any() or (index >= n_features).any():
                raise ValueError(f"features={features!r}: indices must be below {n_features}")
            index = np.where(index < 0, index + n_features, index)
        else:
            raise ValueError(f"features={features!r}: must be indices or names")
        if len(np.unique(index)) < len(index):
            raise ValueError(f"features={features!r}: must be distinct")
        return index

    def _with_features(self, parameters, index):
        mixture = self._of(parameters, random_state=self.random_state)
        if hasattr(self, "feature_names_in_"):
            mixture.feature_names_in_ = self.feature_names_in_[index]
        return mixture
