r"""Transcriber of sequences: connectionist temporal classification, whose paths are summed exactly.

.. math:: p(y \mid x) = \sum_{\pi:\, \mathcal{B}(\pi) = y} \; \prod_t p_t(\pi_t)

The latent variable is the path :math:`\pi`, a label or a blank for each row, of which the labelling
:math:`\mathcal{B}(\pi)` keeps no repetitions and no blanks: where a label begins and ends need not
be known (Graves, Fernández, Gomez & Schmidhuber, Connectionist temporal classification, ICML 2006).
Training is in :mod:`skvae.deep_chain.training`, the sum in
:mod:`skvae.deep_chain.transcription_bound`, search and alignment in
:mod:`skvae.deep_chain.labellings`.
"""

from itertools import pairwise
from numbers import Integral

import numpy as np
import torch

from skvae.base import LatentVariableModel
from skvae.deep_chain.label_sequences import in_form, labels_of
from skvae.deep_chain.labellings import (
    best_alignment,
    best_labelling,
    log_probability,
    rows_needed,
)
from skvae.deep_chain.training import SequenceNet, in_double
from skvae.deep_chain.transcription_bound import transcription_bound
from skvae.neural.training.sequences import PreparedSequences
from skvae.validation import check_number

# At first the bound hardly rises: the network gives blanks everywhere until it finds labels
# (measured on 20 to 100 lines of digits: 40 to 150 steps).
_FIRST_STEPS = 300
_NUMBERS = 2**24  # of the largest tensor of sequences that are computed together
_OF_SEQUENCES = {"groups": True}


class CTCTranscriber(SequenceNet):
    """Transcribes sequences of rows into sequences of labels, without known timing (CTC).

    A network gives each row the probabilities of the labels and of a blank; training maximises the
    probability of the label sequence of each sequence of rows, summed exactly over all ways to
    place the labels in the rows.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(128,)
        The widths of the hidden layers of the built-in network, which reads a window of rows.
    activation : {'relu', 'tanh', 'logistic', 'identity', 'elu', 'gelu', 'leaky_relu', 'silu', \
'softplus'}, default='relu'
        Applied after a hidden layer.
    context : int, default=5
        The number of rows before a row, and behind it, in its window, ≥ 0.
    network : nn.Module, class or callable, default=None
        A module in place of the built-in network; a copy of it is trained. A class or callable is
        called without arguments and returns a module. It reads sequences, a tensor (n_sequences,
        n_rows, n_features) in which zeros follow the end of a sequence, and returns logits
        (n_sequences, n_rows, 1 + n_classes), of the blank first. If its ``forward`` has an argument
        ``lengths``, it is passed the number of rows of each sequence.
    beam_width : int, default=10
        The number of prefixes that :meth:`predict` keeps after each row. A wider beam finds more
        probable label sequences.
    max_epochs : int, default=500
        The largest number of passes over the data, ≥ 1; elsewhere in scikit-learn, ``max_iter``.
    batch_size : int, default=None
        The largest number of sequences in a batch. None is 32, or a tenth of the sequences if that
        is fewer, but at least 4.
    lr : float, default=2e-3
        Learning rate.
    optimizer : {'adam', 'adamw', 'rmsprop', 'sgd'} or class of torch.optim, default='adam'
        The optimiser.
    gradient_clip : float, default=None
        The largest norm of the gradient.
    early_stopping : bool, default=True
        Whether to set sequences aside for validation, stop when their probability no longer rises,
        and keep the weights with the largest one. The first weights count too.
    validation_fraction : float, default=0.1
        The share of those sequences.
    n_iter_no_change : int, default=20
        Epochs without improvement after which training stops; those before 300 steps do not count.
    tol : float, default=1e-3
        The smallest improvement of the objective that counts, in nats per row.
    callbacks : list, default=None
        Callbacks of skorch, such as a learning-rate schedule or a checkpoint.
    net_params : dict, default=None
        Any other parameter of ``skorch.NeuralNet`` but those of batches, which are whole sequences:
        ``{"optimizer__weight_decay": 0.01}``.
    device : str, default='auto'
        A device of torch; 'auto' is CUDA if there is one, else the CPU.
    random_state : int, RandomState instance or None, default=None
        The source of the first weights, the validation sequences and batches.
    warm_start : bool, default=False
        Whether a further ``fit`` continues the earlier one instead of starting anew.
    verbose : int, default=0
        0 prints nothing, 1 shows a progress bar with the current bound.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    net_ : skorch.NeuralNet
        The net; its network is ``net_.module_.model.network``, its history ``net_.history``.
    lower_bound_ : float
        ln p(y | x) under the stored weights in nats per row: of the validation sequences, or of all
        sequences if there are none. It is exact.
    lower_bounds_ : list of float
        The same after each epoch up to that of the stored weights. Without validation sequences it
        is the mean over the epoch, during which the weights change; the last is ``lower_bound_``.
    history_ : dict of str to list of float
        ``bound`` of the training sequences and ``valid_bound`` of the validation sequences in every
        epoch, in nats per row.
    n_iter_ : int
        The number of epochs that led to the stored weights: 0 for the first weights.
    converged_ : bool
        Whether early stopping ended the training. If not, there is no warning: the number of epochs
        is a budget.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if X had names that are all strings.

    See Also
    --------
    EMHiddenMarkov : A density of sequences, whose states may be known for some rows.
    sklearn.neural_network.MLPClassifier : A class for each row, where the timing is known.

    Notes
    -----
    It is no density of X, so that :func:`skvae.compare` does not take it. Rows are standardised
    inside; NaN in X is missing, and the network reads the mean in its place. A sequence of T rows
    has no path for more than T labels, where each label that repeats the one before it counts as
    two, for the blank between them.

    Rows of a sequence are computed with those of other sequences of the same length only, in
    float64: predictions do not depend on the other sequences. Ctrl-C ends ``fit`` with a warning
    and the best weights so far.

    References
    ----------
    Graves, Fernández, Gomez & Schmidhuber (2006), ICML. Hannun, Maas, Jurafsky & Ng (2014),
    arXiv:1408.2873, for the search.

    Examples
    --------
    Tones of several lengths, with pauses between them:

    >>> import numpy as np
    >>> from skvae import CTCTranscriber
    >>> rng = np.random.default_rng(0)
    >>> def line(text):
    ...     rows = [np.repeat([[0, 0], np.eye(2)["ab".index(c)]], rng.integers(1, 4, 2), 0)
    ...             for c in text]
    ...     return np.concatenate(rows) + rng.normal(0, 0.1, (sum(map(len, rows)), 2))
    >>> y = ["".join(rng.choice(["a", "b"], 4)) for _ in range(60)]
    >>> X = [line(text) for text in y]
    >>> ctc = CTCTranscriber(context=1, max_epochs=50, random_state=0).fit(X, y)
    >>> ctc.predict([line("abba"), line("bab")])
    ['abba', 'bab']
    """

    _architecture = ("hidden_layer_sizes", "activation", "context", "network")
    _module_names = ("network",)
    _first_steps = _FIRST_STEPS
    _sums_over_chunks = False

    __metadata_request__fit = _OF_SEQUENCES
    __metadata_request__predict = _OF_SEQUENCES
    __metadata_request__predict_proba = _OF_SEQUENCES
    __metadata_request__predict_log_proba = _OF_SEQUENCES
    # With routing, a Pipeline passes sample_weight to score always.
    __metadata_request__score = {**_OF_SEQUENCES, "sample_weight": True}

    # The checks of a density's rows, without the methods of a density.
    _validate = LatentVariableModel._validate
    _validated = LatentVariableModel._validated
    _passes = LatentVariableModel._passes
    _validate_weight = LatentVariableModel._validate_weight
    _unchanged_on_failure = LatentVariableModel._unchanged_on_failure

    def __init__(
        self,
        *,
        hidden_layer_sizes=(128,),
        activation="relu",
        context=5,
        network=None,
        beam_width=10,
        max_epochs=500,
        batch_size=None,
        lr=2e-3,
        optimizer="adam",
        gradient_clip=None,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=20,
        tol=1e-3,
        callbacks=None,
        net_params=None,
        device="auto",
        random_state=None,
        warm_start=False,
        verbose=0,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.context = context
        self.network = network
        self.beam_width = beam_width
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.gradient_clip = gradient_clip
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.net_params = net_params
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = True
        return tags

    @property
    def classes_(self):
        """The labels, sorted."""
        if not hasattr(self, "net_"):
            raise AttributeError(f"this {type(self).__name__} is not fitted and has no classes_")
        return self.net_.module_.constants["classes"]

    # Learning -----------------------------------------------------------------------------------

    def fit(self, X, y, *, groups=None):
        """Return self, trained for up to ``max_epochs`` passes over the sequences.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows of sequences in time order, or a list of sequences; NaN is missing.
        y : list of label sequences
            One for each sequence: strings, whose labels are their characters, or lists, tuples or
            arrays of labels, which are numbers or strings. A label sequence may be empty. Unless X
            is a list, y may have one for each row instead, the same within a sequence, so that
            searches and splits can take it apart with the rows.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        self : CTCTranscriber
            The fitted model.

        Raises
        ------
        ValueError
            A parameter, X or y is not usable, or a sequence has too few rows for its labels: the
            estimator is as it was before the call. Or the loss became NaN: then it has the weights
            of the last epoch before that.

        Examples
        --------
        >>> from skvae import CTCTranscriber
        >>> X = [[[0.0], [9.0], [9.0]], [[9.0], [0.0], [9.0]]]
        >>> ctc = CTCTranscriber(max_epochs=2, early_stopping=False).fit(X, ["i", "ii"])
        >>> ctc.classes_
        array(['i'], dtype='<U1')
        """
        warm = self.warm_start and hasattr(self, "net_")
        return self._fit(
            X,
            groups,
            n_epochs=self.max_epochs,
            validate=True,
            continues="warm_start=True" if warm else None,
            y=y,
        )

    def _check_parameters(self):
        check_number("context", self.context, Integral, 0)
        check_number("beam_width", self.beam_width, Integral, 1)
        super()._check_parameters()

    def _constants_of(self, sequences, y=None):
        labels = labels_of(y, sequences)
        if self.context > len(sequences.X):
            raise ValueError(
                f"context={self.context}: must be <= n_samples, which is {len(sequences.X)}"
            )
        for j in np.flatnonzero(np.isnan(sequences.X).all(axis=0)):
            name = str(self.feature_names_in_[j]) if hasattr(self, "feature_names_in_") else int(j)
            raise ValueError(
                f"X has no observed value in feature {name!r}: each feature needs at least one"
            )
        mean, scale = _location_and_scale(sequences.X)
        return {"classes": labels.classes(), "form": labels.form, "mean": mean, "scale": scale}

    @classmethod
    def _bound_module(cls, settings, constants, seed):
        n_features, n_classes = len(constants["mean"]), len(constants["classes"])
        return transcription_bound(settings, n_features, n_classes, seed)

    def _prepared(self, bound, sequences, y=None):
        labels = labels_of(y, sequences)
        codes, lengths = labels.codes(bound.constants["classes"]), np.diff(sequences.offsets)
        if self.early_stopping and len(codes) == 1:
            raise ValueError(
                "X is one sequence, and early_stopping=True keeps whole sequences aside: set "
                "early_stopping=False, or pass several sequences by groups or as a list"
            )
        column = np.zeros(len(sequences.X), dtype=np.int64)
        for s, (one, n_rows) in enumerate(zip(codes, lengths, strict=True)):
            self._check_possible(one, n_rows, s, labels.values[s])
            column[sequences.offsets[s] :][: len(one)] = one
        x = _standardised(sequences.X, bound.constants)
        return PreparedSequences(x, sequences.offsets, {"labels": column})

    def _check_possible(self, codes, n_rows, s, labels):
        """Raise ValueError unless a sequence of some rows may have these labels."""
        if (codes < 0).any():
            unknown = labels[int(np.argmax(codes < 0))]
            raise ValueError(
                f"y[{s}] has the label {unknown!r}, which is none of the {len(self.classes_)} "
                "classes of the fitted model: fit a new estimator to use other labels"
            )
        if rows_needed(codes) > n_rows:
            raise ValueError(
                f"sequence {s} has {n_rows} rows, too few for its {len(codes)} labels: it must "
                f"have at least {rows_needed(codes)}, one for each label and one for each "
                "repetition; leave it out, or give rows at a finer step"
            )

    # A fitted model -----------------------------------------------------------------------------

    def predict(self, X, *, groups=None):
        """Return the most probable label sequence of each sequence, by prefix beam search.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows of sequences in time order, or a list of sequences; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        y : list of label sequences
            One for each sequence, in the form of y in ``fit``: strings, lists, tuples or arrays.

        Examples
        --------
        >>> from skvae import CTCTranscriber
        >>> X = [[[0.0], [9.0], [9.0]], [[9.0], [0.0], [9.0]]] * 10
        >>> ctc = CTCTranscriber(max_epochs=100, random_state=0).fit(X, ["i", "ii"] * 10)
        >>> ctc.predict(X[:2])
        ['i', 'ii']
        """
        check_number("beam_width", self.beam_width, Integral, 1)
        sequences, log_proba = self._log_proba(X, groups)
        constants = self.net_.module_.constants
        return [
            in_form(
                best_labelling(rows, self.beam_width)[0], constants["classes"], constants["form"]
            )
            for rows in _cut(log_proba, sequences.offsets)
        ]

    def predict_log_proba(self, X, *, groups=None):
        """Return the log-probabilities of the blank and of the labels of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows of sequences in time order, or a list of sequences; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, 1 + n_classes), or list of such
            Column 0 is the blank, the others are ``classes_``. float32 if X is.

        Examples
        --------
        >>> from skvae import CTCTranscriber
        >>> X = [[[0.0], [9.0], [9.0]], [[9.0], [0.0], [9.0]]]
        >>> ctc = CTCTranscriber(max_epochs=2, early_stopping=False).fit(X, ["i", "ii"])
        >>> ctc.predict_log_proba(X)[0].shape
        (3, 2)
        """
        sequences, log_proba = self._log_proba(X, groups)
        return sequences.in_form(log_proba.astype(sequences.X.dtype, copy=False))

    def predict_proba(self, X, *, groups=None):
        """Return the probabilities of the blank and of the labels of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows of sequences in time order, or a list of sequences; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        proba : ndarray of shape (n_samples, 1 + n_classes), or list of such
            Column 0 is the blank, the others are ``classes_``; rows sum to one. float32 if X is.

        Examples
        --------
        >>> from skvae import CTCTranscriber
        >>> X = [[[0.0], [9.0], [9.0]], [[9.0], [0.0], [9.0]]]
        >>> ctc = CTCTranscriber(max_epochs=2, early_stopping=False).fit(X, ["i", "ii"])
        >>> ctc.predict_proba(X)[0].shape
        (3, 2)
        """
        sequences, log_proba = self._log_proba(X, groups)
        return sequences.in_form(np.exp(log_proba).astype(sequences.X.dtype, copy=False))

    def align(self, X, y, *, groups=None):
        """Return the label of each row on the most probable path of known label sequences.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows of sequences in time order, or a list of sequences; NaN is missing.
        y : list of label sequences
            As in :meth:`fit`.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        labels : ndarray of shape (n_samples,), or list of such
            The labels by Viterbi's algorithm. The blank is −1 if the labels are integers ≥ 0; it is
            None, in an array of objects, with other labels.

        Raises
        ------
        ValueError
            A label is unknown, or a sequence has too few rows for its labels.

        Examples
        --------
        >>> from skvae import CTCTranscriber
        >>> X = [[[0.0], [9.0], [9.0]], [[9.0], [0.0], [9.0]]] * 10
        >>> ctc = CTCTranscriber(max_epochs=100, random_state=0).fit(X, [[1], [1, 1]] * 10)
        >>> ctc.align(X[:2], [[1], [1, 1]])[1]
        array([ 1, -1,  1])
        """
        sequences, log_proba = self._log_proba(X, groups)
        labels = labels_of(y, sequences)
        codes, paths = labels.codes(self.classes_), []
        for s, rows in enumerate(_cut(log_proba, sequences.offsets)):
            self._check_possible(codes[s], len(rows), s, labels.values[s])
            paths.append(best_alignment(rows, codes[s])[0])
        plain = self.classes_.dtype.kind in "iu" and self.classes_[0] >= 0
        classes = self.classes_ if plain else self.classes_.astype(object)
        symbols = np.concatenate([np.array([-1 if plain else None], classes.dtype), classes])
        return sequences.in_form(symbols[np.concatenate(paths)])

    def score(self, X, y, sample_weight=None, *, groups=None):
        """Return ln p(y | x) of all sequences, divided by the number of all labels, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows of sequences in time order, or a list of sequences; NaN is missing.
        y : list of label sequences
            As in :meth:`fit`; at least one of them has a label.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights ≥ 0, the same in all rows of a sequence. For a list X there may be one for each
            sequence instead. Both sums are weighted.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        score : float
            Larger is better. −inf if a label is unknown, or a sequence has too few rows for its
            labels: their probability is zero.

        Examples
        --------
        >>> from skvae import CTCTranscriber
        >>> X = [[[0.0], [9.0], [9.0]], [[9.0], [0.0], [9.0]]]
        >>> ctc = CTCTranscriber(max_epochs=2, early_stopping=False).fit(X, ["i", "ii"])
        >>> ctc.score(X, ["i", "iii"])
        -inf
        """
        sequences, log_proba = self._log_proba(X, groups)
        labels = labels_of(y, sequences)
        weight = self._weight_of_sequences(sample_weight, sequences)
        n_labels = sum(w * len(one) for w, one in zip(weight, labels.values, strict=True))
        if not n_labels:
            raise ValueError("y has no label in any sequence: score is a mean over labels")
        total, rows = 0.0, _cut(log_proba, sequences.offsets)
        for w, one, codes in zip(weight, rows, labels.codes(self.classes_), strict=True):
            if w > 0:
                possible = (codes > 0).all()
                total += w * (log_probability(one, codes) if possible else -np.inf)
        return float(total / n_labels)

    def _weight_of_sequences(self, sample_weight, sequences):
        """Return the weights of sequences, (n_sequences,); ValueError if one has several."""
        first = sequences.offsets[:-1]
        if sample_weight is None:
            return np.ones(len(first))
        weight = sequences.for_rows(sample_weight)
        weight = self._validate_weight(weight, sequences.X, relative=True)
        differs = weight != np.repeat(weight[first], np.diff(sequences.offsets))
        if differs.any():
            row = int(np.argmax(differs))
            raise ValueError(
                f"sample_weight is {weight[row]} in row {row} and another number where its "
                "sequence begins: must be one number within a sequence"
            )
        return weight[first]

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

        Notes
        -----
        Of a module passed as ``network`` the file has the weights only; pass the module again to
        :meth:`load`.

        Examples
        --------
        >>> import os, tempfile
        >>> from skvae import CTCTranscriber
        >>> X = [[[0.0], [9.0], [9.0]], [[9.0], [0.0], [9.0]]]
        >>> ctc = CTCTranscriber(max_epochs=2, early_stopping=False).fit(X, ["i", "ii"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "ctc.safetensors")
        ...     ctc.save(path)
        ...     CTCTranscriber.load(path).score(X, ["i", "ii"]) == ctc.score(X, ["i", "ii"])
        True
        """
        super().save(path)

    @classmethod
    def load(cls, path, *, network=None):
        """Return the estimator that was written by :meth:`save`; nothing in the file is executed.

        Parameters
        ----------
        path : str or path-like
            The file.
        network : nn.Module, class or callable, default=None
            The value of the parameter of that name; needed if it was not None.

        Returns
        -------
        estimator : CTCTranscriber
            The fitted estimator, on its ``device``, or on the CPU if this machine lacks the device.

        Raises
        ------
        ValueError
            The file is damaged or not of such an estimator, or a module is missing.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from skvae import CTCTranscriber
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "data.txt"
        ...     _ = path.write_text("no model")
        ...     CTCTranscriber.load(path)
        Traceback (most recent call last):
        ValueError: ...
        """
        return super().load(path, network=network)

    @torch.no_grad()
    def _log_proba(self, X, groups):
        """Return the Sequences of X, and ln p_t of all their rows, float64 (n, 1 + n_classes)."""
        sequences = self._sequences(X, groups)
        x = np.nan_to_num(_standardised(sequences.X, self.net_.module_.constants), nan=0.0)
        bound = in_double(self.net_.module_)
        out = np.empty((len(x), 1 + len(self.classes_)))
        lengths = np.diff(sequences.offsets)
        # Padding could change results: only sequences of one length are computed together.
        for length in np.unique(lengths):
            starts = sequences.offsets[:-1][lengths == length]
            together = max(1, _NUMBERS // int(length * bound.numbers_per_row))
            for a in range(0, len(starts), together):
                rows = starts[a : a + together, None] + np.arange(length)
                sizes = torch.full((len(rows),), int(length))
                out[rows] = bound.model(torch.as_tensor(x[rows]), sizes).numpy()
        return sequences, out


def _location_and_scale(X):
    """Return the mean and the standard deviation of each feature; 0 and 1 where there is none."""
    observed = ~np.isnan(X)
    n = np.maximum(observed.sum(axis=0), 1)
    largest = np.abs(np.where(observed, X, 0.0)).max(axis=0).astype(np.float64)
    largest[largest == 0] = 1.0
    unit = np.where(observed, X / largest, 0.0)  # squares do not overflow
    mean = unit.sum(axis=0, dtype=np.float64) / n
    deviations = np.where(observed, unit - mean, 0.0)
    scale = np.sqrt(np.square(deviations).sum(axis=0) / n)
    constant = scale <= 1e-12
    return mean * largest, np.where(constant, 1.0, scale * largest)


def _standardised(X, constants):
    """Return rows in standard deviations from the mean of the first fit, float64."""
    return (X.astype(np.float64) - constants["mean"]) / constants["scale"]


def _cut(rows, offsets):
    """Yield the rows of each sequence."""
    for a, b in pairwise(offsets):
        yield rows[a:b]
