"""A store that is only looked into: with a log or without, closed or in use; and none at all."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from minibuild.errors import HostError, StoreError
from minibuild.store.layout import Store
from minibuild.store.read_only import ReadOnlyStore

ROW = "INSERT INTO probes (name, answer) VALUES ('a', 'b')"


@pytest.fixture
def used(store: Store) -> Iterator[Store]:
    """A store with a row that is in the log alone."""
    store.db.execute(ROW)
    assert os.path.getsize(store.path("meta.db-wal"))
    yield store


def rows(root: str) -> list[tuple[str, str]]:
    with closing(ReadOnlyStore(root)) as store:
        return store.db.execute("SELECT name, answer FROM probes").fetchall()


def listing(root: str) -> dict[str, int]:
    return {name: os.stat(f"{root}/{name}").st_mtime_ns for name in os.listdir(root)}


def test_one_in_use(used: Store) -> None:
    assert rows(used.root) == [("a", "b")]
    with (
        closing(ReadOnlyStore(used.root)) as store,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        store.db.execute(ROW)


def test_one_that_is_closed(store: Store) -> None:
    store.db.execute(ROW)
    store.close()
    before = listing(store.root)
    assert "meta.db-wal" not in before
    assert rows(store.root) == [("a", "b")]
    assert listing(store.root) == before


def test_a_log_without_its_shared_memory(used: Store, tmp_path: Path) -> None:
    """As a copy of a store may be, or one after a crash of the machine."""
    copy = tmp_path / "copy #1?"
    copy.mkdir()
    for name in ("meta.db", "meta.db-wal"):
        shutil.copy(used.path(name), copy)
    before = listing(str(copy))
    assert rows(str(copy)) == [("a", "b")]
    assert listing(str(copy)) == before


@pytest.mark.parametrize("place", ["nowhere", "file/below"])
def test_none_is_empty_and_stays_so(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert rows(str(tmp_path / place)) == []
    assert os.listdir(tmp_path) == ["file"]


def test_one_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "meta.db").symlink_to("meta.db")
    with pytest.raises(HostError, match="cannot read the store"):
        ReadOnlyStore(str(tmp_path))


@pytest.mark.parametrize("version", [1, 99])
def test_one_of_another_version(version: int, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "meta.db")) as db:
        db.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(StoreError, match="minibuild"):
        ReadOnlyStore(str(tmp_path))
