"""Mount points: made where an image lacks them, and removed from its layer afterwards.

A mount needs a file or a directory to be mounted on. Where the rootfs has none, one is made (a
*stub*), with missing parents, in the rootfs itself. Nothing of it may be seen in the layer, but
for what the step itself wrote beside it. Two halves:

- `StubMaker`, in the process of the step, makes them and notes what it did;
- `remove_stubs`, in the executor when all processes are gone and the overlay is unmounted, works
  on the upperdir, because only there it can undo that overlayfs copied the parents up.
"""

import errno
import os
import stat
from collections.abc import Callable
from typing import TypeVar

from minibuild.errors import DefinitionError
from minibuild.executor.wire import CopiedUp, Ready, Stub
from minibuild.linux.beneath import makedirs_beneath
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.syscalls import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    openat2,
)
from minibuild.startup.tuples import NamedTuple

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_OVERLAY = ("trusted.overlay.", "user.overlay.")
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENOTEMPTY, errno.EEXIST)


_Trace = TypeVar("_Trace", Stub, CopiedUp)


class _Above(NamedTuple):
    """The deepest directory on the way to a mount point that is there; its real path and times."""

    path: str
    times: tuple[int, int]


class StubMaker:
    """Makes mount points below "/", which is the rootfs by now; /proc is mounted there.

    `upper_fd` is its upperdir, or the directory itself if the rootfs is no overlay.
    """

    __slots__ = ("root_fd", "stubs", "touched", "upper_fd")

    def __init__(self, root_fd: int, upper_fd: int) -> None:
        self.root_fd = root_fd
        self.upper_fd = upper_fd
        self.stubs: list[Stub] = []
        self.touched: dict[str, CopiedUp] = {}

    def make(self, target: str, *, is_dir: bool) -> None:
        """Make sure that `target` is a directory, or that it is there and none."""
        try:
            found = os.stat(target).st_mode
        except FileNotFoundError:
            self._make(target, is_dir=is_dir)
            return
        except OSError as error:
            raise cannot_make(target, error) from error
        check_kind(target, found, is_dir=is_dir)

    def ready(self) -> Ready:
        """What was made and touched, for `remove_stubs`."""
        return Ready(tuple(self.stubs), tuple(self.touched.values()))

    def _make(self, target: str, *, is_dir: bool) -> None:
        try:
            # Where it leads through symlinks, dangling ones too: all inside, for "/" is the rootfs.
            real = os.path.realpath(target)
            above = self._above(real)
            whiteout = above is not None and self._note(above.path, real)
            made = self._create(real, above, is_dir=is_dir)
            if above is None:
                return  # In another mount, such as a cache directory: what is made there stays.
            os.utime(f"/{above.path}", ns=above.times)
        except FileExistsError:
            # A step that has the same cache directory has just made it.
            self.make(target, is_dir=is_dir)
            return
        except OSError as error:
            raise cannot_make(target, error) from error
        self.stubs.append(Stub(made[0], is_dir or len(made) > 1, whiteout))
        self.stubs += [Stub(path, True) for path in made[1:-1]]
        self.stubs += [Stub(path, is_dir) for path in made[1:][-1:]]

    def _above(self, target: str) -> _Above | None:
        """None if it is not in the rootfs itself but in something mounted on it."""
        path = target
        while True:
            path = os.path.dirname(path)
            try:
                fd = openat2(
                    self.root_fd,
                    path.lstrip("/") or ".",
                    os.O_PATH | os.O_DIRECTORY,
                    resolve=RESOLVE_IN_ROOT | RESOLVE_NO_XDEV,
                )
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno == errno.EXDEV:
                    return None
                raise
            with closing_fd(fd):
                found = os.fstat(fd)
                real = os.readlink(f"/proc/self/fd/{fd}").strip("/")
            return _Above(real, (found.st_atime_ns, found.st_mtime_ns))

    def _note(self, above: str, target: str) -> bool:
        """Note what will be copied up; say whether the upperdir holds a whiteout there."""
        parts = above.split("/") if above else []
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            if path not in self.touched and not self._in_upper(path):
                found = os.stat(f"/{path}")
                mode = stat.S_IMODE(found.st_mode)
                owner, time = (found.st_uid, found.st_gid), found.st_mtime_ns
                self.touched[path] = CopiedUp(path, mode, *owner, time, _xattrs(f"/{path}"))
        first = target.strip("/").split("/")[len(parts) : len(parts) + 1]
        return self._in_upper("/".join(parts + first))

    def _in_upper(self, path: str) -> bool:
        try:
            os.stat(path, dir_fd=self.upper_fd, follow_symlinks=False)
        except OSError:
            return False
        return True

    def _create(self, real: str, above: _Above | None, *, is_dir: bool) -> list[str]:
        """Make it with its parents and say which paths that were."""
        parent = os.path.dirname(real)
        made = []
        if above is None or above.path != parent.strip("/"):
            made = makedirs_beneath(self.root_fd, parent)
        if is_dir:
            os.mkdir(real, 0o755)
        else:
            os.close(os.open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        return [*made, real.strip("/")]


def check_kind(target: str, mode: int, *, is_dir: bool) -> None:
    """Raise `DefinitionError` if what is at a target cannot be covered by such a mount."""
    if stat.S_ISDIR(mode) != is_dir:
        kind, there = ("directory", "file") if is_dir else ("file", "directory")
        raise DefinitionError(
            f"cannot mount a {kind} on {target}: the image has a {there} there",
            hint="choose another target",
        )


def cannot_make(target: str, error: OSError) -> DefinitionError:
    """The error about a mount point that cannot be made."""
    return DefinitionError(
        f"cannot make the mount point {target}: {os.strerror(error.errno or 0)}",
        hint="mount on a path whose parent is a writable directory",
    )


def _xattrs(target: str | int) -> tuple[tuple[str, bytes], ...]:
    """The extended attributes of a directory, without those that are overlayfs's own."""
    try:
        names = os.listxattr(target)
        return tuple((n, os.getxattr(target, n)) for n in names if not n.startswith(_OVERLAY))
    except OSError:
        return ()


def remove_stubs(upper_fd: int, ready: Ready) -> None:
    """Remove from an upperdir what `StubMaker` made, unless the step made use of it."""
    for stub in reversed(ready.stubs):
        _at_parent(upper_fd, stub, _remove)
    for touched in sorted(ready.touched, key=lambda t: t.path.count("/"), reverse=True):
        _at_parent(upper_fd, touched, _drop_copy)


def _at_parent(upper_fd: int, trace: _Trace, act: Callable[[int, str, _Trace], None]) -> None:
    """Call `act` with the directory that holds a trace, and leave its times alone.

    The step had the tree for itself: it may have put symlinks and files where directories were.
    """
    head, name = os.path.split(trace.path)
    flags, resolve = os.O_RDONLY | os.O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
    try:
        fd = openat2(upper_fd, head or ".", flags, resolve=resolve)
    except OSError:
        return
    with closing_fd(fd):
        before = os.fstat(fd)
        try:
            act(fd, name, trace)
        except OSError as error:
            if error.errno not in _GONE:
                raise
        os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))


def _remove(dir_fd: int, name: str, stub: Stub) -> None:
    found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    if stub.is_dir:
        os.rmdir(name, dir_fd=dir_fd)
    elif stat.S_ISREG(found.st_mode) and found.st_size == 0:
        os.unlink(name, dir_fd=dir_fd)
    if stub.on_whiteout:
        os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=dir_fd)


def _drop_copy(dir_fd: int, name: str, touched: CopiedUp) -> None:
    """Remove a directory that was copied up, if it is empty and says nothing new."""
    found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    same = touched[1:5] == (
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        found.st_mtime_ns,
    )
    path = f"/proc/self/fd/{dir_fd}/{name}"
    if not stat.S_ISDIR(found.st_mode) or not same or _xattrs(path) != touched.xattrs:
        return
    if not any(opaque in os.listxattr(path) for opaque in _OPAQUE):
        os.rmdir(name, dir_fd=dir_fd)
