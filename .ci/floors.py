"""Print the lowest versions that pyproject.toml declares, one requirement a line.

For all dependencies but torch, and for the packages that the tests need.
"""

import tomllib
from pathlib import Path

IN_ONE_VERSION = {"torch"}  # the version of constraints.txt, the only one that installs everywhere
FOR_TESTS = {
    *("dask[array]", "distributed", "hypothesis", "mpmath", "pandas", "polars"),
    *("pytest", "pytest-xdist"),
}
# matplotlib 3.8 calls functions that pyparsing 3.3 deprecates, and warnings are errors.
OF_THEIR_TIME = ["pyparsing<3.3"]

with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
    project = tomllib.load(file)["project"]

requirements = [r for r in project["dependencies"] if r.split(">=")[0] not in IN_ONE_VERSION]
requirements += [
    r for r in project["optional-dependencies"]["test"] if r.split(">=")[0] in FOR_TESTS
]
print("\n".join([*(r.replace(">=", "==") for r in requirements), *OF_THEIR_TIME]))  # noqa: T201
