"""How machines number the system calls that are handed over, and lay out what those return.

Comes in: what seccomp(2) says of a call. Goes out: the name of the call. Numbers and structures
are those of the kernel's headers for user space: asm/unistd.h, asm/stat.h, linux/stat.h.
"""

import os
import struct

from minibuild.startup.tuples import NamedTuple


class Machine(NamedTuple):
    """`calls` are names by number, with AUDIT_ARCH in the upper half. `stat` is `struct stat` of
    the machine itself."""

    calls: dict[int, str]
    stat: struct.Struct
    links_before_mode: bool


_STAT_X86 = struct.Struct("=QQQIIIxxxxQqqqqqqqqq24x")
_STAT_GENERIC = struct.Struct("=QQIIIIQQqixxxxqqqqqqqxxxxxxxx")
_STATX = struct.Struct("=IIQIIIHxxQQQQ" + 4 * "qIxxxx" + "IIII112x")
_STATX_BASIC = 0x7FF

_X86_64, _I386, _AARCH64, _RISCV64 = 0xC000003E, 0x40000003, 0xC00000B7, 0xC00000F3
_OF_X86_64 = """
stat 4, fstat 5, lstat 6, mknod 133, mknodat 259, newfstatat 262, statx 332,
chown 92, fchown 93, lchown 94, fchownat 260, mkdir 83, mkdirat 258, symlink 88, symlinkat 266,
open 2, openat 257, creat 85, execve 59, execveat 322,
getuid 102, getgid 104, geteuid 107, getegid 108, getgroups 115, getresuid 118, getresgid 120,
setuid 105, setgid 106, setreuid 113, setregid 114, setgroups 116, setresuid 117, setresgid 119,
setfsuid 122, setfsgid 123, chroot 161, prctl 157, openat2 437,
setxattr 188, lsetxattr 189, fsetxattr 190, removexattr 197, lremovexattr 198, fremovexattr 199,
access 21, faccessat 269, faccessat2 439, chdir 80, fchdir 81, truncate 76,
rename 82, renameat 264, renameat2 316, unlink 87, rmdir 84, unlinkat 263, link 86, linkat 265,
chmod 90, fchmod 91, fchmodat 268, fchmodat2 452, utime 132, utimes 235, futimesat 261,
utimensat 280
"""
_OF_GENERIC = """
mknodat 33, newfstatat 79, fstat 80, statx 291, fchownat 54, fchown 55, mkdirat 34, symlinkat 36,
openat 56, execve 221, execveat 281,
getuid 174, geteuid 175, getgid 176, getegid 177, getresuid 148, getresgid 150, getgroups 158,
setregid 143, setgid 144, setreuid 145, setuid 146, setresuid 147, setresgid 149, setfsuid 151,
setfsgid 152, setgroups 159, chroot 51, prctl 167, openat2 437,
setxattr 5, lsetxattr 6, fsetxattr 7, removexattr 14, lremovexattr 15, fremovexattr 16,
faccessat 48, faccessat2 439, chdir 49, fchdir 50, truncate 45, renameat 38, renameat2 276,
unlinkat 35, linkat 37, fchmod 52, fchmodat 53, fchmodat2 452, utimensat 88
"""
# Of programs of 32 bits all but looks, of which only statx(2) has the same result, and utimensat(2)
# with times of 32 bits. Calls of 16-bit ids succeed and do nothing.
_OF_I386 = """
chown 212, lchown 198, fchown 207, fchownat 298, mkdir 39, mkdirat 296, symlink 83, symlinkat 304,
mknod 14, mknodat 297, open 5, openat 295, openat2 437, creat 8, execve 11, execveat 358, statx 383,
setxattr 226, lsetxattr 227, fsetxattr 228, removexattr 235, lremovexattr 236, fremovexattr 237,
access 33, faccessat 307, faccessat2 439, chdir 12, fchdir 133, truncate 92, truncate 193,
rename 38, renameat 302, renameat2 353, unlink 10, rmdir 40, unlinkat 301, link 9, linkat 303,
chmod 15, fchmod 94, fchmodat 306, fchmodat2 452, utime 30, utimes 271, futimesat 299,
utimensat 412,
getuid 199, getgid 200, geteuid 201, getegid 202, getresuid 209, getresgid 211, getgroups 205,
setreuid 203, setregid 204, setgroups 206, setresuid 208, setresgid 210, setuid 213, setgid 214,
setfsuid 215, setfsgid 216, chroot 61, prctl 172,
pretended 16, pretended 23, pretended 46, pretended 70, pretended 71, pretended 81, pretended 95,
pretended 138, pretended 139, pretended 164, pretended 170, pretended 182
"""


def _numbered(audit: int, text: str) -> dict[int, str]:
    pairs = (entry.split() for entry in text.split(","))
    return {audit << 32 | int(number): name for name, number in pairs}


def this_machine() -> Machine | None:
    """How this machine does it; None if that is not known here."""
    match os.uname().machine:
        case "x86_64":
            calls = _numbered(_X86_64, _OF_X86_64) | _numbered(_I386, _OF_I386)
            return Machine(calls, _STAT_X86, links_before_mode=True)
        case "aarch64":
            calls = _numbered(_AARCH64, _OF_GENERIC)
            return Machine(calls, _STAT_GENERIC, links_before_mode=False)
        case "riscv64":
            calls = _numbered(_RISCV64, _OF_GENERIC)
            return Machine(calls, _STAT_GENERIC, links_before_mode=False)
    return None


def can_listen() -> bool:
    """Whether the calls of this machine are known here."""
    return this_machine() is not None


def packed_stat(machine: Machine, found: os.stat_result) -> bytes:
    """`struct stat`."""
    looks = (found.st_mode, found.st_nlink)
    return machine.stat.pack(
        found.st_dev,
        found.st_ino,
        *(reversed(looks) if machine.links_before_mode else looks),
        found.st_uid,
        found.st_gid,
        found.st_rdev,
        *(() if machine.links_before_mode else (0,)),
        found.st_size,
        found.st_blksize,
        found.st_blocks,
        *_times(found),
    )


def packed_statx(found: os.stat_result) -> bytes:
    """`struct statx`, with what stat(2) tells."""
    atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns = _times(found)
    return _STATX.pack(
        *(_STATX_BASIC, found.st_blksize, 0, found.st_nlink, found.st_uid, found.st_gid),
        *(found.st_mode, found.st_ino, found.st_size, found.st_blocks, 0),
        *(atime, atime_ns, 0, 0, ctime, ctime_ns, mtime, mtime_ns),
        *(os.major(found.st_rdev), os.minor(found.st_rdev)),
        *(os.major(found.st_dev), os.minor(found.st_dev)),
    )


def _times(found: os.stat_result) -> list[int]:
    times = (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
    return [part for time_ns in times for part in divmod(time_ns, 10**9)]
