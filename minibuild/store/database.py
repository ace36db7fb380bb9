"""The metadata of the store: one SQLite file in WAL mode, one connection for each thread.

WAL lets many processes read while one writes. `synchronous=NORMAL` does not wait for the disk at
each commit: after kill -9 nothing is lost (the page cache is the kernel's), after a power cut the
last transactions may be, which costs a rebuild and never a wrong one.
"""

import _sqlite3 as sqlite3  # What `sqlite3` adds is about datetime, and takes 0.8 ms to load.
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from minibuild.errors import StoreError, is_full
from minibuild.store import shared_memory

TIMEOUT_S = 60
_TURN_S = 0.25
"""How long SQLite itself waits for another process: no signal ends that."""

_PAUSE_S = 0.005
T = TypeVar("T")
FORMAT = 4
"""Raised with each change of the tables; those that a store lacks are made when it is opened."""

SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS snapshots (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        parent INTEGER,
        backend TEXT NOT NULL,
        owner TEXT,                -- who writes it; NULL once it is committed
        stack TEXT,                -- a stacked merge: JSON list of its layers, lowest first
        created REAL NOT NULL,
        size_bytes INTEGER,        -- usage, once it was asked for
        inodes INTEGER,
        merged INTEGER NOT NULL DEFAULT 0,  -- 1: holds links to files of other snapshots
        portable INTEGER           -- 1: its files mean the same on any base; NULL: not looked at
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS probes (  -- what was tried on this host, so that it is tried once
        name TEXT PRIMARY KEY,
        answer TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS digests_of_files (
        dev INTEGER NOT NULL,
        inodes INTEGER NOT NULL,   -- a group of neighbours: see fileop.digest_cache
        files BLOB NOT NULL,
        PRIMARY KEY (dev, inodes)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS diffs (  -- see cache.results
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        base TEXT NOT NULL,        -- JSON list of the diffs it was made on
        lower INTEGER,             -- the snapshot of `base`, and
        upper INTEGER,             -- the one with this diff on it; NULL while there is only a blob
        diff_id TEXT,              -- the blob; NULL while there is only a tree
        digest TEXT,
        size_bytes INTEGER,
        media_type TEXT,
        created REAL NOT NULL
    )
    """,
    "CREATE INDEX IF NOT EXISTS diffs_by_layer ON diffs (diff_id)",
    """
    CREATE TABLE IF NOT EXISTS trees (  -- lists of diffs that exist as a snapshot
        list TEXT PRIMARY KEY,
        snapshot INTEGER NOT NULL,
        diffs TEXT NOT NULL        -- JSON list
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS records (  -- the build cache: see cache.records
        key TEXT PRIMARY KEY,      -- a fast key or a canonical one
        canonical TEXT NOT NULL,
        result TEXT NOT NULL,      -- JSON list of diffs
        name TEXT NOT NULL,        -- of the vertex, for people
        created REAL NOT NULL,
        used REAL NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS key_parts (  -- what canonical keys were made of, to explain a miss
        key TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        parts BLOB NOT NULL,       -- JSON, deflated
        created REAL NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS notes (  -- of frontends: see graph.frontend
        key TEXT PRIMARY KEY,
        note TEXT NOT NULL,
        created REAL NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS layers (
        diff_id TEXT NOT NULL,     -- of the tar
        digest TEXT NOT NULL,      -- of the blob, compressed or not
        media_type TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        PRIMARY KEY (diff_id, digest)
    ) WITHOUT ROWID
    """,
)


def _patiently(statement: Callable[[], T]) -> T:
    """Run a statement, again and again while another process holds the lock that it needs."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return statement()
        except sqlite3.OperationalError as error:
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_S)


def _roll_back(connection: sqlite3.Connection) -> None:
    """Take a transaction back, unless SQLite did so itself, as on a full disk."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def explained(error: sqlite3.DatabaseError, path: str) -> StoreError:
    """What to tell a person about a failure of SQLite, whose words name no cause.

    On a full disk the shared memory of WAL cannot grow, which it calls an error of the disk.
    """
    # In its lowest byte (sqlite.org/rescode.html); errors of the module itself have no code.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    of_a_full_disk = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
    if code == sqlite3.SQLITE_FULL or (of_a_full_disk and is_full(os.path.dirname(path))):
        return shared_memory.no_space(path)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreError(
            f"the store's metadata {path} is damaged: {error}",
            hint="set MINIBUILD_ROOT to another folder; the images in this one can still be read: "
            f"minibuild image load {os.path.dirname(path)}",
        )
    if code == sqlite3.SQLITE_READONLY:
        return StoreError(
            f"cannot write to the store's metadata {path}",
            hint="set MINIBUILD_ROOT to a folder that you may write to",
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreError(
            f"cannot open the store's metadata {path}",
            hint="raise the limit on open files (`ulimit -n`), or check the disk",
        )
    return StoreError(
        f"the store's metadata {path}: {error}",
        hint="check the disk, or set MINIBUILD_ROOT to another folder",
    )


class Database:
    """Connections to the one file. Statements run in autocommit unless in a `transaction`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._local = threading.local()
        shared_memory.insist_on_room(path)
        try:
            with self.transaction() as tx:
                (version,) = tx.execute("PRAGMA user_version").fetchone()
                if version > FORMAT:
                    raise StoreError(
                        f"the store {path} was written by a newer minibuild (format {version})",
                        hint="update minibuild, or set MINIBUILD_ROOT to another folder",
                    )
                if version < FORMAT:
                    for statement in SCHEMA:
                        tx.execute(statement)
                    tx.execute(f"PRAGMA user_version = {FORMAT}")
            shared_memory.reserve(path)
        except sqlite3.DatabaseError as error:
            raise explained(error, path) from error

    @property
    def connection(self) -> sqlite3.Connection:
        """The calling thread's connection."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = made = sqlite3.connect(self.path, timeout=_TURN_S, isolation_level=None)
            # Of those who do this at the same time in a new file all but one are told at once
            # that it is locked: SQLite's own patience does not count for this statement.
            _patiently(lambda: made.execute("PRAGMA journal_mode = WAL"))
            found.execute("PRAGMA synchronous = NORMAL")
            self._local.connection = found
        return found

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement on the calling thread's connection."""
        connection = self.connection
        return _patiently(lambda: connection.execute(sql, parameters))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Statements that happen together or not at all; other writers wait (BEGIN IMMEDIATE).
        One inside another is a part of it."""
        connection = self.connection
        if connection.in_transaction:
            yield connection
            return
        _patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise

    def shrink(self) -> None:
        """Give room that deleted rows had back to the disk. On a full one it stays as it is: this
        needs as much again for a while."""
        with suppress(sqlite3.OperationalError):
            self.execute("VACUUM")

    def close(self) -> None:
        """Close the calling thread's connection; those of ended threads close by themselves."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is not None:
            found.close()
            del self._local.connection
