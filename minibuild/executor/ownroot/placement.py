"""One mount of a step without a mount: files moved into the tree, and back after the step.

Comes in: a file or directory on the filesystem of "/", and the path at which the step is to see it.
Goes out: the tree with it there (`put`), and after the step the tree as it was (`put_back`). What
was at the path is kept elsewhere meanwhile (`aside`). A directory with a mount of the container
below it cannot be moved, so its entries are moved one by one.
Read next: `step_mounts`.
"""

import os

from minibuild.executor.ownroot import exchange
from minibuild.executor.ownroot.preserved import PreservedPaths
from minibuild.linux.beneath import remove_path, remove_tree
from minibuild.linux.cursor import DIRECTORY
from minibuild.linux.descriptors import closing_fd
from minibuild.startup.tuples import NamedTuple


class Placement(NamedTuple):
    """`source` is seen at `target`, where what was there is `aside`. `lasts`: it is moved back and
    not dropped, whatever happened to the step. `copied`: a copy of it is there, where nothing was,
    on a mount of the container."""

    source: str
    target: str
    aside: str
    lasts: bool = False
    copied: bool = False


def put(placement: Placement, kept: PreservedPaths) -> None:
    """Put it in place. The parent of the target is there, and no mount of the container."""
    source, target, aside, *_ = placement
    if kept.leads_to_it(target):
        os.mkdir(aside, 0o700)
        exchange.move_out(target, aside, kept)
        exchange.move_in(source, target, kept)
        return
    if os.path.lexists(target):
        os.rename(target, aside)
    os.rename(source, target)


def put_back(placement: Placement, kept: PreservedPaths) -> None:
    """Take it away again, in whatever state it is."""
    source, target, aside, lasts, copied = placement
    if copied:
        if os.path.lexists(target):
            folder, name = os.path.split(target)
            with closing_fd(os.open(folder, DIRECTORY)) as fd:  # No symlink that the step made.
                remove_tree(fd, name)
    elif kept.leads_to_it(target):
        if os.path.isdir(aside):
            if not os.path.isdir(source):
                os.mkdir(source, 0o700)
            exchange.move_out(target, source, kept)
            exchange.move_in(aside, target, kept)
            remove_path(aside)
    elif not os.path.lexists(source):
        if os.path.lexists(target):
            os.rename(target, source)
        if os.path.lexists(aside):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.rename(aside, target)
    if not lasts and os.path.lexists(source):
        remove_path(source)
