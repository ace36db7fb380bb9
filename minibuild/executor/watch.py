"""What a step without root does about devices, done by us outside of it.

Comes in: the descriptor on which the kernel hands over the calls that the filter names
(`seccomp.policy`). Goes out: answers, and placeholders in the step's tree (`linux.device`).

- Making a device, which the kernel refuses in a user namespace: we make a placeholder, and the
  call succeeds, provided that the process could have made one were it root of the machine.
- Looking at a placeholder: the process is shown a device. Only where the tree has placeholders,
  or the step may make some, because each such call costs two switches of the process.

All else the kernel goes on with as if nothing had been. That is safe only because nothing depends
on it: a process that changes its memory or its directories meanwhile (another thread may, at any
time) gets the kernel's own answer. We ourselves read a path once, and resolve it inside the root of
the process by its open directory. See seccomp_unotify(2), openat2(2), stat(2). Read next:
`seccomp.program`.
"""

import errno
import fcntl
import os
import stat
import struct

from minibuild.linux import device
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.syscalls import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    openat2,
)
from minibuild.startup.tuples import NamedTuple

# linux/seccomp.h: struct seccomp_notif and seccomp_notif_resp, and the requests of ioctl(2).
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_RECV, _SEND, _ID_VALID, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40082104
_CONTINUE = 1
_SYNC_WAKE_UP = 1

_CAP_MKNOD = 27
_PAGE, _PATH_MAX = 4096, 4096


class _Machine(NamedTuple):
    """How a machine numbers the calls, and how its `struct stat` is laid out."""

    audit: int
    calls: dict[int, str]
    stat: struct.Struct
    links_before_mode: bool


_STAT_X86 = struct.Struct("=QQQIIIxxxxQqqqqqqqqq24x")
_STAT_GENERIC = struct.Struct("=QQIIIIQQqixxxxqqqqqqqxxxxxxxx")
_STATX = struct.Struct("=IIQIIIHxxQQQQ" + 4 * "qIxxxx" + "IIII112x")
_STATX_BASIC = 0x7FF
_GENERIC = {33: "mknodat", 79: "newfstatat", 80: "fstat", 291: "statx"}
_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        {
            **{4: "stat", 5: "fstat", 6: "lstat", 133: "mknod", 259: "mknodat"},
            **{262: "newfstatat", 332: "statx"},
        },
        _STAT_X86,
        True,
    ),
    "aarch64": _Machine(0xC00000B7, _GENERIC, _STAT_GENERIC, False),
    "riscv64": _Machine(0xC00000F3, _GENERIC, _STAT_GENERIC, False),
}


def can_watch() -> bool:
    """Whether the calls of this machine are known here."""
    return os.uname().machine in _MACHINES


class _Call(NamedTuple):
    """A call that is handed over. `pid` is a thread's number, good as long as `id` is valid."""

    id: int
    pid: int
    name: str
    arguments: tuple[int, ...]


class DeviceWatch:
    """Answers calls. `fd` is for poll(2); call `serve` when there is something on it.

    `root_fd` is the root of the step's tree, which is marked when it gets a placeholder. A
    process may have another root, by chroot(2).
    """

    __slots__ = ("_machine", "_root_fd", "fd")

    def __init__(self, fd: int, root_fd: int) -> None:
        self.fd = fd
        self._root_fd = root_fd
        self._machine = _MACHINES[os.uname().machine]
        try:
            # The two take turns: let the kernel switch at once (Linux 6.6).
            fcntl.ioctl(fd, _SET_FLAGS, _SYNC_WAKE_UP)
        except OSError:
            pass

    def close(self) -> None:
        """Calls that are still handed over fail with ENOSYS."""
        os.close(self.fd)
        os.close(self._root_fd)

    def serve(self) -> None:
        """Take one call and answer it."""
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self.fd, _RECV, buffer, True)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINTR):
                raise
            return  # The process was killed meanwhile.
        id_, pid, _, number, arch, _, *arguments = _NOTIFICATION.unpack(buffer)
        name = self._machine.calls.get(number, "") if arch == self._machine.audit else ""
        result, flags = 0, _CONTINUE
        try:
            if name and self._answer(_Call(id_, pid, name, tuple(arguments))):
                flags = 0
        except OSError as error:
            if name in ("mknod", "mknodat"):
                result, flags = -(error.errno or errno.EPERM), 0
        except (LookupError, ValueError, OverflowError, struct.error):
            pass  # /proc says half of it: the process is about to end, or hides something.
        try:
            fcntl.ioctl(self.fd, _SEND, _RESPONSE.pack(id_, 0, result, flags))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def _answer(self, call: _Call) -> bool:
        """Do what the call asks for; False if the kernel is to go on with it."""
        if call.name == "mknod":
            path, mode, number = call.arguments[:3]
            return self._make(call, AT_FDCWD, path, mode, number)
        if call.name == "mknodat":
            directory, path, mode, number = call.arguments[:4]
            return self._make(call, _signed(directory), path, mode, number)
        found = self._look(call)
        if found is None:
            return False
        address = call.arguments[{"statx": 4, "newfstatat": 2}.get(call.name, 1)]
        return self._write(call, address, self._packed(call.name, found))

    def _write(self, call: _Call, address: int, data: bytes) -> bool:
        """Write to the memory of the process, if it still waits."""
        with closing_fd(os.open(f"/proc/{call.pid}/mem", os.O_WRONLY | os.O_CLOEXEC)) as fd:
            # In this order: what is open is the memory of one process, whatever its number
            # becomes, and of the right one if it still waits now.
            return self._valid(call) and os.pwrite(fd, data, _offset(address)) == len(data)

    def _valid(self, call: _Call) -> bool:
        """Whether the process still waits: else its number may be that of another one by now."""
        try:
            fcntl.ioctl(self.fd, _ID_VALID, struct.pack("=Q", call.id))
        except OSError:
            return False
        return True

    # Making ----------------------------------------------------------------------------------

    def _make(self, call: _Call, directory: int, address: int, mode: int, number: int) -> bool:
        # The kernel takes the lower half of both registers.
        mode, number = mode & 0xFFFF, number & 0xFFFFFFFF
        kind = stat.S_IFMT(mode)
        status = _status(call.pid)
        may = int(status["CapEff"], 16) >> _CAP_MKNOD & 1
        path = _read_path(call.pid, address)
        parent, _, name = path.rpartition("/")
        # 0:0 is how overlayfs marks a deletion: no process may make that in a rootfs, not even
        # root's.
        if not may or name in ("", ".", "..") or (kind == stat.S_IFCHR and not number):
            return False
        if "/" in path:
            parent_fd = _open(call.pid, directory, parent or "/", os.O_PATH | os.O_DIRECTORY)
        else:
            parent_fd = os.open(_base(call.pid, directory), os.O_PATH | os.O_DIRECTORY)
        try:
            if not self._valid(call):
                return False
            fd = device.open_placeholder(parent_fd, name, kind, number, self._root_fd)
        finally:
            os.close(parent_fd)
        try:
            uid, gid = (int(status[key].split()[3]) for key in ("Uid", "Gid"))
            if uid or gid:
                os.fchown(fd, uid, gid)
            os.fchmod(fd, stat.S_IMODE(mode) & ~int(status["Umask"], 8))
        finally:
            os.close(fd)
        return True

    # Looking ---------------------------------------------------------------------------------

    def _look(self, call: _Call) -> os.stat_result | None:
        """The device that the call would be shown a placeholder of; None if there is none."""
        if call.name == "fstat":
            return _seen(f"/proc/{call.pid}/fd/{_signed(call.arguments[0])}")
        directory, address, flags = AT_FDCWD, call.arguments[0], 0
        if call.name in ("newfstatat", "statx"):
            directory, address = _signed(call.arguments[0]), call.arguments[1]
            flags = call.arguments[2 if call.name == "statx" else 3]
        elif call.name == "lstat":
            flags = AT_SYMLINK_NOFOLLOW
        path = _read_path(call.pid, address) if address else ""
        if not path:
            return _seen(_base(call.pid, directory)) if flags & AT_EMPTY_PATH else None
        last = os.O_NOFOLLOW if flags & AT_SYMLINK_NOFOLLOW else 0
        with closing_fd(_open(call.pid, directory, path, os.O_PATH | last)) as fd:
            return _seen(f"/proc/self/fd/{fd}")

    def _packed(self, name: str, found: os.stat_result) -> bytes:
        if name == "statx":
            return _packed_statx(found)
        looks = (found.st_mode, found.st_nlink)
        return self._machine.stat.pack(
            found.st_dev,
            found.st_ino,
            *(reversed(looks) if self._machine.links_before_mode else looks),
            found.st_uid,
            found.st_gid,
            found.st_rdev,
            *(() if self._machine.links_before_mode else (0,)),
            found.st_size,
            found.st_blksize,
            found.st_blocks,
            *_times(found),
        )


def _times(found: os.stat_result) -> list[int]:
    times = (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
    return [part for time_ns in times for part in divmod(time_ns, 10**9)]


def _packed_statx(found: os.stat_result) -> bytes:
    atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns = _times(found)
    return _STATX.pack(
        *(_STATX_BASIC, found.st_blksize, 0, found.st_nlink, found.st_uid, found.st_gid),
        *(found.st_mode, found.st_ino, found.st_size, found.st_blocks, 0),
        *(atime, atime_ns, 0, 0, ctime, ctime_ns, mtime, mtime_ns),
        *(os.major(found.st_rdev), os.minor(found.st_rdev)),
        *(os.major(found.st_dev), os.minor(found.st_dev)),
    )


def _seen(target: str) -> os.stat_result | None:
    found = os.stat(target)
    if found.st_size or not stat.S_ISREG(found.st_mode):
        return None
    seen = device.seen(found, target)
    return None if seen is found else seen


# The process, from outside -----------------------------------------------------------------------


def _signed(argument: int) -> int:
    """The `int` that a register holds."""
    low = argument & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


def _status(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        pairs = (line.partition(":") for line in file)
        return {key: value.strip() for key, _, value in pairs}


def _base(pid: int, directory: int) -> str:
    return f"/proc/{pid}/cwd" if directory == AT_FDCWD else f"/proc/{pid}/fd/{directory}"


def _open(pid: int, directory: int, path: str, flags: int) -> int:
    """What a path means to the process, symlinks resolved inside its root."""
    base = f"/proc/{pid}/root"
    if not path.startswith("/"):
        base = _base(pid, directory)
        base_fd = os.open(base, os.O_PATH | os.O_DIRECTORY)
        try:
            return openat2(base_fd, path, flags, resolve=RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # Upwards, or through an absolute symlink: as a path from the root, then.
            path = f"{os.readlink(base)}/{path}"
            base = f"/proc/{pid}/root"
        finally:
            os.close(base_fd)
    with closing_fd(os.open(base, os.O_PATH | os.O_DIRECTORY)) as root_fd:
        return openat2(root_fd, path, flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)


def _read_path(pid: int, address: int) -> str:
    """A string in the memory of the process. Pages are read one by one: the next may be absent."""
    with closing_fd(os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)) as fd:
        found = b""
        while len(found) < _PATH_MAX:
            start = _offset(address + len(found))
            page = os.pread(fd, _PAGE - start % _PAGE, start)
            if not page:
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
            found += page
            if (end := found.find(b"\0")) >= 0:
                return os.fsdecode(found[:end])
    raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def _offset(address: int) -> int:
    """An address as a position in /proc/PID/mem. No program has memory in the upper half."""
    if address >> 63:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    return address
