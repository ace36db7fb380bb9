"""Installed packages with frontends, as pip leaves them: a module, and a dist-info beside it."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import CHECKOUT

BAKERY = CHECKOUT / "docs/examples/bakery"
RECIPE = """\
# syntax=bakery
base busybox
take src/app.sh to /app.sh
bake chmod +x /app.sh
serve /app.sh
"""


def install(folder: Path, package: str, entries: Mapping[str, str], **modules: str) -> None:
    """Put the package into a folder of the path; `entries` are those of the group of frontends."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[minibuild.frontends]", *lines]) + "\n")


def install_bakery(folder: Path) -> None:
    """The example of the documentation, with the entry points that its pyproject.toml names."""
    project = tomllib.loads((BAKERY / "pyproject.toml").read_text())["project"]
    entries = project["entry-points"]["minibuild.frontends"]
    install(folder, project["name"], entries, bakery=(BAKERY / "bakery.py").read_text())
