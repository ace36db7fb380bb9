"""A source and a destination for each test, and what this account may do with them.

An account that may not change owners (an ordinary user, or a namespace with a single id) runs the
tests as minibuild would run without subordinate ids: every file stays the account's own.
"""

import os
import stat
from pathlib import Path

import pytest

from minibuild.linux import owner
from minibuild.oci.content import ContentStore
from minibuild.store.layout import Store
from tests.fileop.trees import Bench


def may_chown(folder: Path) -> bool:
    """Whether files can be given away here."""
    path = folder / "probe"
    path.touch()
    try:
        os.chown(path, 5, 6)
    except OSError:
        return False
    finally:
        path.unlink()
    return True


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Two empty directories to copy between."""
    if not may_chown(tmp_path):
        monkeypatch.setattr(owner, "maps_single_id", lambda: True)
    return Bench(str(tmp_path))


@pytest.fixture
def chowns(tmp_path: Path) -> None:
    """Skips a test about owners where there is only one."""
    if not may_chown(tmp_path):
        pytest.skip("needs the right to change owners")


@pytest.fixture
def devices(tmp_path: Path) -> None:
    """Skips a test about devices where they cannot be made."""
    path = tmp_path / "device"
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except OSError:
        pytest.skip("needs the right to make devices")
    path.unlink()


@pytest.fixture
def content(store: Store) -> ContentStore:
    """The blobs of an empty store."""
    return ContentStore(store)
