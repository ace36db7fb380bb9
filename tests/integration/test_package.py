"""What a person gets from `pip install`: a wheel with everything in it and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from tests.conftest import CHECKOUT


@pytest.mark.linters
def test_the_wheel_is_whole(tmp_path: Path) -> None:
    """Every module, the marker for type checkers, the program; no tests."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((CHECKOUT / name).read_bytes())
    for name in ("minibuild", "frontends"):
        copytree(CHECKOUT / name, source / name, ignore=ignore_patterns("__pycache__"))
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"),
            *("--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)),
        ],
        check=True,
        timeout=120,
    )
    [wheel] = tmp_path.glob("minibuild-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [entry_points] = [n for n in names if n.endswith("entry_points.txt")]
        assert "minibuild = minibuild.cli.main:entry" in archive.read(entry_points).decode()
    expected = {
        str(path.relative_to(home))
        for home, name in (
            (CHECKOUT, "minibuild"),
            (CHECKOUT / "frontends", "minibuild_dockerfile"),
        )
        for path in (home / name).rglob("*.py")
    }
    code = {n for n in names if ".dist-info/" not in n}
    assert code == expected | {"minibuild/py.typed"}
