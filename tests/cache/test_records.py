"""Records of the cache: what is noted of their use, and what that costs."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibuild.cache.records import USED_FINENESS_S, Cache, Record
from minibuild.cache.results import Diffs
from minibuild.digest import digest_bytes
from minibuild.oci.multi import MultiSource
from minibuild.store.database import Database

KEY = digest_bytes(b"key")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A new database."""
    made = Database(str(tmp_path / "meta.db"))
    yield made
    made.close()


def used(db: Database) -> float:
    """When the record was used, as the database has it."""
    (found,) = db.execute("SELECT used FROM records WHERE key = ?", (KEY,)).fetchone()
    return float(found)


def use(db: Database) -> None:
    """What a build does that has the record."""
    cache = Cache(db, Diffs(db, MultiSource()))
    assert cache.lookup(KEY) == Record(KEY, ())
    cache.flush()


def wal_bytes(db: Database) -> int:
    """How much waits to be written at the end; nothing means no fdatasync(2)."""
    return Path(db.path + "-wal").stat().st_size


def test_use_is_noted(db: Database) -> None:
    """If the last one that was noted is long ago."""
    Cache(db, Diffs(db, MultiSource())).save({KEY}, Record(KEY, ()), "RUN true")
    long_ago = time.time() - USED_FINENESS_S - 5
    db.execute("UPDATE records SET used = ?", (long_ago,))
    use(db)
    assert used(db) > time.time() - 60


def test_use_that_is_no_news_writes_nothing(tmp_path: Path) -> None:
    """Two builds one after the other: the second has nothing to wait for."""
    before = Database(str(tmp_path / "meta.db"))
    Cache(before, Diffs(before, MultiSource())).save({KEY}, Record(KEY, ()), "RUN true")
    noted = used(before)
    before.close()
    again = Database(before.path)
    use(again)
    assert wal_bytes(again) == 0
    assert used(again) == noted
    again.close()
