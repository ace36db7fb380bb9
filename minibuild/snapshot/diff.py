"""What changed from one tree to another, by walking both at once.

Comes in: two views. Goes out: changes in walk order: names sorted as bytes, a directory
before its contents, and before the first change in it also when the directory itself is as it
was, because to apply the change, or to write it into a layer, takes the parent.

One walk serves all cases. In each directory the two sides are stacks of real directories, and
what they share at the bottom cannot differ; so only names found above that have to be compared.
If upper was prepared on lower, that leaves the upperdir: walking it is the whole work, and a
whiteout in it is a deletion. If the two have nothing to do with each other, nothing is shared and
both are walked in full. An opaque directory shares nothing with what it hides: its deletions come
out one for each old name, so on another base unrelated files of that directory survive.

Read next: `apply`.
"""

import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from minibuild.linux import owner
from minibuild.snapshot.api import Change, Kind
from minibuild.snapshot.compare import same_directory, same_file
from minibuild.snapshot.view import WHITEOUT, Node, View

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records

Pair = tuple[str, Node | None, Node | None]
"""A name with what it is in lower and in upper; a whiteout only in upper."""


class _Frame:
    """A directory on the way down: what is left in it, and its own entry until it is yielded."""

    __slots__ = ("pairs", "path", "pending")

    def __init__(self, path: str, pairs: Iterator[Pair], pending: Change | None) -> None:
        self.path = path
        self.pairs = pairs
        self.pending = pending


def changes(lower: View, upper: View) -> Iterator[Change]:
    """The changes that make the tree of `upper` from that of `lower`; no layers mean nothing."""
    if lower.dirs == upper.dirs:
        return
    root = _root(upper)
    changed = _root_changed(lower, upper)
    if changed:
        yield root
    pairs = _pairs(lower, upper, lower.dirs, upper.dirs)
    frames = [_Frame("", pairs, None if changed else root)]
    while frames:
        frame = frames[-1]
        pair = next(frame.pairs, None)
        if pair is None:
            frames.pop()
            continue
        name, low, up = pair
        path = f"{frame.path}/{name}" if frame.path else name
        change, descend = _compare(path, low, up, lower.owners, upper.owners)
        if change is not None:
            if frame.pending is not None:
                yield from _tell(frames)
            yield change
        if descend and up is not None:
            pairs = _pairs(lower, upper, low.dirs if low else (), up.dirs)
            pending = None if change else Change(Kind.MODIFY, path, *_entry(up))
            frames.append(_Frame(path, pairs, pending))


def _tell(frames: list[_Frame]) -> Iterator[Change]:
    for frame in frames:
        if frame.pending is not None:
            yield frame.pending
            frame.pending = None


def _entry(node: Node) -> tuple[str, int, int]:
    return node.path, node.inode, node.type


def _root(upper: View) -> Change:
    top = upper.dirs[0]
    return Change(Kind.MODIFY, "", top, os.lstat(top).st_ino, stat.S_IFDIR)


def _root_changed(lower: View, upper: View) -> bool:
    if lower.dirs:
        return not same_directory(lower.dirs[0], upper.dirs[0])
    # Nothing has the root that a new snapshot has.
    found = owner.seen(os.lstat(upper.dirs[0]), upper.dirs[0], upper.owners)
    return (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) != (0o755, 0, 0)


def _pairs(
    lower: View, upper: View, lower_dirs: tuple[str, ...], upper_dirs: tuple[str, ...]
) -> Iterator[Pair]:
    """The names in one merged directory that may differ, each with both sides."""
    shared = 0
    while (
        shared < min(len(lower_dirs), len(upper_dirs))
        and lower_dirs[-1 - shared] == upper_dirs[-1 - shared]
    ):
        shared += 1
    common = lower_dirs[len(lower_dirs) - shared :]
    lows = lower.names_in(lower_dirs, len(lower_dirs) - shared)
    ups = upper.names_in(upper_dirs, len(upper_dirs) - shared)
    for name in sorted(lows.keys() | ups.keys(), key=os.fsencode):
        low = lows[name] if name in lows else lower.lookup(common, name)
        up = ups[name] if name in ups else upper.lookup(common, name)
        yield name, None if low is not None and low.type == WHITEOUT else low, up


def _compare(
    path: str,
    low: Node | None,
    up: Node | None,
    low_owners: "Records | None",
    up_owners: "Records | None",
) -> tuple[Change | None, bool]:
    """The change at one name, if there is one, and whether to look into the directory."""
    if up is None or up.type == WHITEOUT:
        if low is None:
            return None, False
        source, inode = (up.path, up.inode) if up is not None else ("", 0)
        return Change(Kind.DELETE, path, source, inode, WHITEOUT), False
    if low is None:
        return Change(Kind.ADD, path, *_entry(up)), up.type == stat.S_IFDIR
    is_directory = up.type == stat.S_IFDIR
    if low.type != up.type:
        return Change(Kind.MODIFY, path, *_entry(up)), is_directory
    if is_directory:
        if low.dirs == up.dirs:
            return None, False
        same = low.path == up.path or same_directory(low.path, up.path)
    else:
        same = low.path == up.path or same_file(low.path, up.path, low_owners, up_owners)
    return None if same else Change(Kind.MODIFY, path, *_entry(up)), is_directory
