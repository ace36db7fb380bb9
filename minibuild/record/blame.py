"""Where a path of an image comes from: the instruction, and the file of the context.

Comes in: a build, and a path in the result of one of its steps. Goes out: one `Origin` for each
step on the way. A result is a list of diffs: the last one that touched the path made it, and the
step whose own diff that is. A COPY leads on to the path that it copied, in another result or in the
context. Diffs are read where they lie, as trees or as layers; nothing is unpacked. The operation
of a copy says where its files go, by the rules of COPY: the contents of a named folder are copied;
a file goes into the destination if that is written as a folder, or if
there are several sources.
Read next: `minibuild.snapshot.view`, for what a tree says of a path.
"""

import posixpath
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from minibuild.cache.results import DiffKey
from minibuild.fileop.plan import names_directory
from minibuild.image.listing import entries_of
from minibuild.layer.layer import Layer
from minibuild.layer.tar_format import whiteout
from minibuild.record.causes import reads
from minibuild.record.records import BuildRecord, RecordedStep
from minibuild.record.story import GetParts
from minibuild.snapshot.api import SnapshotID
from minibuild.snapshot.compare import same_data, same_file
from minibuild.snapshot.merge import view_of
from minibuild.snapshot.view import Node
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.worker import Worker

_WILD = "*?[\\"


def destination(
    copy: Mapping[str, Any], source: str, *, folder: bool, named: str = ""
) -> str | None:
    """Where the file or `folder` at `source` of the input comes, if there is no folder of the name
    of the destination; None if it is not copied, or not for the path that is `named`. Paths have
    no slash around them."""
    dest, names = str(copy["dest"]), source.strip("/").split("/")
    top = dest.strip("/").removesuffix("/.").removeprefix("./")
    if copy.get("parents"):
        return posixpath.join(top, *names)
    for path in [named] if named else copy["paths"]:
        pattern = [name for name in path.split("/") if name not in ("", ".")]
        if len(names) < len(pattern) or not all(map(_may_match, pattern, names)):
            continue
        rest = names[len(pattern) :]
        if rest or folder:
            return posixpath.join(top, *rest).strip("/")
        return posixpath.join(top, names[-1]) if into_folder(copy) else top
    return None


def placed(copy: Mapping[str, Any], files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """All that a copy wrote, in order, as paths and where they came from; `files` are those that it
    read, with their fingerprints. A file may also have come into a folder of the name of the
    destination, if there was one."""
    for named in copy["paths"]:
        for source, words in files.items():
            folder = words.startswith("dir")
            path = destination(copy, source, folder=folder, named=named)
            if path:
                yield path, source
                if not folder and path == str(copy["dest"]).strip("/"):
                    yield posixpath.join(path, posixpath.basename(source)), source


def into_folder(copy: Mapping[str, Any]) -> bool:
    """Whether the destination is a folder, whatever is there."""
    wild = any(c in path for path in copy["paths"] for c in _WILD)
    return names_directory(str(copy["dest"])) or len(copy["paths"]) > 1 or wild


def _may_match(pattern: str, name: str) -> bool:
    return pattern == name or any(c in pattern for c in _WILD)


PathTrace = Literal["", "file", "directory", "touched", "gone", "lost"]
"""What a diff did to a path: nothing, made it, changed its owner, mode or time alone, or deleted
it; or the diff is not here any more."""

Where = Literal["step", "base", "context", "web", "lost"]


class Origin(NamedTuple):
    """One step of the way to where a path comes from. `words` is what is known of the file of a
    context, or the commit or digest of what came from the web; `gone` says that the step deleted
    the path, `touched` that its data stayed the same."""

    where: Where
    path: str
    step: RecordedStep | None = None
    words: str = ""
    gone: bool = False
    touched: bool = False


class CopySource(NamedTuple):
    """What a file is a copy of: a path in the result of a step or in a context, and what is known
    of it there."""

    step: RecordedStep
    path: str
    words: str


class Blame:
    """Follows paths through one build. `makers` are the steps that made its diffs."""

    def __init__(self, worker: Worker, build: BuildRecord, parts: GetParts) -> None:
        self._worker = worker
        self._build = build
        self._parts = parts
        self.makers = makers(build)
        self._copies: dict[int, Mapping[str, CopySource]] = {}

    def way(self, step: RecordedStep, path: str) -> Iterator[Origin]:
        """Where a path in the result of a step comes from, nearest first."""
        path, result = path.strip("/"), step.result
        while True:
            at, trace = self._last(result, path)
            diff = None if at is None else result[at]
            if diff is None:
                if trace == "lost":
                    yield Origin("lost", f"/{path}")
                return
            maker = self.makers.get(diff)
            if maker is None or maker.kind == "image":
                yield Origin("base", f"/{path}", maker, gone=trace == "gone")
                return
            if maker.kind in ("http", "git"):
                yield Origin("web", f"/{path}", maker, maker.pin)
                return
            again = result[:at].count(diff)
            touched = trace == "touched" and maker.kind == "exec"
            yield Origin(
                "step",
                f"/{path}",
                self._said_again(maker, again),
                gone=trace == "gone",
                touched=touched,
            )
            if touched:
                result = result[:at]
                continue
            if trace == "gone" or maker.kind != "file":
                return
            source = self.copied(maker, path)
            if source is None or source.words.startswith("dir") != (trace == "directory"):
                return  # Such as a folder that was made for what was copied into it.
            if source.step.kind == "local":
                yield Origin("context", source.path, source.step, source.words)
                return
            result, path = source.step.result, source.path.strip("/")

    def _said_again(self, step: RecordedStep, times: int) -> RecordedStep:
        """A step that the definition says several times, which is one vertex, as it is said the
        time after so many."""
        lines = self._build.text.splitlines()
        here = lines[step.line - 1].strip() if 0 < step.line <= len(lines) else ""
        same = [n for n, text in enumerate(lines, 1) if n >= step.line and text.strip() == here]
        return step._replace(lines=(same[times],)) if 0 < times < len(same) else step

    # --- Which diff ---

    def _last(self, result: Sequence[int], path: str) -> tuple[int | None, PathTrace]:
        """Which diff made what is there, or deleted it. A directory is made by the first that has
        it: others only put something into it."""
        made: int | None = None
        for at in reversed(range(len(result))):
            trace = self._trace(result[at], path)
            if trace == "directory":
                made = at
            elif trace == "lost":
                return None, trace
            elif trace and made is None:
                return at, trace
            elif trace:
                break
        return made, "directory" if made is not None else ""

    def _trace(self, key: int, path: str) -> PathTrace:
        try:
            row = self._worker.diffs.get(DiffKey(key))
        except KeyError:
            return "lost"
        if row.upper is not None:
            return self._in_tree(row.lower, row.upper, path)
        return self._in_layer(row.layer or self._worker.materialiser().layer(row.key), path)

    def _in_tree(self, lower: SnapshotID | None, upper: SnapshotID, path: str) -> PathTrace:
        snapshots = self._worker.snapshots
        above = view_of(snapshots, upper)
        node = above.find(path)
        below = None if lower is None else view_of(snapshots, lower).find(path)
        if node is None:
            return "gone" if below is not None else ""
        is_dir = node.type == stat.S_IFDIR
        if below is not None and (node.path == below.path or _is_copy(node, below)):
            return ""
        if is_dir and below is not None and below.type == stat.S_IFDIR:
            return ""
        if below is not None and not is_dir and same_data(node.path, below.path):
            return "touched"
        return "directory" if is_dir else "file"

    def _in_layer(self, layer: Layer, path: str) -> PathTrace:
        if not self._worker.content.has(layer.digest):
            return "lost"
        found: PathTrace = ""
        for _, entry, _ in entries_of(layer):
            if entry.name == path:
                found = "directory" if entry.kind == "dir" else "file"
            elif not found and (deleted := whiteout(entry.name)):
                inside = path.startswith(f"{deleted.path}/")
                if inside or (path == deleted.path and not deleted.opaque):
                    found = "gone"
        return found

    # --- What was copied ---

    def copied(self, step: RecordedStep, path: str) -> CopySource | None:
        """What a path that a File wrote is a copy of, if it is one."""
        if step.number not in self._copies:
            self._copies[step.number] = dict(self._sources(step))
        return self._copies[step.number].get(path)

    def _sources(self, step: RecordedStep) -> Iterator[tuple[str, CopySource]]:
        """All paths that a File may have written; of equal ones the last counts."""
        known = None if step.key is None else self._parts(step.key)
        if known is None:
            return
        actions = known["op"].get("actions") or ()
        copies = [action for action in actions if action["type"] == "Copy"]
        for copy, (position, files) in zip(copies, reads(known), strict=False):
            number = step.inputs[position]
            if files is None or number is None:
                continue
            for path, source in placed(copy, files):
                yield path, CopySource(self._build.steps[number], source, files[source])


def _is_copy(node: Node, below: Node) -> bool:
    """Whether a file is the one below once more: each snapshot may hold all files, and overlayfs
    copies one up that gets another name. A layer does not repeat it either."""
    return node.type == below.type and same_file(node.path, below.path)


def makers(build: BuildRecord) -> dict[int, RecordedStep]:
    """The vertex that made each diff: of whose result it is the last, or the base image."""
    found: dict[int, RecordedStep] = {}
    for step in build.steps:
        if step.kind == "image":
            for diff in step.result:
                found.setdefault(diff, step)
        elif step.result and step.kind not in ("local", "merge"):  # These make none.
            found.setdefault(step.result[-1], step)
    return found
