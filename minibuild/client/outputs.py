"""Outputs that a builder sends back: archives and folders.

Comes in: the outputs of a request, and the service `FileSend`. Goes out: files and folders of this
machine. An archive gets its name when it is whole. What a builder sends is not trusted: a folder is
written by the receiver that follows no symlink.
Rules: moby/buildkit `session/filesync/filesync.go`.
Read next: `progress`.
"""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from minibuild.buildkit.dispatch import CallHandler, ServerCall
from minibuild.buildkit.packets import Receiver
from minibuild.buildkit.rpc import Failure, api_type
from minibuild.client.session import Services
from minibuild.errors import BuildError
from minibuild.exporter.destination import open_destination
from minibuild.linux.cursor import Cursor
from minibuild.linux.descriptors import closing_fd
from minibuild.session.request import Output

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
