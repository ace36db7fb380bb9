"""Folders of clients, kept from build to build, so that only what changed is sent again.

Comes in: a client's key for its folder. Goes out: a folder of ours that one build at a time has to
itself; a second one at the same moment gets an empty one, which is removed with the build.
Read next: `build`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from minibuild.digest import digest_strings
from minibuild.linux.beneath import remove_path
from minibuild.linux.descriptors import closing_fd
from minibuild.store.flock import lock_folder

_MAX_KEPT = 128


class KeptFolders:
    """The folders below `path`, of which the most recently used are kept."""

    def __init__(self, path: str) -> None:
        self._path = path
        os.makedirs(path, 0o700, exist_ok=True)

    @contextmanager
    def folder(self, *key: str, once: bool = False) -> Iterator[str]:
        """A folder for a client's key and what it calls the folder, as the last build left it.
        Clients without a key, such as buildctl, share one for each name, as they do in BuildKit."""
        name = digest_strings(key).partition(":")[2]
        place = os.path.join(self._path, f"once-{os.urandom(8).hex()}" if once else name)
        os.makedirs(place, 0o700, exist_ok=True)
        if (fd := lock_folder(place)) is None:
            with self.folder(*key, once=True) as other:
                yield other
            return
        try:
            os.utime(place)
            tree = os.path.join(place, "tree")
            os.makedirs(tree, 0o755, exist_ok=True)
            yield tree
        finally:
            os.close(fd)
            if once:
                self._remove(os.path.basename(place))
            self._sweep()

    def _sweep(self) -> None:
        """Remove the folders that were not used for the longest time."""
        with os.scandir(self._path) as found:
            places = sorted(found, key=lambda entry: entry.stat().st_mtime, reverse=True)
        for entry in places[_MAX_KEPT:]:
            if (fd := lock_folder(entry.path)) is not None:
                with closing_fd(fd):
                    self._remove(entry.name)

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            remove_path(os.path.join(self._path, name))
