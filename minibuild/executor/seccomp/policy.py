"""Which system calls a sandboxed step may make. The policy itself is data: policy.json.

It has the form of Docker's seccomp profiles (docs.docker.com, "Seccomp security profiles"; the OCI
runtime spec, config-linux.md, has the words), and its answers are those that Docker and BuildKit
give a container without extra capabilities. So a build that works there works here, and the other
way round. What is not listed gets EPERM, as a privilege that is lacking. Of the form's many fields
it needs `names`, `action`, `errnoRet`, `args`, and `arches` in `includes` and `excludes`.

Here is what that form has no words for:

- `PRETENDED` calls do nothing and succeed. They are for user namespaces with a single id: there no
  file can get another owner and no process another id, and package managers, which try, would fail
  over what is of no consequence in a build. Every file then belongs to root in the image.
- `MAKING` and `LOOKING` calls are handed to the executor, in user namespaces only: see `watch`.

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

Watch = Literal["nothing", "making", "looking"]
"""What is handed over: no call, those that make devices, or those that look at files as well."""

MAKING = (("mknod", 1), ("mknodat", 2))
"""Each with the argument that holds the type of the node."""
DEVICE_TYPES = (0o020000, 0o060000)
OTHER_TYPES = (0, 0o010000, 0o040000, 0o100000, 0o120000, 0o140000)
TYPE_MASK = 0o170000

LOOKING = tuple("fstat fstat64 fstatat64 lstat lstat64 newfstatat stat stat64 statx".split())


def profile() -> bytes:
    """The text of policy.json."""
    with open(os.path.join(os.path.dirname(__file__), "policy.json"), "rb") as file:
        return file.read()
