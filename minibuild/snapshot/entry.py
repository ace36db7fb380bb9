"""One entry made like another: a file, a link, a device, a directory's metadata.

Comes in: a path in a layer, which this process may read, and a writer. Goes out: the same thing
where the writer stands. Read next: `linux.tree_writer`, which knows the order of calls.
"""

import os
import stat
from typing import TYPE_CHECKING

from minibuild.linux import xattr
from minibuild.linux.contents import READ, Copier
from minibuild.linux.cursor import DIRECTORY
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.tree_writer import Metadata, TreeWriter, set_metadata, times_of

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records


def metadata_of(
    path: str, found: os.stat_result | None = None, owners: "Records | None" = None
) -> Metadata:
    """All that belongs to an entry but its data; `found` is what lstat(2) says of it, and `owners`
    are the records of its tree."""
    found = found or os.lstat(path)
    mode, uid, gid = found.st_mode, found.st_uid, found.st_gid
    xattrs = xattr.get_all(path)
    if owners is not None:
        mode, (uid, gid) = owners.mode(found, path), owners.owner(found, path)
        xattrs = {name: value for name, value in xattrs.items() if name not in xattr.RECORDS}
    return Metadata(mode, uid, gid, times_of(found), xattrs)


def copy(
    source: str,
    tree: TreeWriter,
    name: str,
    copier: Copier,
    owners: "Records | None" = None,
) -> bool:
    """Make `name` a copy of `source`, which is no directory. False if what is there stays."""
    found = os.lstat(source)
    metadata = metadata_of(source, found, owners)
    if stat.S_ISLNK(found.st_mode):
        return tree.special(name, metadata, os.readlink(source))
    if not stat.S_ISREG(found.st_mode):
        # A socket's node can be made without a socket; what listened is long gone.
        return tree.special(name, metadata, rdev=found.st_rdev)
    source_fd = os.open(source, READ)
    try:
        return tree.file(name, metadata, lambda fd: copier.copy(source_fd, fd, found.st_size))
    finally:
        os.close(source_fd)


def inherit_root(source: str, target: str) -> None:
    """Give the empty root of a new layer the metadata of the root below: the mount shows it."""
    with closing_fd(os.open(target, DIRECTORY)) as fd:
        set_metadata(fd, metadata_of(source), source, exact=True)
