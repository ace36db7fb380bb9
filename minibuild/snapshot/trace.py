"""A merge, watched: for each path who has it last, who lost it, and what was done.

Comes in: diffs. Goes out: the fate of each path. The merge itself reports what it did; it
is made for this by hardlinks and removed again (see `MergePolicy.trace`); what lies below it, in
the snapshot that became the parent of the merge, is read from the diffs that made that.
Read next: `apply`, where the telling is done.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from minibuild.snapshot.api import (
    Applied,
    Diff,
    Kind,
    MergePolicy,
    MergeReport,
    SnapshotID,
    Strategy,
)
from minibuild.snapshot.merge import by_hardlinks, merge, view_of
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.snapshot.snapshotter import Snapshotter

BELOW = "below"
"""What was done to a path of the parent: nothing."""

GONE_WITH_PARENT = "gone with its directory"


class Fate(NamedTuple):
    """A path of a merge, and all that was done to it, in order. The action of an act may also be
    one of the two above, and its diff is a number among all diffs.

    `inode` and `links` are those of what is there: of the whiteout, if the path is gone and a
    whiteout says so; 0 if there is nothing.
    """

    path: str
    acts: tuple[Applied, ...]
    inode: int
    links: int

    @property
    def gone(self) -> bool:
        """Whether the path is not in the merged tree."""
        return self.acts[-1].deletes

    @property
    def winner(self) -> int:
        """The number of the diff that has the last word."""
        return self.acts[-1].diff

    @property
    def losers(self) -> tuple[int, ...]:
        """The diffs whose entry is not what one sees, lowest first."""
        return tuple(dict.fromkeys(a.diff for a in self.acts[:-1] if a.diff != self.winner))

    @property
    def conflict(self) -> bool:
        """Whether diffs disagree about it; directories that unite do not."""
        return bool(self.losers) and not all(act.directory for act in self.acts)


class MergeTrace(NamedTuple):
    """A merge that was watched. The first `below` of its diffs were a chain, and its parent."""

    below: int
    report: MergeReport
    fates: tuple[Fate, ...]


def trace_merge(snapshotter: "Snapshotter", diffs: Sequence[Diff]) -> MergeTrace:
    """Merge by hardlinks, watch, and remove what was made."""
    numbers = [n for n, diff in enumerate(diffs) if diff.lower != diff.upper]
    real = [diffs[number] for number in numbers]
    below, parent = chain(real)
    applied: list[Applied] = []
    policy = MergePolicy(Strategy.HARDLINK, trace=applied.append)
    merged = merge(snapshotter, real, policy, None)
    try:
        acts = _Acts()
        for number in numbers[:below]:
            acts.take(_read(snapshotter, diffs[number], number))
        acts.take(_numbered(act, numbers[below:]) for act in applied)
        fates = tuple(_fates(snapshotter, merged.snapshot, acts.by_path))
    finally:
        if merged.snapshot != parent:
            snapshotter.remove(merged.snapshot)
    return MergeTrace(below, merged.report, fates)


def trace_diff(snapshotter: "Snapshotter", diff: Diff) -> list[Applied]:
    """Put one diff on the tree that it was made on, by hardlinks; watch, and remove what was made.
    What is done to each path of it, in order."""
    if diff.lower == diff.upper:
        return []
    applied: list[Applied] = []
    policy = MergePolicy(Strategy.HARDLINK, trace=applied.append)
    merged = by_hardlinks(snapshotter, diff.lower, [diff], policy, "asked for")
    snapshotter.remove(merged.snapshot)
    return [act for act in applied if act.path and act.diff == 0]


def chain(diffs: Sequence[Diff]) -> tuple[int, SnapshotID | None]:
    """How many diffs at the start are a chain from nothing, and what that comes to."""
    parent: SnapshotID | None = None
    for count, diff in enumerate(diffs):
        if diff.lower != parent:
            return count, parent
        parent = diff.upper
    return len(diffs), parent


def _read(snapshotter: "Snapshotter", diff: Diff, number: int) -> Iterator[Applied]:
    """What a diff of the parent holds."""
    for kind, path, source, _, type in snapshotter.changes(diff):
        yield Applied(path, kind, BELOW, source, diff=number, type=type)


def _numbered(act: Applied, numbers: Sequence[int]) -> Applied:
    """An act with the number of its diff among all. Who of the chain brought what of the parent is
    known already, so of that (-1) only what was done is new."""
    return act if act.diff < 0 else act._replace(diff=numbers[act.diff])


class _Acts:
    """All acts by path, in order. What replaces or deletes a directory ends all that is in it."""

    def __init__(self) -> None:
        self.by_path: dict[str, list[Applied]] = {}
        self._inside: dict[str, set[str]] = {}

    def take(self, acts: Iterable[Applied]) -> None:
        for act in acts:
            path = act.path
            if not path:
                continue  # The root is always there.
            before = self.by_path.get(path)
            if act.diff < 0 and before:
                before[-1] = before[-1]._replace(action=act.action, reason=act.reason)
                continue
            if before is None:
                before = self.by_path[path] = []
                self._inside.setdefault(path.rpartition("/")[0], set()).add(path)
            elif not act.directory:
                self._end(path, act.diff)
            before.append(act)

    def _end(self, directory: str, diff: int) -> None:
        pending = list(self._inside.get(directory, ()))
        while pending:
            path = pending.pop()
            if not self.by_path[path][-1].deletes:
                self.by_path[path].append(
                    Applied(path, Kind.DELETE, GONE_WITH_PARENT, "", "", diff)
                )
            pending += self._inside.get(path, ())


def _fates(
    snapshotter: "Snapshotter", merged: SnapshotID, acts: dict[str, list[Applied]]
) -> Iterator[Fate]:
    view, layer = view_of(snapshotter, merged), snapshotter.layer_dir(merged)
    for path in sorted(acts, key=os.fsencode):
        node = view.find(path)
        where = node.path if node is not None else f"{layer}/{path}"
        try:
            found = os.lstat(where)
        except (FileNotFoundError, NotADirectoryError):
            yield Fate(path, tuple(acts[path]), 0, 0)
        else:
            yield Fate(path, tuple(acts[path]), found.st_ino, found.st_nlink)
