"""Folders of clients, kept from build to build, so that only what changed is sent again.

Comes in: a client's key for its folder. Goes out: a folder of ours that one build at a time has to
itself; a second one at the same moment gets an empty one, which is removed with the build. The
messages with which a client lists its folder are kept, too: if they are those of the last time,
byte for byte, the folder is as it was left, and no file has to be looked at. That holds as long as
nothing but `filesync` writes there, and the machine has not stopped meanwhile: a file may lack what
was written to it before that. A list is removed before the folder is changed, and written when it
is whole.
Read next: `build`.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from minibuild.buildkit.messages import framed
from minibuild.digest import digest_strings
from minibuild.linux.beneath import remove_path
from minibuild.linux.descriptors import closing_fd, replacing
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


# --- What a kept folder has ---


_NAME = "listing"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_MAX_BYTES = 64 << 20
_IS_OTHER = b"\x08"
"""The first byte of a message that is no entry of a list: its kind is not 0."""


class Listing:
    """The list of a kept folder, which lies beside it. Without one nothing is known, or kept. The
    `revision` is another one after each change."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = os.path.join(os.path.dirname(folder), _NAME)
        self._known, self._position = b"", 0
        self._noted = bytearray()
        self.revision = ""
        if folder:
            with suppress(FileNotFoundError), open(self._path, "rb") as file:
                if file.readline() == _state(folder):
                    self.revision = file.readline().decode().strip()
                    self._known = file.read()

    def unknown(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """The bytes of a list that are not those of the last time. If one differs it is the whole
        list, from its beginning; and if none does the parts are read no further."""
        for data in parts:
            end = self._position + len(data)
            if self._known[self._position : end] != data:
                yield self.passed() + data
                continue
            self._position = end
            if self.is_whole:
                return

    @property
    def is_whole(self) -> bool:
        """Whether all that came the last time has come again."""
        return self._position == len(self._known) > 0

    def passed(self) -> bytes:
        """The bytes that were known, once one was not: from now on none is."""
        passed = self._known[: self._position]
        if self._known:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
        self._known, self._position, self.revision = b"", 0, ""
        return passed

    def noting(self, messages: Sequence[bytes]) -> Iterator[bytes]:
        """The messages, of which the list is noted."""
        for message in messages:
            if not message.startswith(_IS_OTHER) and len(self._noted) <= _MAX_BYTES:
                self._noted += framed(message)
            yield message

    def save(self) -> None:
        """Keep what was noted: the folder is as the list says."""
        if self._folder and len(self._noted) <= _MAX_BYTES:
            revision = os.urandom(16).hex()
            with replacing(self._path, f"{self._path}.new") as file:
                file.write(_state(self._folder) + f"{revision}\n".encode() + self._noted)
            self.revision = revision


def _state(folder: str) -> bytes:
    """Which folder it is, and during which start of the machine."""
    found = os.stat(folder)
    with open(_BOOT_ID, "rb") as file:
        boot = file.read().strip()
    return b"%s %d %d %d\n" % (boot, found.st_dev, found.st_ino, found.st_ctime_ns)
