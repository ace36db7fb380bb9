"""A copy that was done before, done again where nothing but single files and directories changed.

Comes in: what the look for the key of a copy saw, and the table of what the last copy put. Goes
out: what changed between the two; and the copy, for which nothing else is walked, planned or put.

The look for the key has seen each source a moment ago. If all paths and types are those of the
table, the result is the last one with a few files and directories replaced. In a tree they take the
places of their predecessors, the patch of the layer repeats what lies between them, and the new
table is the old one with their records replaced. Where more changed, `update` does the copy: names
that come and go, symlinks, and several names of one file depend on other entries of the plan.

What is as it was is not looked at again. If it changes after the look, the result has what was
there before, and so has the key. What is copied was changed since the look, or came from another
directory, if its ctime or one of a directory above it says so (`solver.step`).
"""

import os
import stat
import struct
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from minibuild.errors import ImageError
from minibuild.fileop.api import Entry, Planned, Tally, made_directory
from minibuild.fileop.dest import PlannedTree, Unplannable
from minibuild.fileop.digest_cache import RACY_NS, STAMP
from minibuild.fileop.hasher import SourceLook, touched
from minibuild.fileop.inventory import (
    IMPLIED,
    KEEP,
    NO_STAMP,
    Inventory,
    Renewed,
    renew,
    safe_stamp,
    stamp_of_time,
)
from minibuild.fileop.layer import LayerSink
from minibuild.fileop.owner import has_names, lookup_owner
from minibuild.fileop.plan import Looks
from minibuild.fileop.tree import TreeSink
from minibuild.fileop.update import Earlier, put_instead
from minibuild.fileop.walk import FoundFile
from minibuild.graph.op import Copy
from minibuild.layer.tar_format import TarSpan
from minibuild.linux import owner as owners
from minibuild.linux import xattr
from minibuild.linux.beneath import join, lstat, parents
from minibuild.linux.cursor import Cursor
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.fileop.copy import CopyJob, Places

_WORDS = {stat.S_IFREG: "file ", stat.S_IFDIR: "dir "}
_STAMPS = struct.Struct(f"{STAMP.size}s")
_NOTHING = "", (b"",)


class SourceChange(NamedTuple):
    """A file or directory that is to be put again: the number of its record, its path in the source
    and in the destination, its type (with `KEEP` and mode: it is to get the time of the source
    alone), and where it is in the last tar."""

    number: int
    source: str
    path: str
    kind: int
    span: TarSpan


class SourceChanges(NamedTuple):
    """All that changed since a table was written; how long the tar was, and how many entries are
    `kept`."""

    table: str
    tar_bytes: int
    kept: int
    changed: tuple[SourceChange, ...]


def find_changes(earlier: Earlier, copies: Sequence[Copy]) -> SourceChanges | None:
    """What the look saw that is not as the table says; None if more than single files and
    directories changed. Raises `Unplannable` if the table is damaged or gone."""
    look, copy = earlier.look, copies[0]
    if look is None or len(copies) > 1:
        return None
    try:
        if look.top is None or _chooses(copy):
            return None
        return _compared(earlier.inventory, look, copy)
    finally:
        look.forget()


def _compared(table: str, look: SourceLook, copy: Copy) -> SourceChanges | None:
    assert look.top is not None
    seen = zip(look.lines, _STAMPS.iter_unpack(look.stamps), strict=True)
    itself, (top,) = next(seen)
    time_ns = copy.rules.time_ns
    top = stamp_of_time(STAMP.unpack(top)[3] if time_ns is None else time_ns)
    below = len(itself.partition("\0")[0].rstrip("/")) + 1
    changed, linked = list[SourceChange](), set[str]()
    prefix, number, end = -1, -1, 0
    with Inventory(table) as inventory:
        for batch in inventory.batches():
            for path, target, (mode, stamp, gap, size) in batch.records():
                number += 1
                end += gap + size
                if mode & KEEP:
                    if stamp in (NO_STAMP, top):
                        continue
                    if not size and inventory.tar_bytes:
                        return None  # It is one of the base.
                    changed.append(SourceChange(number, look.top, path, mode, (end - size, end)))
                    continue
                line, (now,) = next(seen, _NOTHING)
                if prefix < 0:
                    prefix = len(path) - (line.find("\0") - below)
                if not line.startswith(f"{path[prefix:]}\0", below) or mode & IMPLIED:
                    return None
                if target:
                    linked.add(target)
                if now != stamp:
                    kind = stat.S_IFMT(mode & 0xFFFF)
                    if target or not _stands_alone(kind, line):
                        return None
                    source = join(look.top, path[prefix:])
                    changed.append(SourceChange(number, source, path, kind, (end - size, end)))
        if next(seen, None) is not None or any(one.path in linked for one in changed):
            return None
        kept = number + 1 - len(changed)
        return SourceChanges(table, inventory.tar_bytes, kept, tuple(changed))


def _chooses(copy: Copy) -> bool:
    chooses = copy.parents or copy.rules.include or any(p.startswith("!") for p in copy.exclude)
    return bool(chooses) or not copy.rules.contents


def _stands_alone(kind: int, line: str) -> bool:
    words = line.partition("\0")[2]
    return words.startswith(_WORDS.get(kind, " ")) and " hardlink " not in words


class SamePlan(PlannedTree):
    """The plan of the last copy: it has all that is put again."""

    def takes(self, entry: Planned) -> bool:
        """See `PlannedTree`. Raises `Unplannable` for a file that the base has as well."""
        if self.dest.kind(entry.path) not in (0, stat.S_IFDIR):
            raise Unplannable("a file takes the place of another")
        return True


def put_changes(
    changes: SourceChanges,
    job: "CopyJob",
    places: "Places",
    tree: TreeSink | None,
    layer: LayerSink | None,
    tally: Tally,
) -> int:
    """Put what changed into a tree that holds the last copy, a patch of the last layer, or both
    (`Tee`), and write the new table. Returns the newest ctime of what was put, and of directories
    above it in the end. Raises `Unplannable` if something is not what it was at the look."""
    (copy,) = job.copies
    source, base_fd = places.sources[copy.input], places.base_fd
    owners_fd = -1 if base_fd is None else base_fd
    owner = copy.chown and lookup_owner(owners_fd, copy.chown, names=has_names(owners_fd))
    looks, limit_ns = Looks(copy, owner or None), time.time_ns() - RACY_NS
    plan, records, above = SamePlan(base_fd, places.owners), dict[int, Renewed](), {""}
    newest_ns = at = tar_bytes = 0
    if layer is not None:
        layer.plan = plan
    with Cursor(source.fd) as dirs:
        for number, path, target, kind, (start, end) in changes.changed:
            found = _found(dirs, path, stat.S_IFMT(kind & 0xFFFF))
            entry, size = looks.entry(found, target), 0
            stamp = safe_stamp(found.stat, limit_ns)
            if kind & KEEP:
                mode, who, time_ns = stat.S_IMODE(kind), owner or (0, 0), entry.mtime_ns
                entry, stamp = made_directory(target, mode, who, time_ns), stamp_of_time(time_ns)
            if layer is not None:
                layer.keep((at, start))
                at = end
            _put(entry, found, plan, tree, layer)
            if layer is not None:
                size = layer.span[1] - layer.span[0]
            records[number] = Renewed(entry.mode | kind & KEEP, stamp, size)
            ctime_ns = time.time_ns() if touched(found) else found.stat.st_ctime_ns
            newest_ns = max(newest_ns, ctime_ns)
            above.update(parents(path))
            tally.add(entry)
    tally.tell()
    if layer is not None:
        layer.keep((at, changes.tar_bytes))
        tar_bytes = layer.span[1]
    if tree is not None:
        tree.settle()
    for folder in above:
        seen = lstat(source.fd, folder)
        newest_ns = max(newest_ns, time.time_ns() if seen is None else seen.st_ctime_ns)
    renew(changes.table, job.inventory, records, tar_bytes)
    return newest_ns


def _put(
    entry: Entry,
    found: FoundFile,
    plan: PlannedTree,
    tree: TreeSink | None,
    layer: LayerSink | None,
) -> None:
    try:
        if tree is None:
            assert layer is not None
            layer.put(entry, found)
            return
        if layer is None:
            plan.takes(entry)
        put_instead(tree, entry, found, remove=not found.is_dir)
    except ImageError as error:  # It changed while it was read.
        raise Unplannable(str(error)) from error


def _found(dirs: Cursor, path: str, kind: int) -> FoundFile:
    """A file or directory of a context, as a walk finds it."""
    above, _, name = path.rpartition("/")
    try:
        fd = dirs.enter(above)
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        raise Unplannable(f"{path}: {error.strerror}") from error
    if not status.st_size:
        status = owners.seen(status, xattr.at(fd, name), None)
    if stat.S_IFMT(status.st_mode) != kind:
        raise Unplannable(f"{path} became something else")
    return FoundFile(path, fd, name, status)
