"""What a person gets from `pip install`: a wheel with everything in it and nothing else."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from shutil import copyfile, copytree, ignore_patterns

import pytest

from tests.conftest import CHECKOUT
from tests.support.frontends import BAKERY
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.linters


def pip(*arguments: str | Path) -> None:
    """Run pip without the network."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=PATIENCE_S)


EPOCH = "1700000000"
SOURCES = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    ".ci",
    "minibuild_program.py",
    "minibuild",
    "frontends",
)


def dist(checkout: Path, out: Path, umask: int = -1) -> dict[str, bytes]:
    """What `make dist` makes, by name."""
    subprocess.run(
        [checkout / ".ci/dist", out],
        check=True,
        timeout=PATIENCE_S,
        umask=umask,
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "VENV": sys.prefix},
        stdout=subprocess.DEVNULL,
    )
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the wheel and the sdist of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    dist(CHECKOUT, folder)
    return folder


@pytest.fixture
def wheel(made: Path) -> Path:
    """The wheel of this checkout."""
    [found] = made.glob("minibuild-*.whl")
    return found


def test_the_same_bytes_each_time(made: Path, tmp_path: Path) -> None:
    """From a checkout elsewhere, by another account, with other times."""
    other = tmp_path / "elsewhere"
    other.mkdir(0o700)
    for name in SOURCES:
        if (CHECKOUT / name).is_dir():
            copytree(CHECKOUT / name, other / name, copy_function=copyfile)
        else:
            copyfile(CHECKOUT / name, other / name)
    for path in other.rglob("*"):
        path.chmod(0o700)
    assert dist(other, tmp_path / "made", umask=0o077) == {
        path.name: path.read_bytes() for path in made.iterdir()
    }


def test_the_sdist_makes_the_same_wheel(made: Path, wheel: Path, tmp_path: Path) -> None:
    [sdist] = made.glob("minibuild-*.tar.gz")
    offline = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    pip("wheel", *offline, "--wheel-dir", tmp_path, sdist)
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(tmp_path / wheel.name) as other:
        assert {n: one.read(n) for n in one.namelist() if not n.endswith("RECORD")} == {
            n: other.read(n) for n in other.namelist() if not n.endswith("RECORD")
        }


def test_nothing_has_to_be_compiled(wheel: Path) -> None:
    """Of the packages that it asks for all have wheels; pyxattr, which has none, is an extra."""
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [n for n in archive.namelist() if n.endswith("METADATA")]
        lines = archive.read(metadata).decode().splitlines()
    asked = [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]
    plain = {re.split(r"[<>=]", line)[0] for line in asked if "extra ==" not in line}
    needed = {"dockerfile-parse", "tqdm", "isal", "zstandard", "urllib3", "pyseccomp", "shtab"}
    assert plain == needed
    assert any(line.startswith("pyxattr") and 'extra == "pyxattr"' in line for line in asked)


NEEDED = ("dockerfile_parse", "tqdm", "isal", "zstandard", "urllib3", "pyseccomp.py", "shtab")


def test_it_builds_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """With what it asks for and no more: without pyxattr, the doctor has a line of advice. The
    path has a space, which the first line of a script cannot have."""
    venv = tmp_path / "a venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    [site] = venv.glob("lib/python*/site-packages")
    # As pip would, but from the environment of the tests.
    for name in NEEDED:
        (site / name).symlink_to(Path(sysconfig.get_path("platlib"), name))
    pip("--python", venv / "bin/python", "install", "--quiet", "--no-deps", "--no-index", wheel)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    variables = {"MINIBUILD_ROOT": str(tmp_path / "root"), "PATH": os.environ["PATH"]}

    def run(*words: str) -> str:
        command = [str(venv / "bin/minibuild"), *words]
        done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("build", "-q", ".").startswith("sha256:")
    assert run("build", "--call=targets", ".")
    findings = json.loads(run("doctor", "--format=json"))
    [found] = [finding for finding in findings if finding["name"] == "attributes"]
    assert found["ok"] and "minibuild[pyxattr]" in found["advice"]


def test_the_wheel_is_whole(wheel: Path) -> None:
    """Every file of the packages, and no tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {"minibuild_program.py"}
    expected |= {
        str(path.relative_to(home))
        for home, name in (
            (CHECKOUT, "minibuild"),
            (CHECKOUT / "frontends", "minibuild_dockerfile"),
        )
        for path in (home / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
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
