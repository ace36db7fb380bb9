"""Calls that are handed over: arguments that no sane program gives.

The program of the step is the machine's own Python, mounted into it: a shell cannot make a system
call with a wild pointer.
"""

import os
from collections.abc import Iterator

import pytest

from minibuild.executor.api import BindPath, Step, StepExit
from tests.executor.steps import Account, Case, account, run

PYTHON = "/usr/bin/python3"
FOLDERS = ("/usr", "/lib", "/lib64")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("busybox", "overlay", "trusted_xattr"),
    pytest.mark.skipif(not os.path.exists(PYTHON), reason="no Python of the system"),
]


@pytest.fixture(scope="module", params=["own", "subids", "single"])
def who(request: pytest.FixtureRequest) -> Iterator[Account]:
    """Each account that can be had here."""
    yield account(request.param)


def python(script: str) -> Case:
    """A step that runs a script; it speaks of mknod, so everything is watched."""
    mounts = tuple(BindPath(path, path, readonly=True) for path in FOLDERS if os.path.exists(path))
    args = (PYTHON, "-I", "-S", "-c", f"# mknod\n{script}")
    return Case(Step((), args, (("PATH", "/bin"),), mounts=mounts))


WILD = """
import ctypes, os, random, threading
call = ctypes.CDLL(None).syscall
machine = os.uname().machine
numbers = [4, 5, 6, 133, 259, 262, 332, 4 | 1 << 30] if machine == "x86_64" else [33, 79, 80, 291]
texts = [b"/n", b"", b".", b"..", b"a" * 5000, b"/" + b"x/" * 2040, b"\\xff", b"/proc/1/root/n"]
room = [ctypes.create_string_buffer(text, 9000) for text in texts]
wild = [0, 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 4096, 0x7fffffffffff, 4096]
plain = [2, (1 << 64) - 100, (1 << 32) - 100, 0o20644, 0o60600 | 1 << 40, 0x1000, 0x100, 0x103]
chance = random.Random(4516)


def one():
    return chance.choice([*map(ctypes.addressof, room), *wild, *plain])


def some(count):
    for _ in range(count):
        call(chance.choice(numbers), *(ctypes.c_ulong(one()) for _ in range(5)))


threads = [threading.Thread(target=some, args=(1500,)) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(30):
    if not os.fork():
        threading.Timer(0.001, os._exit, (0,)).start()  # Dies with calls on their way.
        some(1 << 30)
    os.wait()
for thread in threads:
    thread.join()
os.mknod("/after", 0o20644, os.makedev(1, 3))
print(oct(os.stat("/after").st_mode))
"""


def test_wild_arguments(who: Account) -> None:
    """The step goes on, and the one that watches it as well."""
    (found,) = run(who, [python(WILD)])
    assert found.exit == StepExit(0), found
    assert found.out == "0o20644\n"
