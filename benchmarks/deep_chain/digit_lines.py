"""CTCTranscriber reads lines of handwritten digits column by column, without known timing.

Lines have 3 to 6 of scikit-learn's digits, each stretched to a random width, with random gaps and
noise. The networks, the number of lines and the optimiser were chosen by lines of kept-aside
digits, among nine variants of them; the digits of the test lines were not in any of these.
"""

from itertools import groupby, pairwise
from time import process_time

import numpy as np
from sklearn.datasets import load_digits
from torch import nn

from benchmarks import report
from benchmarks.suite import Section
from skvae import CTCTranscriber

ERROR, SECONDS = 0.05, 300.0
N_TRAINING, N_TEST = 4000, 300
FOR_TRAINING, FOR_CHOICES = 1200, 300  # digits; the others are those of the test lines


def lines_of(images, labels, n_lines, rng):
    """Return lines of digits, arrays of columns (n_columns, 8), and their texts.

    Parameters
    ----------
    images : ndarray of shape (n, 8, 8)
        Digits with grey levels from 0 to 1.
    labels : ndarray of int, shape (n,)
        Their labels.
    n_lines : int
        The number of lines.
    rng : Generator
        The source of the digits of a line, their widths, gaps and noise.
    """
    lines, texts = [], []
    for _ in range(n_lines):
        chosen = rng.choice(len(images), rng.integers(3, 7))
        parts = [_gap(rng)]
        for image in images[chosen]:
            parts += [_stretched(image, rng.integers(5, 13)), _gap(rng)]
        columns = np.concatenate(parts)
        lines.append(columns + rng.normal(0, 0.1, columns.shape))
        texts.append("".join(map(str, labels[chosen])))
    return lines, texts


def _stretched(image, width):
    """Return the columns of an image, interpolated to another width."""
    at = np.linspace(0, 7, width)
    return np.column_stack([np.interp(at, np.arange(8), row) for row in image])


def _gap(rng):
    return np.zeros((rng.integers(0, 5), 8))


def label_error(found, texts):
    """Return the edit distances of all texts, divided by the number of their labels."""
    return sum(map(_edit_distance, found, texts)) / sum(map(len, texts))


def _edit_distance(found, text):
    """Return the least number of insertions, deletions and substitutions."""
    row = list(range(len(text) + 1))
    for i, one in enumerate(found, start=1):
        above, row = row, [i]
        for (diagonal, up), other in zip(pairwise(above), text, strict=True):
            row.append(min(up + 1, row[-1] + 1, diagonal + (one != other)))
    return row[-1]


def greedy(model, lines):
    """Return the labels of the most probable symbols of each row."""
    best = (log_proba.argmax(axis=1) for log_proba in model.predict_log_proba(lines))
    return ["".join(model.classes_[k - 1] for k, _ in groupby(path) if k) for path in best]


class Convolutional(nn.Module):
    """Three convolutions over columns, each row of logits from 15 columns."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv1d(8, 64, 5, padding=2), nn.ReLU()),
            *(nn.Conv1d(64, 64, 5, padding=2), nn.ReLU(), nn.Dropout(0.2)),
            *(nn.Conv1d(64, 64, 7, padding=3), nn.ReLU(), nn.Dropout(0.2)),
            nn.Conv1d(64, 11, 1),
        )

    def forward(self, x):
        """Return the logits of padded lines (n_lines, n_columns, 8)."""
        return self.layers(x.transpose(1, 2)).transpose(1, 2)


NETWORKS = {
    "window of 15 columns, 256 units": {"context": 7, "hidden_layer_sizes": (256,)},
    "convolutions": {"network": Convolutional},
}


def measure(name, settings):
    """Return the row of a network."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    training, test = order[:FOR_TRAINING], order[FOR_TRAINING + FOR_CHOICES :]
    images, n_training = digits.images / 16, 200 if settings.quick else N_TRAINING
    rng = np.random.default_rng(settings.seed + 1)
    X, y = lines_of(images[training], digits.target[training], n_training, rng)
    held_out, texts = lines_of(images[test], digits.target[test], N_TEST, rng)
    model = CTCTranscriber(
        **NETWORKS[name], max_epochs=2 if settings.quick else 40, random_state=settings.seed
    )
    begin = process_time()
    model.fit(X, y)
    seconds, begin = process_time() - begin, process_time()
    error = label_error(model.predict(held_out), texts)
    each = (process_time() - begin) / len(held_out)
    met = error <= ERROR and seconds <= SECONDS
    target = settings.judged(f"≤ {ERROR:.0%} in {SECONDS:.0f} s")
    verdict = (
        report.NOT_APPLICABLE
        if target is None
        else f"{target}: {'reached' if met else '**missed**'}"
    )
    return [
        (
            name,
            f"{seconds:.0f} s",
            str(len(model.history_["bound"])),
            f"{error:.1%}",
            verdict,
            f"{label_error(greedy(model, held_out), texts):.1%}",
            f"{model.score(held_out, texts):.3f}",
            f"{1e3 * each:.1f} ms",
        )
    ]


SECTION = Section(
    name="digit-lines",
    title="Transcription: lines of handwritten digits without known timing",
    method=(
        "CTCTranscriber on lines of 3 to 6 of scikit-learn's 8 × 8 digits, column by column, with "
        f"random widths, gaps and noise: {N_TRAINING} training lines of {FOR_TRAINING} digits, "
        f"{N_TEST} held-out lines of other digits. Processor time. The label error is the edit "
        "distance divided by the number of labels, by beam search and by the most probable symbol "
        "of each row; the score is ln p(y | x) per label, in nats."
    ),
    columns=(
        *("network", "fit", "epochs", "label error", "target"),
        *("error, greedy", "score", "prediction of a line"),
    ),
    cases={name.split()[0].strip(","): name for name in NETWORKS},
    measure=measure,
)
