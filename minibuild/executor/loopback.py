"""The loopback interface of a new network namespace, which is down at first. See netdevice(7)."""

import _socket
import fcntl
import struct

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 0x1


def bring_up() -> None:
    """Set `lo` up; the kernel then gives it 127.0.0.1 and ::1."""
    control = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    request = struct.pack("16sH22x", b"lo", 0)
    reply = fcntl.ioctl(control.fileno(), _SIOCGIFFLAGS, request)
    (flags,) = struct.unpack_from("H", reply, 16)
    fcntl.ioctl(control.fileno(), _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))
    control.close()
