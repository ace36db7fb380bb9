"""What each step wrote and deleted: the files of its own diff.

Comes in: a build, its images, and a worker. Goes out: paths with a few words for each step. The
layers of an image were read already. Read next: `minibuild.record.changes`.
"""

from collections.abc import Iterable, Iterator, Mapping

from minibuild.cache.results import DiffKey
from minibuild.errors import BuildError
from minibuild.imagetools.usage import ImageUsage
from minibuild.progress.quantity import bytes_text
from minibuild.record.changes import changes
from minibuild.record.records import RecordedStep
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
    for one in changes(worker, key):
        if one.sort != "dir":
            yield Written(one.path, DELETED if one.sort == "gone" else bytes_text(one.size))
