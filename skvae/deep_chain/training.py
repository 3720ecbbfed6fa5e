r"""Training that the deep models of sequences share: whole sequences, skorch, storage.

:class:`SequenceNet` is the base of their estimators. An estimator has a **bound module** as
:mod:`skvae.neural.training.net` describes; it has a ``model``, the module whose
weights are stored, and its arguments are those of :mod:`skvae.neural.training.sequences`.
"""

import copy
import warnings
from functools import partial

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skvae.base import LatentVariableModel, not_named
from skvae.blocks import as_sequences, is_distributed, is_list_of_sequences, warn_of_lengths
from skvae.documentation import page_fields, page_template
from skvae.neural.estimator_file import read_estimator, write_estimator
from skvae.neural.model_file import pack_tensors, unpack_tensors
from skvae.neural.networks import one_thread_if_forked
from skvae.neural.training.net import make_net, train
from skvae.neural.training.parameters import check_training, same
from skvae.neural.training.processes import Processes
from skvae.neural.training.record import Divergence
from skvae.neural.training.sequences import SequenceDataset, split_sequences
from skvae.neural.training.settings import device_name
from skvae.neural.training.state import (
    available,
    set_training_state,
    stored_seed,
    training_state,
)
from skvae.validation import check_as_fitted

_BATCH = 4, 32  # sequences: few need small batches, for enough steps
_VALIDATED = 4  # times as many sequences in a batch of validation
_NUMBERS = 2**24  # of the largest tensor of an evaluation
_TRAINING = (
    *("optimizer", "lr", "batch_size", "max_epochs", "early_stopping", "n_iter_no_change"),
    *("tol", "gradient_clip", "verbose", "net_params", "device"),
)


@not_named
class SequenceNet(BaseEstimator):
    """Base of the estimators with a net that skorch trains on batches of whole sequences.

    A subclass has ``_validate`` and ``_unchanged_on_failure`` (of
    :class:`skvae.base.LatentVariableModel`), the parameters of training of
    :func:`skvae.neural.training.parameters.check_training`, and

    * ``_architecture``, ``_module_names``: see :mod:`skvae.neural.estimator_file`;
    * ``_constants_of(sequences, **inputs)``: plain data for the model, from the first fit;
    * ``_bound_module(settings, constants, seed)``, a class method: a new bound module, on the CPU;
    * ``_prepared(bound, sequences, **inputs)``: the PreparedSequences of checked Sequences;
    * ``_log_volume(bound, prepared)``: ln of the volume of each prepared row in the units of X;
    * ``_start(bound, training, validation)``: sets first weights from prepared sequences.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The net; its bound module is ``net_.module_``.
    """

    # scikit-learn's way to the page of an estimator from its HTML representation.
    _doc_link_module = "skvae"
    _doc_link_template = page_template
    _doc_link_url_param_generator = page_fields

    _architecture = ()
    _module_names = ()
    _sizes = ("n_features_in_", "n_iter_", "_noise_seed")
    _net_parameters = ()  # further parameters that make_net takes
    _prior_share = None  # one in so many epochs is over before the prior's components are set
    _first_steps = 0  # steps before early stopping counts an epoch
    _starts_at_optimum = False  # of a part of the model: what replaces it must be better
    _densities = ("bound",)  # terms that are log-densities of prepared rows

    # What a subclass may change -----------------------------------------------------------------

    def _constants_of(self, sequences, **inputs):
        """Return plain data (numbers, strings, lists, arrays) from which the model is made."""
        raise NotImplementedError

    @classmethod
    def _bound_module(cls, settings, constants, seed):
        """Return a new bound module with ``model``, on the CPU."""
        raise NotImplementedError

    def _prepared(self, bound, sequences):
        """Return checked Sequences as PreparedSequences."""
        raise NotImplementedError

    def _log_volume(self, bound, prepared):
        """Return ln |dx / dX|, from X to prepared rows, of each row, (n_rows,), in nats."""
        return np.zeros(len(prepared.x))

    def _start(self, bound, training, validation):
        """Set the first weights, before the first epoch; ``validation`` may be None."""

    def _check_parameters(self):
        """Raise ValueError if a parameter is not usable."""
        check_training(self)
        # A model fitted on another machine may continue here, on the CPU.
        if not (hasattr(self, "net_") and self._settings["device"] == self.device):
            device_name(self.device)

    # A fit --------------------------------------------------------------------------------------

    def _fit(self, X, groups, *, n_epochs, validate, continues, **inputs):
        """Return self after a training of some more epochs.

        Parameters
        ----------
        X, groups
            Sequences, as the user gave them.
        n_epochs : int
            The number of epochs.
        validate : bool
            Whether sequences are kept aside, if ``early_stopping`` is set.
        continues : str or None
            The parameter or method that continues the earlier fit, for messages; None begins anew.
        **inputs : object
            Arguments of ``_constants_of`` and ``_prepared``; None is left out.
        """
        failure = None
        with self._unchanged_on_failure():
            if is_distributed(X):
                raise ValueError("X is a Dask array: fit needs rows in memory, as X.compute()")
            self._check_parameters()
            if Processes.here() is not None:
                raise ValueError(
                    f"{type(self).__name__} is trained by one process: call fit where "
                    "torch.distributed is not initialised"
                )
            rng = check_random_state(self.random_state)
            min_rows = 1 if continues else 2
            check = partial(self._validate, reset=not continues, min_rows=min_rows)
            width = self.n_features_in_ if continues else None
            sequences = as_sequences(X, groups, check, width)
            inputs = {name: value for name, value in inputs.items() if value is not None}
            if continues:
                net = self._continued(sequences, continues)
            else:
                net = self._begun(sequences, rng, inputs)
            prepared = self._prepared(net.module_, sequences, **inputs)
            # Sums in one order, so that the layout of X does not change the fit.
            prepared = prepared._replace(x=np.ascontiguousarray(prepared.x))
            # The earlier seed keeps the same sequences aside.
            again = continues and validate
            seed = self._noise_seed if again else int(rng.randint(2**31 - 1))
            fraction = self.validation_fraction if self.early_stopping and validate else None
            failure = self._train(net, prepared, fraction, n_epochs, seed)
        if failure is not None:
            raise failure
        return self

    def _begun(self, sequences, rng, inputs):
        """Return a new net."""
        constants = self._constants_of(sequences, **inputs)
        self._settings = settings = self._current_settings(len(sequences.offsets) - 1)
        one_thread_if_forked()
        net = self._built_net(settings, constants, int(rng.randint(2**31 - 1)))
        self.history_ = {name: [] for name in net.module_.term_names}
        return net

    def _continued(self, sequences, why):
        """Return a net that continues the fitted one."""
        settings = self._current_settings(len(sequences.offsets) - 1)
        for name in self._architecture:
            check_as_fitted(name, settings[name], self._settings[name], why, same)
        self._settings, before = settings, self._net_state()
        self.history_ = {name: list(values) for name, values in self.history_.items()}
        return self._restored_net(settings, before)

    def _current_settings(self, n_sequences):
        """Return the current parameters, with the actual size of a batch."""
        settings = self._parameter_values()
        for name, value in settings.items():
            if isinstance(value, np.generic):  # from a grid; torch needs Python's numbers
                settings[name] = value.item()
        if self.batch_size is None:
            settings["batch_size"] = int(np.clip(n_sequences // 10, *_BATCH))
        return settings

    def _parameter_values(self):
        """Return the values of all parameters."""
        return {name: getattr(self, name) for name in self.get_params(deep=False)}

    @classmethod
    def _built_net(cls, settings, constants, seed):
        """Return the initialised net of a new bound module."""
        bound = cls._bound_module(settings, constants, seed)
        bound.constants = constants
        try:
            callbacks = copy.deepcopy(settings["callbacks"])  # skorch changes them
        except (RecursionError, TypeError) as error:
            raise ValueError(
                f"callbacks={settings['callbacks']!r}: must be skorch callbacks that can be "
                f"copied: {error}"
            ) from error
        options = {name: settings[name] for name in (*_TRAINING, *cls._net_parameters)}
        if not options["net_params"] or isinstance(options["net_params"], dict):
            size = {"iterator_valid__batch_size": _VALIDATED * settings["batch_size"]}
            options["net_params"] = {**size, **(options["net_params"] or {})}
        if cls._prior_share is not None:
            options["prior_warmup"] = settings["max_epochs"] // cls._prior_share
        return make_net(bound, **options, first_steps=cls._first_steps, callbacks=callbacks)

    def _train(self, net, prepared, fraction, n_epochs, seed):
        """Train the net and set the attributes; return the Divergence that ended it, or None."""
        training, validation = split_sequences(prepared, fraction, seed)
        watched = training if validation is None else validation
        begins = not net.history
        if begins:
            self._start(net.module_, training, validation)
        start = copy.deepcopy(net.module_) if begins and self._starts_at_optimum else None
        volume = float(self._log_volume(net.module_, watched).mean())
        failure = None
        try:
            record = train(net, training, validation, n_epochs=n_epochs, volume=volume)
        except Divergence as divergence:
            if divergence.record.n_epochs == 0:
                raise
            failure, record = divergence, divergence.record
        if record.interrupted and record.n_epochs == 0:
            raise KeyboardInterrupt
        if record.interrupted:
            warnings.warn(
                f"training was interrupted after {record.n_epochs} of {n_epochs} epochs: the "
                f"weights kept are those of epoch {record.best_epoch}, the best so far",
                UserWarning,
                stacklevel=4,
            )
        self.net_, self._noise_seed = net, seed
        if start is not None and not exceeds(net.module_, start, watched, validation is not None):
            net.module_.load_state_dict(start.state_dict())
            record = record._replace(best_epoch=0)
        self._record(record, watched, volume)
        return failure

    def _record(self, record, watched, volume):
        """Set the attributes of the course of the training, in the units of X."""
        first = self.net_.module_.term_names[0]
        before = len(self.history_[first])
        found = {
            name: values + volume * (name in self._densities)
            for name, values in record.terms.items()
        }
        validated = record.valid_bounds is not None
        if validated:
            found["valid_bound"] = record.valid_bounds + volume
        elif "valid_bound" in self.history_:
            found["valid_bound"] = np.full(record.n_epochs, np.nan)
        for name, values in found.items():
            self.history_.setdefault(name, [np.nan] * before).extend(values.tolist())
        if record.best_epoch > before:
            self.n_iter_ = record.best_epoch
        elif not before:
            self.n_iter_ = 0
        trace = self.history_["valid_bound" if validated else first][: self.n_iter_]
        self.lower_bound_ = mean_bound(self.net_.module_, watched) + volume
        if not np.isfinite(self.lower_bound_):
            raise ValueError(
                f"the bound of the trained weights is {self.lower_bound_}: training diverged with "
                f"lr={self.lr!r}; lower lr, or set gradient_clip"
            )
        self.lower_bounds_ = [*trace[:-1], self.lower_bound_]
        self.converged_ = bool(record.stopped_early)

    # A fitted model -----------------------------------------------------------------------------

    def _sequences(self, X, groups):
        """Return X of a call to a fitted model as checked Sequences."""
        check_is_fitted(self)
        if is_distributed(X):
            raise ValueError("X is a Dask array: this needs rows in memory, as X.compute() gives")
        return as_sequences(X, groups, self._validate, self.n_features_in_)

    # Storage ------------------------------------------------------------------------------------

    def _net_state(self):
        return {"constants": self.net_.module_.constants, **training_state(self.net_)}

    @classmethod
    def _restored_net(cls, settings, state):
        """Return a net with a stored state, which trains with the given settings."""
        settings = {**settings, "device": available(settings["device"])}
        net = cls._built_net(settings, state["constants"], stored_seed(state))
        return set_training_state(net, state)

    def __getstate__(self):
        state = dict(super().__getstate__())
        if "net_" in state:
            del state["net_"]
            state["_net_state"] = pack_tensors(self._net_state())
        return state

    def __setstate__(self, state):
        state = dict(state)
        packed = state.pop("_net_state", None)
        super().__setstate__(state)
        if packed is not None:
            self.net_ = self._restored_net(self._settings, unpack_tensors(*packed))

    def save(self, path):
        """Write the fitted estimator to a file that holds arrays and JSON, and no code.

        Parameters
        ----------
        path : str or path-like
            The file, in the format of safetensors; replaced if it exists, as a whole or not at all.

        Raises
        ------
        ValueError
            A parameter is no plain data, such as ``callbacks`` or a generator as ``random_state``,
            or an attribute that you have set: set it to another value first.
        OSError
            The file cannot be written, or `path` is a folder, a pipe, a socket or a device.

        Examples
        --------
        >>> import os, tempfile
        >>> from skvae import EGHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = EGHiddenMarkov(2, max_epochs=5, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "geyser.safetensors")
        ...     model.save(path)
        ...     EGHiddenMarkov.load(path).score(X) == model.score(X)
        True
        """
        check_is_fitted(self)
        write_estimator(self, path)

    @classmethod
    def load(cls, path, **modules):
        """Return the estimator that was written by :meth:`save`; nothing in the file is executed.

        Parameters
        ----------
        path : str or path-like
            The file.
        **modules : nn.Module, class or callable
            The values of the parameters that were modules, by name.

        Returns
        -------
        estimator : object
            The fitted estimator, on its ``device``, or on the CPU if this machine lacks the device.

        Raises
        ------
        ValueError
            The file is damaged or not of such an estimator, or a module is missing.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from skvae import EGHiddenMarkov
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "data.txt"
        ...     _ = path.write_text("no model")
        ...     EGHiddenMarkov.load(path)
        Traceback (most recent call last):
        ValueError: ...
        """
        if foreign := modules.keys() - set(cls._module_names):
            raise TypeError(f"load() got an unexpected keyword argument {foreign.pop()!r}")
        modules = {name: modules.get(name) for name in cls._module_names}
        return read_estimator(cls, path, modules)


# auto_wrap_output_keys=None, as set_output would make one table of a list of sequences.
@not_named
class SequenceDensity(SequenceNet, LatentVariableModel, auto_wrap_output_keys=None):
    """Base of the densities of sequences, which transform rows to posteriors of their states."""

    def transform(self, X, *, groups=None):
        """Return the posterior probabilities of the states, as :meth:`predict_proba` does.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        posterior : ndarray of shape (n_samples, n_components), or list of such
            Each row sums to one; float32 if X is.

        Examples
        --------
        >>> from skvae import EGHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> EGHiddenMarkov(2, max_epochs=5, random_state=0).fit(X).transform(X).shape
        (299, 2)
        """
        if is_list_of_sequences(X):
            return self._listed(self.predict_proba(X, groups=groups), X)
        return super().transform(X, groups=groups)

    def fit_transform(self, X, y=None, **params):
        """Return the posterior probabilities of the states of X, after fitting to it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        y : None
            Ignored.
        **params : dict
            Arguments of ``fit``; ``groups`` goes to ``transform`` too.

        Returns
        -------
        posterior : ndarray of shape (n_samples, n_components), or list of such
            Each row sums to one; float32 if X is.

        Examples
        --------
        >>> from skvae import EGHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> EGHiddenMarkov(2, max_epochs=5, random_state=0).fit_transform(load_geyser().data).shape
        (299, 2)
        """
        if y is not None and params.get("groups") is None:
            warn_of_lengths(y, X)
        return self.fit(X, **params).transform(X, groups=params.get("groups"))


def in_double(module):
    """Return a copy of a module for evaluation, in float64 on the CPU."""
    return copy.deepcopy(module).cpu().double().eval()


def mean_bound(bound, prepared):
    """Return the mean bound of the rows of PreparedSequences in float64, in nats per row."""
    return float(bounds_of(bound, prepared).sum() / len(prepared.x))


def bounds_of(bound, prepared):
    """Return the bound of each of the PreparedSequences in float64, (n_sequences,), in nats."""
    bound = in_double(bound)
    found = _of_rows(bound, prepared, lambda **inputs: bound(**inputs)[1])
    return np.add.reduceat(found, prepared.offsets[:-1])


@torch.no_grad()
def _of_rows(bound, prepared, function):
    """Return the results of a function for all rows of PreparedSequences, (n_rows,)."""
    rows = SequenceDataset(prepared, dtype=torch.float64)
    # Batches of about the same number of rows as fit in memory.
    most = max(1, int(_NUMBERS / max(bound.numbers_per_row, 1)))
    n_batches = min(len(rows), -(-len(prepared.x) // most))
    found = [function(**inputs) for inputs, _ in rows.batches(n_batches, shuffle=False)]
    return torch.cat(found).numpy()


def exceeds(bound, start, prepared, held_out):
    """Return whether a module has a higher bound than its start, on the same sequences.

    Of sequences that were held out the gain must be certain: one of many epochs is better than the
    start by chance.
    """
    bound, start = in_double(bound), in_double(start)
    gain = _of_rows(bound, prepared, bound.predictive)
    gain -= _of_rows(start, prepared, start.predictive)
    return is_certain(gain, prepared.offsets) if held_out else bool(gain.sum() > 0)


def is_certain(gain, offsets):
    """Return whether the sum of some gains (n_rows,) is above two standard errors.

    The error is that of independent sequences, or that of independent rows if it is larger: the
    spread of a few sequences is small by chance, and a single one has none.
    """
    of_sequences = np.add.reduceat(gain, offsets[:-1])
    errors = [
        np.sqrt(len(part)) * part.std(ddof=1) for part in (gain, of_sequences) if len(part) > 1
    ]
    return bool(gain.sum() > 2.0 * max(errors, default=0.0))
