"""Data of the autoencoders' benchmarks."""

import gzip
from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.preprocessing import StandardScaler

_IMAGES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}


def standardised(name):
    """Return one of scikit-learn's data sets, each feature with mean 0 and variance 1."""
    return StandardScaler().fit_transform(getattr(datasets, f"load_{name}")().data)


def dequantised_digits(seed):
    """Return the 1,797 digits of 8 × 8 with uniform noise in [0, 1) added to the grey values.

    Whole numbers have no density: a model of the values themselves can score arbitrarily high.
    """
    X = datasets.load_digits().data
    return X + np.random.default_rng(seed).uniform(size=X.shape)


def spread_diabetes(seed):
    """Return the diabetes data standardised, its two-valued column with uniform noise over its gap.

    Two values have no density, as whole numbers have none.
    """
    X = datasets.load_diabetes().data.copy()
    low, high = np.unique(X[:, 1])
    X[:, 1] += np.random.default_rng(seed).uniform(0.0, high - low, size=len(X))
    return StandardScaler().fit_transform(X)


def curved_surface(n_samples, seed, *, n_features=20, noise=0.1):
    """Return rows on a smooth surface of two dimensions, with Gaussian noise.

    Features are cosines of random directions, frequencies about one, over a square of side four.
    """
    rng = np.random.default_rng(seed)
    z = rng.uniform(-2.0, 2.0, size=(n_samples, 2))
    directions, phases = rng.normal(size=(2, n_features)), rng.uniform(0, 2 * np.pi, n_features)
    return np.cos(z @ directions + phases) + noise * rng.normal(size=(n_samples, n_features))


def binary_images(n_samples, seed, *, side=28):
    """Return images of zeros and ones as rows: a bright disc each, with a tenth of pixels turned.

    Parameters
    ----------
    n_samples : int
    seed : int
    side : int
        Pixels; a row has side².
    """
    rng = np.random.default_rng(seed)
    center = rng.uniform(0.25, 0.75, size=(n_samples, 2)) * side
    radius = rng.uniform(0.1, 0.4, size=n_samples) * side
    pixel = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2) + 0.5
    distance = np.linalg.norm(pixel - center[:, None], axis=-1)
    turned = rng.uniform(size=(n_samples, side * side)) < 0.1
    return ((distance < radius[:, None]) ^ turned).astype(np.float64)


def images_in(folder, part):
    """Return the images of MNIST or Fashion-MNIST in a folder, uint8 (n, 784).

    Parameters
    ----------
    folder : Path
        Holds the idx files under their first names, with ``.gz`` or unpacked.
    part : {"train", "test"}

    Raises
    ------
    FileNotFoundError
        There is no such file.
    """
    path = Path(folder) / _IMAGES[part]
    packed = path.with_name(path.name + ".gz")
    if not path.exists() and not packed.exists():
        raise FileNotFoundError(f"neither {path.name} nor {packed.name} is in {folder}")
    raw = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
    magic, n, height, width = np.frombuffer(raw, ">i4", count=4)
    if magic != 2051:
        raise ValueError(f"{path.name} begins with {magic}: images in the idx format with 2051")
    return np.frombuffer(raw, np.uint8, offset=16).reshape(n, height * width)
