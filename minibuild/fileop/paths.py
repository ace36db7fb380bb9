"""Names inside a root: cleaned, and with all symlinks resolved the way chroot(2) would.

Comes in: a root as a descriptor and a path as a person wrote it. Goes out: the *real* path, which
names no symlink and does not leave the root. The kernel alone can open such a path safely
(`linux.beneath` does), but it cannot say where it ended up, and ignore patterns and destinations
need to know. If names change meanwhile the answer is stale, never outside: a real path is opened
with `linux.beneath`, or one name at a time without following symlinks.
"""

import errno
import os
import stat

from minibuild.linux.beneath import open_beneath

_MAX_SYMLINKS = 40  # as the kernel, see path_resolution(7)
_MISSING = (errno.ENOENT, errno.ENOTDIR)


def clean(path: str) -> str:
    """`path` without empty parts, `.` and `..`, which stops at the root; no leading slash."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts[-1:] = []
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def escapes(path: str) -> bool:
    """Whether `path` tries to go above its root."""
    depth = 0
    for part in path.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return True
    return False


def names_directory(path: str) -> bool:
    """Whether `path` says by its end that it is a directory: `d/` or `d/.`."""
    return path.endswith(("/", "/.")) or path in ("", ".")


def join(directory: str, name: str) -> str:
    """`directory/name`, where the root is the empty string."""
    if not directory or not name:
        return directory or name
    return f"{directory}/{name}"


def real_path(root_fd: int, path: str) -> str:
    """`path` with its symlinks resolved inside the root, the last one too, dangling or not.

    What is not there is taken as it is written. Raises OSError with ELOOP for a circle.
    """
    pending = [part for part in path.split("/") if part not in ("", ".")][::-1]
    done: list[str] = []
    symlinks = 0
    while pending:
        part = pending.pop()
        if part == "..":
            done[-1:] = []
            continue
        done.append(part)
        target = _link_target(root_fd, "/".join(done))
        if target is None:
            continue
        symlinks += 1
        if symlinks > _MAX_SYMLINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        done = [] if target.startswith("/") else done[:-1]
        pending.extend(p for p in reversed(target.split("/")) if p not in ("", "."))
    return "/".join(done)


def lstat(root_fd: int, real: str) -> os.stat_result | None:
    """The metadata of a real path; None if there is nothing."""
    try:
        fd = open_beneath(root_fd, real, os.O_PATH | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in _MISSING:
            return None
        raise
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def closed_directory(root_fd: int, path: str) -> str:
    """The last directory on the way to a path before which this process has to stop."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        try:
            lstat(root_fd, real_path(root_fd, "/".join(parts[: count + 1])))
        except PermissionError:
            return "/".join(parts[:count])
        except OSError:
            break
    return path


def _link_target(root_fd: int, real: str) -> str | None:
    """The text of the symlink at `real`; None for anything else, and for nothing."""
    try:
        fd = open_beneath(root_fd, real, os.O_PATH | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in _MISSING:
            return None
        raise
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            return os.readlink("", dir_fd=fd)
        return None
    finally:
        os.close(fd)
