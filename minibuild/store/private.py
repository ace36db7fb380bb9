"""The store's folders belong to their account alone, and take nothing from the folder that they are
in.

Comes in: the root of a store. Goes out: the same, closed to others. Images may hold secrets, and
the trees of steps set-user-id programs of root (buildkitd keeps its own 0700, too). A folder may
also *give* what is made in it something: its group (the set-group-id bit) and permissions (a
default ACL, acl(5)), and those would end up in layers. Read next: `layout`.
"""

import os
import stat

FOLDERS = ("blobs", "blobs/sha256", "snapshots", "cache-mounts", "ingest", "owners", "locks")
"""What a store has from the start."""

_LATER = ("blocks", "builds", "inventories", "partial", "patches", "reserve", "run", "trash")
_OF_OTHERS = ("lab", "contexts", "history")
"""What the lab and `minibuild serve` keep beside it."""

_FILES = ("meta.db", "meta.db-wal", "meta.db-shm", "index.json", "oci-layout")
_KNOWN = frozenset((*FOLDERS, *_LATER, *_OF_OTHERS, *_FILES))
_PRIVATE = 0o700
_ACLS = ("system.posix_acl_default", "system.posix_acl_access")


def make_folders(root: str) -> None:
    """Make the folders of a store that are missing. Raises OSError."""
    if not os.path.isdir(root):
        os.makedirs(os.path.dirname(root), exist_ok=True)
        _make(root)
    close_to_others(root)  # before anything is made in it, which would inherit
    for folder in FOLDERS:
        _make(os.path.join(root, folder))
    close_to_others(root)


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
