"""The store is closed to others, and inherits nothing from the folder that it lies in."""

import os
import stat
from pathlib import Path

import pytest

from minibuild.errors import HostError
from minibuild.store.layout import Store
from tests.support.acl import give_default_acl


def modes(root: Path) -> dict[str, str]:
    """The modes of all that is in a store."""
    found = [root, *(path for path in root.rglob("*") if not path.is_socket())]
    return {str(path.relative_to(root)): f"{stat.S_IMODE(path.stat().st_mode):o}" for path in found}


def opened(root: Path) -> dict[str, str]:
    """The modes in a store that was opened and closed."""
    Store(str(root)).close()
    return modes(root)


CLOSED = {
    ".": "700",
    "blobs": "700",
    "blobs/sha256": "700",
    "cache-mounts": "700",
    "ingest": "700",
    "locks": "700",
    "owners": "700",
    "snapshots": "700",
}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000, 0o002])
def test_a_new_store(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        found = opened(tmp_path / "deep/store")
    finally:
        os.umask(before)
    assert CLOSED.items() <= found.items() and found["meta.db"] in ("600", "644", "664", "666")
    # What lies above is as any folder is.
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o777 & ~umask


def test_a_store_that_was_open_is_closed(tmp_path: Path) -> None:
    root = tmp_path / "store"
    opened(root)
    for path in (root, root / "blobs", root / "blobs/sha256", root / "snapshots", root / "locks"):
        path.chmod(0o755)
    (root / "meta.db").chmod(0o644)
    (root / "index.json").write_text("{}")
    (root / "index.json").chmod(0o664)
    found = opened(root)
    assert (CLOSED | {"meta.db": "600", "index.json": "600"}).items() <= found.items()


def test_what_is_in_snapshots_keeps_its_modes(tmp_path: Path) -> None:
    root = tmp_path / "store"
    opened(root)
    (root / "snapshots/1/fs").mkdir(parents=True)
    (root / "snapshots/1/fs").chmod(0o2755)
    root.chmod(0o755)
    assert opened(root)["snapshots/1/fs"] == "2755"


def test_a_folder_that_others_use_stays_open(tmp_path: Path) -> None:
    """Such as MINIBUILD_ROOT=/tmp; only what is the store's is closed."""
    root = tmp_path / "shared"
    root.mkdir()
    root.chmod(0o1777)
    (root / "notes").write_text("")
    (root / "notes").chmod(0o644)
    opened(root)
    found = opened(root)
    assert found["."] == "1777" and found["notes"] == "644"
    assert (CLOSED | {".": "1777", "meta.db": "600"}).items() <= found.items()


@pytest.mark.parametrize("made", ["before", "by the store"])
def test_nothing_is_inherited(tmp_path: Path, made: str) -> None:
    """Neither the group and its bit nor permissions."""
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o2775)
    give_default_acl(above)
    root = above / "store"
    if made == "before":
        root.mkdir()
    assert CLOSED.items() <= opened(root).items()
    (root / "snapshots/new").mkdir(mode=0o755)
    (root / "snapshots/new").chmod(0o755)
    for path in (root, *root.rglob("*")):
        assert not [name for name in os.listxattr(path) if "acl" in name], path
        assert not path.stat().st_mode & stat.S_ISGID


def test_two_builds_that_begin_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other makes the folder after this one has looked."""
    root = tmp_path / "store"
    monkeypatch.setattr(os, "makedirs", lambda *_, **__: root.mkdir())
    assert CLOSED.items() <= opened(root).items()


@pytest.mark.parametrize("folder", ["builds", "inventories", "lab", "contexts", "history"])
def test_folders_that_come_later_are_no_strangers(tmp_path: Path, folder: str) -> None:
    root = tmp_path / "store"
    opened(root)
    root.chmod(0o755)
    (root / folder).mkdir(0o755)
    found = opened(root)
    assert (found["."], found[folder]) == ("700", "700")


@pytest.mark.parametrize("folder", ["snapshots", "ingest"])
def test_a_folder_with_files_of_others_is_no_store(tmp_path: Path, folder: str) -> None:
    """Each start of a store removes what it does not know there."""
    photo = tmp_path / folder / "2026" / "photo"
    photo.parent.mkdir(parents=True)
    photo.write_text("mine")

    with pytest.raises(HostError, match=f"no store of minibuild, and has files in {folder}/"):
        Store(str(tmp_path))

    assert photo.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == [folder]
