"""Print the lowest versions that pyproject.toml declares, one requirement a line.

Of all dependencies but torch, and of what the tests need to run on them.
"""

import tomllib
from pathlib import Path

IN_ONE_VERSION = {"torch"}  # that of constraints.txt, which is all that installs everywhere
FOR_TESTS = {"dask[array]", "distributed", "hypothesis", "mpmath", "pandas", "polars", "pytest"}
# Newer than the floors, and warned about: matplotlib 3.8 calls what pyparsing 3.3 deprecates.
OF_THEIR_TIME = ["pyparsing<3.3"]

with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
    project = tomllib.load(file)["project"]

requirements = [r for r in project["dependencies"] if r.split(">=")[0] not in IN_ONE_VERSION]
requirements += [
    r for r in project["optional-dependencies"]["test"] if r.split(">=")[0] in FOR_TESTS
]
print("\n".join([*(r.replace(">=", "==") for r in requirements), *OF_THEIR_TIME]))  # noqa: T201
