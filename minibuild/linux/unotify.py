"""Filters of system calls, and the memory of a process that waits for what becomes of its call.

Comes in: a program of the kernel's packet filter. Goes out: a descriptor on which calls arrive.
See seccomp(2), seccomp_unotify(2), process_vm_readv(2).
"""

import ctypes
import errno
import os
import struct
from ctypes import c_int, c_long, c_size_t, c_uint, c_ulong, c_void_p

from minibuild.linux.syscalls import check, function, number_of

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_SET_MODE_FILTER = 1
_NEW_LISTENER, _WAIT_KILLABLE = 0x08, 0x20
_ALLOW_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)  # linux/bpf.h: return SECCOMP_RET_ALLOW.
_PAGE, _START_BYTES, _MOST_BYTES = 4096, 256, 4096

_prctl = function("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_seccomp = function("syscall", c_long, c_uint, c_uint, c_void_p)
_readv = function("process_vm_readv", c_int, c_void_p, c_ulong, c_void_p, c_ulong, c_ulong)
_readv.restype = ctypes.c_ssize_t


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", c_void_p))


class _IoVec(ctypes.Structure):
    _fields_ = (("start", c_void_p), ("size", c_size_t))


def load_filter(program: bytes) -> None:
    """Install a filter given as raw BPF (`struct sock_filter`, 8 bytes each) on this thread."""
    code = ctypes.create_string_buffer(program, len(program))
    fprog = _SockFprog(len(program) // 8, ctypes.cast(code, c_void_p))
    check(_prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(fprog), 0, 0), "seccomp")


def load_filter_with_listener(program: bytes) -> int:
    """The same, and a descriptor on which the calls arrive that the filter hands over."""
    code = ctypes.create_string_buffer(program, len(program))
    fprog = _SockFprog(len(program) // 8, ctypes.cast(code, c_void_p))
    number = number_of("seccomp")
    # A signal that does not kill must not take a call back that has been done (Linux 5.19).
    for flags in (_NEW_LISTENER | _WAIT_KILLABLE, _NEW_LISTENER):
        fd = _seccomp(number, _SET_MODE_FILTER, flags, ctypes.byref(fprog))
        if fd >= 0 or ctypes.get_errno() != errno.EINVAL:
            break
    return check(fd, "seccomp")


def may_have_listener() -> bool:
    """Whether a filter of a child of this process could have a listener: not before Linux 5.0, and
    not where this process is under such a filter already. Only trying tells."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            load_filter_with_listener(_ALLOW_ALL)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return status == 0


class MemoryReader:
    """Reads the memory of processes: of others with the same ids, or in the same namespace."""

    __slots__ = ("_addresses", "_buffer", "_local", "_remote")

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(2 * _PAGE)
        self._local = _IoVec(ctypes.addressof(self._buffer), 0)
        self._remote = (_IoVec * 2)()
        self._addresses = ctypes.addressof(self._local), ctypes.addressof(self._remote)

    def string(self, pid: int, address: int) -> bytes:
        """A path in its memory. Raises `OSError`: EFAULT if there is none, ENAMETOOLONG."""
        left_of_page = _PAGE - address % _PAGE
        count = self._read(pid, address, min(_START_BYTES, left_of_page))
        found = self._buffer.value  # To the first NUL, which may be one of an earlier path.
        if len(found) < count:
            return found
        # The next page may not be there: it is a part of its own, which the kernel then leaves out.
        count = self._read(pid, address, left_of_page, _MOST_BYTES)
        found = self._buffer.raw[:count]
        if (end := found.find(b"\0")) >= 0:
            return found[:end]
        code = errno.ENAMETOOLONG if count >= _MOST_BYTES else errno.EFAULT
        raise OSError(code, os.strerror(code))

    def bytes(self, pid: int, address: int, count: int) -> bytes:
        """That many bytes of its memory, at most a page."""
        if self._read(pid, address, count) < count:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return self._buffer.raw[:count]

    def _read(self, pid: int, address: int, size: int, second_size: int = 0) -> int:
        self._local.size = size + second_size
        part = self._remote[0]
        part.start, part.size = address, size
        if second_size:
            part = self._remote[1]
            part.start, part.size = address + size, second_size
        local, remote = self._addresses
        count = _readv(pid, local, 1, remote, 2 if second_size else 1, 0)
        if count < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return int(count)
