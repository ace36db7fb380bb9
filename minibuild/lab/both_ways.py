"""Any Dockerfile, with its merges made by two policies: with a defect, and without.

Comes in: a request for a build, the name of a defect. Goes out: a `BothWays`: how each run ended,
and its merges with the fates of their paths. The builds are made in a store of their own, with the
images of the user's store at hand; what stands on no merge is built once.
Read next: `build`.
"""

import os
import stat
import threading

from minibuild.lab.build import all_without_merges, run, started_build
from minibuild.lab.evidence import MergeCall, MergeRun
from minibuild.lab.place import own_place
from minibuild.linux import xattr
from minibuild.session.request import BuildRequest
from minibuild.snapshot.api import Applied, Defect, MergePolicy, Strategy
from minibuild.snapshot.diff import changes
from minibuild.snapshot.merge import view_of
from minibuild.snapshot.view import Node
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.worker import Worker, open_worker


class PathFates(NamedTuple):
    """What became of a path of one diff, by each policy; None if the merge did not come to it."""

    path: str
    diff: int
    with_fix: Applied | None
    without_fix: Applied | None

    @property
    def differs(self) -> bool:
        """Whether the two policies did different things."""
        old, new = self.without_fix, self.with_fix
        return (old and (old.action, old.reason)) != (new and (new.action, new.reason))


class MergePair(NamedTuple):
    """A merge by each policy. `without_fix` is None if that run did not come to it. `differing` are
    the paths whose type, mode, owner, size or attributes are not the same in the two trees."""

    with_fix: MergeCall
    without_fix: MergeCall | None
    fates: tuple[PathFates, ...]
    differing: tuple[str, ...]


class BothWays(NamedTuple):
    """A Dockerfile built with a defect and without. `store` is where; gone, unless it was kept."""

    defect: Defect
    store: str
    snapshotter: str
    with_fix: MergeRun
    without_fix: MergeRun
    pairs: tuple[MergePair, ...]

    @property
    def differs(self) -> bool:
        """Whether the defect makes a difference to this Dockerfile."""
        return bool(self.with_fix.error) != bool(self.without_fix.error) or any(
            pair.differing or any(fate.differs for fate in pair.fates) for pair in self.pairs
        )


def both_ways(
    request: BuildRequest,
    defect: Defect,
    root: str,
    *,
    keep: bool = False,
    cancelled: threading.Event | None = None,
) -> BothWays:
    """Build both ways. Needs what a build needs: root, or a user namespace around it."""
    with own_place(root, defect if keep else "") as (outer, place):
        os.makedirs(place)
        request = request._replace(contexts={**_images(outer), **request.contexts})
        with open_worker(os.path.join(place, "store")) as worker:
            stop = cancelled or threading.Event()
            with started_build(worker, request, stop, all_without_merges) as made:
                with_fix = run(made, MergePolicy(Strategy.HARDLINK), "with the fix")
                without_fix = run(made, MergePolicy(Strategy.HARDLINK, defect), "without the fix")
            pairs = _pairs(worker, with_fix, without_fix)
            return BothWays(
                defect, worker.store.root, worker.snapshots.name, with_fix, without_fix, pairs
            )


def _images(outer: Worker) -> dict[str, str]:
    """The images of the store, by the names that a Dockerfile has for them."""
    return {
        image.name.familiar: f"oci-layout://{outer.store.root}@{image.descriptor.digest}"
        for image in outer.images.list()
    }


def _pairs(worker: Worker, with_fix: MergeRun, without_fix: MergeRun) -> tuple[MergePair, ...]:
    """The merges of the two runs, paired by the step that needs them."""
    left = list(without_fix.merges)
    made = []
    for new in with_fix.merges:
        # A step that ran in both runs left two snapshots, so those cannot be compared.
        same = (
            one for one in left if one.needed_by == new.needed_by and one.made_by == new.made_by
        )
        old = next(same, None)
        if old is not None:
            left.remove(old)
        made.append(MergePair(new, old, _fates(new, old), _differing(worker, new, old)))
    return tuple(made)


def _fates(new: MergeCall, old: MergeCall | None) -> tuple[PathFates, ...]:
    before = {} if old is None else {(fate.diff, fate.path): fate for fate in old.fates}
    return tuple(
        PathFates(fate.path, fate.diff, fate, before.get((fate.diff, fate.path)))
        for fate in new.fates
        if fate.path
    )


def _differing(worker: Worker, new: MergeCall, old: MergeCall | None) -> tuple[str, ...]:
    if old is None or old.snapshot is None or new.snapshot is None:
        return ()
    snapshots = worker.snapshots
    before, after = view_of(snapshots, old.snapshot), view_of(snapshots, new.snapshot)
    found = (change.path for change in changes(before, after))
    return tuple(path for path in found if not _alike(before.find(path), after.find(path)))


def _alike(one: Node | None, other: Node | None) -> bool:
    """Whether two entries are the same but for time and contents: steps that stand on a merge ran
    once for each policy, at another time."""
    if one is None or other is None:
        return one is other
    a, b = os.lstat(one.path), os.lstat(other.path)
    return (
        (a.st_mode, a.st_uid, a.st_gid) == (b.st_mode, b.st_uid, b.st_gid)
        and (not stat.S_ISREG(a.st_mode) or a.st_size == b.st_size)
        and xattr.get_all(one.path) == xattr.get_all(other.path)
    )
