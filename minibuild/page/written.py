"""What each step wrote and deleted: the files of its own diff.

Comes in: a build, its images, and a worker. Goes out: paths with a few words for each step. The
layers of an image were read already; the diffs of other stages are read where they lie, as trees or
as layers. Read next: `minibuild.cache.results`.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping

from minibuild.cache.results import DiffKey
from minibuild.errors import BuildError
from minibuild.image.listing import entries_of
from minibuild.imagetools.usage import ImageUsage
from minibuild.layer.tar_format import OPAQUE_WHITEOUT, WHITEOUT_PREFIX
from minibuild.progress.quantity import bytes_text
from minibuild.record.records import RecordedStep
from minibuild.snapshot.api import Diff, Kind
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.worker import Worker

DELETED = "deleted"


class Written(NamedTuple):
    """A path that a step wrote, and its size; or what else is to be said of it."""

    path: str
    note: str


def of_layers(used: ImageUsage) -> list[list[Written]]:
    """What each layer of an image holds, and what it hides."""
    found: list[list[Written]] = [[] for _ in used.layers]
    for path, item in used.tree.items():
        if item.entry.kind != "dir":
            found[item.layer].append(Written(path, bytes_text(item.entry.size)))
    for one in used.hidden:
        size = bytes_text(one.size_bytes)
        found[one.layer].append(Written(one.path, f"{size}, hidden by layer {one.by}"))
        if one.path not in used.tree:
            found[one.by].append(Written(one.path, DELETED))
    return [sorted(set(paths)) for paths in found]


def of_steps(
    worker: Worker, makers: Mapping[int, RecordedStep], known: Iterable[int]
) -> Iterator[tuple[int, list[Written]]]:
    """What the other steps wrote, by their numbers; `known` are those that are not asked for."""
    done = set(known)
    for diff, step in makers.items():
        if step.is_step and step.number not in done:
            try:
                yield step.number, sorted(set(_of_diff(worker, DiffKey(diff))))
            except (BuildError, KeyError, OSError):
                continue  # It is no longer here.


def _of_diff(worker: Worker, key: DiffKey) -> Iterator[Written]:
    row = worker.diffs.get(key)
    if row.upper is not None:
        yield from _of_tree(worker, Diff(row.lower, row.upper))
    else:
        for _, entry, _ in entries_of(row.layer or worker.materialiser().layer(key)):
            folder, slash, name = entry.name.rpartition("/")
            if name.startswith(WHITEOUT_PREFIX) and name != OPAQUE_WHITEOUT:
                yield Written(folder + slash + name.removeprefix(WHITEOUT_PREFIX), DELETED)
            elif entry.kind != "dir" and name != OPAQUE_WHITEOUT:
                yield Written(entry.name, bytes_text(entry.size))


def _of_tree(worker: Worker, diff: Diff) -> Iterator[Written]:
    for change in worker.snapshots.changes(diff):
        if change.kind is Kind.DELETE:
            yield Written(change.path, DELETED)
            continue
        found = os.lstat(change.source)
        if not stat.S_ISDIR(found.st_mode):
            yield Written(
                change.path, bytes_text(found.st_size if stat.S_ISREG(found.st_mode) else 0)
            )
