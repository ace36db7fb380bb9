"""What a process that is not root may do with files: with a single id it is what the kernel says
where files have the owners that they are to have."""

import json
import os

import pytest

from minibuild.executor.api import BindPath, SecretFile, Step, StepExit, Tmpfs
from minibuild.snapshot.api import Mount
from tests.executor.steps import Account, Case, account, run, sh
from tests.executor.test_listener import FOLDERS, PYTHON
from tests.support import probes

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("busybox", "overlay", "trusted_xattr"),
]

TRIED = """
import errno, itertools, json, os, random, stat, sys
os.umask(0)
chance = random.Random(77)
IDS = [(5, 6, [7]), (8, 9, []), (5, 9, [6, 7])]
OWNERS = [(0, 0), (5, 0), (5, 6), (8, 6), (0, 7), (8, 9), (0, 6)]
MODES = [0o755, 0o777, 0o1777, 0o700, 0o770, 0o750, 0o1775, 0o711, 0o070, 0o007, 0o2775, 0o555]
FILES = [0o644, 0o600, 0o666, 0o640, 0o660, 0o755, 0o4755, 0o2755, 0o000, 0o444, 0o060, 0o006]

def opened(flags, name="f"):
    return lambda: os.close(os.open(name, flags, 0o640))

def set_group():
    os.chmod("f", 0o2755)
    return os.stat("f").st_mode

def at(flags):
    return lambda: os.close(os.open("f", flags, dir_fd=base))

DOES = {
    "read": opened(os.O_RDONLY),
    "write": opened(os.O_WRONLY),
    "both": opened(os.O_RDWR),
    "append": opened(os.O_APPEND | os.O_WRONLY),
    "truncate it": opened(os.O_RDONLY | os.O_TRUNC),
    "make": opened(os.O_CREAT | os.O_WRONLY, "n"),
    "make again": opened(os.O_CREAT | os.O_WRONLY),
    "alone": opened(os.O_CREAT | os.O_EXCL | os.O_WRONLY),
    "path": opened(os.O_PATH),
    "nameless": opened(os.O_TMPFILE | os.O_RDWR, "."),
    "by link": opened(os.O_WRONLY, "s"),
    "by far link": opened(os.O_WRONLY, "../way"),
    "back": opened(os.O_RDONLY, "d/../f"),
    "write directory": opened(os.O_WRONLY, "d"),
    "at": at(os.O_RDONLY),
    "at to write": at(os.O_RDWR),
    "list": lambda: len(os.listdir(".")),
    "unlink": lambda: os.unlink("f"),
    "rmdir": lambda: os.rmdir("d"),
    "unlink link": lambda: os.unlink("s"),
    "unlink nothing": lambda: os.unlink("nothing"),
    "rename": lambda: os.rename("f", "g"),
    "rename nothing": lambda: os.rename("nothing", "f"),
    "replace": lambda: os.rename("f", "r"),
    "move out": lambda: os.rename("f", f"/open/{number}"),
    "move in": lambda: os.rename("/open/mine", "m"),
    "move directory": lambda: os.rename("d", f"/open/d{number}"),
    "link": lambda: os.link("f", "l"),
    "link out": lambda: os.link("f", f"/open/l{number}"),
    "symlink": lambda: os.symlink("x", "y"),
    "mkdir": lambda: os.mkdir("e"),
    "mkdir again": lambda: os.mkdir("d"),
    "fifo": lambda: os.mkfifo("p"),
    "chmod": lambda: os.chmod("f", 0o777),
    "set group": set_group,
    "fchmod": lambda: os.fchmod(base, 0o777),
    "chown": lambda: os.chown("f", 5, -1),
    "chgrp": lambda: os.chown("f", -1, 7),
    "touch": lambda: os.utime("f"),
    "times": lambda: os.utime("f", (1, 2)),
    "truncate": lambda: os.truncate("f", 0),
    "may read": lambda: os.access("f", os.R_OK),
    "may write": lambda: os.access("f", os.W_OK),
    "may run": lambda: os.access("f", os.X_OK),
    "is there": lambda: os.access("f", os.F_OK),
    "may enter": lambda: os.access("d", os.R_OK | os.X_OK),
    "enter": lambda: os.chdir("d"),
    "look": lambda: os.stat("f").st_size,
    "look below": lambda: os.stat("d/nothing"),
    "run": lambda: os.execv("f", ["f"]),
    "attribute": lambda: os.setxattr("f", "user.x", b"1"),
    "capability": lambda: os.setxattr("f", "security.x", b"1"),
    "root": lambda: os.chroot("d"),
    "null": opened(os.O_WRONLY, "/dev/null"),
    "status": opened(os.O_RDONLY, "/proc/self/status"),
    "device folder": opened(os.O_CREAT | os.O_WRONLY, "/dev/new"),
    "system": lambda: os.listdir("/sys"),
}

def place(path, owner, mode, kind):
    kind(path)
    if owner != (0, 0):
        os.chown(path, *owner, follow_symlinks=False)
    if kind is not link:
        os.chmod(path, mode)

def link(path):
    os.symlink("f", path)

def file(path):
    open(path, "w").close()

def prepared(number):
    path = "/t/%d" % number
    directory = chance.choice(OWNERS), chance.choice(MODES)
    os.mkdir(path)
    entries = (("f", file, FILES), ("r", file, FILES), ("d", os.mkdir, MODES), ("s", link, [0]))
    for name, kind, modes in entries:
        owner, mode = chance.choice(OWNERS), chance.choice(modes)
        place(f"{path}/{name}", owner, mode, kind)
    os.chown(path, *directory[0])
    os.chmod(path, directory[1])
    return path

def tried(do):
    try:
        return do()
    except OSError as error:
        return errno.errorcode[error.errno]

for path, mode in (("/t", 0o755), ("/open", 0o777), ("/shut", 0o750)):
    os.mkdir(path)
    os.chmod(path, mode)
place("/shut/f", (0, 0), 0o666, file)
os.symlink("/shut/f", "/t/way")
found, number = [], 0
for (uid, gid, groups), (name, do), _ in itertools.product(IDS, DOES.items(), range(ROUNDS)):
    number += 1
    os.chdir(path := prepared(number))
    if os.path.exists("/open/mine"):
        os.unlink("/open/mine")
    base = os.open(".", os.O_RDONLY)
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if not pid:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        if name == "move in":
            file("/open/mine")
        if chance.random() < 0.5:  # Through /t, and perhaps not at all.
            os.chdir("/")
            tried(lambda: os.chdir(path))
        os.write(write_fd, repr(tried(do)).encode())
        os._exit(0)
    os.close(write_fd)
    os.wait()
    found.append((uid, gid, name, number, os.read(read_fd, 100).decode()))
    os.close(read_fd)
    os.close(base)
print(json.dumps(found))
"""


def tries(rounds: int) -> Case:
    """Each of these some times, on files of random owners and modes."""
    mounts = tuple(BindPath(path, path, readonly=True) for path in FOLDERS if os.path.exists(path))
    script = f"# su says that there are other users\nROUNDS = {rounds}\n{TRIED}"
    args = (PYTHON, "-I", "-S", "-c", script)
    return Case(Step(Mount(()), args, (("PATH", "/bin"),), mounts=mounts))


@pytest.mark.skipif(not os.path.exists(PYTHON), reason="no Python of the system")
@pytest.mark.skipif(not probes.is_root(), reason="only root has files of others to compare with")
def test_the_kernel_and_the_listener_agree() -> None:
    answers = []
    for kind in ("own", "single"):
        (found,) = run(account(kind), [tries(1)])
        assert (found.exit, found.err) == (StepExit(0), "")
        answers.append(json.loads(found.out))
    own, single = answers
    assert [pair for pair in zip(own, single, strict=True) if pair[0] != pair[1]] == []
    assert {row[-1] for row in own} >= {"None", "'EACCES'", "'EPERM'", "'EEXIST'", "'ENOENT'"}


MOUNTS = (
    SecretFile("/run/own", b"own", uid=1500),
    SecretFile("/run/of_root", b"of root"),
    SecretFile("/run/of_all", b"of all", mode=0o444),
    Tmpfs("/memory"),
)
AS_USER = """
t() { if (eval "$1") 2>/dev/null; then echo "$1: yes"; else echo "$1: no"; fi; }
t 'cat /run/own >/dev/null'; t 'cat /run/of_root'; t 'cat /run/of_all >/dev/null'
t 'echo >/memory/f'; t 'echo >/dev/shm/f'; t 'echo >/dev/f'; t 'echo >/etc/hosts'
t 'echo -n >/dev/stdout'; t 'echo -n >/proc/self/fd/1'; t 'cat </dev/stdin'; t 'mkdir /home/app/d'
t 'echo >/root/f'; t 'rm /etc/passwd'; t 'echo >f'; t 'rm f'; t 'test -w /etc'; t 'ls /root'
t 'su -c true'
"""
NO = {
    *("cat /run/of_root", "echo >/dev/f", "echo >/etc/hosts", "echo >/root/f", "rm /etc/passwd"),
    *("test -w /etc", "ls /root", "su -c true"),
}


def test_step_of_a_user(who: Account) -> None:
    """Mounts, devices, its own streams, and a working directory that is made for the user."""
    step = sh(AS_USER, user="app", mounts=MOUNTS, cwd="/home/app")
    (found,) = run(who, [Case(step)])
    answers = dict(line.rsplit(": ", 1) for line in found.out.splitlines())
    assert len(answers) == AS_USER.count("t '")
    assert {what for what, answer in answers.items() if answer == "no"} == NO, found


def test_what_may_be_another_user_is_guarded(who: Account) -> None:
    """A step of root in which a program becomes one, and what is made by root there."""
    script = "/bin/su app -c 'rm /etc/group; cat /s'; su app -c 'touch /d/x' && ls /d"
    prepare = "umask 077; touch /s; mkdir -m 1777 /d; "
    (found,) = run(who, [Case(sh(prepare + script))])
    assert found.out == "x\n"
    assert found.err.count("Permission denied") == 2, found


def test_ways_that_close_and_open(who: Account) -> None:
    """What was found once is found again until a directory on the way changes."""
    script = """
    mkdir -p /a/b /c/b; echo 1 > /a/b/f; echo 2 > /c/b/f
    seen() { su app -c 'cat /a/b/f'; }
    seen; seen; chmod 700 /a; seen; chmod 755 /a; seen; mv /a /d; mv /c /a; seen
    chown app /a; chmod 600 /a/b; seen; chmod 755 /a/b; rm -r /a; ln -s /d /a; seen
    """
    (found,) = run(who, [Case(sh(script))])
    assert found.out.split() == ["1", "1", "1", "2", "1"], found
    assert found.err.count("Permission denied") == 2, found
