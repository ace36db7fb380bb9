"""Performing an exhibit: its recipe built for real, and its last step run twice.

Comes in: an exhibit, the folder of a store. Goes out: a `Showing` of what is seen. The build has a
store of its own inside that folder; the variations have another, so that a store that is kept shows
the exhibit and nothing else.
With `keep` a map of the snapshots stays, and the layer directory of the merge that failed as far as
it came. No command lists or prunes these; `rm -r` removes them. Read next: `merge_inputs`.
"""

import os
import stat
import threading
from collections.abc import Callable, Mapping

from minibuild.graph.reference import parse_reference
from minibuild.graph.vertex import topological
from minibuild.lab.build import StartedBuild, request_of, run, started_build
from minibuild.lab.evidence import (
    MergeRun,
    MountRow,
    Observation,
    Showing,
    VariationResult,
    look,
    obstacle,
)
from minibuild.lab.exhibit import Exhibit, Variation
from minibuild.lab.merge_inputs import makers
from minibuild.lab.place import own_place
from minibuild.session.request import BuildRequest, RegistryAccess
from minibuild.snapshot.api import MergePolicy, Strategy
from minibuild.snapshot.defects import policy_for
from minibuild.snapshot.upperdir import entry_at
from minibuild.worker.worker import Worker, open_worker

_BASE_IMAGE = "busybox"
_DELETED = ("a", "b", "c", "d")


def show(
    exhibit: Exhibit,
    root: str,
    *,
    registries: RegistryAccess,
    keep: bool = False,
    cancelled: threading.Event | None = None,
) -> Showing:
    """Perform an exhibit. Needs what a build needs: root, or a user namespace around it."""
    stop = cancelled or threading.Event()
    with own_place(root, exhibit.name if keep else "") as (outer, place):
        context = os.path.join(place, "context")
        os.makedirs(context)
        for name, text in exhibit.files.items():
            with open(os.path.join(context, name), "x", encoding="utf-8") as file:
                file.write(text)
        request = BuildRequest(context, contexts=_base(outer), registries=registries)
        with open_worker(os.path.join(place, "store")) as worker:
            failed = keep_half_made(place) if keep else None
            shown = _shown(worker, request, stop, exhibit, failed)
            if keep:
                write_map(worker, place, shown.with_fix, request.contexts)
        with open_worker(os.path.join(place, "variations")) as worker:
            varied = (_varied(worker, request, stop, exhibit, v) for v in exhibit.variations)
            return shown._replace(variations=tuple(varied))


def _shown(
    worker: Worker,
    request: BuildRequest,
    stop: threading.Event,
    exhibit: Exhibit,
    failed: Callable[[str], None] | None,
) -> Showing:
    """The exhibit itself. Where it cannot be seen, that is said, and the rest is shown."""
    snapshots = worker.snapshots
    with started_build(worker, request_of(exhibit.recipe, request), stop) as made:
        upperdir = _upperdir(made, exhibit.watched)
        entries = look(upperdir, exhibit.paths, snapshots.whiteouts)
        store, unable = worker.store.root, obstacle(exhibit, entries, snapshots.name)
        seen = Observation(store, snapshots.name, upperdir, entries, unable)
        mounts = two_mounts(worker) if exhibit.shared_inode and not unable else ()
        old = policy_for(exhibit.name)._replace(failed=failed)
        without_fix = run(made, old, "without the fix")
        with_fix = run(made, MergePolicy(Strategy.HARDLINK), "with the fix")
    return Showing(exhibit, seen, mounts, without_fix, with_fix, ())


def _base(outer: Worker) -> dict[str, str]:
    """The base image of all exhibits, from the store where it has it; else it is pulled."""
    found = outer.images.resolve(parse_reference(_BASE_IMAGE))
    return {} if found is None else {_BASE_IMAGE: f"oci-layout://{outer.store.root}@{found.digest}"}


def _upperdir(made: StartedBuild, watched: str) -> str:
    (vertex,) = (v for v in topological([made.top]) if watched in v.note.name)
    row = made.build.worker.diffs.get(made.done[vertex.digest].result[-1])
    assert row.upper is not None, "a RUN leaves a tree"
    return made.build.worker.snapshots.layer_dir(row.upper)


def two_mounts(worker: Worker) -> tuple[MountRow, ...]:
    """Delete two files through a mount, mount again, and delete two more: which whiteouts are left.

    The kernel keeps one whiteout for each mount (`struct ovl_fs`, fs/overlayfs/ovl_entry.h) and
    links it, so the next mount makes another.
    """
    snapshots = worker.snapshots
    base = snapshots.prepare(None)
    with snapshots.tree(base, readonly=False) as root:
        for name in _DELETED:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644, dir_fd=root))
    snapshots.commit(base)
    active = snapshots.prepare(base)
    rows = []
    for mount, names in enumerate((_DELETED[:2], _DELETED[2:]), 1):
        with snapshots.tree(active, readonly=False) as root:
            for name in names:
                os.unlink(name, dir_fd=root)
        rows += [(mount, name) for name in names]
    found = [
        MountRow(mount, entry_at(snapshots.layer_dir(active), name, snapshots.whiteouts))
        for mount, name in rows
    ]
    for made in (active, base):
        snapshots.remove(made)
    return tuple(found)


def _varied(
    worker: Worker,
    request: BuildRequest,
    stop: threading.Event,
    exhibit: Exhibit,
    variation: Variation,
) -> VariationResult:
    if variation.needs_devices and (reason := _no_devices(worker)):
        return VariationResult(variation, None, None, reason)
    with started_build(worker, request_of(variation.recipe, request), stop) as made:
        without_fix = run(made, policy_for(exhibit.name), "without the fix")
        with_fix = run(made, MergePolicy(Strategy.HARDLINK), "with the fix")
    return VariationResult(variation, without_fix, with_fix)


def _no_devices(worker: Worker) -> str:
    """Why a step cannot make a device node, found by making one."""
    path = worker.store.ingest_path()
    try:
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 0))
    except PermissionError:
        return "needs root: the kernel makes no device nodes in a user namespace"
    os.unlink(path)
    return ""


# --- What stays with `--keep` ---


MAP = "MAP.txt"
HALF_MADE = "half-made-merge"


def keep_half_made(place: str) -> Callable[[str], None]:
    """What a merge calls when it fails: its layer directory is moved, and nothing else of it."""

    def keep(layer_dir: str) -> None:
        os.rename(layer_dir, os.path.join(place, HALF_MADE))

    return keep


def write_map(worker: Worker, place: str, with_fix: MergeRun, contexts: Mapping[str, str]) -> None:
    """Say of each snapshot what made it, and on which it stands. `contexts` are the images of the
    outer store, by the name that a FROM has for them."""
    images = {address: f"FROM {name}" for name, address in contexts.items()}
    made_by = {made: images.get(name, name) or "a layer" for made, name in makers(worker).items()}
    for call in with_fix.merges:
        if call.snapshot is not None:
            made_by[call.snapshot] = f"the merge that {call.needed_by} needs, with the fix"
    lines = ["SNAPSHOT  PARENT  MADE BY    (the files of snapshot N are in store/snapshots/N/fs)"]
    for snapshot in sorted(worker.snapshots.table.committed()):
        parent = worker.snapshots.table.parent(snapshot)
        said = made_by.get(snapshot, "a merge that was stacked: it shows the layers of others")
        lines.append(f"{snapshot:>8}  {'-' if parent is None else parent:>6}  {said}")
    if os.path.lexists(os.path.join(place, HALF_MADE)):
        base = next((call.base for call in with_fix.merges), None)
        lines.append(f"{'-':>8}  {'-' if base is None else base:>6}  {HALF_MADE}/: the same merge "
                     "without the fix, as far as it came")  # fmt: skip
    with open(os.path.join(place, MAP), "w", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
