"""Which system calls a sandboxed step may make. The policy itself is data: policy.json.

It has the form of Docker's seccomp profiles (docs.docker.com, "Seccomp security profiles"; the OCI
runtime spec, config-linux.md, has the words), and its answers are those that Docker and BuildKit
give a container without extra capabilities. So a build that works there works here, and the other
way round. What is not listed gets EPERM, as a privilege that is lacking. Of the form's many fields
it needs `names`, `action`, `errnoRet`, `args`, and `arches` in `includes` and `excludes`.

`rules` are what a user namespace needs besides, in the same form. They come before the policy, and
it has no say about their names. There the executor is asked (SCMP_ACT_NOTIFY) about calls that make
devices, and about looks at them. With a single id, where no file can get another owner and no
process another id, it is also asked about those that change or show owners and ids: it records what
was wanted, see `listener`. In steps that are known to have another user than root it is asked about
all that may be refused to that user, too: to the kernel each process is root. Where it cannot be
asked, changes of owners and ids do nothing and succeed, because package managers would fail over
them.

Names that a machine does not have are passed over. See seccomp(2), syscalls(2).
Read next: `program`, which compiles it.
"""

import os
from collections.abc import Iterable
from typing import Any, Literal

Watch = Literal["nothing", "making", "looking", "guarding"]
"""What is handed over: no call; those that make devices; those that look at files as well; and all
that the kernel may refuse to another user than root."""

SyscallRule = dict[str, Any]
"""A rule as in the file."""

PRETENDED = """
chown chown32 fchown fchown32 fchownat lchown lchown32 setfsgid setfsgid32 setfsuid setfsuid32
setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid
setresuid32 setreuid setreuid32 setuid setuid32
""".split()

IDENTIFYING = """
getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32
getresuid getresuid32 getuid getuid32
""".split()

CREATING = "creat mkdir mkdirat openat2 symlink symlinkat".split()
CREATE, CREATE_NAMELESS = 0o100, 0o20000000
"""O_CREAT, and the bit that O_TMPFILE has besides."""
RECORDING = "fremovexattr fsetxattr lremovexattr lsetxattr removexattr setxattr".split()
"""One attribute is where owners are recorded."""
GUARDED = """
access chdir chmod faccessat faccessat2 fchdir fchmod fchmodat fchmodat2 futimesat link linkat open
openat rename renameat renameat2 rmdir truncate truncate64 unlink unlinkat utime utimensat
utimensat_time64 utimes
""".split()
KEEPCAPS = 8
"""PR_SET_KEEPCAPS: the capabilities of a process may survive its change of user."""
LOCKS = 10
"""RLIMIT_LOCKS, in which `listener.identities` keeps who a process is: only that may set it."""

MAKING = (("mknod", 1), ("mknodat", 2))
"""Each with the argument that holds the type of the node."""
DEVICE_TYPES = (0o020000, 0o060000)
OTHER_TYPES = (0, 0o010000, 0o040000, 0o100000, 0o120000, 0o140000)
TYPE_MASK = 0o170000

STANDARD_FILES = 2
"""Descriptors up to this one are a terminal or pipes, which each program looks at."""
AT_FILE = ("fstat", "fstat64", "newfstatat", "fstatat64")
"""These begin with a descriptor."""
LOOKING = "lstat lstat64 stat stat64".split()
SHOWN = (0x1, 0x2, 0x8, 0x10)
"""What the executor may change of what statx(2) is asked for: STATX_TYPE, _MODE, _UID, _GID."""

_ASK, _ALLOW, _PRETEND = "SCMP_ACT_NOTIFY", "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"


def profile() -> bytes:
    """The text of policy.json."""
    with open(os.path.join(os.path.dirname(__file__), "policy.json"), "rb") as file:
        return file.read()


def rules(watch: Watch, *, single_id: bool) -> list[SyscallRule]:
    """The rules that come before those of the file. Where the arguments of a call count, there is
    one that allows it with all others."""
    if watch == "nothing":
        return [_rule(_PRETEND, *PRETENDED)] if single_id else []
    found = _owning(watch) if single_id else _making()
    found.append(_rule(_ASK, "chroot"))  # What resolves paths of processes has to know.
    if watch != "making":
        found.append(_rule(_ASK, *LOOKING))
        for bit in SHOWN:
            found += _masked(_ASK, "statx", 3, bit, (bit,))
        found += _masked(_ALLOW, "statx", 3, sum(SHOWN), (0,))
        for name in AT_FILE:
            found.append(_rule(_ASK, name, args=[_test(0, "GT", STANDARD_FILES)]))
            found.append(_rule(_ALLOW, name, args=[_test(0, "LE", STANDARD_FILES)]))
    return found


def _making() -> list[SyscallRule]:
    """Calls that make devices."""
    found: list[SyscallRule] = []
    for name, argument in MAKING:
        found += _masked(_ASK, name, argument, TYPE_MASK, DEVICE_TYPES)
        found += _masked(_ALLOW, name, argument, TYPE_MASK, OTHER_TYPES)
    return found


def _owning(watch: Watch) -> list[SyscallRule]:
    """Calls about owners, where there is one id; and all that make files."""
    found = [_rule(_ASK, *PRETENDED, *IDENTIFYING, *CREATING, *RECORDING)]
    found.append(_rule(_ASK, *(name for name, _ in MAKING)))
    if watch != "making":
        found.append(_rule(_ASK, "execve", "execveat"))
    if watch == "guarding":
        found.append(_rule(_ASK, *GUARDED))
    making = (CREATE, CREATE_NAMELESS, CREATE | CREATE_NAMELESS)
    for name, argument in () if watch == "guarding" else (("open", 1), ("openat", 2)):
        found += _masked(_ASK, name, argument, making[-1], making)
        found += _masked(_ALLOW, name, argument, making[-1], (0,))
    found.append(_rule(_ASK, "prctl", args=[_test(0, "EQ", KEEPCAPS)]))
    found.append(_rule(_ALLOW, "prctl", args=[_test(0, "NE", KEEPCAPS)]))
    for name, argument in (("setrlimit", 0), ("prlimit64", 1)):
        # To set the limit in which we keep something succeeds, and does nothing.
        ours, new = _test(argument, "EQ", LOCKS), argument + 1
        found.append(_rule(_PRETEND, name, args=[ours, _test(new, "NE", 0)]))
        found.append(_rule(_ALLOW, name, args=[ours, _test(new, "EQ", 0)]))
        found.append(_rule(_ALLOW, name, args=[_test(argument, "NE", LOCKS)]))
    return found


def _masked(
    action: str, name: str, argument: int, mask: int, values: Iterable[int]
) -> Iterable[SyscallRule]:
    for value in values:
        test = {**_test(argument, "MASKED_EQ", mask), "valueTwo": value}
        yield _rule(action, name, args=[test])


def _test(argument: int, operator: str, value: int) -> dict[str, Any]:
    return {"index": argument, "op": f"SCMP_CMP_{operator}", "value": value}


def _rule(action: str, *names: str, args: Iterable[dict[str, Any]] = ()) -> SyscallRule:
    return {"names": names, "action": action, "errnoRet": 0, "args": args}
