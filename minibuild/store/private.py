"""The store's folders belong to their account alone, and take nothing from the folder that they are
in.

Comes in: the root of a store. Goes out: the same, closed to others. Images may hold secrets, and
the trees of steps set-user-id programs of root (buildkitd keeps its own 0700, too). A folder may
also *give* what is made in it something: its group (the set-group-id bit) and permissions (a
default ACL, acl(5)), and those would end up in layers. Read next: `layout`.
"""

import os
import stat

from minibuild.errors import HostError

FOLDERS = ("blobs", "blobs/sha256", "snapshots", "cache-mounts", "ingest", "owners", "locks")
"""What a store has from the start."""

_LATER = ("blocks", "builds", "inventories", "partial", "patches", "reserve", "run", "trash")
_OF_OTHERS = ("lab", "contexts", "history")
"""What the lab and `minibuild serve` keep beside it."""

_FILES = ("meta.db", "meta.db-wal", "meta.db-shm", "index.json", "oci-layout")
_KNOWN = frozenset((*FOLDERS, *_LATER, *_OF_OTHERS, *_FILES))
_SWEPT = ("snapshots", "ingest")
"""Where each start removes what it does not know (`snapshot.sweep`)."""

_PRIVATE = 0o700
_ACLS = ("system.posix_acl_default", "system.posix_acl_access")


def make_folders(root: str) -> None:
    """Make the folders of a store that are missing. Raises OSError, and `HostError` for a folder
    that is no store, but has something where a store is swept."""
    for folder in _SWEPT:
        _refuse_strangers(root, folder)
    if not os.path.isdir(root):
        os.makedirs(os.path.dirname(root), exist_ok=True)
        _make(root)
    close_to_others(root)  # before anything is made in it, which would inherit
    for folder in FOLDERS:
        _make(os.path.join(root, folder))
    close_to_others(root)


def _refuse_strangers(root: str, folder: str) -> None:
    try:
        names = os.listdir(os.path.join(root, folder))
    except OSError:
        return  # It is not there; what else is wrong with it says who makes it.
    # Another build may have begun the store after this one looked for it.
    if names and not os.path.exists(os.path.join(root, "meta.db")):
        raise HostError(
            f"{root} is no store of minibuild, and has files in {folder}/",
            hint="set MINIBUILD_ROOT to a new or an empty folder",
        )


def _make(folder: str) -> None:
    """Make a folder. Another build, which begins with this one, may have made it a moment ago."""
    try:
        os.mkdir(folder, _PRIVATE)
    except FileExistsError:
        pass


def close_to_others(root: str) -> None:
    """Take from others what they may do in a store, and from its folders what they would pass on.

    A root that holds other things, such as /tmp, is left as it is, and only what the store has
    there is closed. What belongs to another account is left as it is, too.
    """
    names = frozenset(os.listdir(root))
    if names <= _KNOWN:
        _close(root)
    for name in sorted((names | {"blobs/sha256"}) & _KNOWN):
        _close(os.path.join(root, name))


def _close(path: str) -> None:
    """Close a folder, or a file, of ours."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if found.st_uid != os.geteuid() or stat.S_ISLNK(found.st_mode):
        return
    for acl in _ACLS:
        try:
            os.removexattr(path, acl)
        except OSError:
            pass  # It has none, which is the rule.
    os.chmod(path, stat.S_IMODE(found.st_mode) & 0o1700)
