"""Folders and files between a client and the builder.

Comes in: a session, and the name of a folder of the client, or what a build made. Goes out: the
folder here, or the files there. A folder that was received before is kept, so only what changed is
sent again.
Rules: moby/buildkit `session/filesync`, tonistiigi/fsutil `send.go`, `receive.go`.
Read next: `attributes`.
"""

import os
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

from minibuild.buildkit.packets import (
    CHUNK_BYTES,
    DATA,
    ERR,
    FIN,
    REQ,
    STAT,
    Receiver,
    Wanted,
    listing,
)
from minibuild.buildkit.rpc import ALREADY_EXISTS, Failure
from minibuild.linux.cursor import Cursor
from minibuild.serve.session import Session, failure

_RECEIVE = "/moby.filesync.v1.FileSync/DiffCopy"
_SEND = "/moby.filesync.v1.FileSend/DiffCopy"
_MAX_QUEUED = 256
_TURN_S = 0.1
_REPORT_S = 0.1


def receive(
    session: Session,
    wanted: Wanted,
    folder: str,
    report: Callable[[int], None] = lambda size_bytes: None,
) -> int:
    """Make `folder` what the client's folder is. Returns how many bytes were sent; `report` is
    called with the number of those so far, now and then.

    Raises `Failure`, also for what a client must not send.
    """
    import grpc

    outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
    packet = session.types["Packet"]
    call = session.stream(_RECEIVE, iter(outgoing.get, None), (packet, packet), wanted.metadata())
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with Cursor(root) as cursor:
            receiver = Receiver(cursor, lambda **fields: outgoing.put(packet(**fields)))
            due = time.monotonic() + _REPORT_S
            for message in call:
                if receiver.take(message):
                    break
                if time.monotonic() > due:
                    report(receiver.received_bytes)
                    due = time.monotonic() + _REPORT_S
            receiver.check_end()
            return receiver.received_bytes
    except grpc.RpcError as error:
        raise failure(error) from None
    except OSError as error:  # a name that is too long, a full disk
        reason = f"the folder {wanted.name!r} cannot be written here: {error.strerror}"
        raise Failure(reason) from None
    finally:
        outgoing.put(None)
        call.cancel()
        os.close(root)


# --- To the client ---


def send_file(session: Session, number: int, file: BinaryIO, answer: Mapping[str, str]) -> None:
    """Send an archive to output `number` of the client. `answer` is what the build answers; a
    client writes it down beside the archive."""
    kind = session.types["BytesMessage"]
    chunks = (kind(data=data) for data in iter(lambda: file.read(CHUNK_BYTES), b""))
    metadata = [("buildkit-attachable-exporter-id", str(number))]
    metadata += [(f"exporter-md-{key}", value) for key, value in answer.items()]
    try:
        for _ in session.messages(_SEND, chunks, (kind, kind), metadata):
            pass
    except Failure as failure:
        if failure.code != ALREADY_EXISTS:  # A client says so that wants no file.
            raise


def send_folder(session: Session, number: int, folder: str) -> None:
    """Send a folder to output `number` of the client, which asks for the files that it wants."""
    import grpc

    outgoing: queue.Queue[Any] = queue.Queue(_MAX_QUEUED)
    packet = session.types["Packet"]
    # All platforms come as one folder: a client may remove what it has besides.
    metadata = [
        ("buildkit-attachable-exporter-id", str(number)),
        ("buildkit-exporter-multi-platform", "1"),
    ]
    call = session.stream(_SEND, iter(outgoing.get, None), (packet, packet), metadata)

    def put(**fields: Any) -> None:
        while call.is_active():
            with suppress(queue.Full):
                return outgoing.put(packet(**fields), timeout=_TURN_S)

    try:
        paths = []
        for path, entry in listing(session.types, folder):
            paths.append(path)
            put(type=STAT, stat=entry)
        put(type=STAT)
        for message in call:
            if message.type == REQ:
                _send_contents(put, message.ID, paths)
            elif message.type == ERR:
                raise Failure(message.data.decode("utf-8", "replace"))
            elif message.type == FIN:
                put(type=FIN)
                outgoing.put(None)
    except grpc.RpcError as error:
        raise failure(error) from None
    finally:
        call.cancel()


def _send_contents(put: Callable[..., None], number: int, paths: Sequence[str]) -> None:
    if number >= len(paths):
        raise Failure("the client asked for a file that is not in the list")
    with open(paths[number], "rb") as file:
        for data in iter(lambda: file.read(CHUNK_BYTES), b""):
            put(type=DATA, ID=number, data=data)
    put(type=DATA, ID=number)
