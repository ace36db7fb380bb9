"""Folders of this machine, sent to a builder that asks for them by name.

Comes in: the service `FileSync`, which names a folder, the paths that are wanted of it and patterns
of what is not. Goes out: packets. Rules: moby/buildkit `session/filesync`, tonistiigi/fsutil
`followlinks.go`. Read next: `buildkit.sender`; `outputs`.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from minibuild.buildkit.dispatch import CallHandler, ServerCall
from minibuild.buildkit.rpc import NOT_FOUND, Failure
from minibuild.buildkit.sender import sent
from minibuild.client.session import Services
from minibuild.graph.ignore import IgnorePatterns
from minibuild.graph.pattern import clean, has_wildcard
from minibuild.linux.descriptors import closing_fd
from minibuild.startup.tuples import NamedTuple

_MOST_LINKS = 255


class Lent(NamedTuple):
    """A folder that a builder may read, or the `only` file of it that it may."""

    path: str
    only: str = ""


def file_sync(folders: Mapping[str, Lent]) -> Services:
    """The service, for folders by their names."""
    copy = CallHandler(partial(_send, folders), "Packet", streams=True, takes_many=True)
    return {"moby.filesync.v1.FileSync": {"DiffCopy": copy}}


def _send(folders: Mapping[str, Lent], _: None, call: ServerCall) -> Iterator[Any]:
    """Send one folder: its entries, then the files that the builder asks for."""
    asked = _asked(call.metadata)
    name = asked.get("dir-name", [""])[0]
    if name not in folders:
        raise Failure(f"no access allowed to dir {name!r}", NOT_FOUND)
    path, only = folders[name]
    with closing_fd(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        wanted = _Wanted(root, [only] if only else asked.get("followpaths", ()))
        yield from sent(root, call, wanted, IgnorePatterns(asked.get("exclude-patterns", ())))


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
