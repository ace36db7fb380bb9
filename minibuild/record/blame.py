"""Where a path of an image comes from: the instruction, and the file of the context.

Comes in: a build, and a path in the result of one of its steps. Goes out: one `Origin` for each
step on the way. A result is a list of diffs: the last one that touched the path made it, and the
step whose own diff that is. A COPY leads on to the path that it copied, in another result or in
the context. Diffs are read where they lie, as trees or as layers; nothing is unpacked.
Read next: `minibuild.snapshot.view`, for what a tree says of a path.
"""

import posixpath
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from minibuild.cache.results import DiffKey
from minibuild.image.listing import entries_of
from minibuild.layer.layer import Layer
from minibuild.layer.tar_format import OPAQUE_WHITEOUT, WHITEOUT_PREFIX
from minibuild.record.causes import read_files
from minibuild.record.records import Build, Step
from minibuild.record.story import GetParts, input_of
from minibuild.snapshot.api import SnapshotID
from minibuild.snapshot.base import BaseSnapshotter
from minibuild.snapshot.compare import same_file
from minibuild.snapshot.merge import view_of
from minibuild.snapshot.view import View
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.worker import Worker

Trace = Literal["", "file", "directory", "gone", "lost"]
"""What a diff did to a path: nothing, made it, or deleted it; or the diff is not here any more."""

Where = Literal["step", "base", "context", "lost"]


class Origin(NamedTuple):
    """One step of the way to where a path comes from. `words` is what is known of the file of a
    context; `gone` says that the step deleted the path."""

    where: Where
    path: str
    step: Step | None = None
    words: str = ""
    gone: bool = False


class Source(NamedTuple):
    """What a file is a copy of: a path in the result of a step or in a context, and what is known
    of it there."""

    step: Step
    path: str
    words: str


class Blame:
    """Follows paths through one build. `makers` are the steps that made its diffs."""

    def __init__(self, worker: Worker, build: Build, parts: GetParts) -> None:
        self._worker = worker
        self._build = build
        self._parts = parts
        self.makers = makers(build)
        self._copies: dict[int, Mapping[str, Source]] = {}

    def way(self, step: Step, path: str) -> Iterator[Origin]:
        """Where a path in the result of a step comes from, nearest first."""
        path, result = path.strip("/"), step.result
        while True:
            diff, trace = self._last(result, path)
            if diff is None:
                if trace == "lost":
                    yield Origin("lost", f"/{path}")
                return
            maker = self.makers.get(diff)
            if maker is None or maker.kind == "image":
                yield Origin("base", f"/{path}", maker, gone=trace == "gone")
                return
            yield Origin("step", f"/{path}", maker, gone=trace == "gone")
            if trace == "gone" or maker.kind != "file":
                return
            source = self.copied(maker, path)
            if source is None:
                return
            if source.step.kind == "local":
                yield Origin("context", source.path, source.step, source.words)
                return
            result, path = source.step.result, source.path.strip("/")

    # --- Which diff ---

    def _last(self, result: Sequence[int], path: str) -> tuple[int | None, Trace]:
        """The diff that made what is there, or that deleted it. A directory is made by the first
        that has it: others only put something into it."""
        made: int | None = None
        for key in reversed(result):
            trace = self._trace(key, path)
            if trace == "directory":
                made = key
            elif trace == "lost":
                return None, trace
            elif trace and made is None:
                return key, trace
            elif trace:
                break
        return made, "directory" if made is not None else ""

    def _trace(self, key: int, path: str) -> Trace:
        try:
            row = self._worker.diffs.get(DiffKey(key))
        except KeyError:
            return "lost"
        if row.upper is not None:
            return self._in_tree(row.lower, row.upper, path)
        assert row.layer is not None
        return self._in_layer(row.layer, path)

    def _in_tree(self, lower: SnapshotID | None, upper: SnapshotID, path: str) -> Trace:
        snapshots = self._worker.snapshots
        assert isinstance(snapshots, BaseSnapshotter)
        above = view_of(snapshots, upper)
        node = above.find(path)
        below = None if lower is None else view_of(snapshots, lower).find(path)
        if node is None:
            return "gone" if below is not None else ""
        is_dir = node.type == stat.S_IFDIR
        if below is not None and (node.path == below.path or _is_copy(above, node, below)):
            return ""
        if is_dir and below is not None and below.type == stat.S_IFDIR:
            return ""
        return "directory" if is_dir else "file"

    def _in_layer(self, layer: Layer, path: str) -> Trace:
        if not self._worker.content.has(layer.digest):
            return "lost"
        found: Trace = ""
        for _, entry, _ in entries_of(layer):
            folder, _, base = entry.name.rpartition("/")
            if entry.name == path:
                found = "directory" if entry.kind == "dir" else "file"
            elif base == OPAQUE_WHITEOUT:
                if path.startswith(f"{folder}/") and not found:
                    found = "gone"
            elif base.startswith(WHITEOUT_PREFIX):
                name = posixpath.join(folder, base.removeprefix(WHITEOUT_PREFIX))
                if (path == name or path.startswith(f"{name}/")) and not found:
                    found = "gone"
        return found

    # --- What was copied ---

    def copied(self, step: Step, path: str) -> Source | None:
        """What a path that a File wrote is a copy of, if it is one."""
        if step.number not in self._copies:
            self._copies[step.number] = dict(self._sources(step))
        return self._copies[step.number].get(path)

    def _sources(self, step: Step) -> Iterator[tuple[str, Source]]:
        """All paths that a File may have written; of equal ones the last counts."""
        known = None if step.key is None else self._parts(step.key)
        if known is None:
            return
        actions = known["op"].get("actions") or ()
        copies = [action for action in actions if action["type"] == "Copy"]
        for part, copy in enumerate(copies):
            files, position = read_files(known, part), input_of(known["op"], part)
            number = None if position is None else step.inputs[position]
            if files is None or number is None:
                continue
            for source, words in list(files.items())[::-1]:
                for path in destinations(copy, source):
                    yield path, Source(self._build.steps[number], source, words)


def destinations(copy: Mapping[str, Any], source: str) -> set[str]:
    """Where a COPY may have put the file at `source` of its input, relative to the root."""
    dest, source = copy["dest"].strip("/"), source.strip("/")
    found = {posixpath.join(dest, source)} if copy.get("parents") else set()
    for named in copy["paths"]:
        top = _fixed(named)
        if top and source != top and not source.startswith(f"{top}/"):
            continue
        inside = source[len(top) :].strip("/") if top else source
        wild = named.strip("/") != top
        if inside and not wild:
            found.add(posixpath.join(dest, inside))
        if not inside:
            found |= {posixpath.join(dest, posixpath.basename(source)), dest}
        if wild:
            # What the pattern matched is a prefix of the path: its last name stays, or, of a
            # directory, what is in it.
            names = inside.split("/")
            found |= {posixpath.join(dest, *names[n:]) for n in range(len(names))}
            found.add(dest)
    return {path.strip("/") for path in found}


def _fixed(pattern: str) -> str:
    """The leading directories of a pattern that have no wildcard in them."""
    names = []
    for name in pattern.strip("/").split("/"):
        if any(c in name for c in "*?[\\"):
            break
        if name not in ("", "."):
            names.append(name)
    return "/".join(names)


def _is_copy(view: View, node: Any, below: Any) -> bool:
    """Whether a file is the one below once more, as where each snapshot holds all files."""
    if view.whiteouts != "plain" or node.type != below.type:
        return False
    return same_file(node.path, below.path)


def makers(build: Build) -> dict[int, Step]:
    """The vertex that made each diff: of whose result it is the last, or the base image."""
    found: dict[int, Step] = {}
    for step in build.steps:
        if step.kind == "image":
            for diff in step.result:
                found.setdefault(diff, step)
        elif step.result and step.kind in ("exec", "file", "diff", "mount", "http", "git"):
            found.setdefault(step.result[-1], step)
    return found
