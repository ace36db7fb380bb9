"""The socket of an ssh agent as a step sees it: one of its own, behind which the agent is asked.

Comes in: the socket of an agent, owner and mode for the one that a step gets, and where it may be.
Goes out: that socket, for as long as the step runs. An agent answers its own user only (it asks
the kernel who is there), and a step may run as another; so this process asks in its place. Of the
protocol (draft-ietf-sshm-ssh-agent, section 5) a step may list keys and have something signed; it
may not add or remove keys, or lock the agent. Read next: `key_agent`.
"""

import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from minibuild.linux.descriptors import closing_fd
from minibuild.session.secrets import AgentSocket

_LENGTH = struct.Struct(">I")
_MAX_FRAME_BYTES = 256 << 10
_REQUEST_IDENTITIES, _SIGN_REQUEST = 11, 13
_ALLOWED = frozenset((_REQUEST_IDENTITIES, _SIGN_REQUEST))
_REFUSED = _LENGTH.pack(1) + b"\x05"  # SSH_AGENT_FAILURE
_CHUNK = 16 << 10


@contextmanager
def forwarded(agent: AgentSocket, path: str, mode: int, uid: int, gid: int) -> Iterator[None]:
    """A socket at `path` that leads to `agent` while the block runs."""
    with listening(path, mode, partial(_serve, agent)):
        with suppress(OSError):  # an account with one id has no other owners to give
            os.chown(path, uid, gid)
        yield


@contextmanager
def listening(path: str, mode: int, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """A socket at `path` while the block runs. Each connection is given to `serve`, in a thread."""
    with socket.socket(socket.AF_UNIX) as listener:
        with _address(path) as address:
            listener.bind(address)
        try:
            os.chmod(path, mode)
            listener.listen()
            accepting = threading.Thread(target=_accept, args=(listener, serve), daemon=True)
            accepting.start()
            try:
                yield
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                accepting.join()
        finally:
            os.unlink(path)


@contextmanager
def _address(path: str) -> Iterator[str]:
    """The address of a socket. It has 107 bytes (unix(7)), and folders may be deep: an open
    directory shortens it."""
    folder, name = os.path.split(path)
    with closing_fd(os.open(folder or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        yield f"/proc/self/fd/{fd}/{name}"


def _accept(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return  # shut down: the step ended
        threading.Thread(target=serve, args=(client,), daemon=True).start()


def _serve(agent: AgentSocket, client: socket.socket) -> None:
    """One connection of a step, to its end."""
    with client, suppress(OSError), socket.socket(socket.AF_UNIX) as server:
        with _address(agent.path) as address:
            server.connect(address)
        if agent.raw:
            _pump(client, server)
            return
        while (request := _frame(client)) is not None:
            if request[_LENGTH.size] not in _ALLOWED:
                client.sendall(_REFUSED)
                continue
            server.sendall(request)
            answer = _frame(server)
            if answer is None:
                return
            client.sendall(answer)


def _frame(connection: socket.socket) -> bytes | None:
    """One message with its length before it; None at the end, or for what is no message."""
    head = _exactly(connection, _LENGTH.size)
    if head is None:
        return None
    (size,) = _LENGTH.unpack(head)
    if not 0 < size <= _MAX_FRAME_BYTES:
        return None
    body = _exactly(connection, size)
    return None if body is None else head + body


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            return None
        data += piece
    return bytes(data)


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Bytes both ways, until both sides have said that they are done."""
    open_ = {one: other, other: one}
    while open_:
        for source in select.select(list(open_), [], [])[0]:
            data = source.recv(_CHUNK)
            if data:
                open_[source].sendall(data)
            else:
                open_.pop(source).shutdown(socket.SHUT_WR)
