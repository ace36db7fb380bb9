"""What a person gets from `pip install`: a wheel with everything in it and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from tests.conftest import CHECKOUT
from tests.support.frontends import BAKERY

pytestmark = pytest.mark.linters


def pip(*arguments: str | Path) -> None:
    """Run pip without the network."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=120)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    tmp_path = tmp_path_factory.mktemp("wheel")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((CHECKOUT / name).read_bytes())
    for name in ("minibuild", "frontends"):
        copytree(CHECKOUT / name, source / name, ignore=ignore_patterns("__pycache__"))
    offline = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    pip("wheel", *offline, "--wheel-dir", tmp_path, source)
    [made] = tmp_path.glob("minibuild-*.whl")
    return made


def test_the_wheel_is_whole(wheel: Path) -> None:
    """Every file of the packages, and no tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [entry_points] = [n for n in names if n.endswith("entry_points.txt")]
        assert "minibuild = minibuild.cli.start:start" in archive.read(entry_points).decode()
    expected = {
        str(path.relative_to(home))
        for home, name in (
            (CHECKOUT, "minibuild"),
            (CHECKOUT / "frontends", "minibuild_dockerfile"),
        )
        for path in (home / name).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert "minibuild/py.typed" in expected
    assert {n for n in names if ".dist-info/" not in n} == expected


FRONTENDS = """\
import minibuild
from minibuild.errors import SourceText
from minibuild.frontend.loader import frontend_for

print(minibuild.__file__)
for text in ("FROM busybox", "# syntax=bakery"):
    found = frontend_for(SourceText("Dockerfile", text), {})
    print(found.name, type(found).__module__)
"""


def test_frontends_are_found_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    """The one in the wheel, and the example of the documentation, installed beside it by pip."""
    source, site = tmp_path / "bakery", tmp_path / "site"
    copytree(BAKERY, source, ignore=ignore_patterns("__pycache__"))
    offline = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    pip("install", *offline, "--target", site, wheel, source)
    done = subprocess.run(
        [sys.executable, "-P", "-c", FRONTENDS],
        env={"PYTHONPATH": str(site)},
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        str(site / "minibuild/__init__.py"),
        "dockerfile.v0 minibuild_dockerfile",
        "bakery bakery",
    ]
