"""Applying a diff: its changes, one after the other, onto a new snapshot.

Comes in: changes in walk order. Goes out: files in the layer directory of a snapshot that
is not in use yet, and a count of what was done. Files are hardlinked from the snapshot that has
them: both are immutable. Directories are created. The layer is written below any overlay mount, so
a deletion has to be put there as overlayfs would: as a whiteout.

Rules that are easy to get wrong:

- Nothing in the destination is followed. Parents of a change come first as directories of the
  diff, so the writer stands in the directory of each name: see `linux.tree_writer`.
- A deletion removes what this layer has; a whiteout is written only if the layers below have the
  path. A whiteout for nothing would show up as a name in directories that are not merged.
- A directory that takes the place of something else in this layer is made opaque if the layers
  below have a directory there: that one was already hidden. Opaqueness is never copied.
- FIFOs and sockets are created, never linked: two containers that share their inode could talk
  through it.

Hardlinks inside a diff stay: an inode that was seen before in the same diff is linked from the
path to which it was applied. Whiteouts take no part in that; see `_applied_before`.
Read next: `merge`.
"""

import errno
import os
import stat
import threading
from collections.abc import Iterable

from minibuild.errors import StoreError, lack, raise_if_cancelled
from minibuild.linux import xattr
from minibuild.linux.beneath import remove_tree
from minibuild.linux.contents import Copier
from minibuild.linux.cursor import DIRECTORY
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.recorded import Records
from minibuild.linux.tree_writer import Metadata, TreeWriter
from minibuild.snapshot import entry, whiteout
from minibuild.snapshot.api import Applied, Change, Kind, MergePolicy
from minibuild.snapshot.view import NOTHING, WHITEOUT, View
from minibuild.startup.tuples import NamedTuple

_ATTRIBUTED = (stat.S_IFREG, WHITEOUT)
_NEVER_LINKED = (stat.S_IFIFO, stat.S_IFSOCK)
_CANNOT_LINK = (errno.EXDEV, errno.EMLINK)


class Counts(NamedTuple):
    """How many files were linked from other snapshots, and how many copied."""

    linked: int
    copied: int


class Applier:
    """Writes diffs into `layer_dir`, which goes above the layers of `below`."""

    def __init__(
        self,
        layer_dir: str,
        below: View = NOTHING,
        policy: MergePolicy = MergePolicy(),  # noqa: B008
        *,
        link: bool = True,
        owners: Records | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._cancelled = cancelled
        self._layer_dir = layer_dir
        self._below = below
        self._policy = policy
        self._defect = policy.defect
        self._link_files = link
        self._owners = owners
        self._source_owners: Records | None = None
        self._position = 0
        self._applied: dict[int, str] = {}
        self._copier = Copier(cancelled)
        self._linked = 0
        self._copied = 0

    @property
    def counts(self) -> Counts:
        """What was done so far."""
        return Counts(self._linked, self._copied)

    def apply(self, changes: Iterable[Change], owners: Records | None = None, at: int = 0) -> None:
        """Apply the diff at a position. `owners` are the records of what it is made from."""
        self._applied, self._position = {}, at
        self._source_owners = owners
        owners, defect = self._owners, self._defect
        with (
            closing_fd(os.open(self._layer_dir, DIRECTORY)) as layer_fd,
            TreeWriter(layer_fd, self._make_room, exact=True, owners=owners, defect=defect) as tree,
        ):
            merged = [self._below.dirs]
            for change in changes:
                raise_if_cancelled(self._cancelled, "putting a tree together")
                self._apply(tree, merged, change)
            tree.finish()

    def _apply(self, tree: TreeWriter, merged: list[tuple[str, ...]], change: Change) -> None:
        """Apply one change. `merged` has the directories below for each that the writer is in."""
        if not change.path:
            tree.describe(self._metadata(change))
            return
        parent, _, name = change.path.rpartition("/")
        while tree.path != parent:
            tree.pop()
            merged.pop()
        first = self._applied_before(change)
        if change.kind is Kind.DELETE:
            self._delete(tree, merged[-1], name, change, first)
        elif change.type == stat.S_IFDIR:
            merged.append(self._make_directory(tree, merged[-1], name, change))
        else:
            self._put(tree, name, change, first)

    def _applied_before(self, change: Change) -> str | None:
        """Where the inode of this change was applied before, in this diff.

        The kernel links all whiteouts of one mount to one inode, so two of them look like hardlinks
        of each other, and are not: the first may not have been needed and so not be there to link
        from (moby/buildkit pull request 4516).
        """
        if change.kind is Kind.DELETE and self._defect != "whiteout-hardlink":
            return None
        if not change.inode or change.type == stat.S_IFDIR:
            return None
        first = self._applied.setdefault(change.inode, change.path)
        return None if first is change.path else first

    def _make_directory(
        self, tree: TreeWriter, below: tuple[str, ...], name: str, change: Change
    ) -> tuple[str, ...]:
        """Make a directory and stand in it; returns those with which it is merged from below."""
        node = self._below.lookup(below, name)
        below = node.dirs if node is not None else ()
        try:
            done = tree.directory(name, self._metadata(change))
        except OSError as error:
            raise self._failed("create directory", "mkdir", change, error) from error
        action: str = "made" if done == "replaced" else done
        hides = done == "replaced"
        if self._defect == "opaque-copied":
            hides = hides or self._below.is_opaque(change.source)
        if below and hides:
            whiteout.set_opaque(tree.fd, self._below.whiteouts)
            action, below = "opaque", ()
        elif below and done == "kept" and self._below.is_opaque(xattr.at(tree.fd, ".")):
            below = ()
        self._tell(change, action)
        return below

    def _delete(
        self,
        tree: TreeWriter,
        below: tuple[str, ...],
        name: str,
        change: Change,
        first: str | None,
    ) -> None:
        removed = remove_tree(tree.fd, name)
        if not below or self._below.lookup(below, name) is None:
            self._tell(change, "removed" if removed else "skipped", "nothing lies below")
            return
        # One more name for the whiteout of the other snapshot costs no inode.
        may_link = (first or change.source) and self._below.whiteouts != "marked"
        linked = may_link and self._link(tree, name, change, first)
        if not linked:
            whiteout.make(tree.fd, name, self._below.whiteouts)
        self._tell(change, "whiteout", "linked to that of the diff" if linked else "created")

    def _put(self, tree: TreeWriter, name: str, change: Change, first: str | None) -> None:
        kind_may_link = change.type not in _NEVER_LINKED
        may_link = first is not None or (self._link_files and kind_may_link)
        if may_link and self._link(tree, name, change, first):
            if first is None:
                self._linked += 1
            self._tell(change, "linked", "" if first is None else f"to /{first}")
            return
        if not entry.copy(change.source, tree, name, self._copier, self._source_owners):
            raise self._failed("create file", "create", change, _in_the_way())
        # If it is copied because an inode has all the names it may, this one takes those to come.
        self._applied[change.inode] = change.path
        self._copied += 1
        reason = (
            "another filesystem, or too many links"
            if kind_may_link
            else "never shared: fifo, socket"
        )
        self._tell(change, "copied", reason)

    def _metadata(self, change: Change) -> Metadata:
        return entry.metadata_of(change.source, None, self._source_owners)

    def _make_room(self, dir_fd: int, name: str, wanted: int) -> bool:
        """Remove what a change finds at its name; False if that stays, and is merged with it.

        A directory stays where a directory comes. The types are compared whole: a test of the
        directory bit alone would take a block device and a socket for a directory, too.
        """
        found = self._type_of(dir_fd, name)
        if self._defect == "type-mask":
            both_directories = wanted & found == stat.S_IFDIR
        else:
            both_directories = wanted == found == stat.S_IFDIR
        if not both_directories:
            remove_tree(dir_fd, name)
        return not both_directories

    def _type_of(self, dir_fd: int, name: str) -> int:
        follow = self._defect == "link-followed"
        try:
            found = os.stat(name, dir_fd=dir_fd, follow_symlinks=follow)
        except FileNotFoundError:
            return stat.S_IFLNK  # It leads nowhere, which is found out by following it.
        return stat.S_IFMT(found.st_mode)

    def _link(self, tree: TreeWriter, name: str, change: Change, first: str | None) -> bool:
        """Hardlink, from where the inode was applied before or else across snapshots.

        False if the filesystem cannot: it is another one, or the inode has all the names it may.
        """
        source = f"{self._layer_dir}/{first}" if first is not None else change.source
        try:
            if not tree.link(name, source, None, change.type):
                raise _in_the_way()
        except OSError as error:
            if error.errno in _CANNOT_LINK:
                return False
            raise self._failed("hardlink", f"link {source}", change, error) from error
        if self._owners is not None and first is None and change.type not in _ATTRIBUTED:
            # The table of this snapshot has to know the inode, too.
            self._owners.write(tree.fd, name, *self._metadata(change)[1:3])
        return True

    def _failed(self, what: str, call: str, change: Change, error: OSError) -> StoreError:
        """An error in BuildKit's words, which people search for."""
        hint = "the store may be damaged: remove it and build again"
        if lacking := lack(error):
            hint = lacking.hint
        elif not self._policy.is_normal:
            hint = "this is an old defect, brought back to be seen: see docs/lab.md"
        return StoreError(
            f"failed to {what} during apply: {call} {self._layer_dir}/{change.path}: "
            f"{os.strerror(error.errno or 0).lower()}",
            hint=hint,
        )

    def _tell(self, change: Change, action: str, reason: str = "") -> None:
        if self._policy.trace is not None:
            kind, path, source, _, type = change
            self._policy.trace(Applied(path, kind, action, source, reason, self._position, type))


def _in_the_way() -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
