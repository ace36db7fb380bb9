"""What diff, apply and merge mean, in memory: the reference for the real thing.

A tree is a dict from path to `ModelFile`; the root is "". An edit makes a new tree, `diff` says
what changed from one tree to another, `apply` replays that on any tree, and `merge` does so for a
list. No layers, no whiteouts, no kernel: what is true of these few lines has to be true on disk.
The tests of snapshots compare the two at random, and `lab try` where a person asks. Read next:
`trees`, `trial`.
"""

import os
from collections.abc import Iterable, Iterator, Mapping

from minibuild.startup.tuples import NamedTuple


class ModelFile(NamedTuple):
    """One object. `inode` says which paths are hardlinks of each other, and nothing else."""

    type: str  # dir, file, symlink, fifo, sock, chr, blk
    mode: int = 0o755
    owner: tuple[int, int] = (0, 0)
    data: bytes | str | int = b""  # contents, target, device number
    xattrs: tuple[tuple[str, bytes], ...] = ()
    mtime: int = 0  # of what is not a directory: that of a directory is no part of a diff
    inode: int = 0

    def same(self, other: "ModelFile | None") -> bool:
        """Equal but for the inode."""
        return other is not None and self._replace(inode=0) == other._replace(inode=0)


ModelTree = Mapping[str, ModelFile]
ModelChange = tuple[
    str, str, ModelFile | None
]  # add, modify or delete; path; what it is from now on

EMPTY: ModelTree = {"": ModelFile("dir")}


def children(tree: ModelTree, path: str) -> dict[str, str]:
    """The names in a directory, and their paths."""
    prefix = f"{path}/" if path else ""
    found = (p for p in tree if p.startswith(prefix) and p)
    return {p[len(prefix) :]: p for p in found if "/" not in p[len(prefix) :]}


def without(tree: ModelTree, path: str) -> dict[str, ModelFile]:
    """The tree less `path` and what is in it."""
    return {p: e for p, e in tree.items() if p != path and not p.startswith(f"{path}/")}


def diff(lower: ModelTree, upper: ModelTree) -> list[ModelChange]:
    """The changes from `lower` to `upper`, in walk order."""
    changes = list(_within(lower, upper, ""))
    if changes or not upper[""].same(lower.get("")):
        changes.insert(0, ("modify", "", upper[""]))
    return changes


def _within(lower: ModelTree, upper: ModelTree, path: str) -> Iterator[ModelChange]:
    names = children(lower, path).keys() | children(upper, path).keys()
    for name in sorted(names, key=os.fsencode):
        inner = f"{path}/{name}" if path else name
        old, new = lower.get(inner), upper.get(inner)
        if new is None:
            yield "delete", inner, None
            continue
        below = lower if old is not None and old.type == "dir" else EMPTY
        contents = list(_within(below, upper, inner)) if new.type == "dir" else []
        if contents or not new.same(old):
            yield "add" if old is None else "modify", inner, new
        yield from contents


def apply(tree: ModelTree, changes: Iterable[ModelChange]) -> ModelTree:
    """Replay changes on any tree."""
    result = dict(tree)
    for _, path, entry in changes:
        old = result.get(path)
        if entry is None or (old is not None and not old.type == entry.type == "dir"):
            result = without(result, path)
        if entry is not None:
            result[path] = entry
    return result


def merge(diffs: Iterable[tuple[ModelTree, ModelTree]], base: ModelTree = EMPTY) -> ModelTree:
    """The diffs (lower, upper) replayed one after the other."""
    for lower, upper in diffs:
        base = apply(base, diff(lower, upper))
    return base


def plain(tree: ModelTree) -> dict[str, ModelFile]:
    """The tree without inodes."""
    return {path: entry._replace(inode=0) for path, entry in tree.items()}


def link_groups(tree: ModelTree) -> set[frozenset[str]]:
    """Which paths are hardlinks of each other."""
    groups: dict[int, set[str]] = {}
    for path, entry in tree.items():
        if entry.type != "dir":
            groups.setdefault(entry.inode, set()).add(path)
    return {frozenset(group) for group in groups.values() if len(group) > 1}
