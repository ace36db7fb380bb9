"""Where things are in the store.

ROOT/oci-layout, index.json, blobs/sha256/   an OCI image layout, readable by other tools
ROOT/blocks/                                 where in some of them which block is: hints
ROOT/inventories/                            what copies put, for the next ones: hints
ROOT/patches/                                layers that are others with changes, not packed yet
ROOT/snapshots/N/                            trees, by the number of their snapshot
ROOT/cache-mounts/                           directories of RUN --mount=type=cache
ROOT/builds/                                 records of builds, see `record`
ROOT/reserve/                                room for pruning on a full disk
ROOT/ingest/                                 files in the making; renamed when whole
ROOT/meta.db                                 everything that is known about the rest
ROOT/owners/, ROOT/locks/                    claims of live processes
"""

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from minibuild.errors import MAKE_ROOM, Cancelled, HostError
from minibuild.store.claim import StoreClaim
from minibuild.store.database import Database
from minibuild.store.reserve import keep_reserve


class Store:
    """An open store: paths, metadata, this process's claim, and locks between processes."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        try:
            if not os.path.exists(os.path.join(self.root, "meta.db")):
                from minibuild.store.private import make_folders

                make_folders(self.root)
            elif not _is_closed(self.root):
                from minibuild.store.private import close_to_others

                close_to_others(self.root)
            keep_reserve(self.root)
            self.claim = StoreClaim(self.path("owners"))
        except OSError as error:
            raise HostError(
                f"cannot write to the store {self.root}: {os.strerror(error.errno or 0)}",
                hint=MAKE_ROOM
                if error.errno == errno.ENOSPC
                else "set MINIBUILD_ROOT to a folder that you may write to",
            ) from error
        try:
            self.db = Database(self.path("meta.db"))
        except BaseException:
            self.claim.release()
            raise
        self._counter = 0
        self._counting = threading.Lock()

    def path(self, *parts: str) -> str:
        """A path in the store."""
        return os.path.join(self.root, *parts)

    def ingest_path(self) -> str:
        """A new name in `ingest/` for a file in the making; swept if this process dies."""
        with self._counting:
            self._counter += 1
            return self.path("ingest", f"{self.claim.name}.{self._counter}")

    def write_file(self, path: str, data: bytes) -> None:
        """Have a file of the store with these contents. Readers see the old ones or the new."""
        making = self.ingest_path()
        with open(making, "xb") as file:
            file.write(data)
        os.rename(making, path)

    @contextmanager
    def lock(
        self, name: str, cancelled: threading.Event | None = None, *, shared: bool = False
    ) -> Iterator[bool]:
        """Hold the lock `name` (a file name) against other threads and other processes; if
        `shared`, only against those who want it alone.

        Yields whether another process held it first: then what it made may be there by now.
        Raises `Cancelled` if `cancelled` is set while waiting.
        """
        fd = os.open(self.path("locks", name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        waited, pause_s = False, 0.001
        try:
            while True:
                try:
                    fcntl.flock(fd, how | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    waited = True
                # Not a blocking flock: a build that is cancelled has to get out of here.
                if cancelled is not None and cancelled.wait(pause_s):
                    raise Cancelled("cancelled while waiting for another build")
                if cancelled is None:
                    time.sleep(pause_s)
                pause_s = min(pause_s * 2, 0.05)
            yield waited
        finally:
            os.close(fd)

    def close(self) -> None:
        """Release this process's claim."""
        self.db.close()
        self.claim.release()


def _is_closed(root: str) -> bool:
    """Whether a store is for its account alone, and passes nothing on: see `private`. Two system
    calls each time a store is opened."""
    if os.stat(root).st_mode & (stat.S_ISGID | 0o077):
        return False
    try:
        os.getxattr(root, "system.posix_acl_default")
    except OSError:
        return True  # none, or none to be had on this filesystem
    return False
