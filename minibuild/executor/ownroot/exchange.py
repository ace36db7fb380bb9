"""Moving a tree between "/" and a folder of ours, around what stays.

Comes in: two directories on one filesystem, and what stays in the live one. Goes out: the same
entries in the other directory. Nearly all is done by rename(2) of what is at the top. Only the
directories on the way to a mount point are there twice, once in "/" and once in the folder: their
entries move, and their owner, mode and times are copied. No process of a step is alive meanwhile.

The functions can be called again after a crash in the middle: what has moved is not found again.
Read next: `root`.
"""

import errno
import os
import stat

from minibuild.errors import HostError
from minibuild.executor.ownroot.preserved import PreservedPaths
from minibuild.linux.beneath import remove_path
from minibuild.linux.cursor import DIRECTORY
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.tree_writer import Metadata, set_metadata
from minibuild.snapshot.entry import metadata_of

Moved = dict[str, tuple[int, int]]
"""The inode and change time of each entry that was moved, by its path; rename(2) sets the time. So
it is read on the near side of both moves: what lies between is what the step did."""


def move_in(stored: str, live: str, kept: PreservedPaths, path: str = "") -> Moved:
    """Move the tree that is stored to where it is live, or what is below `path` in it; what stays
    there hides what is stored."""
    moved: Moved = {}
    looks = metadata_of(stored + path)  # Now: each move sets the times of the directory.
    for name in sorted(os.listdir(stored + path)):
        inner = f"{path}/{name}"
        source, target = stored + inner, _at(live, inner)
        if kept.stays(target):
            continue
        if kept.leads_to_it(target):
            if stat.S_ISDIR(os.lstat(source).st_mode):
                moved |= move_in(stored, live, kept, inner)
            continue
        move(source, target)
        moved[inner] = _mark(target)
    set_looks(_at(live, path), looks)
    return moved


def move_out(live: str, stored: str, kept: PreservedPaths, path: str = "") -> Moved:
    """Move the tree that is live, or what is below `path` in it, to a folder, which may hold what
    stays hides."""
    moved: Moved = {}
    looks = metadata_of(_at(live, path))
    for name in sorted(os.listdir(_at(live, path))):
        inner = f"{path}/{name}"
        source, target = _at(live, inner), stored + inner
        if kept.stays(source):
            continue
        if not kept.leads_to_it(source):
            moved[inner] = _mark(source)
            if not os.path.isdir(stored + path):
                # It is on the way to a mount point, and now holds something besides.
                _make_parents(live, stored, path)
            move(source, target)
        elif not _is_hidden(target):
            moved |= move_out(live, stored, kept, inner)
        elif _holds_more(source, kept):
            raise HostError(
                f"a step wrote to {source}, which is something else than a directory in its image",
                hint=f"the container has a mount below {source}: mount that elsewhere",
            )
    if os.path.isdir(stored + path):
        set_looks(stored + path, looks)
    return moved


def make_frame(live: str, stored: str, kept: PreservedPaths) -> None:
    """Make a folder with the directories that stay in "/" because they lead to mounts: the next
    tree gives them its own owner, mode and times."""
    made = f"{stored}.new"
    if os.path.isdir(made):
        remove_path(made)
    os.mkdir(made, 0o700)
    below = live.rstrip("/")
    paths = [path.removeprefix(below) for path in kept.on_the_way if path.startswith(f"{below}/")]
    for path in sorted(path for path in paths if path != "/"):
        os.mkdir(made + path, 0o700)
    for path in sorted(("", *(path for path in paths if path != "/")), reverse=True):
        set_looks(made + path, metadata_of(_at(live, path)))
    os.rename(made, stored)


def _is_hidden(target: str) -> bool:
    """Whether the tree has something else than a directory where a mount point is reached."""
    return os.path.lexists(target) and not stat.S_ISDIR(os.lstat(target).st_mode)


def _holds_more(path: str, kept: PreservedPaths) -> bool:
    """Whether a directory on the way to a mount point holds anything besides."""
    inner = [f"{path}/{name}" for name in os.listdir(path)]
    return any(
        not kept.stays(one) and (not kept.leads_to_it(one) or _holds_more(one, kept))
        for one in inner
    )


def _make_parents(live: str, stored: str, path: str) -> None:
    parts = path.split("/")[1:]
    for depth in range(1, len(parts) + 1):
        inner = "/" + "/".join(parts[:depth])
        if not os.path.isdir(stored + inner):
            # Under its name only with its looks: they come back to "/" also after a crash.
            os.mkdir(f"{stored}.new", 0o700)
            set_looks(f"{stored}.new", metadata_of(_at(live, inner)))
            os.rename(f"{stored}.new", stored + inner)


def _at(live: str, path: str) -> str:
    return (live.rstrip("/") + path) or "/"


def _mark(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_ino, found.st_ctime_ns


def move(source: str, target: str) -> None:
    """Rename. Overlayfs refuses that for a directory of the image that the container was started
    from (EXDEV): there its entries are moved."""
    try:
        os.rename(source, target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV or not stat.S_ISDIR(os.lstat(source).st_mode):
            raise
    looks = metadata_of(source)
    if not os.path.isdir(target):
        os.mkdir(target, 0o700)
    for name in os.listdir(source):
        move(f"{source}/{name}", f"{target}/{name}")
    set_looks(target, looks)
    os.rmdir(source)


def set_looks(directory: str, looks: Metadata) -> None:
    """Give a directory an owner, mode, attributes and times."""
    with closing_fd(os.open(directory, DIRECTORY)) as fd:
        set_metadata(fd, looks, directory, exact=True)
