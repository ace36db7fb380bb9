"""Folders of this machine that a builder asks for by name, and outputs that it sends back.

Comes in: the service `FileSync`, which names a folder, the paths that are wanted of it and patterns
of what is not; and `FileSend`, which has an archive or a folder. Goes out: packets; files and
folders of this machine. An archive gets its name when it is whole. What a builder sends is not
trusted: a folder is written by the receiver that follows no symlink.
Rules: moby/buildkit `session/filesync`, tonistiigi/fsutil `followlinks.go`.
Read next: `buildkit.sender`; `layouts`.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

from minibuild.buildkit.dispatch import CallHandler, ServerCall
from minibuild.buildkit.packets import Receiver
from minibuild.buildkit.rpc import NOT_FOUND, Failure, api_type
from minibuild.buildkit.sender import sent
from minibuild.client.session import Services
from minibuild.errors import BuildError
from minibuild.exporter.destination import open_destination
from minibuild.graph.ignore import IgnorePatterns
from minibuild.graph.pattern import clean, has_wildcard
from minibuild.linux.cursor import Cursor
from minibuild.linux.descriptors import closing_fd
from minibuild.session.request import Output
from minibuild.startup.tuples import NamedTuple

_MOST_LINKS = 255


class SharedFolder(NamedTuple):
    """A folder that a builder may read, or the `only` file of it that it may."""

    path: str
    only: str = ""


def file_sync(folders: Mapping[str, SharedFolder]) -> Services:
    """The service, for folders by their names."""
    copy = CallHandler(partial(_send, folders), "Packet", streams=True, takes_many=True)
    return {"moby.filesync.v1.FileSync": {"DiffCopy": copy}}


def _send(folders: Mapping[str, SharedFolder], _: None, call: ServerCall) -> Iterator[Any]:
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


# --- Outputs that a builder sends back ---


_IS_BYTES = b"\x0a"
"""The first byte of a message that has bytes of an archive; one of a packet is another."""


def file_send(outputs: Sequence[Output]) -> Services:
    """The service, for outputs by their numbers."""
    copy = CallHandler(partial(_take, outputs), "BytesMessage", streams=True, takes_many=True)
    return {"moby.filesync.v1.FileSend": {"DiffCopy": copy}}


def _take(outputs: Sequence[Output], _: None, call: ServerCall) -> Iterator[Any]:
    """Take one output."""
    number = int(call.metadata["buildkit-attachable-exporter-id"][0])
    dest = os.fspath(outputs[number].dest)
    messages = chain.from_iterable(call.batches())
    first = next(messages, b"")
    try:
        if first.startswith(_IS_BYTES):
            _archive(dest, chain((first,), messages))
        else:
            os.makedirs(dest, exist_ok=True)
            yield from _folder(dest, chain((first,), messages))
    except (OSError, Failure) as error:
        raise Failure(f"cannot write {dest}: {error}") from None
    except BuildError as error:
        raise Failure(str(error)) from None


def _archive(dest: str, messages: Iterator[bytes]) -> None:
    kind = api_type("BytesMessage")
    with open_destination(dest) as file:
        for data in messages:
            file.write(kind.FromString(data).data)


def _folder(dest: str, messages: Iterator[bytes]) -> Iterator[Any]:
    packet, flags = api_type("Packet"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    with closing_fd(os.open(dest, flags)) as root, Cursor(root) as cursor:
        receiver = Receiver(cursor, keeps_others=True)
        for data in messages:
            ended = receiver.take(packet.FromString(data))
            yield from receiver.asked()
            if ended:
                break
        receiver.check_end()
