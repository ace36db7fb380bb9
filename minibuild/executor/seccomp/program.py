"""The policy as a program of the kernel's packet filter, compiled once per installation.

Comes in: folders to keep it in. Goes out: BPF as `linux.unotify` takes it. libseccomp
compiles it, which takes 25 ms with its loading, so the result is a file, named by a digest of all
that it depends on. It lies beside the code that Python compiled, so that a new store has it, too;
or in the store, if nothing can be written there. See seccomp(2), seccomp_export_bpf(3).

A call that is newer than the policy gets ENOSYS, as if the kernel did not have it: libraries then
fall back to an older one, where EPERM would make them give up. libseccomp cannot say that, so a few
instructions in front of its program do. runc does the same.
"""

import os
import struct
import sys
from collections.abc import Container
from typing import Any

from minibuild.digest import digest_bytes, digest_hex
from minibuild.errors import HostError, lack
from minibuild.executor.seccomp import policy
from minibuild.linux.descriptors import replacing

_ENOSYS = 38
_BINARY_TREE = 2
_SHA_BYTES = 32
_NEEDED_BYTES = 48 << 20
"""A thread that gets no arena of its own from the C library takes a page for each small thing."""


# linux/filter.h: struct sock_filter, and the instructions that are needed. linux/seccomp.h: where a
# call's number and the machine's are, and how an answer is written.
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _EQUAL, _GREATER, _GREATER_OR_EQUAL, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x06
_NUMBER, _MACHINE = 0, 4
_ERRNO = 0x00050000
_X32 = 0x40000000
"""The numbers of x32, a second way to call on x86_64, start here. Unknown ones get EPERM."""


def folders(store: str) -> list[str]:
    """Where programs are kept: for all stores, or in a folder of this one."""
    cached = __spec__ and __spec__.cached
    beside = [os.path.dirname(cached)] if cached and not sys.dont_write_bytecode else []
    return [*beside, store]


def filter_program(
    *folders: str,
    sandbox: bool,
    single_id: bool,
    optional: bool,
    watch: policy.Watch = "nothing",
) -> bytes:
    """The filter, from one of the folders or made now and kept in the first that takes it; empty if
    nothing is to be filtered.

    `optional`: without libseccomp a step in a user namespace runs unfiltered, because the
    namespace confines it already. Real root is not let loose without a filter: `HostError`.
    """
    if not sandbox and not single_id and watch == "nothing":
        return b""
    name = f"seccomp-{_key(sandbox, single_id, watch)}.bpf"
    paths = [os.path.join(folder, name) for folder in folders]
    for path in paths:
        if program := _kept(path):
            return program
    try:
        program = compile_filter(sandbox=sandbox, single_id=single_id, watch=watch)
    except (ImportError, OSError, RuntimeError) as error:
        if lacking := lack(error):
            raise lacking from error
        if optional:
            return b""
        raise HostError(
            f"cannot compile the system call filter: {error}",
            hint="install libseccomp 2.5 or newer (Debian: libseccomp2, Alpine: libseccomp), or "
            "build without root",
        ) from error
    _ = any(_keep(path, program) for path in paths)
    return program


def _kept(path: str) -> bytes:
    """The program in the file, which begins with its hash: a power cut may have left a part of it,
    and with half a program no step could start. Nothing if it is not whole."""
    try:
        with open(path, "rb") as file:
            sha, program = file.read(_SHA_BYTES), file.read()
    except OSError:
        return b""
    return program if sha == _sha(program) else b""


def _keep(path: str, program: bytes) -> bool:
    """Write the file, if that can be: it saves time and no more."""
    try:
        with replacing(path) as file:
            file.write(_sha(program) + program)
    except OSError:
        return False
    return True


def _sha(program: bytes) -> bytes:
    return bytes.fromhex(digest_hex(digest_bytes(program)))


def _key(sandbox: bool, single_id: bool, watch: policy.Watch) -> str:
    parts = (
        os.uname().machine.encode(),
        _library_version().encode(),
        f"{sandbox} {single_id} {watch}".encode(),
        policy.profile(),
        repr(policy.rules(watch, single_id=single_id)).encode(),
    )
    return digest_hex(digest_bytes(b"\n".join(parts)))[:16]


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
    import json
    import mmap

    import pyseccomp

    # libseccomp goes on without memory that it did not get, and crashes: so ask for some first.
    mmap.mmap(-1, _NEEDED_BYTES).close()
    profile = json.loads(policy.profile())
    errno = pyseccomp.ERRNO(profile["defaultErrnoRet"])
    made = pyseccomp.SyscallFilter(errno if sandbox else pyseccomp.ALLOW)
    made.set_attr(pyseccomp.Attr.CTL_NNP, 0)
    machines = _machines(profile)
    for name in machines[1:]:
        made.add_arch(getattr(pyseccomp.Arch, name))
    try:
        # A tree instead of a list: ten comparisons for a call instead of hundreds.
        made.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, _BINARY_TREE)
    except (AttributeError, OSError, ValueError):
        pass  # libseccomp before 2.5.
    first = policy.rules(watch, single_id=single_id)
    default = errno if sandbox else pyseccomp.ALLOW
    _add_rules(made, first, default, machines[0])
    if not sandbox:
        return _exported(made)
    _add_rules(made, profile["syscalls"], default, machines[0], decided=_names(first))
    return _newer_calls(profile, machines) + _exported(made)


def _machines(profile: dict[str, Any]) -> list[str]:
    """This machine, as libseccomp names it, and the others whose programs it runs."""
    own = os.uname().machine.upper()
    for entry in profile["archMap"]:
        if entry["architecture"] == f"SCMP_ARCH_{own}":
            others = entry["subArchitectures"]
            return [own, *(name.removeprefix("SCMP_ARCH_") for name in others)]
    return [own]


def _add_rules(
    made: Any,
    rules: list[policy.SyscallRule],
    default: int,
    machine: str,
    decided: Container[str] = (),
) -> None:
    """Add rules, but for the names that are decided upon already. libseccomp refuses a rule that
    says what becomes of the rest anyway."""
    import pyseccomp

    actions = {"SCMP_ACT_ALLOW": pyseccomp.ALLOW, "SCMP_ACT_NOTIFY": pyseccomp.NOTIFY}
    for rule in rules:
        wanted = rule.get("includes", {}).get("arches", [machine.lower()])
        unwanted = rule.get("excludes", {}).get("arches", [])
        action = actions.get(rule["action"]) or pyseccomp.ERRNO(rule["errnoRet"])
        if machine.lower() not in wanted or machine.lower() in unwanted or action == default:
            continue
        arguments = [_argument(test) for test in rule.get("args", ())]
        for name in rule["names"]:
            # A name of another machine, or one that this libseccomp does not know yet: -1.
            number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
            if number != -1 and name not in decided:
                made.add_rule(action, number, *arguments)


def _names(rules: list[policy.SyscallRule]) -> set[str]:
    return {name for rule in rules for name in rule["names"]}


def _argument(test: dict[str, Any]) -> Any:
    """A test of an argument. MASKED_EQ has the mask first, then what is left by it."""
    import pyseccomp

    operator = getattr(pyseccomp, test["op"].removeprefix("SCMP_CMP_"))
    return pyseccomp.Arg(test["index"], operator, test["value"], test.get("valueTwo", 0))


def _newer_calls(profile: dict[str, Any], machines: list[str]) -> bytes:
    """Instructions that answer ENOSYS to numbers beyond the last one that the policy knows."""
    import pyseccomp

    names = _names(profile["syscalls"])
    code = [(_LOAD, 0, 0, _MACHINE)]
    machines = [machine for machine in machines if machine != "X32"]
    for index, machine in enumerate(machines, start=1):
        arch = getattr(pyseccomp.Arch, machine)
        last = max(pyseccomp.resolve_syscall(arch, name) for name in names)
        # A jump says how many instructions it skips: those of the machines to come, too, because
        # what is loaded then is a call's number and no longer a machine's.
        others = 5 * (len(machines) - index)
        code += [
            (_EQUAL, 0, 4, int(arch)),
            (_LOAD, 0, 0, _NUMBER),
            (_GREATER_OR_EQUAL, others + 2, 0, _X32),
            (_GREATER, 0, others + 1, last),
            (_RETURN, 0, 0, _ERRNO | _ENOSYS),
        ]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in code)


def _exported(made: Any) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()
