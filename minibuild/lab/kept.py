"""What `lab --keep` leaves to be looked at: a map of the snapshots, and the merge that failed.

Comes in: a folder with the store of an exhibit, and the run with the fix. Goes out: `MAP.txt`, and
`half-made-merge`, the layer directory of the failed merge as far as it came. No command lists or
prunes them; `rm -r` removes them. Read next: `merge_inputs`.
"""

import os
from collections.abc import Callable, Mapping

from minibuild.lab.evidence import MergeRun
from minibuild.lab.merge_inputs import makers
from minibuild.worker.worker import Worker

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
