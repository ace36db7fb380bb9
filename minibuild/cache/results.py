"""Results: ordered lists of diffs, the central idea of the solver.

A diff is a row of the table `diffs`. It remembers on which list it was made (`base`), and it can
exist as a tree (`upper`, a snapshot), as a layer (a blob), or both. Each form
is made only when something asks for it (see `materialise`), and never twice. A layer that is not
made yet may be known as a patch of another one (`layer.patch`).

- A chain of RUNs is a list in which each diff was made on all those before it.
- `Merge` is concatenation: it costs nothing and touches no disk.
- The layers of an image are a list of diffs that exist as layers.
- An OCI image is a list of diffs, each written as a tar.

Read next: `materialise`.
"""

import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NewType

from minibuild.digest import DiffID, Digest, digest_strings
from minibuild.graph.op import LocalSource
from minibuild.layer.layer import Layer
from minibuild.oci.content import BlobSource
from minibuild.oci.model import Descriptor
from minibuild.startup.tuples import NamedTuple
from minibuild.store.database import Database

if TYPE_CHECKING:
    from minibuild.snapshot.api import SnapshotID

DiffKey = NewType("DiffKey", int)
Result = tuple[DiffKey, ...]
"""Diffs in order, lowest first. The empty tuple is scratch."""


class VertexResult(NamedTuple):
    """A vertex that is done: its result, and the canonical key by which others know it.

    `fast_key` is the key by which it was looked up before contents were read, where it has one.
    `forced` says that it was executed on request although a record may exist; `cached`, that it
    came from one, and `origin` from whose, if that was another machine's. Of a local source nothing
    is kept: it is read where it is used. `resolved_digest` is that of what came from the web: the
    commit of a repository, the sha256 of a file.
    """

    result: Result
    key: Digest | None
    fast_key: Digest | None = None
    forced: bool = False
    cached: bool = False
    local: LocalSource | None = None
    origin: str = ""
    resolved_digest: str = ""


class DiffRow(NamedTuple):
    """What is known about a diff. `created` is when it was made, in seconds since the epoch."""

    key: DiffKey
    base: Result
    lower: "SnapshotID | None"
    upper: "SnapshotID | None"
    layer: Layer | None
    created: float


_COLUMNS = "id, base, lower, upper, diff_id, digest, size_bytes, media_type, created"


def list_key(result: Iterable[DiffKey]) -> str:
    """A name for a list of diffs, short enough for an index and a file name."""
    return digest_strings(str(key) for key in result)[7:39]


class Diffs:
    """The table of diffs. Rows are added and completed, never changed. `blobs` has the bytes of
    those that are layers."""

    __slots__ = ("_blobs", "_db")

    def __init__(self, db: Database, blobs: BlobSource) -> None:
        self._db = db
        self._blobs = blobs

    def add(
        self,
        base: Result,
        *,
        lower: "SnapshotID | None" = None,
        upper: "SnapshotID | None" = None,
        layer: Layer | None = None,
        created: float | None = None,
    ) -> DiffKey:
        """A new diff made on `base`, as a tree or as a layer."""
        cursor = self._db.execute(
            "INSERT INTO diffs (base, lower, upper, diff_id, digest, size_bytes, media_type,"
            " created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                json.dumps(base),
                lower,
                upper,
                *((None,) * 4 if layer is None else _columns(layer)),
                time.time() if created is None else created,
            ),
        )
        assert cursor.lastrowid is not None
        return DiffKey(cursor.lastrowid)

    def get(self, key: DiffKey) -> DiffRow:
        """The row of a diff. Raises `KeyError` if it has been pruned."""
        found = self._db.execute(f"SELECT {_COLUMNS} FROM diffs WHERE id = ?", (key,)).fetchone()
        if found is None:
            raise KeyError(key)
        return self._row(found)

    def alike(self, base: Result, diff_id: DiffID) -> list[DiffRow]:
        """The diffs on `base` that are this layer, however it is compressed."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM diffs WHERE diff_id = ? AND base = ? ORDER BY id",
            (diff_id, json.dumps(base)),
        )
        return [self._row(row) for row in rows.fetchall()]

    def all_present(self, result: Result) -> bool:
        """Whether every diff of the result still exists."""
        if not result:
            return True
        marks = ",".join("?" * len(result))
        (count,) = self._db.execute(
            f"SELECT count(*) FROM diffs WHERE id IN ({marks})", result
        ).fetchone()
        return bool(count == len(set(result)))

    def set_upper(self, key: DiffKey, lower: "SnapshotID | None", upper: "SnapshotID") -> None:
        """The diff now exists as a tree, too."""
        self._db.execute("UPDATE diffs SET lower = ?, upper = ? WHERE id = ?", (lower, upper, key))

    def set_layer(self, key: DiffKey, layer: Layer) -> None:
        """The diff now exists as a layer, too."""
        self._db.execute(
            "UPDATE diffs SET diff_id = ?, digest = ?, size_bytes = ?, media_type = ? WHERE id = ?",
            (*_columns(layer), key),
        )

    def _row(self, values: tuple[Any, ...]) -> DiffRow:
        key, base, lower, upper, diff_id, digest, size, media_type, created = values
        layer = None
        if digest is not None:
            layer = Layer(diff_id, Descriptor(media_type, digest, size), self._blobs)
        return DiffRow(key, tuple(json.loads(base)), lower, upper, layer, created)


def _columns(layer: Layer) -> tuple[DiffID, Digest, int, str]:
    return layer.diff_id, layer.digest, layer.size, layer.media_type
