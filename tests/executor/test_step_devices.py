"""The devices of a step: those it gets, those it may make, and none of the machine."""

import os
import sys

import pytest

from minibuild.executor.api import (
    Tmpfs,
)
from tests.executor.steps import (
    Account,
    Case,
    good,
    one,
    run,
    sh,
)
from tests.support import probes

pytestmark = [pytest.mark.integration, pytest.mark.needs("busybox", "overlay", "trusted_xattr")]


def test_devices(who: Account) -> None:
    script = (
        "for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; "
        "test -d /dev/pts && test -d /dev/shm && test -L /dev/fd && echo x > /dev/shm/x && "
        "head -c 4 /dev/zero | wc -c; (echo x > /dev/full) 2>/dev/null || echo full; "
        "ls -A /dev | wc -l; test -e /dev/console && echo console"
    )
    found = one(who, sh(script))
    names = 14 + os.path.exists("/proc/kcore")  # As runc: no link where it would dangle.
    assert found.out.split() == ["4", "full", str(names)], found
    assert found.names == []


def test_no_device_of_the_machine(who: Account) -> None:
    """mknod may work, but what it makes cannot be opened. With root and a cgroup the harmless ones
    can, and the others are refused as runc does it."""
    script = (
        "for p in /null /dev/null2 /tmp/null /m/null; do "
        "mknod $p c 1 3 2>/dev/null; (echo x > $p) 2>/dev/null && test -c $p && echo opened $p; "
        "done; mknod /disk b 254 0 && mknod /mem c 1 1 && cat /disk; cat /mem; true"
    )
    found = good(one(who, sh(script, mounts=(Tmpfs("/m"),))))
    if who.kind == "own" and probes.able("devices"):
        assert found.out.split("\n")[:-1] == [
            f"opened {path}" for path in ("/null", "/dev/null2", "/tmp/null", "/m/null")
        ]
        assert found.err.count("Operation not permitted") == 2
    else:
        assert found.out == ""
        assert "Operation not permitted" not in found.err.replace("mknod", "")


@pytest.mark.needs("root")
def test_devices_without_a_group_of_version_2() -> None:
    """Version 1 has a list of devices as well; without either no device can be opened."""
    script = "mknod /null c 1 3; echo x > /null && echo opened; mknod /mem c 1 1; cat /mem"
    for hidden, out, err in (
        ("cgroup2", "opened\n", "cat: can't open '/mem': Operation not permitted\n"),
        ("cgroup2 cgroup", "", "cat: can't open '/mem': Permission denied\n"),
    ):
        unmount = f"umount -a -t {hidden.replace(' ', ',')}; "
        inside = ("unshare", "--mount", "sh", "-c", unmount + 'exec "$0" "$@"', sys.executable)
        found = one(Account("own", inside, 0), sh(script))
        if hidden == "cgroup2" and not os.path.exists("/sys/fs/cgroup/devices"):
            continue
        assert (found.out, found.err.splitlines(keepends=True)[-1]) == (out, err)


def test_the_machines_devices_stay_as_they_are(who: Account) -> None:
    """Not even root in a step changes their owners and modes: neither by its /dev nor by the paths
    of /proc that are covered."""
    shown = ("/dev/null", "/dev/full")
    before = {path: os.stat(path) for path in shown}
    script = (
        "for p in /dev/full /proc/keys /proc/timer_list; do chmod 667 $p; chown 5:6 $p; done "
        "2>/dev/null; echo x > /dev/null && echo writes"
    )
    try:
        assert one(who, sh(script)).out == "writes\n"
        for path, status in before.items():
            now = os.stat(path)
            assert (now.st_mode, now.st_uid) == (status.st_mode, status.st_uid), path
    finally:
        if not os.geteuid():
            for path, status in before.items():
                os.chown(path, status.st_uid, status.st_gid)
                os.chmod(path, status.st_mode & 0o7777)


LOOKS_LIKE_A_DEVICE = """
    umask 027; mkdir d; ln -s /d/m /l; cd d
    mknod n c 1 7 && mknod -m 0642 /d/m b 7 65 && mknod ../d/o c 300 70000
    stat -c '%n %F %a %t:%T %u:%g %s' n /d/m o
    test -c n && test -b /d/m && test -b /l && test ! -f n && test ! -c /l && echo tests
    ls -l n | cut -c1-10; stat -c %F - <n 2>/dev/null
    cp -a n copy && mv m moved && chown 5:6 moved && stat -c '%F %a' copy moved
    mknod n c 1 1 2>&1 | grep -c exists; mknod gone/x c 1 1 2>&1 | grep -c 'No such file'
    mknod w c 0 0 2>/dev/null || echo no whiteout
    rm n copy && ls; echo x > f; stat -c %F f
"""


def test_making_devices(who: Account) -> None:
    """Also without root, by placeholders that are shown as devices."""
    found = good(one(who, sh(LOOKS_LIKE_A_DEVICE)))
    char, block = "character special file", "block special file"
    assert found.out.splitlines() == [
        f"n {char} 640 1:7 0:0 0",
        f"/d/m {block} 642 7:41 0:0 0",
        f"o {char} 640 12c:11170 0:0 0",
        "tests",
        "crw-r-----",
        f"{char} 640",
        f"{block} 642",
        *("1", "1", "no whiteout", "moved", "o", "regular file"),
    ]
    kept = "file" if who.kind != "own" or os.geteuid() else "other"
    assert found.left["d/moved"].type == found.left["d/o"].type == kept


def test_only_root_makes_devices(who: Account) -> None:
    script = "cd /dev/shm; mkfifo f && echo fifo; mknod n c 1 7 2>/dev/null || echo refused"
    found = good(one(who, sh(script, user="app")))
    assert found.out.split() == ["fifo", "refused"]


def test_devices_from_before(who: Account) -> None:
    """The step says nothing of devices: the tree does."""
    files = (("null", "@char 1:3", 0o666), ("empty", "", 0o644))
    script = "test -c /null && stat -c '%F %t:%T' /null /empty; rm /null"
    found = good(run(who, [Case(sh(script), files=files)])[0])
    assert found.out.splitlines() == [
        "character special file 1:3",
        "regular empty file 0:0",
    ]
    assert found.left["null"].type == "whiteout"
