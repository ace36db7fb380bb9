"""Folders of this machine, sent to a builder that asks for them by name.

Comes in: the service `FileSync`, which names a folder, the paths that are wanted of it and patterns
of what is not. Goes out: its entries, and the contents that are asked for. No file outside of the
folder is opened: its directories are walked by descriptors, and symlinks are sent as such. Rules:
moby/buildkit `session/filesync`, tonistiigi/fsutil `send.go`, `followlinks.go`. Read next:
`outputs`.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minibuild.buildkit.dispatch import Method, ServerCall
from minibuild.buildkit.packets import CHUNK_BYTES, DATA, FIN, REQ, STAT, entry_of
from minibuild.buildkit.rpc import NOT_FOUND, Failure, api_type
from minibuild.client.session import Services
from minibuild.graph.ignore import IgnorePatterns
from minibuild.graph.pattern import clean, has_wildcard
from minibuild.linux.cursor import DIRECTORY
from minibuild.startup.tuples import NamedTuple

_MOST_LINKS = 255


class Lent(NamedTuple):
    """A folder that a builder may read, or the `only` file of it that it may."""

    path: str
    only: str = ""


def file_sync(folders: Mapping[str, Lent]) -> Services:
    """The service, for folders by their names."""
    sender = _Sender(folders)
    copy = Method(sender.send, "Packet", streams=True, takes_many=True)
    return {"moby.filesync.v1.FileSync": {"DiffCopy": copy}}


class _Sender:
    """The calls of the service."""

    def __init__(self, folders: Mapping[str, Lent]) -> None:
        self._folders = folders

    def send(self, _: None, call: ServerCall) -> Iterator[Any]:
        """Send one folder: its entries, then the files that the builder asks for."""
        asked = _asked(call.metadata)
        name = asked.get("dir-name", [""])[0]
        if name not in self._folders:
            raise Failure(f"no access allowed to dir {name!r}", NOT_FOUND)
        packet = api_type("Packet")
        lent = self._folders[name]
        root = os.open(lent.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            wanted = _Wanted(root, [lent.only] if lent.only else asked.get("followpaths", ()))
            ignored = IgnorePatterns(asked.get("exclude-patterns", ()))
            paths = []
            for path, entry in _entries(root, wanted, ignored):
                paths.append(path)
                yield packet(type=STAT, stat=entry)
            yield packet(type=STAT)
            for request in call:
                if request.type == FIN:
                    yield packet(type=FIN)
                    return
                if request.type == REQ and len(paths) > request.ID:
                    for data in _contents(root, paths[request.ID]):
                        yield packet(type=DATA, ID=request.ID, data=data)
                    yield packet(type=DATA, ID=request.ID)
        finally:
            os.close(root)


def _asked(metadata: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The words of the call. Those of a key with `-encoded` beside it are escaped."""
    from urllib.parse import unquote

    return {
        key: [unquote(value) for value in values] if f"{key}-encoded" in metadata else values
        for key, values in metadata.items()
    }


class _Wanted:
    """Which paths are wanted. Nothing given is everything; of a path with wildcards it is all in
    the directory before the first; and where a symlink leads is wanted, too."""

    def __init__(self, root: int, paths: Sequence[str]) -> None:
        self._paths = {_before_wildcard(clean("/" + path).lstrip("/")) for path in paths}
        if not paths or "" in self._paths:
            self._paths = set()
            return
        pending = list(self._paths)
        while pending and len(self._paths) < _MOST_LINKS + len(paths):
            for target in _led_to(root, pending.pop()):
                if target not in self._paths:
                    self._paths.add(target)
                    pending.append(target)

    def __call__(self, path: str) -> bool:
        """Whether a path is wanted, or leads to one that is."""
        return not self._paths or any(
            _is_in(path, wanted) or _is_in(wanted, path) for wanted in self._paths
        )


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")


def _before_wildcard(path: str) -> str:
    kept = []
    for part in path.split("/"):
        if has_wildcard(part):
            break
        kept.append(part)
    return "/".join(kept)


def _led_to(root: int, path: str) -> Iterator[str]:
    """Where the symlinks on the way to a path lead, as paths below the root."""
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        here = "/".join(parts[:depth])
        try:
            target = os.readlink(here, dir_fd=root)
        except OSError:
            continue
        base = "/" if target.startswith("/") else "/" + "/".join(parts[: depth - 1])
        rest = "/".join(parts[depth:])
        yield clean(os.path.join(base, target, rest)).lstrip("/")
        return


def _entries(root: int, wanted: _Wanted, ignored: IgnorePatterns) -> Iterator[tuple[str, Any]]:
    """The entries of a folder in the order of the protocol. An excluded directory is left out
    unless something below it may be brought back."""
    known: dict[tuple[int, int], str] = {}
    levels = [_list(root, "", known, wanted)]
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
            levels.append(_list(root, path, known, wanted))


def _list(
    root: int, directory: str, known: dict[tuple[int, int], str], wanted: _Wanted
) -> Iterator[tuple[str, Any]]:
    fd = os.open(directory or ".", DIRECTORY, dir_fd=root)
    try:
        for name in sorted(os.listdir(fd), key=os.fsencode):
            path = f"{directory}/{name}" if directory else name
            if wanted(path):
                yield path, entry_of(path, name, fd, known)
    finally:
        os.close(fd)


def _contents(root: int, path: str) -> Iterator[bytes]:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    with open(fd, "rb") as file:
        while data := file.read(CHUNK_BYTES):
            yield data
