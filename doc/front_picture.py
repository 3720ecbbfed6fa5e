"""Draw the picture of the README and of the front page: ``python doc/front_picture.py``.

It writes ``doc/_static/skvae.png``, for a width of 830 pixels at twice the resolution, on white, so
that it is legible on dark pages too.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from skvae import EMGaussianMixture, EMHiddenMarkov, VariationalAutoencoder, compare
from skvae.datasets import load_geyser
from skvae.inspection import (
    ComparisonDisplay,
    DensityDisplay,
    SampleDisplay,
    StatePathDisplay,
)

PLACE = Path(__file__).parent / "_static" / "skvae.png"
# scikit-learn's digits, the darker half of the grey values black.
PIXELS = (load_digits().data >= 8).astype(float)


def geyser_comparison(waiting):
    """Return the comparison of the README: four densities of the waits, on held-out days."""
    models = {
        "hidden Markov": EMHiddenMarkov(3, random_state=0),
        "mixture": EMGaussianMixture(3, random_state=0),
        "scikit-learn's mixture": GaussianMixture(3, random_state=0),
        "kernel density": KernelDensity(bandwidth=3.0),
    }
    return compare(models, waiting, groups=np.repeat(np.arange(13), 23))


def draw(vae_epochs=120):
    """Return the figure of four panels: clusters, segments, new rows and a comparison."""
    X = load_geyser().data
    waiting = X[:, [0]]
    figure = plt.figure(figsize=(10, 6.4), layout="constrained", facecolor="white")
    panels = figure.subfigures(2, 2, width_ratios=[1, 1.15]).ravel()
    axes = dict(zip(("clusters", "segments", "rows", "comparison"), panels, strict=True))
    axes = {name: panel.subplots() for name, panel in axes.items()}

    mixture = EMGaussianMixture(3, n_init=20, reg_covar=0.01, random_state=0).fit(X)
    DensityDisplay.from_estimator(mixture, X, ax=axes["clusters"])
    axes["clusters"].set(
        title="Clusters, and a density", xlabel="wait, minutes", ylabel="eruption, minutes"
    )

    chain = EMHiddenMarkov(3, random_state=0).fit(waiting)
    StatePathDisplay.from_estimator(chain, waiting[:60], ax=axes["segments"])
    axes["segments"].set(
        title="Segments of a series", xlabel="eruption, in order", ylabel="wait, minutes"
    )

    vae = VariationalAutoencoder(
        12, likelihood="bernoulli", max_epochs=vae_epochs, random_state=0
    ).fit(PIXELS)
    drawn = {"noise": False, "image_shape": (8, 8), "n_columns": 8, "random_state": 0}
    SampleDisplay.from_estimator(vae, 40, ax=axes["rows"], **drawn)
    axes["rows"].set(title="New rows: digits that nobody wrote")

    ComparisonDisplay.from_comparison(geyser_comparison(waiting), ax=axes["comparison"])
    axes["comparison"].set_title("One score: held-out nats per row", pad=22, x=0.2)
    axes["comparison"].set(xlabel="nats per row, relative to the best")
    return figure


if __name__ == "__main__":
    with plt.rc_context({"font.size": 13, "axes.titlesize": 14}):
        draw().savefig(PLACE, dpi=166)
    Image.open(PLACE).quantize(256).save(PLACE, optimize=True)  # a third of the size
