"""What dead processes left: active snapshots, files in the making, directories without a row.

Comes in: a store. Goes out: the same store, tidy. Runs at each start beside other processes that
build, so the order matters: first list what could be garbage, then see whose it is. A live process
makes its claim before it makes anything, so what is listed has its owner by then, or has lost it
for good. Removal begins with a rename, which only one of two sweeping processes can win.
"""

import os
from contextlib import suppress

from minibuild.store.claim import abandoned
from minibuild.store.layout import Store


def sweep(store: Store) -> int:
    """Remove what no live process is making. Returns how many things were removed."""
    files = os.listdir(store.path("ingest"))
    directories = os.listdir(store.path("snapshots"))
    rows = store.db.execute("SELECT id, owner FROM snapshots").fetchall()
    removed = 0
    with abandoned(store.path("owners")) as dead:
        alive = set(os.listdir(store.path("owners"))).difference(dead)
        for name in files:
            if name.partition(".")[0] not in alive:
                removed += _remove(store, store.path("ingest", name))
        known = set()
        for number, owner in rows:
            known.add(str(number))
            if owner is not None and owner not in alive:
                removed += _remove(store, store.path("snapshots", str(number)))
                # Still with this owner: another process may have swept it before us.
                store.db.execute(
                    "DELETE FROM snapshots WHERE id = ? AND owner = ?", (number, owner)
                )
        for name in directories:
            # Rows come before directories, so this one's was lost: the machine crashed.
            if name not in known:
                removed += _remove(store, store.path("snapshots", name))
    return removed


def _remove(store: Store, path: str) -> int:
    """Take `path` out of sight, then remove it. 0 if another process was first."""
    try:
        discard(store, path)
    except FileNotFoundError:
        return 0
    return 1


def discard(store: Store, path: str) -> None:
    """Remove a file or directory of the store: at once out of sight, then for good.

    After a crash between the two, the next sweep finds it by this process's name.
    """
    from minibuild.linux.beneath import remove_path

    hidden = store.ingest_path()
    os.rename(path, hidden)
    with suppress(FileNotFoundError):
        remove_path(hidden)
