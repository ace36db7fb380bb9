"""The core builds a Dockerfile into the local store and into archives. All else is a satellite.

The core imports a satellite through one module, its seam, and only inside the function that needs
it. So each satellite can be deleted, and the core still builds: this is tried here.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.support.rules import holds_for
from tests.test_layers import MODULES, at_start, dotted, imports, parse

SATELLITES = {
    "minibuild.attest": "minibuild/builder.py",
    "minibuild.page": "minibuild/builder.py",
    "minibuild.record": "minibuild/builder.py",
    "minibuild.remotecache": "minibuild/builder.py",
    "minibuild.registry.push": "minibuild/exporter/image.py",
    "minibuild.imagetools": "minibuild/exporter/squash.py",
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
        str(path)
        for path in core()
        if any(belongs(name, satellite) for name in imports(parse(path).body))
    }
    assert doors <= {SATELLITES[satellite]}


@holds_for(core())
def test_satellites_come_when_they_are_needed(path: Path) -> None:
    """No module of the core imports one when it is imported itself, but for the seam of outputs,
    which are loaded one by one."""
    early = {
        name
        for name in imports(at_start(parse(path).body))
        if any(belongs(name, s) and SATELLITES[s] != str(path) for s in SATELLITES)
    }
    assert not early


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


@pytest.mark.integration
@pytest.mark.linters  # one account is enough
@pytest.mark.needs("mount", "busybox")
@pytest.mark.parametrize("satellite", [*SATELLITES, ALL])
def test_the_core_builds_without(satellite: str, tmp_path: Path, busybox_tar: str) -> None:
    """The satellite is deleted: a Dockerfile becomes an image and an archive. Without any of them
    the tests of the core pass."""
    gone = SATELLITES if satellite == ALL else (satellite,)
    for name in ("minibuild", "frontends", "tests", "testdata"):
        shutil.copytree(CHECKOUT / name, tmp_path / name)  # with what is compiled: that takes long
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    for path in (tmp_path / name.replace(".", "/") for name in gone):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.with_suffix(".py").unlink()
    context = tmp_path / "context"
    context.mkdir()
    (context / "a").write_text("a")
    (context / "Dockerfile").write_text(
        "FROM busybox\nCOPY a /\nCOPY --link a /b\nRUN cat /a /b > /c\n"
    )
    archive = tmp_path / "app.tar"
    run(tmp_path, "minibuild.cli.main", "image", "import", busybox_tar, "busybox")
    outputs = ("-o", "type=image", "-o", f"type=oci,dest={archive}")
    run(tmp_path, "minibuild.cli.main", "build", "-t", "app", *outputs, str(context))
    assert archive.stat().st_size
    if satellite == ALL:
        where = ("-p", "no:cacheprovider", "--basetemp", str(tmp_path / "t"))
        run(tmp_path, "pytest", "-q", "-x", *where, "-m", "not integration", *CORE_TESTS)
