"""Who owns a file, and its mode, as far as this process can say.

Comes in: an entry of an open directory, and ids or a mode as the image has them. Goes out: the
change. In a user namespace the kernel knows only mapped ids (user_namespaces(7)): any other one is
EINVAL. Where just one is mapped, and for an account that is in none, what cannot be on disk is
recorded: every function here takes the `owners` of a tree for that, see `recorded`. A wrong owner
is worse than none, so in all other cases a refusal is an error.
"""

import errno
import os
from typing import TYPE_CHECKING

from minibuild.errors import HostError
from minibuild.linux import capabilities, device

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records


def seen(
    found: os.stat_result, target: str | int, owners: "Records | None" = None
) -> os.stat_result:
    """What a file of a tree is to a build, of which lstat(2) says `found`: a placeholder is the
    device that it stands for. `owners` are the records of the tree, where owners are recorded.
    `target` is where the file can be reached: a path, not followed, or an open file."""
    return device.seen(found, target) if owners is None else owners.seen(found, target)


def maps_single_id() -> bool:
    """Whether this process lives in a user namespace with one mapped user or group id."""
    return _mapped("/proc/self/uid_map") == 1 or _mapped("/proc/self/gid_map") == 1


def are_recorded() -> bool:
    """Whether files can be given to no other owner here, so that owners are recorded beside them
    (`recorded`): in a user namespace with one single id, and for an account that is in none."""
    return maps_single_id() or not capabilities.has(("CHOWN",))


def mapped_ids() -> tuple[int, int]:
    """How many user and group ids this process can give files: 0 and up to these."""
    return _mapped("/proc/self/uid_map"), _mapped("/proc/self/gid_map")


def _mapped(path: str) -> int:
    # As bytes: inside a step's root Python cannot load the module of a codec any more.
    with open(path, "rb") as file:
        return sum(int(line.split()[2]) for line in file)


def chown(dir_fd: int, name: str, uid: int, gid: int, owners: "Records | None" = None) -> None:
    """Set owner and group of `name` itself, also if it is a symlink; or record them in `owners`.

    chown(2) clears set-user-id and set-group-id bits and file capabilities, so it comes before
    chmod and before extended attributes.
    """
    if owners is not None:
        return owners.write(dir_fd, name, uid, gid)
    try:
        os.chown(name, uid, gid, dir_fd=dir_fd, follow_symlinks=False)
    except OSError as error:
        refused(error, name, uid, gid)


def fchown(fd: int, uid: int, gid: int, name: str = "", owners: "Records | None" = None) -> None:
    """The same for an open file; `name` is for the message."""
    if owners is not None:
        return owners.write_open(fd, uid, gid)
    try:
        os.fchown(fd, uid, gid)
    except OSError as error:
        refused(error, name or f"fd {fd}", uid, gid)


def chmod(dir_fd: int, name: str, mode: int, owners: "Records | None" = None) -> None:
    """Set the mode of `name`, which is no symlink; or record what cannot be. `mode` has the type,
    too."""
    if owners is not None:
        from minibuild.linux.xattr import at

        return owners.chmod(at(dir_fd, name), mode)
    os.chmod(name, mode & 0o7777, dir_fd=dir_fd)


def fchmod(fd: int, mode: int, owners: "Records | None" = None) -> None:
    """The same for an open file."""
    if owners is not None:
        return owners.chmod(fd, mode)
    os.fchmod(fd, mode & 0o7777)


def beyond_map(uid: int, gid: int) -> str:
    """What to do about ids that are not mapped here."""
    uids, gids = mapped_ids()
    if uid >= uids:
        known = f"user ids go up to {uids - 1} here: take a smaller one, or"
    elif gid >= gids:
        known = f"group ids go up to {gids - 1} here: take a smaller one, or"
    else:
        known = "they are not mapped here:"
    return (
        f"{known} have more mapped: an account has them from /etc/subuid and /etc/subgid, a "
        "container from the settings of its runtime; or build as root"
    )


def refused(error: OSError, name: str, uid: int, gid: int) -> None:
    """Return if this refusal belongs to the mode with a single id, otherwise raise."""
    if error.errno not in (errno.EINVAL, errno.EPERM):
        raise error
    if maps_single_id():
        return
    raise HostError(
        f"cannot give {name} to {uid}:{gid}: {error.strerror}", hint=beyond_map(uid, gid)
    ) from error
