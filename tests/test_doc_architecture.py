"""The table of thresholds in the documentation agrees with the constants of the package."""

import ast
import csv
import importlib
import numbers
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "skvae"
TABLE = ROOT / "doc" / "thresholds.csv"
PAGE = ROOT / "doc" / "architecture.rst"
NUMERIC = (
    "base.py",
    "validation.py",
    "columns.py",
    "initialization.py",
    "ascent",
    "blocks",
    "chain",
    "chart",
    "deep_chain",
    "emissions",
    "gaussian",
    "grammar",
    "hmm",
    "importance.py",
    "inference",
    "mixture",
    "neural",
    "vae",
)
# Mathematical constants, coefficients, versions of file formats, labels of streams and of forms.
NO_THRESHOLDS = {
    "EPS",
    "LOG_2PI",
    "HALF_LOG_2PI",
    "_HALF_LOG_2PI",
    "VERSION",
    "_FORMAT",
    *("FORMS", "_TIED", "_DIAG", "_SPHERICAL"),
    "_FOUR_ONES",
    "_SOFT_ONE",
    "_TINY",
    *(("chain/kernels_few_states.py", name) for name in ("_LOW", "_HIGH")),  # places in a row
    # Places in a node of a tree.
    *(("grammar/tree.py", name) for name in ("_LABEL", "_FIRST", "_LAST", "_SIZE", "_WORD")),
    ("neural/likelihoods/binary.py", "_SERIES"),
    *("SUM", "ADD", "COUNT", "SPREAD", "BEST", "BEST_SPREAD", "_N_ARGUMENTS"),
    *("ORDER", "NOISE", "HELD_OUT_NOISE", "MODULES", "CLUSTERS"),
}


def _listed():
    """Return the values in the table, as text, by (file, name)."""
    found = {}
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            names = row["name"].strip("`").split(", ")
            values = [part.strip() for part in row["value"].split(",")]
            if len(names) == 1:
                values = [", ".join(values)]
            for name, value in zip(names, values, strict=True):
                key = row["file"].strip("`"), name
                assert key not in found, f"{key} is in the table twice"
                found[key] = value
    return found


def _number(text):
    """Return the number that a cell of the table has, 2**10 or a literal."""
    power = re.fullmatch(r"2\*\*(\d+)", text)
    return 2 ** int(power[1]) if power else ast.literal_eval(text)


def _flat(value):
    """Return the numbers of a constant as a tuple; empty if it has others too."""
    values = tuple(value.values()) if isinstance(value, dict) else value
    values = values if isinstance(values, tuple) else (values,)
    plain = all(isinstance(v, numbers.Real) and not isinstance(v, bool) for v in values)
    return values if plain else ()


def _constants():
    """Return the numeric constants at the top level of the numeric modules, by (file, name)."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        file = path.relative_to(PACKAGE).as_posix()
        if not file.startswith(NUMERIC):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assigned = (node.targets for node in tree.body if isinstance(node, ast.Assign))
        names = {
            name.id
            for targets in assigned
            for target in targets
            for name in ast.walk(target)
            if isinstance(name, ast.Name) and re.fullmatch(r"_?[A-Z][A-Z0-9_]*", name.id)
        }
        if names:
            dotted = "skvae." + file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
            module = importlib.import_module(dotted)
            values = {(file, name): _flat(getattr(module, name)) for name in names}
            found |= {key: value for key, value in values.items() if value}
    return found


@pytest.fixture(scope="module")
def constants():
    return _constants()


def test_every_row_of_the_table_is_a_constant_with_this_value(constants):
    wrong = []
    for key, text in _listed().items():
        values = tuple(_number(part) for part in text.split(", "))
        if constants.get(key) != values:
            wrong.append(f"{key}: {text} in doc/thresholds.csv, {constants.get(key)} in the code")
    assert not wrong, "\n".join(wrong)


def test_every_numeric_constant_is_in_the_table(constants):
    listed = _listed()
    missing = [
        f"{key}: {value}"
        for key, value in constants.items()
        if key not in listed and key not in NO_THRESHOLDS and key[1] not in NO_THRESHOLDS
    ]
    assert not missing, "add to doc/thresholds.csv:\n" + "\n".join(missing)


def test_the_exceptions_are_in_use(constants):
    names = {name for _, name in constants} | set(constants)
    assert names >= NO_THRESHOLDS


def test_the_folders_of_the_page_are_those_of_the_package():
    text = PAGE.read_text(encoding="utf-8")
    table = text[text.index("     - contents") : text.index("A test reads the imports")]
    listed = set(re.findall(r"``([a-z_]+(?:/|\.py))``", table))
    there = {f"{path.name}/" for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    there |= {path.name for path in PACKAGE.glob("[a-z]*.py")}
    assert listed == there


def test_the_files_of_the_picture_define_its_functions():
    text = PAGE.read_text(encoding="utf-8")
    picture = text[text.index(".. code-block:: text") : text.index("Folders\n")]
    lines = re.findall(r"(\w+)\([^)]*\) +(\S+\.py)$", picture, flags=re.MULTILINE)
    assert len(lines) == 9
    for name, file in lines:
        source = (PACKAGE / file).read_text(encoding="utf-8")
        assert re.search(rf"(def|class) {name}\b", source), (name, file)
