"""Who owns copied files: `--chown=user:group`, looked up in the destination.

Comes in: the text of `--chown` and the root of the destination. Goes out: a user and a group id.
The rules are BuildKit's, which are kinder than the Dockerfile reference says: a name that
/etc/passwd does not have is silently 0, an unknown group leaves the user's own one, and what should
be a number there and is none counts as 0. See passwd(5), group(5).
"""

import errno
import os
import re

from minibuild.errors import DefinitionError
from minibuild.graph.owner import as_id, parse_owner
from minibuild.linux.beneath import read_plain

_MAX_FILE = 16 << 20
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def has_names(root_fd: int) -> bool:
    """Whether names of users can be looked up in the tree `root_fd` (-1: nothing), as it is now. An
    empty one is that of `--link`."""
    if root_fd < 0:
        return False
    with os.scandir(root_fd) as entries:
        return next(entries, None) is not None


def lookup_owner(root_fd: int, text: str, *, names: bool = True) -> tuple[int, int]:
    """The ids that `text` means in the tree `root_fd`.

    Without `names` (see `has_names`) a name is an error. Raises `DefinitionError`.
    """
    owner = parse_owner(text)
    if owner.name and not names:
        raise DefinitionError(
            f"invalid user index: -1: {owner.name!r} cannot be looked up in an empty tree",
            hint="write the user and the group as numbers: names are those of /etc/passwd and "
            "/etc/group below the copy, and FROM scratch has none, nor does --link see them",
        )
    if isinstance(owner.user, int):
        uid = gid = owner.user
    else:
        uid, gid = _find(root_fd, "/etc/passwd", owner.user, 2, 3) or (0, 0)
    if isinstance(owner.group, str):
        gid, _ = _find(root_fd, "/etc/group", owner.group, 2, 2) or (gid, 0)
    elif owner.group is not None:
        gid = owner.group
    return uid, gid


def _find(root_fd: int, path: str, name: str, first: int, second: int) -> tuple[int, int] | None:
    """Two numeric fields of the line for `name` in a file of the colon-separated kind."""
    wanted = os.fsencode(name)
    for line in _read(root_fd, path).split(b"\n"):
        columns = line.strip().split(b":")
        if columns[0] == wanted:
            return _id(columns[first : first + 1]), _id(columns[second : second + 1])
    return None


def _id(field: list[bytes]) -> int:
    if field and re.fullmatch(rb"[+-]?[0-9]{1,18}", field[0]):
        return as_id(int(field[0]))
    return 0


def _read(root_fd: int, path: str) -> bytes:
    try:
        return read_plain(root_fd, path, _MAX_FILE) or b""
    except OSError as error:
        if error.errno in _ABSENT:
            return b""
        raise
