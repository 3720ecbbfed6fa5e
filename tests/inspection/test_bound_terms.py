"""The bound and its terms over the epochs."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from skvae import VariationalAutoencoder
from skvae.inspection import BoundTermsDisplay

HISTORY = {
    "bound": [-9.0, -7.0, -6.0],
    "reconstruction": [-8.9, -5.0, -3.0],
    "kl": [0.1, 2.0, 3.0],
    "valid_bound": [-9.5, -8.0, -8.5],
}


def test_from_estimator_draws_the_history():
    X = np.random.default_rng(0).normal(size=(60, 3))
    vae = VariationalAutoencoder(1, hidden_layer_sizes=(4,), max_epochs=2, random_state=0).fit(X)
    display = BoundTermsDisplay.from_estimator(vae)
    for name in ("bound", "reconstruction", "valid_bound"):
        assert_array_equal(display.lines_[name].get_xdata(), [1, 2])
        assert_array_equal(display.lines_[name].get_ydata(), vae.history_[name])
    assert display.n_iter == vae.n_iter_
    assert display.ax_.figure is display.figure_
    assert display.ax_.get_ylabel() == "nats per row"
    display.figure_.canvas.draw()


def test_the_gap_is_the_kl():
    display = BoundTermsDisplay(HISTORY, n_iter=2).plot()
    corners = {tuple(corner) for corner in display.kl_area_.get_paths()[0].vertices.round(9)}
    assert corners >= {(1, -8.9), (1, -9.0), (2, -5.0), (2, -7.0), (3, -3.0), (3, -6.0)}
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == [
        "KL",
        "reconstruction",
        "bound",
        "bound of the rows kept aside",
        "weights kept",
    ]
    styles = {line.get_linestyle() for line in display.lines_.values()}
    assert len(styles) == 3  # different without colour


def test_the_kl_is_not_the_gap_to_an_importance_weighted_bound():
    history = {"bound": [-1.5], "reconstruction": [-1.0], "kl": [1.0]}
    vertices = BoundTermsDisplay(history).plot().kl_area_.get_paths()[0].vertices
    assert_allclose([vertices[:, 1].min(), vertices[:, 1].max()], [-2.0, -1.0])


def test_first_epochs_are_left_out():
    _, ax = plt.subplots()
    display = BoundTermsDisplay(HISTORY, n_iter=1).plot(ax, first_epoch=2)
    assert display.ax_ is ax
    assert_array_equal(display.lines_["valid_bound"].get_xdata(), [2, 3])
    assert_allclose(display.lines_["valid_bound"].get_ydata(), [-8.0, -8.5])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "weights kept" not in texts


def test_no_rows_were_kept_aside():
    history = {name: HISTORY[name] for name in ("bound", "reconstruction", "kl")}
    assert list(BoundTermsDisplay(history).plot().lines_) == ["reconstruction", "bound"]


@pytest.mark.parametrize("first_epoch", [0, 4, -1, 1.5])
def test_there_is_no_such_epoch(first_epoch):
    rule = f"first_epoch={first_epoch} must be an epoch, from 1 to 3"
    with pytest.raises(ValueError, match=rule):
        BoundTermsDisplay(HISTORY).plot(first_epoch=first_epoch)
    assert plt.get_fignums() == []


def test_not_fitted():
    with pytest.raises(NotFittedError):
        BoundTermsDisplay.from_estimator(VariationalAutoencoder())
