"""The policy as a program of the kernel's packet filter, compiled once per machine.

Comes in: a folder to keep it in. Goes out: BPF as `load_seccomp_filter` takes it. libseccomp
compiles it, which takes 50 ms with its loading, so the result is a file, named by a digest of all
that it depends on. See seccomp(2), seccomp_export_bpf(3).
"""

import os
import threading
from typing import Any

from minibuild.digest import digest_bytes, digest_hex
from minibuild.errors import HostError
from minibuild.executor.seccomp import policy

_EPERM, _ENOSYS = 1, 38
_BINARY_TREE = 2
_COMPAT = {"x86_64": ("x86", "x32"), "aarch64": ("arm",), "s390x": ("s390",)}


def filter_program(
    folder: str,
    *,
    sandbox: bool,
    single_id: bool,
    optional: bool,
    watch: policy.Watch = "nothing",
) -> bytes:
    """The filter, from the folder or made now; empty if nothing is to be filtered.

    `optional`: without libseccomp a step in a user namespace runs unfiltered, because the
    namespace confines it already. Real root is not let loose without a filter: `HostError`.
    """
    if not sandbox and not single_id and watch == "nothing":
        return b""
    path = os.path.join(folder, f"seccomp-{_key(sandbox, single_id, watch)}.bpf")
    if program := _kept(path):
        return program
    try:
        program = compile_filter(sandbox=sandbox, single_id=single_id, watch=watch)
    except (ImportError, OSError, RuntimeError) as error:
        if optional:
            return b""
        raise HostError(
            f"cannot compile the system call filter: {error}",
            hint="install libseccomp 2.5 or newer (Debian: libseccomp2, Alpine: libseccomp), or "
            "build without root",
        ) from error
    _keep(path, program)
    return program


def _kept(path: str) -> bytes:
    """The program in the file; nothing if there is none, or if a power cut left it empty."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _keep(path: str, program: bytes) -> None:
    # Another thread or process may write the same; each has a name of its own.
    hidden = f"{path}.{os.getpid()}.{threading.get_native_id()}"
    with open(hidden, "wb") as file:
        file.write(program)
    os.rename(hidden, path)


def _key(sandbox: bool, single_id: bool, watch: policy.Watch) -> str:
    parts = (
        os.uname().machine,
        _library_version(),
        f"{sandbox} {single_id} {watch}",
        str(policy.ALLOWED),
        str(policy.REFUSED),
        str(policy.CONDITIONAL),
        str(policy.REFUSED_IF),
        str(policy.PRETENDED),
        str(policy.LOOKING),
    )
    return digest_hex(digest_bytes("\n".join(parts).encode()))[:16]


def _library_version() -> str:
    """Which libseccomp is installed, without loading it: its name ends in the version."""
    machine = os.uname().machine
    for folder in (f"/lib/{machine}-linux-gnu", "/usr/lib64", "/usr/lib"):
        try:
            return os.readlink(f"{folder}/libseccomp.so.2")
        except OSError:
            continue
    return ""


def compile_filter(*, sandbox: bool, single_id: bool, watch: policy.Watch = "nothing") -> bytes:
    """The filter made by libseccomp; without `sandbox` it only pretends, and refuses nothing."""
    import pyseccomp

    made = pyseccomp.SyscallFilter(pyseccomp.ERRNO(_ENOSYS) if sandbox else pyseccomp.ALLOW)
    made.set_attr(pyseccomp.Attr.CTL_NNP, 0)
    for name in _COMPAT.get(os.uname().machine, ()):
        made.add_arch(getattr(pyseccomp.Arch, name.upper()))
    try:
        # A tree instead of a list: ten comparisons for a call instead of hundreds.
        made.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, _BINARY_TREE)
    except (AttributeError, OSError, ValueError):
        pass  # libseccomp before 2.5.
    pretended = policy.PRETENDED if single_id else ()
    for name in pretended:
        _add(made, pyseccomp.ERRNO(0), name)
    watched = _add_watched(made, watch, sandbox=sandbox)
    if sandbox:
        for name in policy.ALLOWED:
            if name not in pretended and name not in watched:
                _add(made, pyseccomp.ALLOW, name)
        for name in policy.REFUSED:
            _add(made, pyseccomp.ERRNO(_EPERM), name)
        for name, condition in policy.CONDITIONAL:
            _add(made, pyseccomp.ALLOW, name, _argument(condition))
        for name, condition in policy.REFUSED_IF:
            _add(made, pyseccomp.ERRNO(_EPERM), name, _argument(condition))
    return _exported(made)


def _add_watched(made: Any, watch: policy.Watch, *, sandbox: bool) -> set[str]:
    """The rules that hand calls over; the names of the calls that they decide upon."""
    import pyseccomp

    names: set[str] = set()
    if watch == "nothing":
        return names
    for name, argument in policy.MAKING:
        names.add(name)
        rules = [(pyseccomp.NOTIFY, kind) for kind in policy.DEVICE_TYPES]
        if sandbox:  # Else that is what becomes of them anyway, and libseccomp wants no such rule.
            rules += [(pyseccomp.ALLOW, kind) for kind in policy.OTHER_TYPES]
        for action, kind in rules:
            test = policy.Condition(argument, "masked", kind, policy.TYPE_MASK)
            _add(made, action, name, _argument(test))
    if watch == "looking":
        for name in policy.LOOKING:
            names.add(name)
            _add(made, pyseccomp.NOTIFY, name)
    return names


def _argument(condition: policy.Condition) -> Any:
    import pyseccomp

    if condition.operator == "masked":
        return pyseccomp.Arg(
            condition.argument, pyseccomp.MASKED_EQ, condition.mask, condition.value
        )
    operator = pyseccomp.EQ if condition.operator == "equal" else pyseccomp.NE
    return pyseccomp.Arg(condition.argument, operator, condition.value)


def _add(made: Any, action: int, name: str, *arguments: Any) -> None:
    import pyseccomp

    # A name of another machine, or one that this libseccomp does not know yet: -1.
    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    if number != -1:
        made.add_rule(action, number, *arguments)


def _exported(made: Any) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()
