"""Use the installed wheel: ``use_wheel.py <its site-packages> <the checkout>``."""

import sys
from importlib.metadata import version
from pathlib import Path

import skvae
from skvae import EMGaussianMixture, compare
from skvae.datasets import load_geyser

site_packages, checkout = map(Path, sys.argv[1:])
assert Path(skvae.__file__).is_relative_to(site_packages), skvae.__file__
assert not any(Path(path).is_relative_to(checkout) for path in sys.path), sys.path
assert version("skvae") == skvae.__version__

geyser = load_geyser()
assert geyser.data.shape == (299, 2)
assert "Azzalini" in geyser.DESCR
models = {f"{k}": EMGaussianMixture(k, random_state=0) for k in (1, 2)}
comparison = compare(models, geyser.data)
assert comparison.best == "2"
comparison.plot().figure_.savefig("comparison.png")
assert Path("comparison.png").stat().st_size > 0
