"""The architecture, enforced: imports point down, heavy ones wait, files stay small.

Each rule says why it is there. A rule that stands in the way is discussed, not worked around.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rules import holds_for

CHECKOUT = Path(__file__).parent.parent
MODULES = sorted(
    path.relative_to(CHECKOUT)
    for folder in ("minibuild", "frontends")
    for path in (CHECKOUT / folder).rglob("*.py")
)

# Whoever stands higher may import whoever stands lower, never the reverse and never sideways ...
RANK = {
    "errors": 0, "digest": 0, "events": 0, "startup": 0,
    "graph": 1, "linux": 1, "store": 1, "progress": 1,
    "session": 2, "buildkit": 2,
    "snapshot": 3,
    "executor": 4, "oci": 4,
    "layer": 5,
    "fileop": 6, "image": 6, "registry": 6,
    "cache": 7,
    "worker": 8,
    "source": 9,
    "solver": 10, "imagetools": 10,
    "frontend": 12, "exporter": 12,
    "attest": 13, "page": 13, "record": 13, "remotecache": 13,
    "builder": 14,
    "lab": 15, "rootless": 15,
    "buildflags": 15,
    "api": 16, "course": 16, "serve": 16, "client": 16,
    "cli": 17,
}  # fmt: skip
# ... but for these neighbours: (importer, imported). The last ones say by which version a build was
# done.
NEIGHBOURS = {
    ("errors", "startup"),
    ("events", "startup"),
    ("events", "errors"),
    ("events", "digest"),
    ("cli", "minibuild"),
    ("attest", "minibuild"),
    ("record", "minibuild"),
    ("serve", "minibuild"),
    ("page", "record"),
}

# `State.build` takes the options of `minibuild.build` and gives its result. The engine is looked up
# by name when it is called, so these are types alone.
TYPES_OF_ABOVE = {"minibuild/graph/state.py"}

# One name, one thing: a class, be it private, has a name that no other one has. But an instruction
# may be called like what it becomes, a step's mount like the kernel's, and the op like the two
# snapshots that it compares.
SHARED_NAMES = {"Copy", "Healthcheck", "Mount", "Diff"}
# Names of types that stand for the same thing on two floors, or for a word of its small package.
SHARED_ALIASES = {"Command", "Contents", "Context", "Json", "Part", "Planned", "Progress", "Record"}

# A frontend is not part of the engine: it makes a graph and can be replaced.
FRONTEND_MAY_IMPORT = {"graph", "errors", "digest", "startup"}

# Each costs 10 to 90 ms, and a cached build has less than 100 in all: imported where used.
HEAVY = frozenset(
    (
        "asyncio concurrent dataclasses email http inspect isal logging multiprocessing pathlib "
        "pyseccomp requests shutil ssl subprocess tarfile tempfile tqdm typing_extensions urllib "
        "urllib3 zipfile zstandard"
    ).split()
)

# Where a build starts: nothing imports these, and all the same they are on its way.
STARTED = {"minibuild.cli.start", "minibuild.__main__", "minibuild.builder"}
STARTED |= {"minibuild_dockerfile.convert"}

# One module knows each of these; everybody else asks that module.
ONE_IMPORTER = ("dockerfile_parse", "isal", "pyseccomp", "shtab", "tqdm", "xattr", "zstandard")

# What people write where a docstring is still to come.
PLACEHOLDERS = ("TODO", "FIXME", "XXX", "TBD")

# Two know this one: calls of libc have their types in one place, and what bpf(2) takes in another.
CTYPES = {f"minibuild/linux/{name}.py" for name in ("syscalls", "bpf", "unotify")}

# The doctor tries whether these load, and uses nothing of them.
TRIED_BY_THE_DOCTOR = {"pyseccomp": "minibuild/linux/probe.py"}


def unit(module: str) -> str:
    """The part of the engine that a dotted name belongs to: `minibuild.oci.layer` is `oci`."""
    return module.split(".")[1] if module.count(".") else "minibuild"


def imports(nodes: list[ast.stmt]) -> Iterator[str]:
    """The modules that statements import, at any depth; `from a import b` may mean `a.b`."""
    for top in nodes:
        for node in ast.walk(top):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, "imports are absolute: they say where things are"
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    yield whole if is_module(whole) else str(node.module)


@functools.cache
def is_module(name: str) -> bool:
    """Whether a dotted name is a module of this checkout."""
    top = name.split(".")[0]
    if top not in ("minibuild", "minibuild_dockerfile"):
        return False
    folder = CHECKOUT if top == "minibuild" else CHECKOUT / "frontends"
    path = folder / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def at_start(body: list[ast.stmt]) -> list[ast.stmt]:
    """What runs when a module is imported: nothing in functions or for type checkers only."""
    found: list[ast.stmt] = []
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                continue
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                found += node.orelse
            case ast.If() | ast.Try() | ast.With() | ast.ClassDef():
                for field in ("body", "orelse", "finalbody"):
                    found += at_start(getattr(node, field, []))
            case _:
                found.append(node)
    return found


def without_type_checking(module: ast.Module) -> list[ast.stmt]:
    """The statements of a module, functions and all, but for what only type checkers read."""
    return [
        node
        for node in module.body
        if not (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING")
    ]


def dotted(path: Path) -> str:
    """The name under which a module is imported."""
    parts = path.with_suffix("").parts
    return ".".join(parts[parts[0] == "frontends" :]).removesuffix(".__init__")


@functools.cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of a module of this checkout."""
    return ast.parse((CHECKOUT / path).read_text())


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of the syntax tree of a module."""
    return tuple(ast.walk(parse(path)))


@functools.cache
def imported_at_start(path: Path) -> frozenset[str]:
    """What a module imports when it is imported itself."""
    return frozenset(imports(at_start(parse(path).body)))


@functools.cache
def imported(path: Path) -> frozenset[str]:
    """What a module imports, at whatever time."""
    return frozenset(imports(parse(path).body))


@holds_for(MODULES)
def test_imports_point_down(path: Path) -> None:
    """The listing of `minibuild/` can be read as a stack only if nobody reaches up."""
    here = unit(dotted(path))
    ours = {name for name in imported(path) if name.split(".")[0] == "minibuild"}
    if str(path) in TYPES_OF_ABOVE:
        ours &= set(imports(at_start(parse(path).body)))
    if path.parts[0] == "frontends":
        assert {unit(name) for name in ours} <= FRONTEND_MAY_IMPORT
        return
    if path == Path("minibuild/__init__.py") or path == Path("minibuild/__main__.py"):
        return
    above = {
        name
        for name in ours
        if unit(name) != here
        and (here, unit(name)) not in NEIGHBOURS
        and RANK.get(unit(name), 99) >= RANK[here]
    }
    assert not above, f"{here} must not import {sorted(above)}"


def test_the_top_level_is_short() -> None:
    """A stranger who lists `minibuild/` meets packages, and the modules that begin the story."""
    there = {path.name for path in MODULES if path.parent == Path("minibuild")}
    assert there == {
        *("__init__.py", "__main__.py", "api.py", "builder.py"),
        *("digest.py", "errors.py", "events.py"),
    }


def test_one_name_is_one_thing() -> None:
    """Unions and the like, as `OnOutput = Callable[...]`, are as much read as classes."""
    homes: dict[str, list[str]] = {}
    for path in MODULES:
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(str(path))
        for node in parse(path).body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)]):
                    if name[0].isupper() and not name.isupper() and len(name) > 1:
                        homes.setdefault(name, []).append(str(path))
    shared = {name: paths for name, paths in homes.items() if len(paths) > 1}
    assert not {name: shared[name] for name in shared.keys() - SHARED_NAMES - SHARED_ALIASES}


def test_imports_go_round_nowhere() -> None:
    """A circle of modules has no first one to read. Names for type checkers alone are no import."""
    known = {dotted(path): path for path in MODULES}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"imports go round: {' > '.join((*way[way.index(name) :], name))}"
        if name not in done:
            body = without_type_checking(parse(known[name]))
            for other in sorted({n for n in imports(body) if n in known} - {name}):
                visit(other, (*way, name))
            done.add(name)

    for name in known:
        visit(name, ())


@holds_for(MODULES)
def test_the_engine_does_not_know_frontends(path: Path) -> None:
    """One module finds them, by a name; no other imports or names any, at whatever time."""
    if path.parts[0] != "minibuild":
        return
    assert not [n for n in imported(path) if n.split(".")[0] == "minibuild_dockerfile"]
    if path != Path("minibuild/frontend/loader.py"):
        texts = {n.value for n in nodes(path) if isinstance(n, ast.Constant)}
        names = {t for t in texts if isinstance(t, str) and t.startswith("minibuild_dockerfile")}
        assert not names, "loader finds frontends"


@holds_for(MODULES)
def test_heavy_modules_are_imported_where_used(path: Path) -> None:
    """Start-up time is part of the product. A module that itself is imported late may be heavy."""
    early = any(dotted(path) in imported_at_start(m) for m in MODULES if m != path)
    if not early and dotted(path) not in STARTED and path.name != "__init__.py":
        return
    heavy = {name for name in imported_at_start(path) if name.split(".")[0] in HEAVY}
    assert not heavy, f"import {sorted(heavy)} inside the function that needs it"


@holds_for(MODULES)
def test_named_tuples_are_the_cheap_ones(path: Path) -> None:
    """Import that of `minibuild.startup.tuples`: one of typing is six times as dear to define."""
    if path == Path("minibuild/startup/tuples.py"):
        return
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.module in ("typing", "collections"):
            dear = {alias.name for alias in node.names} & {"NamedTuple", "namedtuple"}
            assert not dear, f"{dear} of {node.module}: import that of minibuild.startup.tuples"


@holds_for(MODULES)
def test_expressions_are_compiled_when_used(path: Path) -> None:
    """Those of all modules take 5 ms of each start, and a build asks a third of them."""
    for top in at_start(parse(path).body):
        for node in ast.walk(top):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) != "re.compile", "regex, of minibuild.startup.regex"


@pytest.mark.parametrize("name", ONE_IMPORTER)
def test_one_module_knows_it(name: str) -> None:
    """So that its quirks, its types and its absence are dealt with in one place."""
    importers = [
        str(path)
        for path in MODULES
        if any(found.split(".")[0] == name for found in imported(path))
        and str(path) != TRIED_BY_THE_DOCTOR.get(name)
    ]
    assert len(importers) <= 1, f"{name} is imported by {importers}"


def test_few_modules_know_ctypes() -> None:
    """What is called with the wrong types there is the interpreter's end."""
    assert {str(path) for path in MODULES if "ctypes" in imported(path)} == CTYPES


@holds_for(MODULES)
def test_files_stay_small(path: Path) -> None:
    """One idea each, at most 400 lines, and a docstring that says which."""
    text = (CHECKOUT / path).read_text()
    assert len(text.splitlines()) <= 400
    docstring = ast.get_docstring(parse(path))
    assert docstring, "a module says what comes in and what goes out"
    left_to_do = set(PLACEHOLDERS) & set(docstring.replace(":", " ").split())
    assert not left_to_do, "a docstring that is to be written is none"


@holds_for(MODULES)
def test_functions_stay_small(path: Path) -> None:
    """At most 50 lines, docstring included."""
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 50, f"{node.name} has {length} lines"


# These read what others wrote: images, registries, caches, files of logins.
READERS = (
    "attest", "cli", "exporter", "image", "imagetools", "oci", "registry", "remotecache", "source",
)  # fmt: skip


@holds_for([p for p in MODULES if unit(dotted(p)) in READERS])
def test_documents_of_others_are_read_in_one_place(path: Path) -> None:
    """What `json.loads` gives may be of any type; see `oci.document`."""
    if path == Path("minibuild/oci/document.py"):
        return
    calls = [ast.unparse(node.func) for node in nodes(path) if isinstance(node, ast.Call)]
    assert not {"json.load", "json.loads"} & set(calls)


@holds_for(MODULES)
def test_one_module_writes_to_terminals(path: Path) -> None:
    """Text from outside must not get there but through a console; see `progress.console`."""
    text = (CHECKOUT / path).read_text()
    if path.parts[:2] != ("minibuild", "progress"):
        assert "\\x1b" not in text and "\\033" not in text, "painted, of progress.console"
    for call in ("stdout.write(", "stderr.write(", "print("):
        for line in text.splitlines():
            allowed = "session.std" in line or "self.std" in line or path.name == "__init__.py"
            assert allowed or call not in line.replace("fingerprint(", ""), line


@holds_for(MODULES)
def test_the_environment_is_read_in_one_function(path: Path) -> None:
    """A library does what its arguments say; a caller may call `read_environment`."""
    if path == Path("minibuild/session/environment.py"):
        return
    for node in nodes(path):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in {
                ("os", name) for name in ("environ", "environb", "getenv", "getenvb")
            }
