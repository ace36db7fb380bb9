"""Which merge an image or a step is: its diffs, in order, and what made each.

Comes in: a worker, and an image's layers or words of a step. Goes out: diffs that can be merged.
A build keeps which diffs a step's result consists of (`cache.records`). An image is a list of
layers; the diff that became a layer is found by the layer's digest, so an image that was built
here shows its merges, and one that came from elsewhere is a chain.
Read next: `snapshot.trace`.
"""

import json
from collections.abc import Mapping

from minibuild.cache.materialise import Tell
from minibuild.cache.results import DiffKey, Result
from minibuild.errors import UsageError
from minibuild.imagetools.edit import Image
from minibuild.snapshot.api import Diff, SnapshotID
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.worker import Worker

MIN_KEY = 6
"""Digits of a key that are enough to mean a step by it."""


class Traced(NamedTuple):
    """What a merge is made of: diffs, lowest first, and the instruction of each."""

    name: str
    result: Result
    instructions: tuple[str, ...]


def of_image(worker: Worker, name: str, image: Image) -> Traced:
    """The diffs that became the layers of an image."""
    result: Result = ()
    for layer in image.layers:
        rows = (
            worker.store.db.execute(
                "SELECT id FROM diffs WHERE digest = ? AND base IN ('[]', ?) ORDER BY id LIMIT 1",
                (layer.digest, json.dumps(result)),
            ).fetchone()
            or worker.store.db.execute(
                "SELECT id FROM diffs WHERE digest = ? ORDER BY id LIMIT 1", (layer.digest,)
            ).fetchone()
        )
        key = DiffKey(rows[0]) if rows else worker.diffs.add(result, layer=layer)
        result = (*result, key)
    known = instructions_of(worker, result)
    said = zip(result, image.instructions, strict=True)
    return Traced(name, result, tuple(words or known.get(key, "") for key, words in said))


def of_step(worker: Worker, words: str) -> Traced:
    """The result of the step that was used last of those whose key or name fits `words`."""
    digits = words.removeprefix("sha256:")
    by_key = len(digits) >= MIN_KEY and not digits.strip("0123456789abcdef")
    like = f"sha256:{digits}%"
    found = worker.store.db.execute(
        # Layers of images have records, too; only what was executed has parts of its key.
        "SELECT name, result FROM records WHERE canonical IN (SELECT key FROM key_parts) AND"
        " (instr(name, ?) OR (? AND (key LIKE ? OR canonical LIKE ?)))"
        " ORDER BY used DESC, name = ? DESC LIMIT 1",
        (words, by_key, like, like, words),
    ).fetchone()
    if found is None:
        raise UsageError(
            f"there is no image and no step {words!r} in the store",
            hint="see `minibuild image ls` for images, `minibuild du --verbose` for steps",
        )
    result: Result = tuple(json.loads(found[1]))
    known = instructions_of(worker, result)
    return Traced(found[0], result, tuple(known.get(key, "") for key in result))


def diffs_of(worker: Worker, result: Result, tell: Tell) -> list[Diff]:
    """The diffs of a result as snapshots: each is unpacked or made if it is not there yet."""
    materialiser = worker.materialiser()
    return [materialiser.diff(key, tell) for key in result]


def makers(worker: Worker) -> Mapping[SnapshotID, str]:
    """The step that made each snapshot that is the upper side of a diff; empty if none is known."""
    rows = worker.store.db.execute("SELECT id, upper FROM diffs WHERE upper IS NOT NULL").fetchall()
    names = instructions_of(worker, tuple(DiffKey(key) for key, _ in rows))
    return {SnapshotID(upper): names.get(DiffKey(key), "") for key, upper in rows}


def instructions_of(worker: Worker, result: Result) -> Mapping[DiffKey, str]:
    """The step that made each diff: the one of whose result it is the last."""
    marks = ",".join("?" * len(result))
    rows = worker.store.db.execute(
        "SELECT json_extract(result, '$[#-1]'), name FROM records"
        f" WHERE json_extract(result, '$[#-1]') IN ({marks}) ORDER BY created DESC",
        result,
    )
    return {DiffKey(key): name for key, name in rows}
