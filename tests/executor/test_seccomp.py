"""The policy as a program of the kernel: what a call gets for an answer, asked by making it."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from minibuild.errors import HostError
from minibuild.executor.seccomp import policy
from minibuild.executor.seccomp.program import compile_filter, filter_program

CLONE_NEWUSER, SIGCHLD = 0x10000000, 17
AF_UNIX, SOCK_STREAM = 1, 1
ADDR_NO_RANDOMIZE = 0x0040000

CALLS: dict[str, tuple[str, tuple[int, ...], int]] = {
    "no new user namespace": ("clone", (CLONE_NEWUSER | SIGCHLD,), errno.EPERM),
    "nor one among others": ("clone", (CLONE_NEWUSER | 0x20000 | SIGCHLD,), errno.EPERM),
    "clone3 is not there": ("clone3", (0, 0), errno.ENOSYS),
    "unshare": ("unshare", (CLONE_NEWUSER,), errno.EPERM),
    "a socket": ("socket", (AF_UNIX, SOCK_STREAM, 0), 0),
    "no socket to the hypervisor": ("socket", (policy.AF_VSOCK, SOCK_STREAM, 0), errno.EPERM),
    "which personality": ("personality", (0xFFFFFFFF,), 0),
    "the usual personality": ("personality", (0,), 0),
    "a machine of 32 bits": ("personality", (0x8,), 0),
    "an old kernel": ("personality", (0x20000,), 0),
    "addresses as they come": ("personality", (ADDR_NO_RANDOMIZE,), errno.EPERM),
    "of 32 bits, addresses as they come": ("personality", (0x40008,), errno.EPERM),
    "keys": ("keyctl", (0, 0xFFFFFFFD, 0), errno.EPERM),
    "a mount": ("mount", (0, 0, 0), errno.EPERM),
    "a new way to mount": ("fsopen", (0, 0), errno.EPERM),
    "a ring": ("io_uring_setup", (1, 0), errno.EPERM),
}

CALLER = """
import ctypes, json, sys
from minibuild.linux import syscalls
libc = ctypes.CDLL(None, use_errno=True)
syscalls.prctl(38, 1)  # PR_SET_NO_NEW_PRIVS: without root no filter is taken otherwise
syscalls.load_seccomp_filter(bytes.fromhex(sys.argv[1]))
answers = []
for number, arguments in json.loads(sys.argv[2]):
    failed = libc.syscall(number, *map(ctypes.c_ulong, arguments)) < 0
    answers.append(ctypes.get_errno() if failed else 0)
print(json.dumps(answers))
"""


@pytest.mark.needs("seccomp")
@pytest.mark.parametrize("single_id", [False, True])
def test_answers(single_id: bool) -> None:
    """The calls whose arguments count, and one of each kind."""
    import pyseccomp

    program = compile_filter(sandbox=True, single_id=single_id)
    calls = [
        (pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name), arguments)
        for name, arguments, _ in CALLS.values()
    ]
    command = [sys.executable, "-c", CALLER, program.hex(), json.dumps(calls)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answers = dict(zip(CALLS, json.loads(done.stdout), strict=True))
    assert answers == {name: answer for name, (_, _, answer) in CALLS.items()}


def test_each_call_has_one_answer() -> None:
    """What is allowed is not refused as well, and what depends on arguments is nowhere else."""
    allowed, refused = set(policy.ALLOWED), set(policy.REFUSED)
    conditional = {name for name, _ in policy.CONDITIONAL}
    assert not allowed & refused
    assert not conditional & (allowed | refused)
    assert conditional == {name for name, _ in policy.REFUSED_IF}


@pytest.mark.needs("seccomp")
def test_a_kept_program_that_is_empty_is_made_anew(tmp_path: Path) -> None:
    """After a power cut a file may be there without its contents: no step runs unfiltered."""
    program = filter_program(str(tmp_path), sandbox=True, single_id=False, optional=False)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"")
    again = filter_program(str(tmp_path), sandbox=True, single_id=False, optional=False)
    assert again == program == kept.read_bytes()


def test_root_runs_no_step_without_a_filter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user namespace confines a step even so."""
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    with pytest.raises(HostError, match="cannot compile the system call filter"):
        filter_program(str(tmp_path), sandbox=True, single_id=False, optional=False)
    assert filter_program(str(tmp_path), sandbox=True, single_id=False, optional=True) == b""
