"""Paths inside a root whose contents are not ours: symlinks stay inside, nothing is raced.

Comes in: a directory descriptor (`root_fd`) and a path. Goes out: descriptors and metadata. The
kernel resolves (openat2(2) with RESOLVE_IN_ROOT): `..` and absolute symlinks stop at the root,
as they would after chroot(2), also while another process renames directories. Checking a path
first and opening it then cannot do that.

openat2 came with Linux 5.6, older than the overlay features this program needs anyway, so there
is no other way for older kernels. Errors are those of `os`: FileNotFoundError and the like.
Names are str with surrogate escapes, as os.fsdecode gives them.

The kernel does not say where it ended up. Where that has to be known, for ignore patterns and for
destinations, `real_path` says it: a *real* path has no symlink on the way. If names change
meanwhile it is stale, but it never leads outside: a real path is opened by the functions here, or
one name at a time by a `Cursor`, which follows no symlink. Read next: `cursor`.
"""

import errno
import os
import stat
from collections.abc import Callable
from typing import TypeVar

from minibuild.linux.cursor import Cursor
from minibuild.linux.descriptors import closing_fd

_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_T = TypeVar("_T")
_MAX_SYMLINKS = 40  # as the kernel, see path_resolution(7)


def clean(path: str) -> str:
    """`path` without empty parts, `.` and `..`, which stops at the root; no leading slash.

    `x/../y` is `y`, whatever `x` is: so Docker, BuildKit and containerd read destinations of
    copies and the names in archives.
    """
    if path and path[0] not in "/." and "/." not in path and "//" not in path:
        return path[:-1] if path[-1] == "/" else path
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def join(directory: str, name: str) -> str:
    """`directory/name`, where the root is the empty string."""
    if not directory or not name:
        return directory or name
    return f"{directory}/{name}"


def parents(real: str) -> list[str]:
    """The path and all paths above it but the root, outermost first."""
    found = []
    at = real.find("/")
    while at >= 0:
        found.append(real[:at])
        at = real.find("/", at + 1)
    return [*found, real] if real else []


def open_beneath(root_fd: int, path: str, flags: int) -> int:
    """Open `path` inside the root, following symlinks there; add O_NOFOLLOW for the last one."""
    # Here: ctypes takes 1.3 ms to load, and many a build with nothing to do needs no such call.
    from minibuild.linux.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
    return openat2(root_fd, path.lstrip("/") or ".", flags, resolve=resolve)


def read_plain(root_fd: int, path: str, most: int) -> bytes | None:
    """The first `most` bytes of a file inside the root, or None if what is there is no plain file.
    A fifo is not waited for."""
    with closing_fd(open_beneath(root_fd, path, os.O_RDONLY | os.O_NONBLOCK)) as fd:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        with open(fd, "rb", closefd=False) as file:
            return file.read(most)


def open_real(root_fd: int, real: str, flags: int) -> int:
    """Open a real path. A symlink on the way is an error; one at the end is, too, but it is opened
    with O_PATH."""
    if "/" not in real and real != "..":  # One name needs no way to be resolved.
        return os.open(real or ".", flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root_fd)
    from minibuild.linux.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, openat2

    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS
    return openat2(root_fd, real, flags | os.O_NOFOLLOW, resolve=resolve)


def lstat(root_fd: int, real: str) -> os.stat_result | None:
    """The metadata of a real path; None if there is nothing, or a symlink on the way."""
    return _look(root_fd, real, os.fstat)


def readlink(root_fd: int, real: str) -> str | None:
    """The text of the symlink at a real path; None for anything else, and for nothing."""
    return _look(root_fd, real, _link_text)


def _link_text(fd: int) -> str | None:
    return os.readlink("", dir_fd=fd) if stat.S_ISLNK(os.fstat(fd).st_mode) else None


def _look(root_fd: int, real: str, ask: Callable[[int], _T]) -> _T | None:
    try:
        fd = open_real(root_fd, real, os.O_PATH)
    except OSError as error:
        if error.errno in _MISSING:
            return None
        raise
    try:
        return ask(fd)
    finally:
        os.close(fd)


def real_path(root_fd: int, path: str, follows: Callable[[str], bool] = lambda real: True) -> str:
    """`path` with its symlinks resolved inside the root, the last one too, dangling or not; those
    at real paths that it does not `follow` are taken as names.

    What is not there is taken as it is written. Raises OSError with ELOOP for a circle.
    """
    pending = _components(path)[::-1]
    done: list[str] = []
    symlinks = 0
    while pending:
        name = pending.pop()
        if name == "..":
            del done[-1:]
            continue
        done.append(name)
        real = "/".join(done)
        target = readlink(root_fd, real)
        if target is None or not follows(real):
            continue
        symlinks += 1
        if symlinks > _MAX_SYMLINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        done = [] if target.startswith("/") else done[:-1]
        pending += _components(target)[::-1]
    return "/".join(done)


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def makedirs_beneath(root_fd: int, path: str, mode: int = 0o755) -> list[str]:
    """Make the directory `path` and its missing parents; say which were made, outermost first.

    Symlinks on the way are followed inside the root. Where one dangles, its target is made, so
    the paths returned are real ones. The mode is exact: the umask plays no part.
    """
    try:
        os.close(open_beneath(root_fd, path, os.O_PATH | os.O_DIRECTORY))
        return []
    except FileNotFoundError:
        pass
    made: list[str] = []
    with Cursor(root_fd) as cursor:
        for name in real_path(root_fd, path).split("/"):
            try:
                os.mkdir(name, 0o700, dir_fd=cursor.fd)
            except FileExistsError:
                cursor.push(name)
            else:
                os.fchmod(cursor.push(name), mode)
                made.append(cursor.path)
    return made


def remove_tree(dir_fd: int, name: str) -> bool:
    """Remove `name` and everything in it; symlinks are removed, not followed.

    Missing is fine; says whether anything was there.
    """
    try:
        os.unlink(name, dir_fd=dir_fd)
        return True
    except FileNotFoundError:
        return False
    except (IsADirectoryError, PermissionError):
        # unlink(2) of a directory is EISDIR on Linux, EPERM in POSIX and on some filesystems.
        pass
    left = [[name]]  # Directories to be removed, of each level on the way; the last is open.
    with Cursor(dir_fd) as cursor:
        while left:
            if left[-1]:
                left.append(_remove_files(_open_to_empty(cursor, left[-1][-1])))
                continue
            left.pop()
            if left:
                os.rmdir(left[-1].pop(), dir_fd=cursor.pop())
    return True


def remove_path(path: str) -> bool:
    """The same for a path of this program's own: its parents may be symlinks."""
    folder, name = os.path.split(path)
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return remove_tree(fd, name)
    finally:
        os.close(fd)


def _open_to_empty(cursor: Cursor, name: str) -> int:
    """Open a directory for emptying, also one whose mode keeps its owner out."""
    try:
        fd = cursor.push(name)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=cursor.fd)
        fd = cursor.push(name)
    if stat.S_IMODE(os.fstat(fd).st_mode) & 0o700 != 0o700 and os.geteuid() != 0:
        os.fchmod(fd, 0o700)
    return fd


def _remove_files(dir_fd: int) -> list[str]:
    """Remove all that are in a directory, and return the names of the directories."""
    with os.scandir(dir_fd) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=dir_fd)
    return [name for name, is_directory in found if is_directory]
