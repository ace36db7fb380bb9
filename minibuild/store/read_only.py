"""A store that is only looked into, for questions that build nothing.

Comes in: the folder of a store, which may belong to another account, be on a disk that cannot be
written, or not be there. Goes out: its paths, and its database to read. Nothing is made, claimed
or locked.
Rules: sqlite.org/wal.html, "Read-Only Databases"; sqlite.org/uri.html, `immutable`.
"""

import os
import sqlite3
from contextlib import closing

from minibuild.errors import HostError, StoreError
from minibuild.store.database import FORMAT, SCHEMA, Database, explained
from minibuild.store.layout import Store


class ReadOnlyStore(Store):
    """The paths of a store, and what is known in it."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self.db = ReadOnlyDatabase(self.path("meta.db"))

    def close(self) -> None:
        """Close the database."""
        self.db.close()


class ReadOnlyDatabase(Database):
    """The database of a store, to read. Where there is none, it is empty."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._connection = _opened(path)
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.DatabaseError as error:
            raise explained(error, path) from error
        if version != FORMAT:
            self.close()
            age = "a newer" if version > FORMAT else "an older"
            raise StoreError(
                f"the store {path} was written by {age} minibuild (format {version})",
                hint="update minibuild" if version > FORMAT else "the next build converts it",
            )

    @property
    def connection(self) -> sqlite3.Connection:
        """The one connection."""
        return self._connection

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def _opened(path: str) -> sqlite3.Connection:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return _empty()
    except OSError as error:
        raise HostError(
            f"cannot read the store {os.path.dirname(path)}: {error.strerror}",
            hint="set MINIBUILD_ROOT to a folder that you may read",
        ) from error
    # To open a database in WAL mode takes its shared memory, which SQLite would make. Where no log
    # is left, nothing is written at the moment, and the file alone is all of it.
    logged = os.path.exists(f"{path}-wal")
    if logged and not os.path.exists(f"{path}-shm"):
        return _copied(path)
    name = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    mode = "mode=ro" if logged else "immutable=1"
    return sqlite3.connect(f"file:{name}?{mode}", uri=True, isolation_level=None)


def _copied(path: str) -> sqlite3.Connection:
    """A database in memory with what is in the file and in its log: the log alone was copied from
    another machine, or outlived a crash of this one."""
    import shutil
    import tempfile

    made = sqlite3.connect(":memory:", isolation_level=None)
    with tempfile.TemporaryDirectory(prefix="minibuild-") as folder:
        copy = os.path.join(folder, "meta.db")
        for end in ("", "-wal"):
            shutil.copyfile(f"{path}{end}", f"{copy}{end}")
        with closing(sqlite3.connect(copy)) as there:
            there.backup(made)
    return made


def _empty() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", isolation_level=None)
    for statement in SCHEMA:
        made.execute(statement)
    made.execute(f"PRAGMA user_version = {FORMAT}")
    return made
