"""The system calls that Python's `os` does not have: mounts, namespaces, capabilities, filters.

Comes in: plain values. Goes out: file descriptors and numbers, or a `SyscallError` that says
which call failed on what, and where known what to do about it. Only this, `bpf`
and `unotify` use ctypes.
Names and meanings are those of the manual pages, section 2. Read next: `beneath`.

Most functions here are thin on purpose: a caller with a manual page in hand finds no surprise.
Every argument type is declared once, below; ctypes guesses wrong for 64-bit values.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from ctypes import c_char_p, c_int, c_long, c_size_t, c_uint, c_uint64, c_ulong, c_void_p

from minibuild.linux.hints import SyscallError as SyscallError

# mount(2), umount2(2)
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND, MS_REC = 0x1000, 0x4000
MS_PRIVATE, MS_SLAVE = 0x40000, 0x80000
MS_STRICTATIME = 0x1000000
MNT_DETACH = 0x2

# unshare(2), setns(2)
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# clone(2)
CLONE_PIDFD, CLONE_INTO_CGROUP = 0x00001000, 0x200000000

# prctl(2)
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS = 1, 8
PR_SET_CHILD_SUBREAPER = 36
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 2, 4

# openat2(2)
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# open_tree(2), fsmount(2), move_mount(2), mount_setattr(2)
AT_FDCWD, AT_SYMLINK_NOFOLLOW = -100, 0x100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 0x1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
FSOPEN_CLOEXEC = 0x1
FSMOUNT_CLOEXEC = 0x1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_SYMLINKS = 0x4, 0x10
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_IDMAP = 0x00100000

# statx(2)
STATX_INO, STATX_BTIME = 0x100, 0x800


_libc = ctypes.CDLL(None, use_errno=True)


def function(name: str, *argtypes: object) -> "ctypes._NamedFuncPointer":
    """A function of libc with declared types. Indexing gives a fresh object each time."""
    function = _libc[name]
    function.argtypes = argtypes  # type: ignore[assignment]
    function.restype = c_long if name == "syscall" else c_int
    return function


_mount = function("mount", c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
_umount2 = function("umount2", c_char_p, c_int)
_pivot_root = function("pivot_root", c_char_p, c_char_p)
_unshare = function("unshare", c_int)
_setns = function("setns", c_int, c_int)
_sethostname = function("sethostname", c_char_p, c_size_t)
_prctl = function("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_capget = function("capget", c_void_p, c_void_p)
_capset = function("capset", c_void_p, c_void_p)

# From 424 (Linux 5.1) on, calls have one number on all architectures.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_FSOPEN = 428, 429, 430
_SYS_FSCONFIG, _SYS_FSMOUNT, _SYS_OPENAT2, _SYS_MOUNT_SETATTR = 431, 432, 437, 442
_SYS_CLONE3 = 435
_NUMBERS = {
    "clone": {"x86_64": 56, "aarch64": 220, "riscv64": 220, "ppc64le": 120},
    "keyctl": {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280},
    "statx": {"x86_64": 332, "aarch64": 291, "riscv64": 291, "ppc64le": 383, "s390x": 379},
    "seccomp": {"x86_64": 317, "aarch64": 277, "riscv64": 277, "ppc64le": 358, "s390x": 348},
    "bpf": {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351},
}
"""Those of older calls, by the machine."""

_open_tree = function("syscall", c_long, c_int, c_char_p, c_uint)
_move_mount = function("syscall", c_long, c_int, c_char_p, c_int, c_char_p, c_uint)
_fsopen = function("syscall", c_long, c_char_p, c_uint)
_fsconfig = function("syscall", c_long, c_int, c_uint, c_char_p, c_char_p, c_int)
_fsmount = function("syscall", c_long, c_int, c_uint, c_uint)
_openat2 = function("syscall", c_long, c_int, c_char_p, c_void_p, c_size_t)
_mount_setattr = function("syscall", c_long, c_int, c_char_p, c_uint, c_void_p, c_size_t)
# Through PyDLL, which keeps the interpreter lock: the child goes on in Python at once.
_clone = ctypes.PyDLL(None, use_errno=True)["syscall"]
_clone.argtypes = (c_long, c_ulong, c_void_p, c_void_p, c_void_p, c_void_p)
_clone.restype = c_long
_STATX = struct.Struct("=I28xQ40xqI")  # stx_mask, stx_ino, stx_btime
_statx = function("syscall", c_long, c_int, c_char_p, c_int, c_uint, c_void_p)
_keyctl = function("syscall", c_long, c_int, c_char_p)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", c_uint64), ("mode", c_uint64), ("resolve", c_uint64))


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", c_uint64),
        ("attr_clr", c_uint64),
        ("propagation", c_uint64),
        ("userns_fd", c_uint64),
    )


def check(result: int, call: str, path: str = "") -> int:
    """The result of a call, or the error that it set."""
    if result < 0:
        raise SyscallError(ctypes.get_errno(), call, path)
    return result


def number_of(call: str) -> int:
    """The number of a call that is older than 424."""
    number = _NUMBERS[call].get(os.uname().machine)
    if number is None:
        raise SyscallError(errno.ENOSYS, call)
    return number


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Empty strings are passed as NULL."""
    check(
        _mount(
            os.fsencode(source) if source else None,
            os.fsencode(target),
            fstype.encode() if fstype else None,
            flags,
            os.fsencode(data) if data else None,
        ),
        "mount",
        target,
    )


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    check(_umount2(os.fsencode(target), flags), "umount", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2). `pivot_root(".", ".")` then `umount(".", MNT_DETACH)` needs no old root."""
    check(_pivot_root(os.fsencode(new_root), os.fsencode(put_old)), "pivot_root", new_root)


def unshare(flags: int) -> None:
    """unshare(2). A user namespace cannot be left by a process with several threads."""
    check(_unshare(flags), "unshare")


def clone(flags: int, *, into_cgroup: int = -1) -> tuple[int, int]:
    """clone(2) used like fork(2): the child's number and a pidfd, or (0, -1) in the child.

    Only for a process with a single thread, and for a child that soon calls exec: unlike
    `os.fork` this runs none of the interpreter's and libc's fork handlers. It starts the child in
    new namespaces in one call, where fork and unshare would take two processes to get a new pid
    namespace. `into_cgroup`: an open cgroup of version 2, to start it there (Linux 5.7).
    """
    sigchld = 17
    pidfd = c_int(-1)
    if into_cgroup >= 0:
        flags |= CLONE_PIDFD | CLONE_INTO_CGROUP
        args = (c_uint64 * 11)(flags, ctypes.addressof(pidfd), 0, 0, sigchld)
        args[10] = into_cgroup
        pid = _clone(_SYS_CLONE3, ctypes.addressof(args), ctypes.sizeof(args), None, None, None)
    else:
        number = number_of("clone")
        pid = _clone(number, flags | CLONE_PIDFD | sigchld, None, ctypes.byref(pidfd), None, None)
    return check(int(pid), "clone"), pidfd.value if pid else -1


def setns(fd: int, nstype: int) -> None:
    """setns(2)."""
    check(_setns(fd, nstype), "setns")


def sethostname(name: str) -> None:
    """sethostname(2)."""
    raw = name.encode()
    check(_sethostname(raw, len(raw)), "sethostname", name)


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> int:
    """prctl(2) with numbers as arguments."""
    return check(_prctl(option, arg2, arg3, 0, 0), "prctl")


def drop_bounding(numbers: Iterable[int]) -> None:
    """PR_CAPBSET_DROP for each capability, lowest first, up to the last one this kernel knows.

    A loop of its own because every step goes through it.
    """
    for number in numbers:
        if _prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0:
            if ctypes.get_errno() == errno.EINVAL:
                return
            check(-1, "prctl")


# linux/capability.h: version 3 carries each 64-bit set as two 32-bit words, low word first.
_CAPABILITY_VERSION_3 = 0x20080522


def capget() -> tuple[int, int, int]:
    """The effective, permitted and inheritable sets of this thread, as bit masks."""
    header = (c_uint * 2)(_CAPABILITY_VERSION_3, 0)
    data = (c_uint * 6)()
    check(_capget(ctypes.byref(header), ctypes.byref(data)), "capget")
    return (data[0] | data[3] << 32, data[1] | data[4] << 32, data[2] | data[5] << 32)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the three sets of this thread, given as bit masks."""
    header = (c_uint * 2)(_CAPABILITY_VERSION_3, 0)
    low, high = 0xFFFFFFFF, 32
    sets = (effective, permitted, inheritable)
    data = (c_uint * 6)(*[s & low for s in sets], *[s >> high for s in sets])
    check(_capset(ctypes.byref(header), ctypes.byref(data)), "capset")


def openat2(dir_fd: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2), close-on-exec. Raises what `os.open` would, such as FileNotFoundError.

    EAGAIN means that a rename or a mount raced with `..` in the path; the kernel cannot tell
    whether the path stayed inside, so it is tried again.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    raw = os.fsencode(path)
    for _ in range(128):
        fd = _openat2(_SYS_OPENAT2, dir_fd, raw, ctypes.byref(how), ctypes.sizeof(how))
        if fd >= 0:
            return int(fd)
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    if code == errno.ENOSYS:
        raise SyscallError(code, "openat2", os.fsdecode(path))
    raise OSError(code, os.strerror(code), os.fsdecode(path))


def new_filesystem(
    fstype: str, options: Iterable[tuple[str, str]] = (), attributes: int = 0
) -> int:
    """fsopen(2), fsconfig(2), fsmount(2): a filesystem as a detached mount, which goes when closed.
    An option without a value is a flag; values have 255 bytes at most. The descriptor is an O_PATH
    one: open "." in it to read. Close-on-exec."""
    fs_fd = check(_fsopen(_SYS_FSOPEN, fstype.encode(), FSOPEN_CLOEXEC), "fsopen", fstype)
    try:
        for key, value in options:
            command = FSCONFIG_SET_STRING if value else FSCONFIG_SET_FLAG
            raw = os.fsencode(value) if value else None
            result = _fsconfig(_SYS_FSCONFIG, fs_fd, command, key.encode(), raw, 0)
            check(result, "fsconfig", f"{key}={value}")
        result = _fsconfig(_SYS_FSCONFIG, fs_fd, FSCONFIG_CMD_CREATE, None, None, 0)
        check(result, "fsconfig", "create")
        return check(_fsmount(_SYS_FSMOUNT, fs_fd, FSMOUNT_CLOEXEC, attributes), "fsmount")
    finally:
        os.close(fs_fd)


def move_mount(from_fd: int, to_path: str, flags: int = MOVE_MOUNT_F_EMPTY_PATH) -> None:
    """move_mount(2): attach a detached mount (`from_fd`) at `to_path`."""
    raw = os.fsencode(to_path)
    check(_move_mount(_SYS_MOVE_MOUNT, from_fd, b"", AT_FDCWD, raw, flags), "move_mount", to_path)


def open_tree(path: str, flags: int = OPEN_TREE_CLONE, *, dir_fd: int = AT_FDCWD) -> int:
    """open_tree(2): with OPEN_TREE_CLONE a detached bind mount of `path`; O_PATH as above."""
    raw = os.fsencode(path)
    result = _open_tree(_SYS_OPEN_TREE, dir_fd, raw, flags | OPEN_TREE_CLOEXEC)
    return check(result, "open_tree", path)


def mount_setattr(
    fd: int,
    path: str = "",
    *,
    attr_set: int = 0,
    attr_clr: int = 0,
    userns_fd: int = 0,
    flags: int = AT_EMPTY_PATH,
) -> None:
    """mount_setattr(2): change the attributes of the mount at `path`, or of the one at `fd`."""
    attr = _MountAttr(attr_set, attr_clr, 0, userns_fd)
    raw, size = os.fsencode(path), ctypes.sizeof(attr)
    result = _mount_setattr(_SYS_MOUNT_SETATTR, fd, raw, flags, ctypes.byref(attr), size)
    check(result, "mount_setattr", path)


def birth(dir_fd: int, path: str) -> tuple[int, int]:
    """The inode of a file by statx(2), and when it was made, in nanoseconds; 0 if the filesystem
    does not know. Follows no symlink. An empty path is the open file itself."""
    number, found = number_of("statx"), ctypes.create_string_buffer(256)
    flags = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH
    if _statx(number, dir_fd, os.fsencode(path), flags, STATX_INO | STATX_BTIME, found) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    known, inode, seconds, nanoseconds = _STATX.unpack_from(found)
    return inode, seconds * 10**9 + nanoseconds if known & STATX_BTIME else 0


def join_session_keyring() -> None:
    """Leave the caller's session keyring for a new one, so that a step cannot read its keys."""
    keyctl_join_session_keyring = 1
    check(_keyctl(number_of("keyctl"), keyctl_join_session_keyring, None), "keyctl")
