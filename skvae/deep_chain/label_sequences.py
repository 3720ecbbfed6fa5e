"""Label sequences of a user, and as codes 1, 2, ... of sorted classes; code 0 is the blank.

Label sequences have a form: strings, whose labels are their characters, or lists, tuples or arrays
of labels. Results have the form of y in ``fit``.
"""

from typing import NamedTuple

import numpy as np


class Labels(NamedTuple):
    """The labels of each sequence as plain Python values.

    Parameters
    ----------
    values : list of list
        The labels of each sequence.
    form : {'str', 'list', 'tuple', 'array'}
        Their form.
    """

    values: list
    form: str

    def total(self):
        """Return the number of all labels."""
        return sum(map(len, self.values))

    def classes(self):
        """Return the sorted classes, an array of shape (K,); raise ValueError if there is none."""
        found = {label for values in self.values for label in values}
        if not found:
            raise ValueError("y has no label in any sequence: at least one must have one")
        try:
            classes = np.array(sorted(found))
        except TypeError as error:
            kinds = sorted({type(label).__name__ for label in found})
            raise ValueError(
                f"y has labels of the types {', '.join(kinds)}: must be all numbers or all strings"
            ) from error
        if classes.ndim != 1 or classes.dtype.kind not in "biufU" or len(classes) != len(found):
            raise ValueError(f"y has labels such as {found.pop()!r}: must be numbers or strings")
        return classes

    def codes(self, classes):
        """Return the codes of each sequence, arrays of int; −1 of a label that is no class."""
        code_of = {label: code for code, label in enumerate(classes.tolist(), start=1)}
        return [
            np.array([code_of.get(label, -1) for label in values], dtype=np.int64)
            for values in self.values
        ]


def labels_of(y, sequences):
    """Return the Labels of some Sequences.

    Parameters
    ----------
    y : list or array of label sequences
        One for each sequence or, unless X is a list, one for each row, the same within a sequence.
    sequences : Sequences
        The sequences.

    Raises
    ------
    ValueError
        y is no list of label sequences, or their number is not that of the sequences.
    """
    given = _listed(y)
    forms = {_form(entry, number) for number, entry in enumerate(given)}
    if "str" in forms and len(forms) > 1:
        raise ValueError("y has strings and other label sequences: must be all of one kind")
    form = forms.pop() if len(forms) == 1 else "list"
    values = [_plain(entry, number) for number, entry in enumerate(given)]
    offsets, n_rows = sequences.offsets, len(sequences.X)
    n_sequences = len(offsets) - 1
    if len(values) == n_sequences:
        return Labels(values, form)
    if sequences.listed or len(values) != n_rows:
        rows = "" if sequences.listed else f", or one for each of the {n_rows} rows"
        raise ValueError(
            f"y has {len(values)} label sequences: must have one for each of the {n_sequences} "
            f"sequences of X{rows}"
        )
    first = [values[start] for start in offsets[:-1]]
    for s, start in enumerate(offsets[:-1]):
        for row in range(start, offsets[s + 1]):
            if values[row] != first[s]:
                raise ValueError(
                    f"y[{row}]={given[row]!r}: must be the same in all rows of a sequence, which "
                    f"begins with {given[start]!r}"
                )
    return Labels(first, form)


def in_form(codes, classes, form):
    """Return the label sequence of codes in one of the forms of Labels."""
    labels = classes[codes - 1]
    if form == "str":
        return "".join(labels.tolist())
    if form == "array":
        return labels
    return tuple(labels.tolist()) if form == "tuple" else labels.tolist()


def _listed(y):
    """Return y as a list of label sequences, or raise ValueError."""
    if y is None:
        raise ValueError("this estimator requires y to be passed, but the target y is None")
    if isinstance(y, str | bytes | dict) or not hasattr(y, "__len__"):
        raise ValueError(f"y={y!r}: must be a list of label sequences, one for each sequence of X")
    return list(y)


def _form(entry, number):
    if isinstance(entry, str):
        return "str"
    if isinstance(entry, list | tuple):
        return type(entry).__name__ if type(entry) in (list, tuple) else "list"
    if hasattr(entry, "__array__") and getattr(entry, "ndim", 1) == 1:
        return "array"
    raise ValueError(
        f"y[{number}]={entry!r}: must be the labels of a sequence, as a string, a list or an array "
        "of shape (n_labels,)"
    )


def _plain(entry, number):
    """Return the labels of a sequence as a list of Python's values."""
    if hasattr(entry, "__array__") and not isinstance(entry, str):
        values = np.asarray(entry).tolist()
    else:
        values = [label.item() if isinstance(label, np.generic) else label for label in entry]
    for label in values:
        if not isinstance(label, str | int | float) or label != label:
            raise ValueError(f"y[{number}] has the label {label!r}: must be a number or a string")
    return values
