"""What docstrings say is there: each name in backquotes behind "Read next" leads to a module.

A reader follows these names. So they are followed here: from the package that names them, from
`minibuild`, or from the top of the checkout; and every package has a face that says what comes in
and what goes out.
"""

import ast
import re
from pathlib import Path

import minibuild
from tests.support.rules import holds_for

CHECKOUT = Path(__file__).parent.parent
HOMES = {"minibuild": CHECKOUT, "minibuild_dockerfile": CHECKOUT / "frontends"}
MODULES = sorted(path for name, home in HOMES.items() for path in (home / name).rglob("*.py"))
PACKAGES = [path for path in MODULES if path.name == "__init__.py"]
ROOMS = {path.stem for path in (CHECKOUT / "minibuild").iterdir()} | set(HOMES)
FOREIGN = {"api.proto", "progress.Writer", "minibuild.frontends", "dmesg"}
DOTTED = re.compile(r"`([a-z_]+(?:\.\w+)+)\b")
SEE = re.compile(r"\b[Ss]ee (?:`([a-z_][\w.]*)`|([a-z_]+(?:\.[a-z_]+)+))")
DEFINES = r"^ *(?:(?:def|class) {0}\b|{0}\b(?:: .*)? = )"
ROUTES = re.compile(r"(?:Read next|Read in this order|Start with)\b(.*?)(?=\n\n|\Z)", re.DOTALL)


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def names(path: Path) -> list[str]:
    """The names that a reader of the module is sent to."""
    return [
        name
        for route in ROUTES.findall(docstring(path))
        for name in re.findall(r"`([a-z_][\w./]+)`", route)
    ]


def candidates(name: str, path: Path) -> list[Path]:
    """Where a name may lead: a sibling, a package's module, a file of the checkout."""
    parts = name.replace("/", ".").removesuffix(".py").split(".")
    roots = [path.parent, path.parent.parent, CHECKOUT / "minibuild", *HOMES.values()]
    return [root.joinpath(*parts[:depth]) for root in roots for depth in range(len(parts), 0, -1)]


def mentioned(path: Path) -> list[str]:
    """The names of modules, and of what is in them, that docstrings and comments mention; and what
    else they tell a reader to see."""
    text = path.read_text()
    dotted = {name for name in DOTTED.findall(text) if name.split(".")[0] in ROOMS}
    seen = {"".join(found) for found in SEE.findall(text)}
    own = {name for name in seen if re.search(rf"[^`\w]{name}\b", text) and "." not in name}
    return sorted((dotted | seen) - own - FOREIGN)


def leads_somewhere(name: str, path: Path) -> bool:
    """Whether there is such a module or package; or an attribute that the module defines."""
    if name.endswith(".md"):
        return (CHECKOUT / name).exists()
    package, _, last = name.rpartition(".")
    if package == "minibuild" and last in minibuild.__all__:
        return True
    for place in candidates(name, path):
        if place.parent == place or not place.name:
            continue
        file = place.with_suffix(".py")
        if place.name == last and (file.exists() or (place / "__init__.py").exists()):
            return True
        if file.exists() and re.search(DEFINES.format(last), file.read_text(), re.MULTILINE):
            return True
    own = re.search(DEFINES.format(last), path.read_text(), re.MULTILINE)
    return own is not None and "." not in name


@holds_for(MODULES)
def test_what_to_read_next_is_there(path: Path) -> None:
    """A name that was renamed is found by this test."""
    lost = [name for name in names(path) if not leads_somewhere(name, path)]
    assert not lost, f"no module is called {lost}"


@holds_for(MODULES)
def test_what_is_mentioned_is_there(path: Path) -> None:
    """The same for names in the middle of a text."""
    lost = [name for name in mentioned(path) if not leads_somewhere(name, path)]
    assert not lost, f"there is no {lost}"


@holds_for(PACKAGES)
def test_a_package_has_a_face(path: Path) -> None:
    """What comes in, what goes out, and where to begin; no placeholder."""
    text = docstring(path)
    assert not re.search(r"\bTODO\b|\bwritten by\b", text)
    assert len(text.splitlines()) >= 3, "a package says more than its name"
    if path.parent.name != "minibuild":
        assert ROUTES.search(text), "a package says where to begin"
    if path.parent.name not in HOMES:
        assert "Comes in:" in text and "oes out:" in text, "a package says what it is between"


def test_the_test_follows_names() -> None:
    """A wrong name is no module."""
    here = CHECKOUT / "minibuild" / "cache" / "results.py"
    assert leads_somewhere("materialise", here)
    assert leads_somewhere("solver.solver", here)
    assert not leads_somewhere("solve.solver", here)
    assert not leads_somewhere("operations", here)
