"""The walls of the house, read from the sources without running them.

Who may import what, which names of others are public, and what an import may do. `wall_violations`
is under test itself in ``test_imports.py``, on small sources that break one wall each: a checker
that cannot fail guards nothing. Where it cannot know, it objects.
"""

import ast
from dataclasses import dataclass, replace
from functools import cached_property

# Third-party packages that live in one place.
HOMES = {
    "numba": ("skvae/chain/", "skvae/chart/", "skvae/mixture/bayesian/gibbs_kernels.py"),
    "torch": ("skvae/neural/", "skvae/vae/", "skvae/deep_chain/"),
    "skorch": ("skvae/neural/training/",),
    "safetensors": ("skvae/neural/model_file.py",),
    "matplotlib": ("skvae/inspection/",),
    "dask": ("skvae/blocks/dask_tasks.py",),
    "distributed": ("skvae/blocks/dask_tasks.py",),
}
# Optional, or slow: imported inside the function that needs them.
IN_FUNCTIONS = {"dask", "distributed", "matplotlib", "pandas", "polars"}
# Every import points down, or sideways on the ground and at the top.
FLOORS = (
    (
        *("ascent", "base", "blocks", "columns", "fitted", "initialization", "storage"),
        *("documentation", "fixed", "importance", "progress", "tables", "validation"),
        *("chain", "chart", "emissions", "gaussian", "neural"),
    ),
    ("mixture", "hmm", "grammar", "vae", "deep_chain", "inference"),
    ("comparison", "inspection", "datasets", "tasks"),
)
WINGS = (
    *("skvae.mixture", "skvae.hmm", "skvae.grammar", "skvae.vae", "skvae.deep_chain"),
    "skvae.inference",
)
# A wing that may import one module of another: forecasts of both have one type.
SHARED = {("skvae.deep_chain", "skvae.hmm.forecast")}
# Modules that give the former names of others to what reads pickles, as they are imported.
FORMER_PLACES = {"skvae/hmm/emissions/__init__.py"}
PRIVATE_BUT_ALLOWED = {"sklearn.utils.validation._check_sample_weight"}
NOT_PUBLIC = ("sklearn.externals", "sklearn.tests", "sklearn.utils.fixes")
# Documented methods of a NamedTuple: the underscore keeps them apart from its fields.
NAMED_TUPLE = {"_asdict", "_field_defaults", "_fields", "_make", "_replace"}
# What changes the state of the process, by the last part of its name.
EFFECTS = {
    *("captureWarnings", "catch_warnings", "filterwarnings", "resetwarnings", "simplefilter"),
    *("addHandler", "basicConfig", "getLogger", "setLevel", "setLoggerClass"),
    *("manual_seed", "seed", "set_state", "setstate", "use_deterministic_algorithms"),
    *("config_context", "set_config", "set_default_device", "set_default_dtype"),
    *("errstate", "printoptions", "set_printoptions", "seterr", "seterrcall"),
    *("set_num_interop_threads", "set_num_threads", "threadpool_limits"),
    *("putenv", "setlocale", "setrecursionlimit", "unsetenv"),
    *("atexit.register", "environ.pop", "environ.setdefault", "environ.update"),
}
BUILTIN_EFFECTS = {"delattr", "input", "open", "print", "setattr"}
RUN_TEXT = {"__import__", "eval", "exec"}
BY_NAME = {"attrgetter", "delattr", "getattr", "hasattr", "methodcaller", "setattr"}


@dataclass(frozen=True)
class Import:
    """One imported name: ``from module import name``, or ``import module`` with no name."""

    module: str
    name: str | None
    line: int
    scopes: tuple  # ((kind, name), ...) of the classes and functions around it, outermost first
    alias: str | None = None

    @property
    def root(self):
        return self.module.split(".")[0]

    @property
    def full(self):
        return self.module if self.name is None else f"{self.module}.{self.name}"

    @property
    def in_function(self):
        return any(kind == "function" for kind, _ in self.scopes)

    @property
    def in_display_method(self):
        kinds = [kind for kind, _ in self.scopes]
        return kinds[:2] == ["class", "function"] and self.scopes[0][1].endswith("Display")


class Source(ast.NodeVisitor):
    """One module as its syntax: its imports, and whatever else runs, `nodes`."""

    def __init__(self, path, text):
        self.path, self.tree = path, ast.parse(text)
        self.module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        self._package = self.module.split(".")
        if not path.endswith("/__init__.py"):
            self._package = self._package[:-1]
        self._scopes, self.imports, self.nodes = (), [], []
        self.visit(self.tree)

    def visit(self, node):
        self.nodes.append(node)
        super().visit(node)

    def _visit_scope(self, node, kind):
        outer, self._scopes = self._scopes, (*self._scopes, (kind, node.name))
        self.generic_visit(node)
        self._scopes = outer

    def visit_ClassDef(self, node):
        self._visit_scope(node, "class")

    def visit_FunctionDef(self, node):
        self._visit_scope(node, "function")

    def visit_AsyncFunctionDef(self, node):
        self._visit_scope(node, "function")

    def visit_If(self, node):
        for child in _that_run(node):
            self.visit(child)

    def visit_Import(self, node):
        for a in node.names:
            self.imports.append(Import(a.name, None, node.lineno, self._scopes, a.asname))

    def visit_ImportFrom(self, node):
        module = node.module or ""
        if node.level:
            base = self._package[: len(self._package) - node.level + 1]
            module = ".".join([*base, *([module] if module else [])])
        for a in node.names:
            self.imports.append(Import(module, a.name, node.lineno, self._scopes, a.asname))

    @cached_property
    def bound(self):
        """Local names of what is imported: ``{"np": "numpy"}`` for ``import numpy as np``."""
        names = {}
        for found in self.imports:
            if found.name is None and found.alias is None:
                names[found.root] = found.root
            else:
                names[found.alias or found.name] = found.full
        return names

    @cached_property
    def aliases(self):
        """Those of `bound`, and the names that the module gives to something of theirs."""
        names = dict(self.bound)
        for node in self.nodes:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name | ast.Attribute):
                value = dotted(node.value, names)
                if value.split(".")[0] in {full.split(".")[0] for full in self.bound.values()}:
                    names |= {t.id: value for t in node.targets if isinstance(t, ast.Name)}
        return names

    @cached_property
    def foreign(self):
        """Names of other packages' modules, functions and classes, and of instances made here."""
        names = {name for name, full in self.aliases.items() if _is_foreign(full)}
        for node in self.nodes:
            if isinstance(node, ast.Assign) and _makes_foreign(node.value, names):
                names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
        return names


def dotted(node, names):
    """Return the dotted name of an expression, its root looked up in `names`; "?" is unknown."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, names)}.{node.attr}"
    return "?"


def _that_run(node):
    """Return the children of a node without the body of ``if TYPE_CHECKING:``, which never runs."""
    if isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    ):
        return node.orelse
    return list(ast.iter_child_nodes(node))


def _is_private(name):
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def _is_foreign(full):
    return full.split(".")[0] not in ("skvae", "__future__")


def _root(node):
    """Return the name that an expression starts from, None where it is the result of a function.

    An instance starts from its class; what a function returns may be anybody's.
    """
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Call) and dotted(node.func, {}).split(".")[-1][:1].isupper():
            node = node.func
        else:
            return None
    return node.id


def _makes_foreign(value, names):
    return isinstance(value, ast.Call) and _root(value) in names


def wall_violations(sources):
    """Return what breaks a wall, one line each, in `sources`: path below the root to text."""
    read = [Source(path, text) for path, text in sorted(sources.items())]
    modules = {source.module for source in read}
    own_names = set().union(*map(_names_defined, read))
    violations, graph = [], {}
    for source in read:
        imports = [_resolved(found, modules) for found in source.imports]
        graph[source.module] = {i.module for i in imports if i.module in modules}
        found = [
            *_third_party(source),
            *_by_name(source),
            *_own(source, imports),
            *_private_imports(source),
            *_private_attributes(source, own_names),
            *(() if source.path in FORMER_PLACES else effects_at_import(source)),
        ]
        violations += [f"{source.path}:{line}: {what}" for line, what in found]
    return violations + [f"circle of imports: {' -> '.join(c)}" for c in _circles(graph)]


def _resolved(found, modules):
    """Return ``from package import submodule`` as the import of the submodule that it is."""
    return replace(found, module=found.full, name=None) if found.full in modules else found


def _third_party(source):
    for found in source.imports:
        homes = HOMES.get(found.root)
        if homes is not None and not source.path.startswith(homes):
            yield found.line, f"{found.root} may only be imported in {' or '.join(homes)}"
        if found.root in IN_FUNCTIONS and not found.in_function:
            yield found.line, f"{found.root} may only be imported inside a function"
        if found.root == "matplotlib" and not found.in_display_method:
            yield found.line, "matplotlib may only be imported in a method of a Display"


def _by_name(source):
    """Yield imports by name and text that is run as code: they hide from all that is read here."""
    for found in source.imports:
        reads = found.full.startswith(("importlib.resources", "importlib.metadata"))
        # ``import importlib.resources`` binds importlib itself.
        harmless = reads and (found.name is not None or found.alias is not None)
        if found.root == "importlib" and not harmless and source.path != "skvae/__init__.py":
            yield found.line, "imports by name hide from this test; only skvae/__init__.py may"
        if found.name == "*":
            yield found.line, f"from {found.module} import * hides names from this test"
        if found.root in ("builtins", "imp", "pkgutil", "runpy"):
            yield found.line, f"{found.root} hides imports from this test"
    for node in source.nodes:
        if isinstance(node, ast.Name) and node.id in {*RUN_TEXT, "__builtins__"}:
            yield node.lineno, f"{node.id} hides what runs from this test"


def _own(source, imports):
    if source.path == "skvae/__init__.py":
        return  # it knows every wing, and loads them when they are asked for
    here, floor = _wing_of(source.module), _floor_of(source.module)
    if floor is None:
        yield 1, f"{source.module} is on no floor: name it in FLOORS"
        return
    for found, written in zip(imports, source.imports, strict=True):
        if found.root != "skvae":
            continue
        if found.module == "skvae" or written.name is None:
            yield found.line, "import from the module that defines the name, not from skvae"
        there, below = _wing_of(found.module), _floor_of(found.full)
        if there is not None and here != there and (here, found.module) not in SHARED:
            yield found.line, f"{here or 'what is no wing'} may not import the wing {there}"
        if below is not None and below > floor:
            yield found.line, f"{source.module} may not import {found.full}, which is above it"


def _floor_of(module):
    part = [*module.split("."), ""][1]
    return next((i for i, names in enumerate(FLOORS) if part in names), None)


def _wing_of(module):
    return next((w for w in WINGS if module == w or module.startswith(w + ".")), None)


def _names_defined(source):
    """Return what is defined in the bodies of the module and its classes, or set on self or cls."""
    names = set()
    for node in source.nodes:
        body = node.body if isinstance(node, ast.Module | ast.ClassDef) else ()
        for statement in body:
            names.add(getattr(statement, "name", None))
            targets = getattr(statement, "targets", [getattr(statement, "target", None)])
            stored = (n for t in targets if t is not None for n in ast.walk(t))
            names |= {n.id for n in stored if isinstance(n, ast.Name)}
        stored = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if stored and ast.unparse(node.value) in ("self", "cls"):
            names.add(node.attr)
    return names


def _private_imports(source):
    for found in source.imports:
        if _is_foreign(found.full) and not _is_public(found.full):
            yield found.line, f"{found.full} is not public"


def _is_public(full):
    if full in PRIVATE_BUT_ALLOWED:
        return True
    inside = any(full == name or full.startswith(name + ".") for name in NOT_PUBLIC)
    return not inside and not any(map(_is_private, full.split(".")))


def _private_attributes(source, own_names):
    for node in source.nodes:
        if isinstance(node, ast.Attribute):
            private = _is_private(node.attr)
            if _is_theirs(node, source, own_names):
                yield node.lineno, f"{ast.unparse(node)} is not public"
            if private and "skvae/inspection/" in source.path and not _is_self(node.value):
                yield node.lineno, f"{ast.unparse(node)}: displays read public attributes"
        elif isinstance(node, ast.Call) and dotted(node.func, {}).split(".")[-1] in BY_NAME:
            texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
            parts = [p for t in texts if isinstance(t, str) for p in t.split(".")]
            if any(map(_is_private, parts)):
                yield node.lineno, f"{ast.unparse(node)} is not public"


def _is_theirs(node, source, own_names):
    """Return whether an attribute is a private one of another package, as far as can be read."""
    full, root = dotted(node, source.aliases), _root(node)
    if root in source.aliases and _is_foreign(full) and "?" not in full:
        return not _is_public(full) and node.attr not in NAMED_TUPLE
    if not _is_private(node.attr) or node.attr in NAMED_TUPLE:
        return False
    return root in source.foreign or node.attr not in own_names


def _is_self(node):
    return isinstance(node, ast.Name) and node.id == "self"


def effects_at_import(source):
    """Yield what a module does when it is imported, beyond defining names."""
    local = {n.name: n for n in source.tree.body if hasattr(n, "name")}
    done = set()
    for node in _run_by(source.tree):
        if isinstance(node, ast.Expr) and any(isinstance(n, ast.Call) for n in ast.walk(node)):
            yield node.lineno, f"an effect at import: {ast.unparse(node)}"
        elif isinstance(node, ast.For | ast.While | ast.With | ast.Delete):
            yield node.lineno, "a statement at module level that defines nothing"
        elif isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, f"an effect at import: {ast.unparse(node)} is set"
        yield from _effect_of(node, source, local, done)


def _effect_of(node, source, local, done):
    """Yield the effect of one expression, followed into the module's own functions and classes."""
    if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
        full = dotted(node, source.aliases)
        if _root(node) in source.aliases and f".{full}".endswith(tuple(f".{e}" for e in EFFECTS)):
            yield node.lineno, f"an effect at import: {full}"
        if isinstance(node, ast.Name) and node.id in BUILTIN_EFFECTS - {*source.aliases, *local}:
            yield node.lineno, f"an effect at import: {node.id}"
    elif isinstance(node, ast.Call) and dotted(node.func, {}) == "getattr":
        texts = {a.value for a in node.args[1:] if isinstance(a, ast.Constant)}
        for name in sorted(EFFECTS & texts):
            yield node.lineno, f"an effect at import: {name}"
    called = [node.func] if isinstance(node, ast.Call) else getattr(node, "decorator_list", ())
    for name in {n.id for n in called if isinstance(n, ast.Name)} & local.keys() - done:
        done.add(name)
        for inner in _run_by_calling(local[name]):
            yield from _effect_of(inner, source, local, done)


def _run_by(node):
    """Yield every statement and expression below `node` that runs when the module is imported.

    A function's decorators, defaults and annotations do, its body does not; a class's body does.
    """
    for child in _that_run(node):
        yield child
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in (*child.decorator_list, child.args, child.returns):
                if part is not None:
                    yield part
                    yield from _run_by(part)
        else:
            yield from _run_by(child)


def _run_by_calling(node):
    """Yield what may run when a function is called, or a class made an instance or decorator."""
    if isinstance(node, ast.ClassDef):
        makers = ("__new__", "__init__", "__post_init__", "__call__")
        bodies = [n for n in node.body if getattr(n, "name", None) in makers]
    else:
        bodies = [node]
    return [inner for body in bodies for inner in ast.walk(body)]


def _circles(graph):
    """Yield each circle that a depth-first walk closes."""
    done = set()

    def walk(module, trail):
        if module in trail:
            yield [*trail[trail.index(module) :], module]
        elif module not in done:
            for target in sorted(graph.get(module, ())):
                yield from walk(target, [*trail, module])
            done.add(module)

    for module in sorted(graph):
        if module != "skvae":
            yield from walk(module, [])
