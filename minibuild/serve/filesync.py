"""Folders and files between a client and the builder.

Comes in: a session, and the name of a folder of the client, or what a build made. Goes out: the
folder here, or the files there. A folder that was received before is kept, so only what changed is
sent again.
Rules: moby/buildkit `session/filesync`, `session/upload`; tonistiigi/fsutil `send.go`.
Read next: `attributes`.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

from minibuild.buildkit.messages import ClientCall, whole
from minibuild.buildkit.packets import FIN, Receiver, Wanted
from minibuild.buildkit.rpc import Failure, api_type
from minibuild.buildkit.sender import sent
from minibuild.events import Report, VertexInfo
from minibuild.linux.cursor import Cursor
from minibuild.linux.descriptors import closing_fd
from minibuild.progress.writer import ProgressWriter, reported
from minibuild.serve.contexts import Listing
from minibuild.serve.session import ClientSession, is_absent

UPLOADED = "http://buildkit-session/"
"""Where a client says its standard input is."""

_PULL = "/moby.upload.v1.Upload/Pull"
_RECEIVE = "/moby.filesync.v1.FileSync/DiffCopy"
_SEND = "/moby.filesync.v1.FileSend/DiffCopy"
_REPORT_S = 0.1
_ARCHIVE_BYTES = 64 << 10


def ask_for(session: ClientSession, wanted: Wanted) -> ClientCall:
    """Ask a client for a folder, which can be received later. Raises `Failure`."""
    return session.open(_RECEIVE, "Packet", wanted.metadata())


def receive(
    status: Report,
    session: ClientSession,
    wanted: Wanted,
    folder: str,
    info: VertexInfo,
    asked: ClientCall | None = None,
) -> str:
    """Make `folder` what the client's folder is, and report how far that is. Returns its revision.
    One that was `asked` for already is not kept. Raises `Failure`, also for what a client must not
    send."""
    call = ask_for(session, wanted) if asked is None else asked
    known, absent = Listing(folder if asked is None else ""), None
    with reported(status, info) as progress:
        try:
            came = _Counted(call.data(), progress, wanted.name)
            _receive(call, wanted, folder, known, came)
            came.report(done=True)
        except Failure as failure:
            if not is_absent(failure):
                raise
            absent = failure  # which is shown as no error
        except OSError as error:  # a name that is too long, a full disk
            reason = f"the folder {wanted.name!r} cannot be written here: {error.strerror}"
            raise Failure(reason) from None
        finally:
            call.cancel()
    if absent is not None:
        raise absent
    return known.revision


def _receive(
    call: ClientCall, wanted: Wanted, folder: str, known: Listing, came: Iterable[bytes]
) -> None:
    packet, flags = api_type("Packet"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    if wanted.again:
        known.passed()
    with closing_fd(os.open(folder, flags)) as root, Cursor(root) as cursor:
        receiver = Receiver(cursor, again=wanted.again)
        for batch in whole(known.unknown(came)):
            if any(map(receiver.take, map(packet.FromString, known.noting(batch)))):
                break
            if requests := receiver.asked():
                # The client may read on only when we do: waiting here could be for ever.
                call.send(*requests, wait=False)
        if known.is_whole:
            call.send(packet(type=FIN))
            next(iter(call), None)  # its last word
        else:
            receiver.check_end()
            known.save()


class _Counted:
    """Parts of what is received, whose size so far is reported now and then."""

    def __init__(self, parts: Iterable[bytes], progress: ProgressWriter, name: str) -> None:
        self._parts = parts
        self._progress = progress
        self._name = f"transferring {name}:"
        self._began = time.time()
        self._size_bytes = 0

    def report(self, *, done: bool = False) -> None:
        self._progress.status(self._name, self._size_bytes, 0, "B", self._began, done=done)

    def __iter__(self) -> Iterator[bytes]:
        due = time.monotonic() + _REPORT_S
        for data in self._parts:
            self._size_bytes += len(data)
            yield data
            if time.monotonic() > due:
                self.report()
                due = time.monotonic() + _REPORT_S


def fetch_upload(session: ClientSession, url: str, path: str) -> None:
    """Write what the client read from standard input to a file. Raises `Failure`."""
    metadata = [("urlpath", f"/{url.removeprefix(UPLOADED)}"), ("urlhost", "buildkit-session")]
    call = session.open(_PULL, "BytesMessage", metadata)
    call.finish()
    with open(path, "wb") as file:
        for message in call:
            file.write(message.data)


# --- To the client ---


def send_file(
    session: ClientSession, number: int, file: BinaryIO, answer: Mapping[str, str]
) -> None:
    """Send an archive to output `number` of the client. `answer` is what the build answers; a
    client writes it down beside the archive."""
    kind = api_type("BytesMessage")
    metadata = [("buildkit-attachable-exporter-id", str(number))]
    metadata += [(f"exporter-md-{key}", value) for key, value in answer.items()]
    call = session.open(_SEND, "BytesMessage", metadata)
    while (data := file.read(_ARCHIVE_BYTES)) and call.send(kind(data=data)):
        pass
    call.delivered()  # A client says that it has it if it wants no file.


def send_folder(session: ClientSession, number: int, folder: str) -> None:
    """Send a folder to output `number` of the client, which asks for the files that it wants."""
    # All platforms come as one folder: a client may remove what it has besides.
    metadata = [
        ("buildkit-attachable-exporter-id", str(number)),
        ("buildkit-exporter-multi-platform", "1"),
    ]
    call = session.open(_SEND, "Packet", metadata)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        with closing_fd(os.open(folder, flags)) as root:
            for packet in sent(root, call):
                call.send(packet)
        call.delivered()
    finally:
        call.cancel()
