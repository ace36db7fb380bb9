"""Who owns copied files: `--chown=user:group`, looked up in the destination.

Comes in: the text of `--chown` and the root of the destination. Goes out: a user and a group id.
The rules are BuildKit's, which are kinder than the Dockerfile reference says: a name that
/etc/passwd does not have is silently 0, an unknown group leaves the user's own one, and a number
for the user is also the group's where none is given. See passwd(5), group(5).
"""

import errno
import os
import stat

from minibuild.errors import DefinitionError
from minibuild.linux.beneath import open_beneath

_MAX_FILE = 16 << 20
_MAX_ID = (1 << 32) - 2  # the last one, -1, means "leave it" to chown(2)
_MAX_DIGITS = 10
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def lookup_owner(root_fd: int, text: str, *, names: bool = True) -> tuple[int, int]:
    """The ids that `text` means in the tree `root_fd`.

    Without `names` there is no tree to look a name up in (an empty one, as that of `--link`), and
    a name is an error. Raises `DefinitionError`.
    """
    user, _, group = text.partition(":")
    uid = gid = 0
    if user:
        number = _number(user)
        if number is not None:
            uid = gid = number
        else:
            _check(names, "user", user)
            uid, gid = _find(root_fd, "/etc/passwd", user, (2, 3)) or (0, 0)
    if group:
        number = _number(group)
        if number is None:
            _check(names, "group", group)
            found = _find(root_fd, "/etc/group", group, (2, 2))
            number = found[0] if found else gid
        gid = number
    return uid, gid


def _check(names: bool, what: str, name: str) -> None:
    if not names:
        raise DefinitionError(
            f"invalid user index: -1: the {what} {name!r} cannot be looked up in an empty tree",
            hint=f"write the {what} as a number, or leave out --link"
            " so that the copy can see /etc/passwd and /etc/group of the image",
        )


def _number(text: str) -> int | None:
    # Its length first: int() refuses what has thousands of digits.
    if text.isascii() and text.isdigit() and len(text.lstrip("0")) <= _MAX_DIGITS:
        return int(text) if int(text) <= _MAX_ID else None
    return None


def _find(root_fd: int, path: str, name: str, fields: tuple[int, int]) -> tuple[int, int] | None:
    """Two numeric fields of the line for `name` in a file of the colon-separated kind."""
    wanted = os.fsencode(name)
    for line in _read(root_fd, path).split(b"\n"):
        columns = line.strip().split(b":")
        if columns[0] != wanted or len(columns) <= max(fields):
            continue
        first, second = (_number(columns[i].decode("ascii", "replace")) for i in fields)
        if first is not None and second is not None:
            return first, second
    return None


def _read(root_fd: int, path: str) -> bytes:
    try:
        # O_NONBLOCK: an image may have a fifo here, and nobody writes to it.
        fd = open_beneath(root_fd, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _ABSENT:
            return b""
        raise
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b""
        return file.read(_MAX_FILE)
