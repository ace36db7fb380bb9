"""The metadata of a store: opened by many at once, on a full disk, damaged."""

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from minibuild.digest import digest_strings
from minibuild.errors import StoreError
from minibuild.store import database, shared_memory
from minibuild.store.database import Database, explained
from minibuild.worker.worker import open_worker
from tests.conftest import CHECKOUT


def sqlite_error(code: int) -> sqlite3.OperationalError:
    """An error as the module raises it."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "full", "says"),
    [
        (sqlite3.SQLITE_FULL, False, "no space left"),
        (sqlite3.SQLITE_IOERR_SHMSIZE, True, "no space left"),
        (sqlite3.SQLITE_IOERR_SHMSIZE, False, "disk I/O error"),
        (sqlite3.SQLITE_CANTOPEN, True, "no space left"),
        (sqlite3.SQLITE_CANTOPEN, False, "cannot open"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, True, "cannot write"),
        (sqlite3.SQLITE_CORRUPT_INDEX, True, "is damaged"),
        (sqlite3.SQLITE_BUSY, True, "the store's metadata /s/meta.db: "),
    ],
)
def test_failures_are_explained(
    monkeypatch: pytest.MonkeyPatch, code: int, full: bool, says: str
) -> None:
    monkeypatch.setattr(database, "is_full", lambda folder: full)
    told = explained(sqlite_error(code), "/s/meta.db")
    assert says in told.message and told.hint


def test_no_database_at_all(tmp_path: Path) -> None:
    (tmp_path / "meta.db").write_bytes(b"no database, " * 1000)
    with pytest.raises(StoreError, match="is damaged"):
        Database(str(tmp_path / "meta.db"))


def test_full_in_the_middle(tmp_path: Path) -> None:
    """Whatever was being written: who has the store open gets an error that says what to do."""
    with pytest.raises(StoreError, match="no space left"), open_worker(str(tmp_path)) as worker:
        worker.store.db.execute("PRAGMA max_page_count = 1")
        for number in range(1000):
            worker.store.db.execute("INSERT INTO probes VALUES (?, ?)", (number, "x" * 500))


def test_many_open_a_new_store_at_once(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from minibuild.store.database import Database\n"
        "for name in range(10):\n"
        "    os.write(1, b'.'); sys.stdin.buffer.read1(1)\n"
        "    Database(f'{sys.argv[1]}/{name}.db').close()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(6)
    ]
    for _ in range(10):
        for process in processes:
            assert process.stdout is not None
            process.stdout.read(1)  # it waits at the line
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"!")
            process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0


def test_a_transaction_in_another_is_a_part_of_it(tmp_path: Path) -> None:
    db = Database(str(tmp_path / "meta.db"))

    def names() -> list[str]:
        return [name for (name,) in db.execute("SELECT name FROM probes ORDER BY name")]

    with suppress(ZeroDivisionError), db.transaction():
        with db.transaction() as tx:
            tx.execute("INSERT INTO probes VALUES ('a', '')")
        raise ZeroDivisionError
    assert names() == []
    with db.transaction() as tx:
        tx.execute("INSERT INTO probes VALUES ('b', '')")
        with db.transaction() as inner:
            inner.execute("INSERT INTO probes VALUES ('c', '')")
    assert names() == ["b", "c"]
    assert not db.connection.in_transaction


def test_a_store_of_an_older_format_gets_the_tables_it_lacks(tmp_path: Path) -> None:
    path = str(tmp_path / "meta.db")
    Database(path).close()
    old = sqlite3.connect(path)
    old.execute("DROP TABLE digests_of_files")
    old.execute(f"PRAGMA user_version = {database.FORMAT - 1}")
    old.close()
    opened = Database(path)
    assert opened.execute("SELECT * FROM digests_of_files").fetchall() == []
    opened.close()


def test_the_format_changes_with_the_tables() -> None:
    """Who comes here with other tables raises `FORMAT`, and writes the new digest down: a store
    that was made before has the old tables until then."""
    tables = [re.sub(r" *--.*", "", table) for table in database.SCHEMA]
    assert (database.FORMAT, digest_strings(tables)[7:19]) == (4, "5301da0e62e1")


def test_shared_memory_is_reserved_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where blocks are smaller than pages, before a build fills the disk; and without giving up the
    locks that this process has on the file."""
    monkeypatch.setattr(shared_memory, "_is_safe", lambda found: False)
    allocated: list[tuple[str, int]] = []

    def allocate(fd: int, offset: int, size: int) -> None:
        allocated.append((os.readlink(f"/proc/self/fd/{fd}"), size))

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    path = str(tmp_path / "meta.db")
    one = Database(path)
    assert allocated == [(f"{path}-shm", 32768)]
    with one.transaction():
        other = sqlite3.connect(path, timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
    one.close()


def test_no_room_for_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "_ROOM_BYTES", 1 << 62)
    Database(str(tmp_path / "safe.db")).close()
    monkeypatch.setattr(shared_memory, "_is_safe", lambda found: False)
    with pytest.raises(StoreError, match="no space left for the store's metadata"):
        Database(str(tmp_path / "meta.db"))
    assert not (tmp_path / "meta.db").exists()


def test_a_commit_that_fails_leaves_no_transaction(tmp_path: Path) -> None:
    """What comes after it would be a part of what failed."""
    db = Database(str(tmp_path / "meta.db"))
    (limit,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {limit}")
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError, match="full"), db.transaction() as tx:
            tx.execute("INSERT INTO probes VALUES ('x', ?)", ("x" * 100_000,))
    assert not db.connection.in_transaction
    db.close()


def test_parameters_have_no_numbers() -> None:
    """SQLite numbers `?1`, and Python takes that for a name: from 3.14 on a tuple has none."""
    numbered = [
        path.name
        for path in (CHECKOUT / "minibuild").rglob("*.py")
        if re.search(r"(?:=|,|\() ?\?\d", path.read_text())
    ]
    assert not numbered
