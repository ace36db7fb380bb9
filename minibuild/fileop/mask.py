"""The mask of a context: a layer to lay over its files, so that a step sees what a build is to see.

Comes in: a directory of this machine, its ignore patterns, and the owner whose files a mount shows
as those of root. Goes out: a layer of overlayfs. It has a whiteout for each thing that the patterns
exclude, and a replacement for what cannot be seen as it is: files of other owners, sockets and
pipes (behind which is a process of this machine), and what is mounted inside the context (overlayfs
stays on one filesystem). Most contexts need none of this, or a few whiteouts.

All files belong to root then, as in what BuildKit makes of a context.
Kernel documentation: filesystems/overlayfs. Read next: `tree`, and `worker.context_mounts`.
"""

import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping

from minibuild.errors import raise_if_cancelled
from minibuild.fileop.api import Entry, SourceTree, explained
from minibuild.fileop.digest_cache import is_since
from minibuild.fileop.plan import EntryRules
from minibuild.fileop.tree import TreeSink
from minibuild.fileop.walk import Filter, FoundFile, walk
from minibuild.graph.ignore import compiled
from minibuild.graph.op import Copy
from minibuild.linux import xattr
from minibuild.linux.beneath import join
from minibuild.linux.cursor import Cursor
from minibuild.linux.mountinfo import own_mounts
from minibuild.linux.tree_writer import Metadata, set_metadata, times_of
from minibuild.startup.tuples import NamedTuple

OwnerIds = tuple[int, int]
ROOT: OwnerIds = (0, 0)

Ctimes = dict[str, int]
"""Paths of a directory that counted for something, and when they were last changed (ctime)."""

_NO_COPY = Copy(0, (), "/")


class ContextScan(NamedTuple):
    """What is in a directory of a context, `top_fd`, whose path there is `top`.

    `hidden` are the paths below it that patterns exclude. `owner` has most of the files. `others`
    says whether there is something that a mount which shows that owner's files as root's does not
    show as it should be. `mounted` are the paths of directories on which something else is mounted.
    """

    top: str
    hidden: tuple[str, ...]
    owner: OwnerIds
    others: bool
    mounted: frozenset[str]
    seen: Ctimes


def scan_context(
    tree: SourceTree,
    top_fd: int,
    top: str,
    *,
    maps_owners: bool,
    cancelled: threading.Event | None = None,
) -> ContextScan:
    """Look at all that a build sees of a directory; without `maps_owners` the owner is root."""
    patterns = compiled(tree.ignore)
    hidden: list[str] = []
    uids: Counter[int] = Counter()
    gids: Counter[int] = Counter()
    special = False
    began_ns = time.time_ns()
    status = os.fstat(top_fd)
    seen = {"": status.st_ctime_ns}

    def hide(path: str) -> None:
        while hidden and hidden[-1].startswith(path + "/"):
            hidden.pop()
        hidden.append(path)

    with explained("reading the context"):
        uids[status.st_uid] += 1
        gids[status.st_gid] += 1
        for found in walk(top_fd, [Filter(patterns, top)], sockets=True, left_out=hide, top=top):
            raise_if_cancelled(cancelled, "looking at a context")
            uids[found.stat.st_uid] += 1
            gids[found.stat.st_gid] += 1
            special = special or is_special(found.stat)
            if found.is_dir:
                seen[found.path] = found.stat.st_ctime_ns
    owner = (uids.most_common(1)[0][0], gids.most_common(1)[0][0]) if maps_owners else ROOT
    others = special or set(uids) != {owner[0]} or set(gids) != {owner[1]}
    mounted = _mounted_below(f"/proc/self/fd/{top_fd}")
    return ContextScan(top, tuple(hidden), owner, others, mounted, _settled(seen, began_ns))


def is_special(status: os.stat_result) -> bool:
    """Whether there is a process of this machine behind it."""
    return stat.S_ISSOCK(status.st_mode) or stat.S_ISFIFO(status.st_mode)


def _settled(seen: Ctimes, began_ns: int) -> Ctimes:
    """Times of change, without those so close to the look that another change could share it."""
    return {path: -1 if is_since(ctime, began_ns) else ctime for path, ctime in seen.items()}


def _mounted_below(directory: str) -> frozenset[str]:
    """Where something is mounted in a directory, as paths below it."""
    prefix = os.path.realpath(directory).rstrip("/") + "/"
    points = (mount.point for mount in own_mounts())
    return frozenset(point.removeprefix(prefix) for point in points if point.startswith(prefix))


def needs_mask(found: ContextScan, *, written: bool) -> bool:
    """Whether a mount alone does not show the directory as it should be. What is mounted inside
    comes along with a mount, but not if the step may write: then there is an overlay anyhow."""
    return bool(found.hidden) or found.others or (written and bool(found.mounted))


def is_current(top_fd: int, seen: Mapping[str, int]) -> bool:
    """Whether all that counted for a scan and a mask is as it was. (No program sets a ctime.)"""
    try:
        return all(
            os.stat(path or ".", dir_fd=top_fd, follow_symlinks=False).st_ctime_ns == ctime_ns
            for path, ctime_ns in seen.items()
        )
    except OSError:
        return False


def write_mask(
    tree: SourceTree,
    top_fd: int,
    found: ContextScan,
    mask_fd: int,
    opaque: str,
    sink: TreeSink,
    cancelled: threading.Event | None = None,
) -> Ctimes:
    """Make the mask in an empty directory, and say what counted for it.

    `opaque` is the attribute of a directory that hides all below it. `sink` writes to `mask_fd`.
    """
    began_ns = time.time_ns()
    replaced = _replaced(tree, top_fd, found, cancelled) if found.others or found.mounted else {}
    with explained("copying files of the context"), Cursor(top_fd) as source:
        with sink:
            sink.put_all(_entries(source, found.hidden, replaced))
        for path in found.mounted:
            if path in replaced:
                # Else what lies under the mount would come to light.
                xattr.set(xattr.at(mask_fd, path), opaque, b"y")
        _finish_top(top_fd, mask_fd)
    seen = {path: status.st_ctime_ns for path, status in replaced.items()}
    return found.seen | _settled(seen, began_ns)


def write_copy(tree: SourceTree, top_fd: int, top: str, copy_fd: int, sink: TreeSink) -> Ctimes:
    """Copy all that a build sees of a directory to an empty one, and say what counted for it."""
    began_ns, status = time.time_ns(), os.fstat(top_fd)
    seen = {"": status.st_ctime_ns}
    rules = EntryRules(_NO_COPY, ROOT)

    def entries() -> Iterator[Entry]:
        for found in walk(top_fd, [Filter(compiled(tree.ignore), top)], sockets=True, top=top):
            seen[found.path] = found.stat.st_ctime_ns
            yield rules.entry(found, found.path)

    with explained("copying files of the context"):
        with sink:
            sink.put_all(entries())
        _finish_top(top_fd, copy_fd)
    return _settled(seen, began_ns)


def write_file(found: FoundFile, sink: TreeSink) -> Ctimes:
    """Copy one file to an empty directory, and say what counted for it."""
    began_ns = time.time_ns()
    with explained("copying files of the context"), sink:
        sink.put(EntryRules(_NO_COPY, ROOT).entry(found, found.name))
    return _settled({found.name: found.stat.st_ctime_ns}, began_ns)


def _finish_top(top_fd: int, fd: int) -> None:
    status = os.fstat(top_fd)
    set_metadata(fd, Metadata(status.st_mode, *ROOT, times_of(status)))


def _replaced(
    tree: SourceTree, top_fd: int, found: ContextScan, cancelled: threading.Event | None
) -> dict[str, os.stat_result]:
    """What cannot be seen as it is."""
    filters = [Filter(compiled(tree.ignore), found.top)]
    replaced: dict[str, os.stat_result] = {}
    mount = ""
    with explained("reading the context"):
        for one in walk(top_fd, filters, sockets=True, top=found.top):
            raise_if_cancelled(cancelled, "looking at a context")
            if one.path in found.mounted and not _is_within(one.path, mount):
                mount = one.path
            foreign = (one.stat.st_uid, one.stat.st_gid) != found.owner
            if foreign or is_special(one.stat) or _is_within(one.path, mount):
                replaced[one.path] = one.stat
    return replaced


def _is_within(path: str, directory: str) -> bool:
    return bool(directory) and (path == directory or path.startswith(directory + "/"))


def _entries(
    source: Cursor, hidden: tuple[str, ...], replaced: Mapping[str, os.stat_result]
) -> Iterator[Entry]:
    """Whiteouts and replacements, in the order of a walk: each directory is finished once. Those
    above them are as below the mask, for overlayfs shows a directory as its topmost layer has it.
    """
    rules = EntryRules(_NO_COPY, ROOT)
    made = set[str]()
    paths = {*hidden, *replaced}
    for path in sorted(paths, key=lambda path: path.split("/")):
        above, _, name = path.rpartition("/")
        yield from _directories(source, above, made)
        if path in replaced:
            made.add(path)
            yield rules.entry(FoundFile(path, source.enter(above), name, replaced[path]), path)
        else:
            yield Entry(path, stat.S_IFCHR)


def _directories(source: Cursor, path: str, made: set[str]) -> Iterator[Entry]:
    done = ""
    for name in path.split("/") if path else ():
        done = join(done, name)
        if done not in made:
            made.add(done)
            status = os.stat(name, dir_fd=source.enter(done.rpartition("/")[0]))
            yield Entry(done, status.st_mode, *ROOT, status.st_mtime_ns)
