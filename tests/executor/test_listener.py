"""Calls that are handed over: owners, users, and arguments that no sane program gives.

The program of the step is the machine's own Python, mounted into it: a shell cannot make a system
call with a wild pointer.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from minibuild.executor.api import BindPath, Step, StepExit
from minibuild.snapshot.api import Mount
from tests.executor.steps import Account, Case, Outcome, account, run, sh
from tests.support import probes
from tests.support.waiting import comes

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
    return Case(Step(Mount(()), args, (("PATH", "/bin"),), mounts=mounts))


WILD = """
import ctypes, os, random, threading
call = ctypes.CDLL(None).syscall
machine = os.uname().machine
owners = [92, 93, 94, 260, 188, 198, 120, 115]
numbers = [4, 5, 6, 133, 259, 262, 332, 4 | 1 << 30, *owners]
if machine != "x86_64":
    numbers = [33, 79, 80, 291, 54, 55, 5, 14, 148, 158]
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


# --- owners, as programs see them and as they are left ------------------------------------------

SEEN = """
seen() { for path; do echo $path $(stat -c %u:%g:%a $path); done; }
"""
OWNERS = {
    "of each kind": (
        "mkdir /d; touch /d/f; ln -s f /d/l; mkfifo /d/p; chown -hR 5:6 /d; seen /d /d/*",
        {"d": (5, 6), "d/f": (5, 6), "d/l": (5, 6), "d/p": (5, 6)},
    ),
    "of the base": (
        "chown 5:6 /etc/group; chown -h 5 /bin/ls; seen /etc/group /bin/ls",
        {"etc/group": (5, 6), "bin/ls": (5, 0)},
    ),
    "under other names": (
        "touch /a; chown 5:6 /a; ln /a /b; mv /a /c; seen /b /c; ln -s x /k; chown -h 7 /k; "
        "mv /k /m; seen /m",
        {"b": (5, 6), "c": (5, 6), "m": (7, 0)},
    ),
    "given back": (
        "touch /a; chown 5:6 /a; chgrp 0 /a; chown 0 /a; seen /a; ln -s x /l; chown -h 5 /l; "
        "chown -h 0 /l; seen /l",
        {"a": (0, 0), "l": (0, 0)},
    ),
    "made again": (
        "touch /a; chown 5:6 /a; rm /a; touch /a; ln -s x /l; chown -h 5 /l; rm /l; ln -s x /l; "
        "seen /a /l",
        {"a": (0, 0), "l": (0, 0)},
    ),
    "set-id bits go": (
        "touch /a; chmod 6755 /a; chown 5 /a; seen /a; chmod 4755 /a; seen /a",
        {"a": (5, 0)},
    ),
    "in a mount": (
        "mkdir /dev/shm/d; chown 5:6 /dev/shm/d; ln -s x /dev/shm/l; chown -h 5:6 /dev/shm/l; "
        "seen /dev/shm/d /dev/shm/l; touch /dev/shm/f; seen /dev/shm/f",
        {},
    ),
    "copied": (
        "mkdir /d; touch /d/f; ln -s f /d/l; chown -hR 5:6 /d; cp -a /d /e; tar -C / -cf /t d; "
        "mkdir /x; tar -C /x -xf /t; seen /e /e/f /e/l; cp /d/f /g; seen /g",
        {"e/l": (5, 6), "x/d/f": (5, 6), "g": (0, 0)},
    ),
    "below another root": (
        "mkdir -p /r/bin /r/t; cp /bin/busybox /r/bin; chroot /r /bin/busybox chown 5:6 /t ../bin;"
        "ln -s /bin /r/s; chroot /r /bin/busybox chown 7 /s/busybox; seen /r/t /r/bin/busybox",
        {"r/t": (5, 6), "r/bin": (5, 6), "r/bin/busybox": (7, 0)},
    ),
    "of what a user makes": (
        "chmod 777 /; su app -c 'cd /; umask 027; mkdir d; echo 1 >f; ln -s f l; mkfifo p; (set -C;"
        "echo 2 >x); echo 3 >>f; mkdir d/e; cp f d; id -u; id -g; id -G'; seen /d /f /l /p /x /d/*;"
        "touch /root/r; seen /root/r",
        {"d": (1500, 1600), "l": (1500, 1600), "x": (1500, 1600), "d/f": (1500, 1600)},
    ),
    "of the group of a directory": (
        "mkdir -m 2777 /d; chgrp 9 /d; chmod g+s /d; su app -c 'mkdir /d/e; echo >/d/f'; seen /d/*",
        {"d/e": (1500, 9), "d/f": (1500, 9)},
    ),
    "that a user gives": (
        "mkdir -m 777 /d; su app -c 'cd /d; echo >f; chown 0 f || echo no; chgrp 1700 f && chgrp 9 "
        "f || echo no'; touch /d/r; su app -c 'chown 1500 /d/r || echo no'; seen /d/*",
        {"d/f": (1500, 1700), "d/r": (0, 0)},
    ),
}


@pytest.fixture(scope="module")
def as_root() -> dict[str, Outcome]:
    """What becomes of the steps as root of this machine, whose files are what they are."""
    if not probes.is_root():
        return {}
    return dict(zip(OWNERS, run(account("own"), _owner_cases()), strict=True))


def _owner_cases() -> list[Case]:
    return [Case(sh(f"exec 2>/dev/null; {SEEN} {script}")) for script, _ in OWNERS.values()]


def test_owners(who: Account, as_root: dict[str, Outcome]) -> None:
    found = dict(zip(OWNERS, run(who, _owner_cases()), strict=True))
    for name, (_, left) in OWNERS.items():
        outcome = found[name]
        assert outcome.exit is not None and outcome.exit.code == 0, (name, outcome)
        assert {path: outcome.left[path][2:] for path in left} == left, name
        expected = as_root.get(name, outcome)
        assert outcome.out == expected.out, name
        assert outcome.left == expected.left or who.kind == "subids", name


# --- who a process is ----------------------------------------------------------------------------

USERS = """
import ctypes, os, shutil, stat, subprocess, threading
os.umask(0)
libc = ctypes.CDLL(None)

def child(do):
    pid = os.fork()
    if not pid:
        try:
            do()
        except BaseException as error:
            show(repr(error))
        finally:
            os._exit(0)
    os.wait()

def show(*what):
    os.write(1, (" ".join(map(str, what)) + "\\n").encode())

def owner(path):
    found = os.lstat(path)
    return found.st_uid, found.st_gid

def leave():
    os.setgroups([7, 6]); os.setresgid(6, 6, 6); os.setresuid(5, 5, 5)

def refused(do, *arguments):
    try:
        do(*arguments)
    except OSError as error:
        return error.strerror

def user():
    leave()
    show(os.getresuid(), os.getresgid(), os.getgroups())
    show([refused(os.setuid, 0), refused(os.setgroups, []), refused(os.mknod, "/n", 0o20644, 259)])
    fd = os.open("/", os.O_TMPFILE | os.O_WRONLY, 0o640)
    os.link(f"self/fd/{fd}", "/tmpfile", src_dir_fd=os.open("/proc", 0))
    how = (ctypes.c_uint64 * 3)(os.O_CREAT | os.O_WRONLY, 0o600, 8)
    show(libc.syscall(437, -100, b"openat2", how, 24) > 2, owner("openat2"), owner("/tmpfile"))
    thread = threading.Thread(target=lambda: os.mkdir("/thread"))
    thread.start(); thread.join()
    subprocess.run(["/bin/mkdir", "/vfork"], close_fds=False)  # vfork(2)
    show(owner("/thread"), owner("/vfork"))
    # What is copied with a file is no way to give it away.
    open("/copied", "w").close()
    shutil.copystat("/root_s", "/copied")
    show(owner("/copied"))
    subprocess.run(["/setuid", "-I", "-S", "-c", "import os; print(os.getresuid(), flush=True)"])

def kept():
    libc.prctl(8, 1, 0, 0, 0)
    os.setresuid(5, 5, 5)
    sets = (ctypes.c_uint32 * 6)()
    libc.capget(header := (ctypes.c_uint32 * 2)(0x20080522, 0), sets)
    sets[0], sets[3] = sets[1], sets[4]  # All that are permitted take effect.
    libc.capset(header, sets)
    os.setresgid(6, 6, 6)
    show(os.getuid(), os.getgid())

os.chdir("/")
os.chmod("/", 0o777)
open("/root_s", "w").close(); os.chown("/root_s", 8, 9)
shutil.copy("/usr/bin/python3", "/setuid"); os.chown("/setuid", 77, 0); os.chmod("/setuid", 0o4755)
child(user)
child(kept)
os.setegid(4); os.seteuid(3); os.mkdir("/back"); os.seteuid(0); os.mkdir("/group")
show(owner("/back"), owner("/group"), os.geteuid(), os.getegid())
"""


def test_users_of_a_process(who: Account) -> None:
    (found,) = run(who, [python(USERS)])
    assert (found.exit, found.err) == (StepExit(0), ""), found
    refused = "Operation not permitted"
    assert found.out.splitlines() == [
        "(5, 5, 5) (6, 6, 6) [6, 7]",
        str([refused] * 3),
        "True (5, 6) (5, 6)",
        "(5, 6) (5, 6)",
        "(5, 6)",
        "(5, 77, 77)",
        "5 6",
        "(3, 4) (0, 4) 0 4",
    ]


# --- calls that name nothing ----------------------------------------------------------------------

NOTHING = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)

def said(call, *arguments, **more):
    try:
        failed = call(*arguments, **more)
    except OSError as error:
        return errno.errorcode[error.errno]
    return errno.errorcode[ctypes.get_errno()] if failed else "done"

high = ctypes.c_ulong(1 << 63)

def all_of_them():
    print(said(libc.chown, None, 5, 6), said(libc.fchownat, fd, None, 5, 6, 0x1000),
          said(libc.execve, None, None, None), said(libc.chroot, None), said(libc.mkdir, None, 7))
    print(said(os.stat, ""), said(os.lstat, ""), said(os.stat, "", dir_fd=fd),
          said(os.chown, "", 5, 6))
    print(said(libc.fchown, -100, 5, 6), said(os.fstat, -100), said(libc.fchmod, -100, 0o2700))
    print(said(libc.getresuid, None, None, None), said(libc.getresgid, 1, 1, high))
    print(said(libc.fchownat, fd, b"", 5, 6, 0x1000), said(os.utime, fd), flush=True)

os.mkdir("/d"); os.chown("/d", 5, 6); os.chdir("/d")
fd = os.open("f", os.O_CREAT | os.O_RDWR); os.fchown(fd, 5, 6)
all_of_them()
os.setresgid(6, 6, 6); os.setresuid(5, 5, 5)
all_of_them()
"""


def test_calls_that_name_nothing(who: Account) -> None:
    """The working directory, which has a recorded owner, is not meant by an empty path, or by none,
    or by a number that means it elsewhere."""
    (found,) = run(who, [python(NOTHING)])
    assert (found.exit, found.err) == (StepExit(0), ""), found
    lines = found.out.splitlines()
    assert (
        lines[:5]
        == lines[5:]
        == [
            "EFAULT EFAULT EFAULT EFAULT EFAULT",
            "ENOENT ENOENT ENOENT ENOENT",
            "EBADF EBADF EBADF",
            "EFAULT EFAULT",
            "done done",
        ]
    )


# --- ends -----------------------------------------------------------------------------------------

BUSY = "while :; do mkdir /d; chown 5:6 /d; ls -ln / >/dev/null; rmdir /d; done"


def test_what_is_killed_leaves_nothing(who: Account) -> None:
    """A step that is cancelled amid calls, one that leaves busy processes behind, and one whose
    first process is killed."""
    cases = [
        Case(sh(BUSY), cancel_after_s=0.3),
        Case(sh(f"({BUSY}) & ({BUSY}) & sleep 0.2; exit 3")),
        Case(sh(f"({BUSY}) & kill -9 $$; exit 4")),
        Case(sh("touch /a; chown 5:6 /a; stat -c %u /a")),
    ]
    found = run(who, cases)
    assert found[0].error[0] == "Cancelled"
    assert found[1].exit == StepExit(3)
    assert found[3].out == "5\n" and found[3].left["a"][2:] == (5, 6)
    assert comes(lambda: not _listeners_without_a_step())


def _listeners_without_a_step() -> list[int]:
    """The processes that servers of listeners have cloned, but for the one of each server that
    waits for the next step."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            status = Path(f"/proc/{name}/status").read_text()
            parents[int(name)] = int(status.partition("\nPPid:")[2].split()[0])
    clones = sorted(pid for pid in parents if _is_server(parents[pid]) and _is_server(pid))
    waiting = {parents[pid]: pid for pid in clones}
    return [pid for pid in clones if waiting[parents[pid]] != pid]


def _is_server(pid: int) -> bool:
    with suppress(OSError):
        return "executor/__main__.py\0listener" in Path(f"/proc/{pid}/cmdline").read_text()
    return False


def test_thousands_of_programs(who: Account) -> None:
    """Each has the identity of the one that started it, however fast its parents end."""
    script = """
    cd /d; su app -c 'i=0; while [ $i -lt 300 ]; do i=$((i+1)); (mkdir $i & (true; (mkdir x$i &)) &)
    done; while [ $(ls | wc -l) -lt 600 ]; do sleep 0.1; done'; ls | wc -l
    stat -c %u * | sort | uniq -c
    """
    found = run(who, [Case(sh("mkdir -m 777 /d; " + script))])[0]
    assert found.out.split() == ["600", "600", "1500"], found
