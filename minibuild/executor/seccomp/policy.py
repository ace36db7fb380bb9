"""Which system calls a sandboxed step may make. The policy itself is data: policy.json.

It has the form of Docker's seccomp profiles (docs.docker.com, "Seccomp security profiles"; the OCI
runtime spec, config-linux.md, has the words), and its answers are those that Docker and BuildKit
give a container without extra capabilities. So a build that works there works here, and the other
way round. What is not listed gets EPERM, as a privilege that is lacking. Of the form's many fields
it needs `names`, `action`, `errnoRet`, `args`, and `arches` in `includes` and `excludes`.

Here is what that form has no words for:

- `PRETENDED` calls are for user namespaces with a single id: there no file can get another owner
  and no process another id. They are handed to the executor, which records what was wanted, and so
  are those of `IDENTIFYING` and `CREATING`: see `listener`. Where calls cannot be handed over,
  `PRETENDED` ones do nothing and succeed, because package managers would fail over them.
- `MAKING` and `LOOKING` calls are handed over in all user namespaces, `EXECUTING` ones in those
  with a single id.

Names that a machine does not have are passed over. See seccomp(2), syscalls(2).
Read next: `program`, which compiles it.
"""

import os
from typing import Literal

PRETENDED = tuple(
    """
chown chown32 fchown fchown32 fchownat lchown lchown32 setfsgid setfsgid32 setfsuid setfsuid32
setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid
setresuid32 setreuid setreuid32 setuid setuid32
""".split()
)

IDENTIFYING = tuple(
    """
getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32
getresuid getresuid32 getuid getuid32
""".split()
)

CREATING = tuple("creat mkdir mkdirat openat2 symlink symlinkat".split())
OPENING = (("open", 1), ("openat", 2))
"""Each with the argument that says whether it makes a file, by O_CREAT or O_TMPFILE."""
CREATE, CREATE_NAMELESS = 0o100, 0o20000000
RECORDING = tuple("fremovexattr fsetxattr lremovexattr lsetxattr removexattr setxattr".split())
"""One attribute is where owners are recorded."""
EXECUTING = ("execve", "execveat")
KEEPING = ("prctl", 0, 8)
"""PR_SET_KEEPCAPS: the capabilities of a process may survive its change of user."""
LIMITING = ("setrlimit", 0), ("prlimit64", 1)
LOCKS = 10
"""RLIMIT_LOCKS, in which `listener.identities` keeps who a process is: only that may set it."""
ROOTING = ("chroot",)
"""Nothing is done about it; but what resolves paths of processes has to know."""

Watch = Literal["nothing", "making", "looking"]
"""What is handed over: no call, those that make devices, or those that look at files as well."""

MAKING = (("mknod", 1), ("mknodat", 2))
"""Each with the argument that holds the type of the node."""
DEVICE_TYPES = (0o020000, 0o060000)
OTHER_TYPES = (0, 0o010000, 0o040000, 0o100000, 0o120000, 0o140000)
TYPE_MASK = 0o170000

STANDARD_FILES = 2
"""Descriptors up to this one are a terminal or pipes, which each program looks at."""
AT_FILE = (("fstat", 0), ("fstat64", 0), ("newfstatat", 0), ("fstatat64", 0))
"""Calls of `LOOKING` with the argument that holds a descriptor."""
LOOKING = tuple("fstat fstat64 fstatat64 lstat lstat64 newfstatat stat stat64 statx".split())


def profile() -> bytes:
    """The text of policy.json."""
    with open(os.path.join(os.path.dirname(__file__), "policy.json"), "rb") as file:
        return file.read()
