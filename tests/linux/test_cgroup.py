"""Where cgroups are, told from the texts of /proc; and the program that lists devices."""

import pytest

from minibuild.linux import bpf, cgroup
from minibuild.linux.cgroup import Hierarchy

UNIFIED = "31 23 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
# A container with a group of its own, over the machine's mount that it inherited.
COVERED = (
    "30 23 0:27 /.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    "31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
)
# A container without a cgroup namespace: only its own group is mounted.
BOUND = "31 23 0:27 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
BOTH = (
    "28 21 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw\n"
    "29 28 0:23 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "30 28 0:24 /a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "31 28 0:25 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    "32 28 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)
CASES = [
    (UNIFIED, "0::/user.slice/x.scope\n", {"": "/sys/fs/cgroup/user.slice/x.scope"}),
    (UNIFIED, "0::/\n", {"": "/sys/fs/cgroup"}),
    (COVERED, "0::/\n", {"": "/sys/fs/cgroup"}),
    (BOUND, "0::/docker/abc/x\n", {"": "/sys/fs/cgroup/x"}),
    (BOUND, "0::/docker/abcd\n", {}),
    (
        BOTH,
        "4:memory:/a/b\n3:cpu,cpuacct:/c:d\n1:name=systemd:/\n0::/e\n",
        {
            "cpu,cpuacct": "/sys/fs/cgroup/cpu,cpuacct/c:d",
            "memory": "/sys/fs/cgroup/memory/b",
            "name=systemd": "/sys/fs/cgroup/systemd",
            "": "/sys/fs/cgroup/unified/e",
        },
    ),
    (BOTH, "", {}),
    ("", "0::/\n", {}),
]


@pytest.mark.parametrize(("mounts", "own", "expected"), CASES)
def test_hierarchies(
    monkeypatch: pytest.MonkeyPatch, mounts: str, own: str, expected: dict[str, str]
) -> None:
    texts = {"/proc/self/mountinfo": mounts, "/proc/self/cgroup": own}
    monkeypatch.setattr(cgroup, "read_text", lambda path: texts.get(path, "memory pids"))
    unified = frozenset({"memory", "pids"})
    assert {h.path: h for h in cgroup.hierarchies()} == {
        path: Hierarchy(1, frozenset(key.split(",")), path) if key else Hierarchy(2, unified, path)
        for key, path in expected.items()
    }


def allowed(program: bytes, kind: int, access: int, major: int, minor: int) -> bool:
    """What a program of devices answers, worked out as the kernel does (bpf_design_QA.rst)."""
    context = {0: access << 16 | kind, 4: major, 8: minor}
    registers = [0] * 11
    at = 0
    while True:
        code, target, source, jump, number = decoded(program, at)
        at += 1
        if code == 0x61:
            registers[target] = context[jump]
        elif code == 0xBF:
            registers[target] = registers[source]
        elif code == 0xB7:
            registers[target] = number
        elif code == 0x57:
            registers[target] &= number
        elif code == 0x77:
            registers[target] >>= number
        elif code == 0x55:
            at += jump if registers[target] != number else 0
        else:
            assert code == 0x95
            return bool(registers[0])


def decoded(program: bytes, at: int) -> tuple[int, int, int, int, int]:
    word = program[8 * at : 8 * at + 8]
    low, high = word[1] & 15, word[1] >> 4
    jump = int.from_bytes(word[2:4], "little", signed=True)
    return word[0], low, high, jump, int.from_bytes(word[4:8], "little", signed=True)


BLOCK, CHARACTER, MAKE, READ, WRITE = 1, 2, 1, 2, 4


@pytest.mark.parametrize(
    ("kind", "access", "major", "minor", "expected"),
    [
        (CHARACTER, READ | WRITE, 1, 3, True),
        (CHARACTER, READ, 1, 4, False),
        (CHARACTER, READ, 3, 1, False),
        (BLOCK, READ, 1, 3, False),
        (BLOCK, MAKE, 8, 0, True),
        (CHARACTER, MAKE, 10, 229, True),
        (CHARACTER, MAKE | READ, 10, 229, False),
        (CHARACTER, WRITE, 136, 77, True),
        (BLOCK, WRITE, 136, 77, False),
        (CHARACTER, READ, 0, 0, False),
    ],
)
def test_device_program(kind: int, access: int, major: int, minor: int, expected: bool) -> None:
    program = bpf.device_program([(1, 3), (136, -1), (5, 2)])
    assert allowed(program, kind, access, major, minor) == expected
