"""A folder as packets: its entries, then the contents that the other side asks for.

Comes in: an open folder, and which paths of it are wanted. Goes out: packets. No file outside of
the folder is opened: its directories are walked by descriptors, and symlinks are sent as such.
Rules: tonistiigi/fsutil `send.go`. Read next: `client.folders` and `serve.filesync`, which send.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from minibuild.buildkit.packets import DATA, ERR, FIN, REQ, STAT, go_mode
from minibuild.buildkit.rpc import Failure, api_type
from minibuild.graph.ignore import IgnorePatterns
from minibuild.linux.cursor import DIRECTORY

_CHUNK_BYTES = 32 << 10

Wants = Callable[[str], bool]
"""Whether a path is wanted, or leads to one that is."""


def sent(
    root: int,
    answers: Iterable[Any],
    wants: Wants = lambda path: True,
    ignored: IgnorePatterns | None = None,
) -> Iterator[Any]:
    """The packets to send of a folder; `answers` are those of the other side. Raises `Failure`."""
    packet, paths = api_type("Packet"), list[str]()
    for path, entry in _entries(root, wants, ignored or IgnorePatterns(())):
        paths.append(path)
        yield packet(type=STAT, stat=entry)
    yield packet(type=STAT)
    for answer in answers:
        if answer.type == REQ:
            if len(paths) <= answer.ID:
                raise Failure("a file was asked for that is not in the list")
            for data in _contents(root, paths[answer.ID]):
                yield packet(type=DATA, ID=answer.ID, data=data)
            yield packet(type=DATA, ID=answer.ID)
        elif answer.type == ERR:
            raise Failure(answer.data.decode("utf-8", "replace"))
        elif answer.type == FIN:
            yield packet(type=FIN)
            return


def _entries(root: int, wants: Wants, ignored: IgnorePatterns) -> Iterator[tuple[str, Any]]:
    """The entries of a folder in the order of the protocol: bytes compared, `/` lowest. An excluded
    directory is left out unless something below it may be brought back."""
    known: dict[tuple[int, int], str] = {}
    levels = [_list(root, "", known, wants)]
    while levels:
        found = next(levels[-1], None)
        if found is None:
            levels.pop()
            continue
        path, entry = found
        is_directory = entry.mode >> 31
        if ignored.excluded(path) and (not is_directory or ignored.may_prune(path)):
            continue
        yield path, entry
        if is_directory:
            levels.append(_list(root, path, known, wants))


def _list(
    root: int, directory: str, known: dict[tuple[int, int], str], wants: Wants
) -> Iterator[tuple[str, Any]]:
    fd = os.open(directory or ".", DIRECTORY, dir_fd=root)
    try:
        for name in sorted(os.listdir(fd), key=os.fsencode):
            path = f"{directory}/{name}" if directory else name
            if wants(path):
                yield path, _entry(path, name, fd, known)
    finally:
        os.close(fd)


def _entry(path: str, name: str, dir_fd: int, known: dict[tuple[int, int], str]) -> Any:
    """The message `Stat` of what is called so in a directory. `known` has the files that were
    listed, for hardlinks to them."""
    found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    entry = api_type("Stat")(path=path, modTime=found.st_mtime_ns, mode=go_mode(found.st_mode))
    entry.devmajor, entry.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
    if stat.S_ISLNK(found.st_mode):
        entry.linkname = os.readlink(name, dir_fd=dir_fd)
    elif stat.S_ISREG(found.st_mode):
        entry.size = found.st_size
        first = known.setdefault((found.st_dev, found.st_ino), path)
        if found.st_nlink > 1 and first != path:
            entry.linkname = first
    return entry


def _contents(root: int, path: str) -> Iterator[bytes]:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    with open(fd, "rb") as file:
        while data := file.read(_CHUNK_BYTES):
            yield data
