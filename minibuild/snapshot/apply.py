"""Applying a diff: its changes, one after the other, onto a new snapshot.

Comes in: differences in walk order. Goes out: files in the layer directory of a snapshot that
is not in use yet, and a count of what was done. Files are hardlinked from the snapshot that has
them: both are immutable. Directories are created. The layer is written below any overlay mount, so
a deletion has to be put there as overlayfs would: as a whiteout.

Rules that are easy to get wrong:

- Nothing in the destination is followed. Parents of a change come first as directories of the
  diff, so the way to each name is made of directories that were opened here, with O_NOFOLLOW.
- A deletion removes what this layer has; a whiteout is written only if the layers below have the
  path. A whiteout for nothing would show up as a name in directories that are not merged.
- A directory that takes the place of something else in this layer is made opaque if the layers
  below have a directory there: that one was already hidden. Opaqueness is never copied.
- FIFOs and sockets are created, never linked: two containers that share their inode could talk
  through it.
- A directory's times are set when the walk leaves it, as each change in it would alter them.
- Only the innermost directories stay open: a tree may be deeper than a process may have files.

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
from minibuild.linux import beneath, xattr
from minibuild.snapshot import entry
from minibuild.snapshot.api import Applied, Kind, MergePolicy
from minibuild.snapshot.diff import Difference
from minibuild.snapshot.view import View
from minibuild.startup.tuples import NamedTuple

_NEVER_LINKED = (stat.S_IFIFO, stat.S_IFSOCK)
_CANNOT_LINK = (errno.EXDEV, errno.EMLINK)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_OPEN_LEVELS = 100


class Counts(NamedTuple):
    """How many files were linked from other snapshots, and how many copied."""

    linked: int
    copied: int


class _Open:
    """A directory of the destination: its descriptor, and what it is merged with from below."""

    __slots__ = ("below", "fd", "path", "times")

    def __init__(self, fd: int, path: str, below: tuple[str, ...]) -> None:
        self.fd = fd
        self.path = path
        self.below = below
        self.times = (0, 0)

    def close(self) -> None:
        """Let go of the descriptor, if it is not gone yet."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Applier:
    """Writes diffs into `layer_dir`, which goes above the layers of `below`."""

    def __init__(
        self,
        layer_dir: str,
        below: View,
        policy: MergePolicy,
        *,
        link: bool = True,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._cancelled = cancelled
        self._layer_dir = layer_dir
        self._below = below
        self._policy = policy
        self._link_files = link
        self._diffs = 0
        self._applied: dict[int, str] = {}
        self._way: list[_Open] = []
        self._linked = 0
        self._copied = 0

    @property
    def counts(self) -> Counts:
        """What was done so far."""
        return Counts(self._linked, self._copied)

    def apply(self, differences: Iterable[Difference]) -> None:
        """Apply one diff."""
        self._applied = {}
        try:
            self._way.append(_Open(os.open(self._layer_dir, _DIRECTORY), "", self._below.dirs))
            self._way[0].times = _times(os.fstat(self._way[0].fd))
            for difference in differences:
                raise_if_cancelled(self._cancelled, "putting a tree together")
                self._apply(difference)
            while self._way:
                self._leave()
            self._diffs += 1
        finally:
            for directory in self._way:
                directory.close()
            self._way.clear()

    def _apply(self, difference: Difference) -> None:
        if not difference.path:
            self._like(self._way[0], difference)
            return
        parent, _, name = difference.path.rpartition("/")
        while self._way[-1].path != parent:
            self._leave()
        directory = self._way[-1]
        first = self._applied_before(difference)
        if difference.kind is Kind.DELETE:
            self._delete(directory, name, difference, first)
        elif difference.type == stat.S_IFDIR:
            self._make_directory(directory, name, difference)
        else:
            self._put(directory, name, difference, first)

    def _applied_before(self, difference: Difference) -> str | None:
        """Where the inode of this change was applied before, in this diff.

        The kernel links all whiteouts of an upperdir to one inode, so two of them look like
        hardlinks of each other, and are not: the first may not have been needed and so not be
        there to link from (moby/buildkit pull request 4516).
        """
        if difference.kind is Kind.DELETE and not self._policy.whiteout_links:
            return None
        if not difference.inode or difference.type == stat.S_IFDIR:
            return None
        first = self._applied.setdefault(difference.inode, difference.path)
        return None if first is difference.path else first

    # Directories -----------------------------------------------------------------------------

    def _make_directory(self, parent: _Open, name: str, difference: Difference) -> None:
        node = self._below.lookup(parent.below, name)
        below = node.dirs if node is not None else ()
        action, opaque = "made", False
        try:
            os.mkdir(name, 0o700, dir_fd=parent.fd)
        except FileExistsError:
            if self._make_room(parent, name, difference):
                os.mkdir(name, 0o700, dir_fd=parent.fd)
                opaque = bool(below)
            else:
                action = "kept"
        directory = self._enter(parent, name, difference, below)
        if opaque:
            xattr.set(directory.fd, self._opaque_name(), b"y")
            action = "opaque"
        if below and (opaque or (action == "kept" and self._is_opaque(directory.fd))):
            directory.below = ()
        self._like(directory, difference)
        self._tell(difference, action)

    def _enter(
        self, parent: _Open, name: str, difference: Difference, below: tuple[str, ...]
    ) -> _Open:
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=parent.fd)
        except OSError as error:
            raise self._failed("create directory", "mkdir", difference, error) from error
        self._way.append(_Open(fd, difference.path, below))
        if len(self._way) > _MAX_OPEN_LEVELS:
            self._way[-1 - _MAX_OPEN_LEVELS].close()  # `_leave` comes back by "..".
        return self._way[-1]

    def _opaque_name(self) -> str:
        return f"{self._below.whiteouts}.overlay.opaque"

    def _is_opaque(self, fd: int) -> bool:
        return xattr.get(fd, self._opaque_name()) == b"y"

    def _like(self, directory: _Open, difference: Difference) -> None:
        directory.times = _times(entry.like_directory(difference.source, directory.fd))

    def _leave(self) -> None:
        directory = self._way.pop()
        try:
            os.utime(directory.fd, ns=directory.times)
            if self._way and self._way[-1].fd < 0:
                self._way[-1].fd = os.open("..", _DIRECTORY, dir_fd=directory.fd)
        finally:
            directory.close()

    # Everything else -------------------------------------------------------------------------

    def _delete(self, parent: _Open, name: str, difference: Difference, first: str | None) -> None:
        removed = beneath.remove_tree(parent.fd, name)
        if not parent.below or self._below.lookup(parent.below, name) is None:
            self._tell(difference, "removed" if removed else "skipped", "nothing lies below")
            return
        # One more name for the whiteout of the other snapshot costs no inode.
        linked = (first or difference.source) and self._link(parent, name, difference, first)
        if not linked:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent.fd)
        self._tell(difference, "whiteout", "linked to that of the diff" if linked else "created")

    def _put(self, parent: _Open, name: str, difference: Difference, first: str | None) -> None:
        kind_may_link = difference.type not in _NEVER_LINKED
        may_link = first is not None or (self._link_files and kind_may_link)
        if may_link and self._link(parent, name, difference, first):
            if first is None:
                self._linked += 1
            self._tell(difference, "linked", "" if first is None else f"to /{first}")
            return
        try:
            try:
                entry.copy(difference.source, parent.fd, name, self._cancelled)
            except FileExistsError:
                self._make_room(parent, name, difference)
                entry.copy(difference.source, parent.fd, name, self._cancelled)
        except FileExistsError as error:
            raise self._failed("create file", "create", difference, error) from error
        # If it is copied because an inode has all the names it may, this one takes those to come.
        self._applied[difference.inode] = difference.path
        self._copied += 1
        reason = (
            "another filesystem, or too many links"
            if kind_may_link
            else "never shared: fifo, socket"
        )
        self._tell(difference, "copied", reason)

    def _make_room(self, parent: _Open, name: str, difference: Difference) -> bool:
        """Remove what a change finds at its name; False if that stays, and is merged with it.

        A directory stays where a directory comes. The types are compared whole: a test of the
        directory bit alone would take a block device and a socket for a directory, too.
        """
        wanted = difference.type
        found = stat.S_IFMT(os.stat(name, dir_fd=parent.fd, follow_symlinks=False).st_mode)
        if self._policy.type_mask:
            both_directories = wanted & found == stat.S_IFDIR
        else:
            both_directories = wanted == found == stat.S_IFDIR
        if not both_directories:
            beneath.remove_tree(parent.fd, name)
        return not both_directories

    def _link(self, parent: _Open, name: str, difference: Difference, first: str | None) -> bool:
        """Hardlink, from where the inode was applied before or else across snapshots.

        False if the filesystem cannot: it is another one, or the inode has all the names it may.
        """
        source = f"{self._layer_dir}/{first}" if first is not None else difference.source
        try:
            try:
                os.link(source, name, dst_dir_fd=parent.fd, follow_symlinks=False)
            except FileExistsError:
                self._make_room(parent, name, difference)
                os.link(source, name, dst_dir_fd=parent.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in _CANNOT_LINK:
                return False
            raise self._failed("hardlink", f"link {source}", difference, error) from error
        return True

    def _failed(self, what: str, call: str, difference: Difference, error: OSError) -> StoreError:
        """An error in BuildKit's words, which people search for."""
        hint = "the store may be damaged: remove it and build again"
        if lacking := lack(error):
            hint = lacking.hint
        elif not self._policy.is_normal:
            hint = "this is an old defect, brought back to be seen: see docs/lab.md"
        return StoreError(
            f"failed to {what} during apply: {call} {self._layer_dir}/{difference.path}: "
            f"{os.strerror(error.errno or 0).lower()}",
            hint=hint,
        )

    def _tell(self, difference: Difference, action: str, reason: str = "") -> None:
        if self._policy.trace is not None:
            kind, path, source, _, _ = difference
            self._policy.trace(Applied(path, kind, action, source, reason, self._diffs))


def _times(found: os.stat_result) -> tuple[int, int]:
    return (found.st_atime_ns, found.st_mtime_ns)
