"""Whole builds: the installed program on a real userland.

`builds` has a store with busybox:latest in it; `project` writes a context.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from minibuild.linux.namespace import needs_user_namespace
from minibuild.snapshot import select
from minibuild.snapshot.native import NativeSnapshotter
from tests.conftest import Cli
from tests.integration.built import FILES, Built, git
from tests.integration.shop import Shop
from tests.support.images import Image, read_image
from tests.support.webserver import WebServer, serving


class Builds:
    """Builds with the command line, and reads what came out as another tool would."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self.cli = cli
        self.folder = folder
        self.count = 0

    def image(self, context: str, *flags: str) -> Image:
        """Build to an OCI layout and read it."""
        self.count += 1
        out = self.folder / f"out{self.count}"
        self.cli(
            "build", "--progress=plain", f"--output=type=oci,tar=false,dest={out}", *flags, context
        )
        return read_image(str(out))

    def leftovers(self) -> list[str]:
        """What no build that ended, however it ended, may leave behind once the next one ran."""
        root = self.cli.root
        found = [
            f"file {root}/{folder}/{name}"
            for folder in ("ingest", "owners", "run/mnt")
            if os.path.isdir(f"{root}/{folder}")  # each is made when it is needed
            for name in os.listdir(f"{root}/{folder}")
        ]
        with closing(sqlite3.connect(f"{root}/meta.db")) as db:
            rows = dict(db.execute("SELECT id, owner FROM snapshots"))
        found += [f"unfinished snapshot {number}" for number, owner in rows.items() if owner]
        known = {str(number) for number in rows}
        found += [
            f"snapshot {name}"
            for name in known.symmetric_difference(os.listdir(f"{root}/snapshots"))
        ]
        with open("/proc/self/mountinfo") as file:
            found += [f"mount {line.split()[4]}" for line in file if root in line]
        return found


@pytest.fixture
def project(tmp_path: Path) -> Callable[[Mapping[str, str]], str]:
    """`project({"Dockerfile": ...})` writes a build context and returns its path."""
    count = 0

    def write(files: Mapping[str, str]) -> str:
        nonlocal count
        count += 1
        folder = tmp_path / f"context{count}"
        folder.mkdir()
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(folder)

    return write


@pytest.fixture
def builds(cli: Cli, busybox_store: str, tmp_path: Path) -> Builds:
    """A store with busybox:latest, imported from a tar."""
    cli.has_busybox(busybox_store)
    return Builds(cli, tmp_path)


@pytest.fixture(params=["best", "native"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """An empty store, with the snapshots that this host does best, and with full copies."""
    if request.param == "native":
        if needs_user_namespace():
            pytest.skip("without root the engine is a process of its own, which picks the best")
        monkeypatch.setattr(select, "open_snapshotter", lambda store, _: NativeSnapshotter(store))
    return Shop(tmp_path)


@pytest.fixture
def build(cli: Cli, tmp_path: Path) -> Built:
    """`build(...)` builds; `build.files` are the files that came out."""
    return Built(cli, tmp_path)


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A web server on loopback."""
    with serving() as server:
        yield server


@pytest.fixture
def repository(tmp_path: Path, web: WebServer) -> tuple[Path, str]:
    """A repository with a branch `main`, a tag `v1`, and its address."""
    folder = tmp_path / "repo.git"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "-f", ".")
    git(folder, "commit", "-qm", "one")
    git(folder, "tag", "-a", "-m", "first", "v1")
    (folder / "later").write_text("later\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "two")
    return folder, web.git("/repo.git", folder)
