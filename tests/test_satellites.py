"""The core builds a Dockerfile into the local store and into archives. All else is a satellite.

The core imports a satellite through one module, its seam, and only inside the function that needs
it. So each satellite can be deleted, and the core still builds: this is tried here.
"""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibuild.builder import LAB_MARK
from tests.conftest import CHECKOUT
from tests.support.rules import holds_for
from tests.test_layers import MODULES, dotted, imported, imported_at_start, is_module, nodes

SATELLITES = {
    "minibuild.attest": "minibuild/builder.py",
    "minibuild.page": "minibuild/builder.py",
    "minibuild.record": "minibuild/builder.py",
    "minibuild.remotecache": "minibuild/builder.py",
    "minibuild.registry.push": "minibuild/exporter/image.py",
    "minibuild.imagetools": "minibuild/exporter/assemble.py",
    "minibuild.buildkit": "minibuild/frontend/subrequests.py",
    "minibuild.lab": None,
    "minibuild.serve": None,
    "minibuild.client": None,
    "minibuild.course": None,
}
"""Each satellite, and the module of the core that may import it."""

OUTSIDE = ("minibuild.cli", *SATELLITES)
"""Not part of the core: the command line has a file for each noun, also of satellites."""

CORE_TESTS = ("tests/cache", "tests/exporter", "tests/solver/test_schedule.py")
"""Of what stands so high that it could import a satellite."""


def belongs(name: str, package: str) -> bool:
    """Whether a module is a package or in it."""
    return name == package or name.startswith(f"{package}.")


def core() -> list[Path]:
    """The modules of the core."""
    return [p for p in MODULES if not any(belongs(dotted(p), name) for name in OUTSIDE)]


@pytest.mark.parametrize("satellite", SATELLITES)
def test_the_core_knows_one_door(satellite: str) -> None:
    """At most one module of the core imports it."""
    doors = {
        str(path) for path in core() if any(belongs(name, satellite) for name in imported(path))
    }
    assert doors <= {SATELLITES[satellite]}


@holds_for(core())
def test_no_text_names_a_satellite(path: Path) -> None:
    """A module may be imported by its name, which the test above does not see."""
    texts = {node.value for node in nodes(path) if isinstance(node, ast.Constant)}
    named = {text for text in texts if isinstance(text, str) and is_module(text)} - {LAB_MARK}
    assert not {text for text in named if any(belongs(text, name) for name in SATELLITES)}


@holds_for(core())
def test_satellites_come_when_they_are_needed(path: Path) -> None:
    """No module of the core imports one when it is imported itself, but for the seam of outputs,
    which are loaded one by one."""
    early = {
        name
        for name in imported_at_start(path)
        if any(belongs(name, s) and SATELLITES[s] != str(path) for s in SATELLITES)
    }
    assert not early


EXCEPTED = ("tests/snapshot/", "tests/registry/")
"""Merges are compared with the model of the lab, and what is pulled was pushed."""


def test_tests_of_the_core_import_no_satellite() -> None:
    """So that those that `CORE_TESTS` leaves out, which take longer, would pass without, too."""
    packages = {path.parts[1] for path in core() if len(path.parts) > 2}
    tests = [p for name in packages for p in (CHECKOUT / "tests" / name).rglob("*.py")]
    for path in (str(p.relative_to(CHECKOUT)) for p in tests):
        if not path.startswith(EXCEPTED):
            used = imported(Path(path))
            assert not {n for n in used if any(belongs(n, s) for s in SATELLITES)}, path
    assert len(tests) > 100


def run(checkout: Path, *words: str) -> None:
    """Run a module of the checkout, which has to come to a good end."""
    path = f"{checkout}:{checkout}/frontends"
    done = subprocess.run(
        [sys.executable, "-P", "-m", *words],
        cwd=checkout,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": path, "HOME": "/root",
             "MINIBUILD_ROOT": str(checkout / "store"), "TMPDIR": str(checkout)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"


ALL = "all of them"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, busybox_tar: str) -> Path:
    """A copy of this one, with a store that has busybox, and a context."""
    folder = tmp_path_factory.mktemp("satellites")
    for name in ("minibuild", "frontends", "tests", "testdata"):
        shutil.copytree(CHECKOUT / name, folder / name)  # with what is compiled: that takes long
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    run(folder, "minibuild.cli.main", "image", "import", busybox_tar, "busybox")
    (folder / "context").mkdir()
    (folder / "context/a").write_text("a")
    (folder / "context/Dockerfile").write_text(
        "FROM busybox\nCOPY a /\nCOPY --link a /b\nRUN cat /a /b > /c\n"
    )
    return folder


@pytest.fixture
def without(checkout: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """That copy while a satellite is not in it, or none of them is."""
    gone = []
    for name in SATELLITES if request.param == ALL else (request.param,):
        path = checkout / name.replace(".", "/")
        gone.append(path if path.is_dir() else path.with_suffix(".py"))
    for path in gone:
        path.rename(tmp_path / path.name)
    yield checkout
    for path in gone:
        (tmp_path / path.name).rename(path)


@pytest.mark.integration
@pytest.mark.linters  # one account is enough
@pytest.mark.needs("mount", "busybox")
@pytest.mark.parametrize("without", [*SATELLITES, ALL], indirect=True)
def test_the_core_builds_without(
    without: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The satellite is deleted: a Dockerfile becomes an image and an archive. Without any of them
    the tests of the core pass."""
    archive = tmp_path / "app.tar"
    words = ("build", "--no-cache", "-t", "app", "-o", "type=image")
    run(without, "minibuild.cli.main", *words, "-o", f"type=oci,dest={archive}", "context")
    assert archive.stat().st_size
    if request.node.callspec.params["without"] == ALL:
        where = ("-p", "no:cacheprovider", "--basetemp", str(tmp_path / "t"))
        run(without, "pytest", "-q", "-x", *where, "-m", "not integration", *CORE_TESTS)
