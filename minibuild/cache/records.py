"""The build cache: which key produced which result, and what each key was made of.

Two kinds of key lead to a record (see `solver.keys`): *fast* keys, made of definitions, and
*canonical* ones, made of contents. A record is only as good as what it points at: one whose diffs
have been pruned counts as a miss. Read next: `solver.lookup`.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Protocol

from minibuild.cache.results import DiffKey, Diffs, Result, VertexResult
from minibuild.digest import Digest, digest_strings
from minibuild.graph.op import ImageSource
from minibuild.graph.vertex import Vertex
from minibuild.layer.layer import Layer
from minibuild.startup.tuples import NamedTuple
from minibuild.store.database import Database

USED_FINENESS_S = 300.0
"""How exactly it is known when a record was used; `prune` thinks in hours and days."""
_SMALL_BYTES = 1 << 12


class Record(NamedTuple):
    """A hit: the result, and the key by which the steps after it know it."""

    canonical: Digest
    result: Result


class StepKeys(NamedTuple):
    """The keys of a step in one build, and what people call it."""

    canonical: Digest
    fast: Digest
    name: str


class RemoteCache(Protocol):
    """The caches of other machines, as far as a build may look into them. Safe in threads."""

    def find(self, key: Digest) -> tuple[Record | None, str]:
        """The record of a key, and whose it is."""

    def canonical(self, key: Digest) -> Digest | None:
        """The canonical key behind a key, also where the result was not kept."""

    def plan(
        self, targets: Sequence[Vertex | None], images: Callable[[ImageSource], Result]
    ) -> None:
        """The graph in which vertices will be looked up, and what its images are."""

    def find_vertex(
        self,
        vertex: Vertex,
        inputs: Sequence[VertexResult | None],
        key: Digest,
        *,
        contents: bool = False,
    ) -> tuple[Record | None, str] | None:
        """The record of a step, and whose it is, by the keys that other builders have for its
        vertex; no record if its result was not kept, None if nothing is known of it. With
        `contents` its inputs are read, if that finds more. It is known as `key` from then on."""


class Cache:
    """Records of the store. Uses are noted in memory and written once, by `flush`."""

    __slots__ = ("_db", "_diffs", "_used")

    def __init__(self, db: Database, diffs: Diffs) -> None:
        self._db = db
        self._diffs = diffs
        self._used: set[str] = set()

    def lookup(self, key: Digest) -> Record | None:
        """The record of a key, if everything it points at still exists."""
        row = self._db.execute(
            "SELECT canonical, result FROM records WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        result: Result = tuple(json.loads(row[1]))
        if not self._diffs.all_present(result):
            return None
        self._used.add(key)
        return Record(row[0], result)

    def save(self, keys: set[Digest], record: Record, name: str) -> None:
        """Let each of `keys` lead to the record; older records of these keys are replaced."""
        now = time.time()
        with self._db.transaction() as tx:
            tx.executemany(
                "INSERT OR REPLACE INTO records (key, canonical, result, name, created, used)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [(k, record.canonical, json.dumps(record.result), name, now, now) for k in keys],
            )

    def save_parts(self, key: Digest, name: str, parts: dict[str, Any]) -> None:
        """Keep what a canonical key was made of, so that a later miss can name what changed."""
        self.save_parts_json(key, name, (json.dumps(parts),))

    def save_parts_json(self, key: Digest, name: str, pieces: Iterable[str]) -> None:
        """The same with the parts as pieces of JSON: those of many files are long."""
        packed = b"".join(_deflated(pieces))
        self._db.execute(
            "INSERT OR REPLACE INTO key_parts (key, name, parts, created) VALUES (?, ?, ?, ?)",
            (key, name, packed, time.time()),
        )

    def parts(self, key: Digest) -> dict[str, Any] | None:
        """What a canonical key was made of, where that is known."""
        row = self._db.execute("SELECT parts FROM key_parts WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        import zlib

        found: dict[str, Any] = json.loads(zlib.decompress(row[0]))
        return found

    def flush(self) -> None:
        """Write down which records this build used, for `prune` to know what is old.

        If the last use of a record was noted a short time ago, it is not noted again. So a cached
        build changes nothing in the database, and closing it takes no fdatasync(2) instead of four.
        """
        used, self._used = self._used, set()
        if used:
            now = time.time()
            with self._db.transaction() as tx:
                tx.executemany(
                    "UPDATE records SET used = ? WHERE key = ? AND used < ?",
                    [(now, key, now - USED_FINENESS_S) for key in used],
                )

    def layer(
        self, below: Result, layer: Layer, name: str, created: float | None = None
    ) -> DiffKey:
        """The diff that a layer of an image is on the layers `below`: the one that it was before,
        or a new one.

        A layer is known by what is below it and by its blob, not by its image.
        """
        key = digest_strings(("layer", *map(str, below), layer.diff_id, layer.digest))
        record = self.lookup(key)
        if record is None:
            record = Record(key, (*below, self._diffs.add(below, layer=layer, created=created)))
            self.save({key}, record, name)
        return record.result[-1]


def _deflated(pieces: Iterable[str]) -> Iterator[bytes]:
    """The pieces compressed, as one stream."""
    import zlib  # Here and above: a cached build has nothing to explain.

    start, rest = "", iter(pieces)
    while len(start) <= _SMALL_BYTES and (piece := next(rest, "")):
        start += piece
    # The tables of zlib, which are filled with zeros each time, take longer than a RUN's parts.
    memory = zlib.DEF_MEM_LEVEL if len(start) > _SMALL_BYTES else 1
    deflate = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, memory)
    for piece in chain((start,), rest):
        yield deflate.compress(piece.encode())
    yield deflate.flush()
