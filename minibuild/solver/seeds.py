"""What the directory of a cache mount starts with: files of a tree, and an owner.

Comes in: a step and its inputs. Goes out: for each of its cache mounts a `Seed`. The rules are
those of BuildKit. A mount `from` a tree starts with a copy of it, or of `source` in it, which also
says who owns the directory. With an owner and no source the directory is `/cache` of the tree,
or a new one if there is none. A mount of no tree starts empty, as root's with mode 0755 or with the
owner it names.
"""

import stat

from minibuild.fileop.api import SourceTree
from minibuild.fileop.apply import apply
from minibuild.graph.op import CacheMount, Copy
from minibuild.graph.pattern import escape_glob
from minibuild.linux import xattr
from minibuild.linux.beneath import lstat, real_path
from minibuild.linux.owner import seen
from minibuild.linux.tree_writer import Metadata, set_metadata
from minibuild.solver.cachemounts import Seed, has_owner, owner_of
from minibuild.solver.inputs import open_input
from minibuild.solver.keys import ReadyVertex
from minibuild.worker.context import BuildContext

_OWNED = "/cache"
"""Where in a tree BuildKit makes the directory of a cache that has an owner."""


class Seeds:
    """The seeds of the cache mounts of a step. They have no table of owners: where owners are
    recorded, symlinks in them belong to root."""

    def __init__(self, build: BuildContext, ready: ReadyVertex) -> None:
        self._build = build
        self._ready = ready
        self._owners = build.worker.snapshots.owners(None)

    def of(self, mount: CacheMount) -> Seed:
        """What the directory of a mount starts with."""
        if mount.input < 0:
            return Seed(lambda fd: self._own(fd, mount))
        found = self._ready.input(mount.input)
        result = " ".join(map(str, found.result)) if found is not None else ""
        return Seed(lambda fd: self._copy(fd, mount), result)

    def _copy(self, fd: int, mount: CacheMount) -> None:
        with open_input(self._build, self._ready, mount.input) as tree:
            source = _OWNED if has_owner(mount) else mount.source
            if has_owner(mount) and not _is_directory(tree, source):
                self._own(fd, mount)
                return
            copy = Copy(0, (escape_glob(source),), "/", keep_owner=not tree.local)
            cancelled = self._build.cancelled
            apply([copy], fd, {0: tree}, owners=self._owners, cancelled=cancelled)
            real = real_path(tree.fd, source)
            found = lstat(tree.fd, real)
            if found is None or not stat.S_ISDIR(found.st_mode):
                self._own(fd, mount)
                return
            found = seen(found, xattr.at(tree.fd, real), tree.owners)
            owner = (0, 0) if tree.local else (found.st_uid, found.st_gid)
            metadata = Metadata(found.st_mode, *owner)
            set_metadata(fd, metadata, mount.target, owners=self._owners)

    def _own(self, fd: int, mount: CacheMount) -> None:
        set_metadata(fd, Metadata(*owner_of(mount)), mount.target, owners=self._owners)


def _is_directory(tree: SourceTree, path: str) -> bool:
    found = lstat(tree.fd, real_path(tree.fd, path))
    return found is not None and stat.S_ISDIR(found.st_mode)
