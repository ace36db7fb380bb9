"""Messages with descriptors over a unix socket. See unix(7), recvmsg(2).

SOCK_SEQPACKET keeps messages apart, so that several threads and processes may write to one
socket. The descriptors that arrive are close-on-exec. The C module behind `socket` is used as it
is: the Python one on top of it takes longer to load than a step takes to start.
"""

import _socket
import errno
import os
import sys

_FD_BYTES = 4
_MAX_FDS = 8
_FD_ROOM = _socket.CMSG_SPACE(_MAX_FDS * _FD_BYTES)


class Channel:
    """One end of a connection."""

    __slots__ = ("_socket",)

    def __init__(self, fd: int) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)

    def fileno(self) -> int:
        """The descriptor, for poll(2)."""
        return self._socket.fileno()

    def send(self, data: bytes, fds: tuple[int, ...] = ()) -> None:
        """Send one message. The descriptors stay open here."""
        if not fds:
            self._socket.send(data)
            return
        raw = b"".join(fd.to_bytes(_FD_BYTES, sys.byteorder) for fd in fds)
        self._socket.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, raw)])

    def receive(self, max_bytes: int) -> tuple[bytes, list[int]]:
        """The next message and its descriptors; empty at the end of the connection. Raises
        `OSError` (EMFILE) if this process may have no more: the kernel leaves them out then."""
        flags = _socket.MSG_CMSG_CLOEXEC
        try:
            data, ancillary, found, _ = self._socket.recvmsg(max_bytes, _FD_ROOM, flags)
        except ConnectionResetError:
            # The other end closed with a message of ours unread. The kernel says so once, and
            # then hands out what the other end had sent before (unix(7), net/unix/af_unix.c).
            data, ancillary, found, _ = self._socket.recvmsg(max_bytes, _FD_ROOM, flags)
        fds = []
        for _, _, raw in ancillary:
            usable = len(raw) - len(raw) % _FD_BYTES
            for start in range(0, usable, _FD_BYTES):
                fds.append(int.from_bytes(raw[start : start + _FD_BYTES], sys.byteorder))
        if found & _socket.MSG_CTRUNC:
            close_all(fds)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return data, fds

    def end(self) -> None:
        """Say that nothing more is sent. The other end can still be heard."""
        self._socket.shutdown(_socket.SHUT_WR)

    def detach(self) -> int:
        """Give up the descriptor without closing it."""
        return self._socket.detach()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def pair() -> tuple[Channel, Channel]:
    """Two connected ends."""
    one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    return Channel(one.detach()), Channel(other.detach())


def close_all(fds: tuple[int, ...] | list[int]) -> None:
    """Close descriptors that came with a message."""
    for fd in fds:
        os.close(fd)


def memory_file(name: str, data: bytes) -> int:
    """A file in memory with the data: a message has room for some 200 KiB only."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return fd
