"""The policy as a program of the kernel: what a call gets for an answer, asked by making it."""

import errno
import json
import os
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from minibuild.errors import HostError
from minibuild.executor.seccomp import policy
from minibuild.executor.seccomp.program import compile_filter, filter_program, folders

CLONE_NEWUSER, SIGCHLD = 0x10000000, 17
AF_UNIX, AF_ALG, AF_VSOCK, SOCK_STREAM = 1, 38, 40, 1
ADDR_NO_RANDOMIZE = 0x0040000

CALLS: dict[str, tuple[str, tuple[int, ...], int]] = {
    "no new user namespace": ("clone", (CLONE_NEWUSER | SIGCHLD,), errno.EPERM),
    "nor one among others": ("clone", (CLONE_NEWUSER | 0x20000 | SIGCHLD,), errno.EPERM),
    "clone3 is not there": ("clone3", (0, 0), errno.ENOSYS),
    "unshare": ("unshare", (CLONE_NEWUSER,), errno.EPERM),
    "a socket": ("socket", (AF_UNIX, SOCK_STREAM, 0), 0),
    "no socket to the hypervisor": ("socket", (AF_VSOCK, SOCK_STREAM, 0), errno.EPERM),
    "nor to the kernel's ciphers": ("socket", (AF_ALG, SOCK_STREAM, 0), errno.EPERM),
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
    "the log of the kernel": ("syslog", (10, 0, 0), errno.EPERM),
    "a call that is in no list": ("sysfs", (3,), errno.EPERM),
}

CALLER = """
import ctypes, json, sys
from minibuild.linux import syscalls, unotify
libc = ctypes.CDLL(None, use_errno=True)
syscalls.prctl(38, 1)  # PR_SET_NO_NEW_PRIVS: without root no filter is taken otherwise
unotify.load_filter(bytes.fromhex(sys.argv[1]))
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
    """No name is listed twice, but for those whose arguments count."""
    rules = json.loads(policy.profile())["syscalls"]
    plain = Counter(name for rule in rules if "args" not in rule for name in rule["names"])
    tested = {name for rule in rules if "args" in rule for name in rule["names"]}
    assert not [name for name, count in plain.items() if count > 1]
    assert not tested & set(plain)
    assert tested == {"clone", "socket", "personality"}


def answer(program: bytes, machine: int, number: int, *arguments: int) -> int | None:
    """What a filter says to a call, worked out as the kernel does (linux/filter.h): an errno, 0 if
    it lets the call pass, or None if it is handed over. Further arguments are zeros."""
    given = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", number, machine, 0, *given)
    code = list(struct.iter_unpack("=HBBI", program))
    loaded, at = 0, 0
    while True:
        operation, yes, no, value = code[at]
        at += 1
        if operation == 0x20:
            (loaded,) = struct.unpack_from("=I", data, value)
        elif operation == 0x06:
            if value == 0x7FC00000:
                return None
            return value & 0xFFFF if value & 0x7FFF0000 == 0x00050000 else 0
        elif operation == 0x05:
            at += value
        elif operation == 0x54:
            loaded &= value
        else:
            tests = {0x15: loaded == value, 0x25: loaded > value, 0x35: loaded >= value}
            at += yes if tests[operation] else no


X86_64, X86, X32 = 0xC000003E, 0x40000003, 0x40000000
ANSWERS = [
    (X86_64, 0, 0, "read"),
    (X86_64, 139, errno.EPERM, "sysfs"),
    (X86_64, 440, errno.EPERM, "process_madvise"),
    (X86_64, 435, errno.ENOSYS, "clone3"),
    (X86_64, 1000, errno.ENOSYS, "newer than the policy"),
    (X86, 3, 0, "read"),
    (X86, 135, errno.EPERM, "sysfs"),
    (X86, 1000, errno.ENOSYS, "newer than the policy"),
    (X86_64, X32 + 0, 0, "read"),
    (X86_64, X32 + 1000, errno.EPERM, "newer than the policy"),
]


@pytest.mark.needs("seccomp")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
@pytest.mark.parametrize(("machine", "number", "expected", "name"), ANSWERS)
def test_answers_by_machine(machine: int, number: int, expected: int, name: str) -> None:
    """Programs of 32 bits, too; and calls that the policy cannot know are not there."""
    assert answer(compile_filter(sandbox=True, single_id=False), machine, number) == expected, name


ASKED: list[tuple[policy.Watch, int, tuple[int, ...], bool, str]] = [
    ("looking", 332, (0, 0, 0, 0x10), True, "statx of the group"),
    ("looking", 332, (0, 0, 0, 0x7FF), True, "statx of all"),
    ("looking", 332, (0, 0, 0, 0x7E4), False, "statx of what is not changed"),
    ("looking", 257, (0, 0, 0o2), False, "openat to write"),
    ("looking", 257, (0, 0, 0o102), True, "openat that makes a file"),
    ("looking", 87, (), False, "unlink"),
    ("guarding", 257, (), True, "openat"),
    ("guarding", 87, (), True, "unlink"),
    ("guarding", 0, (), False, "read"),
]


@pytest.mark.needs("seccomp")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
@pytest.mark.parametrize("sandbox", [True, False])
def test_what_is_handed_over(sandbox: bool) -> None:
    """Where owners are recorded: no more calls than it takes."""
    for watch, number, arguments, handed_over, name in ASKED:
        program = compile_filter(sandbox=sandbox, single_id=True, watch=watch)
        assert (answer(program, X86_64, number, *arguments) is None) == handed_over, name


@pytest.mark.needs("seccomp")
@pytest.mark.parametrize("length", [0, 1, 40, 512, -8, -1, None])
def test_a_kept_program_that_is_not_whole_is_made_again(tmp_path: Path, length: int | None) -> None:
    """After a power cut a file may be there with a part of its contents, or with other bytes: no
    step runs unfiltered, and none fails for it."""
    program = filter_program(str(tmp_path), sandbox=True, single_id=False, optional=False)
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(bytes(len(whole)) if length is None else whole[:length])
    again = filter_program(str(tmp_path), sandbox=True, single_id=False, optional=False)
    assert again == program
    assert kept.read_bytes() == whole


@pytest.mark.needs("seccomp")
def test_a_program_need_not_be_kept(tmp_path: Path) -> None:
    """Where it cannot be written, it is made each time."""
    folder = str(tmp_path / "gone")
    assert filter_program(folder, sandbox=True, single_id=False, optional=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.needs("seccomp")
def test_a_program_is_kept_for_all_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first folder that takes it, and found in each of them."""
    gone, all_stores, store = (str(tmp_path / name) for name in ("gone", "all", "store"))
    for folder in (all_stores, store):
        os.mkdir(folder)
    program = filter_program(gone, all_stores, store, sandbox=True, single_id=False, optional=False)
    assert len(os.listdir(all_stores)) == 1 and not os.listdir(store)
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    again = filter_program(gone, all_stores, sandbox=True, single_id=False, optional=False)
    assert again == program


def test_programs_are_kept_beside_the_code_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """If that is kept."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    beside, store = folders("/store")
    assert os.path.basename(beside) == "__pycache__" and store == "/store"
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert folders("/store") == ["/store"]


@pytest.mark.needs("seccomp")
@pytest.mark.parametrize("optional", [False, True])
def test_too_little_memory_for_a_filter(tmp_path: Path, optional: bool) -> None:
    """libseccomp would crash; and no step runs unfiltered because memory is short."""
    program = f"""
import resource
from minibuild.errors import HostError
from minibuild.executor.seccomp.program import filter_program
import minibuild.executor.seccomp.policy, ctypes, json, mmap, pyseccomp
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + (3 << 20), -1))
try:
    filter_program({str(tmp_path)!r}, sandbox=True, single_id=False, optional={optional})
except HostError as error:
    print(error, error.hint)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "memory" in done.stdout and "ulimit -v" in done.stdout


def test_root_runs_no_step_without_a_filter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user namespace confines a step even so."""
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    with pytest.raises(HostError, match="cannot compile the system call filter"):
        filter_program(str(tmp_path), sandbox=True, single_id=False, optional=False)
    assert filter_program(str(tmp_path), sandbox=True, single_id=False, optional=True) == b""
