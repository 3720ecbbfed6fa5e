"""Use the installed wheel: ``use_wheel.py <its site-packages> <the checkout>``."""

import sys
from importlib.metadata import distribution
from pathlib import Path

import skvae
from skvae import EMGaussianMixture, compare
from skvae.datasets import load_geyser

site_packages, checkout = map(Path, sys.argv[1:])
assert Path(skvae.__file__).is_relative_to(site_packages), skvae.__file__
assert not any(Path(path).is_relative_to(checkout) for path in sys.path), sys.path

found = distribution("skvae")
assert found.version == skvae.__version__
assert found.metadata["License-Expression"] == "BSD-3-Clause"
readme = (checkout / "README.md").read_text(encoding="utf-8")
assert found.metadata.get_payload().strip() == readme.strip()
assert found.read_text("licenses/LICENSE").startswith("BSD 3-Clause")


def files(folder):
    """Return the files of a package, without compiled ones."""
    paths = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {path for path in paths if "__pycache__" not in path.parts}


assert files(site_packages / "skvae") == files(checkout / "skvae")

geyser = load_geyser()
assert geyser.data.shape == (299, 2)
assert "Azzalini" in geyser.DESCR
models = {f"{k}": EMGaussianMixture(k, random_state=0) for k in (1, 2)}
comparison = compare(models, geyser.data)
assert comparison.best == "2"
comparison.plot().figure_.savefig("comparison.png")
assert Path("comparison.png").stat().st_size > 0
