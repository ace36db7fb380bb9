"""The descriptor on which the kernel hands calls over, as in seccomp_unotify(2).

Comes in: the descriptor. Goes out: calls, one by one, each of which waits for its answer.
"""

import errno
import fcntl
import os
import select
import struct

from minibuild.linux.probe import parse_release

# linux/seccomp.h: struct seccomp_notif, seccomp_notif_resp and seccomp_notif_addfd, and the
# requests of ioctl(2).
_NOTIFICATION = struct.Struct("=QIIQQ6Q")
_EMPTY = bytes(_NOTIFICATION.size)
"""The kernel takes no other."""
_RESPONSE = struct.Struct("=QqiI")
_ADD = struct.Struct("=QIIII")
_RECV, _SEND, _ID_VALID, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40082104
_ADD_FD = 0x40182103
_CONTINUE = 1
_SYNC_WAKE_UP = 1
_ADD_AND_SEND = 2


class Notification:
    """A call that is handed over. `kind` is its number, with that of the machine in the upper half.
    `pid` is a thread's number, good as long as `id` is valid."""

    __slots__ = ("arguments", "id", "kind", "pid")

    def __init__(self) -> None:
        self.id = self.pid = self.kind = 0
        self.arguments: tuple[int, ...] = ()


def waits_for_calls() -> bool:
    """Whether `Notifications.receive` ends when no process is left that may call. Before Linux 6.11
    it waits for ever, so that `arrive` has to be asked first."""
    return parse_release(os.uname().release) >= (6, 11)


class Notifications:
    """The calls of one step."""

    __slots__ = ("_call", "_poll", "_response", "_room", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._call = Notification()
        self._room = bytearray(_NOTIFICATION.size)
        self._response = bytearray(_RESPONSE.size)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        try:
            # The two take turns: let the kernel switch at once (Linux 6.6).
            fcntl.ioctl(fd, _SET_FLAGS, _SYNC_WAKE_UP)
        except OSError:
            pass

    def arrive(self) -> bool:
        """Wait for a call; False if no process has the filter any more (Linux 5.9)."""
        ((_, what),) = self._poll.poll()
        return bool(what & select.POLLIN)

    def receive(self) -> Notification | None:
        """The next call; None if its process was killed meanwhile, or if there will be none. It is
        the same object each time, and the memory for the kernel is the same, too: new ones would
        cost as much as the rest of this."""
        room, call = self._room, self._call
        room[:] = _EMPTY
        try:
            fcntl.ioctl(self.fd, _RECV, room)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINTR):
                raise
            return None
        made = _NOTIFICATION.unpack_from(room)
        call.id, call.pid, call.kind, call.arguments = made[0], made[1], made[3], made[5:]
        return call

    def answer(self, call: Notification, result: int | None) -> None:
        """Let the call return this, -errno being an error; None: let the kernel go on with it."""
        if result is None:
            value, code, flags = 0, 0, _CONTINUE
        else:
            value, code, flags = max(result, 0), min(result, 0), 0
        _RESPONSE.pack_into(self._response, 0, call.id, value, code, flags)
        try:
            fcntl.ioctl(self.fd, _SEND, self._response)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def answer_with_file(self, call: Notification, fd: int, *, close_on_exec: bool) -> None:
        """Let the call return a copy of this open file (Linux 5.14)."""
        flags = os.O_CLOEXEC if close_on_exec else 0
        fcntl.ioctl(self.fd, _ADD_FD, _ADD.pack(call.id, _ADD_AND_SEND, fd, 0, flags))

    def valid(self, call: Notification) -> bool:
        """Whether the process still waits: else its number may be that of another one by now."""
        try:
            fcntl.ioctl(self.fd, _ID_VALID, struct.pack("=Q", call.id))
        except OSError:
            return False
        return True
