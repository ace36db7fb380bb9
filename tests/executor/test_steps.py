"""What a step sees and leaves, on real overlays: as root, with subordinate ids, with one id."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibuild.executor.api import (
    BindPath,
    BindTree,
    Limit,
    SecretFile,
    Step,
    StepExit,
    StepMount,
    Tmpfs,
)
from minibuild.snapshot.api import Mount
from tests.executor.steps import LINK, Account, Case, Outcome, account, run, sh
from tests.support import probes

pytestmark = [pytest.mark.integration, pytest.mark.needs("busybox", "overlay", "trusted_xattr")]

OK = StepExit(0)
SANDBOX_CAPS = "00000000a80425fb"


@pytest.fixture(scope="module", params=["own", "subids", "single"])
def who(request: pytest.FixtureRequest) -> Iterator[Account]:
    """Each account that can be had here."""
    yield account(request.param)


def one(who: Account, case: Case | Step) -> Outcome:
    """Run a single case."""
    return run(who, [case if isinstance(case, Case) else Case(case)])[0]


def good(outcome: Outcome) -> Outcome:
    """The same, which has to have gone well."""
    assert outcome.exit == OK, outcome
    return outcome


def test_the_world_of_a_step(who: Account) -> None:
    """Process 1, own names, the sandbox's privileges, nothing inherited."""
    script = """
    echo pid=$$ umask=$(umask) host=$(hostname) in=$(wc -c </dev/stdin)
    grep -E '^(CapInh|CapPrm|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'
    ls /proc/self/fd | wc -l
    env | sort
    trap '' PIPE; trap | grep -c PIPE
    """
    found = good(one(who, sh(script, hostname="box", env=(("PATH", "/bin"), ("A", "1")))))
    lines = found.out.split()
    assert "pid=1" in lines and "umask=0022" in lines and "host=box" in lines and "in=0" in lines
    for line in ("CapInh:" + "0" * 16, "CapPrm:" + SANDBOX_CAPS, "CapBnd:" + SANDBOX_CAPS):
        assert line in lines
    assert "NoNewPrivs:0" in lines and "Seccomp:2" in lines
    assert "4" in lines  # 0, 1, 2 and the directory that ls reads
    assert {"A=1", "PATH=/bin", "HOME=/root"} <= set(lines)
    assert found.err == ""


@pytest.mark.needs("root")
def test_no_privilege_is_inherited() -> None:
    """Capabilities that were made inheritable before, as pam_cap(8) does at login, are no way past
    the bounding set."""
    grant = ("setpriv", "--inh-caps=+sys_admin", "--ambient-caps=+sys_admin")
    who = Account("own", (*grant, sys.executable), 0)
    found = good(one(who, sh("grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status")))
    none = "0" * 16
    expected = ["CapInh:", none, "CapPrm:", SANDBOX_CAPS, "CapEff:", SANDBOX_CAPS, "CapAmb:", none]
    assert found.out.split() == expected


def test_insecure_keeps_privileges_as_another_user(who: Account) -> None:
    """As BuildKit has it: all sets are full, whoever the USER is."""
    script = """
    id -u; grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | sort -u -k2 | wc -l
    mount -t tmpfs t /tmp && echo mounts; sh -c 'grep CapEff /proc/self/status'
    """
    found = good(one(who, sh(script, user="app", security="insecure")))
    uid, sets, mounts, _, effective = found.out.split()
    assert (uid, sets, mounts) == ("1500", "1", "mounts")
    assert int(effective, 16) & ~int(SANDBOX_CAPS, 16)


def test_insecure_keeps_privileges(who: Account) -> None:
    script = """
    mkdir /m && mount -t tmpfs t /m && grep CapEff /proc/self/status; umount /proc/sys 2>/dev/null
    test -w /sys/kernel/mm/ksm/run && echo sys; head -c 1 /proc/timer_list 2>/dev/null | wc -c
    (echo x > /proc/sys/kernel/domainname) 2>/dev/null && cat /proc/sys/kernel/domainname
    mknod /zero c 1 5; (head -c 2 /zero | wc -c) 2>/dev/null; ls /dev | grep -c loop-control
    """
    found = one(who, sh(script, security="insecure"))
    assert SANDBOX_CAPS not in found.out and "CapEff" in found.out
    lines = found.out.split()[2:]
    if who.kind == "own" and not os.geteuid():
        assert [word for word in lines if word != "sys"] == ["1", "x", "2", "1"]
        assert found.err == ""
    else:
        assert "/zero is a device in the image only" in found.err
        # The kernel keeps these for the machine's root, whatever the step was allowed.
        assert "x" not in lines


@pytest.mark.parametrize(
    "path", ["dev", "proc", "sys"], ids=["missing dev", "missing proc", "missing sys"]
)
def test_mount_points_of_the_system_stay(who: Account, path: str) -> None:
    """FACTS 1."""
    found = good(one(who, Case(sh("true"), without=(path,))))
    assert found.names == [path]
    assert found.left[path][:2] == ("dir", 0o755)


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


def test_sys_and_proc_are_protected(who: Account) -> None:
    script = (
        "for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/uevent_seqnum; do "
        "(echo x > $f) 2>/dev/null && echo wrote $f; done; "
        "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c; "
        "ls -A /proc/acpi /sys/firmware 2>/dev/null | grep -v : | grep -c .; "
        "head -c 9 /proc/interrupts | wc -c"
    )
    assert one(who, sh(script)).out.split() == ["0", "0", "9"]


def test_refused_system_calls(who: Account) -> None:
    script = (
        "unshare -U true 2>/dev/null && echo unshared; mount -t tmpfs t /tmp 2>/dev/null && echo "
        "mounted; umount /proc 2>/dev/null && echo unmounted; "
        "hostname x 2>/dev/null && echo named; :"
    )
    assert good(one(who, sh(script))).out == ""


def test_etc_files(who: Account) -> None:
    """Mounted, read-only, and not in the layer, although something was written beside them."""
    step = sh(
        "cat /etc/hosts; test -e /etc/resolv.conf && echo resolv; echo mine > /etc/mine; "
        "for f in hosts resolv.conf; do (echo x >> /etc/$f) 2>/dev/null && echo wrote $f; done; :",
        hostname="box",
        etc_hosts=(("db", "10.0.0.7"), ("six", "fd00::1")),
    )
    found = good(one(who, step))
    assert "127.0.0.1\tlocalhost box\n" in found.out
    assert "10.0.0.7\tdb\n" in found.out and "fd00::1\tsix\n" in found.out
    assert found.out.endswith("resolv\n")
    assert found.names == ["etc", "etc/mine"]


def test_parents_keep_their_times(who: Account) -> None:
    """A mount point was made and removed in /etc: nobody can tell."""
    script = "stat -c %Y /etc /run /root 2>/dev/null; ls -A /etc"
    case = Case(sh(script), files=(("run/x", "", 0o644),))
    plain = run(who, [case, Case(sh("chmod 0711 /etc"))])
    assert plain[0].names == []
    assert plain[1].names == ["etc"] and plain[1].left["etc"].mode == 0o711


MOUNT_CASES: dict[str, tuple[StepMount, str, str, list[str]]] = {
    "tmpfs": (Tmpfs("/new2/t"), "echo x > /new2/t/x", "", []),
    "tmpfs deep": (Tmpfs("/a/b/c"), "stat -c %a /a /a/b /a/b/c", "755 755 1777", []),
    "tmpfs used beside": (Tmpfs("/n/t"), "echo y > /n/y", "", ["n", "n/y"]),
    "tmpfs over content": (Tmpfs("/etc"), "ls -A /etc | wc -l", "0", []),
    "tmpfs readonly": (
        Tmpfs("/r", readonly=True),
        "touch /r/x 2>/dev/null || echo refused; ls /r | wc -l",
        "refused 0",
        [],
    ),
    "tmpfs size": (
        Tmpfs("/s", 64 * 1024),
        "dd if=/dev/zero of=/s/big bs=1k count=200 2>/dev/null || echo limited",
        "limited",
        [],
    ),
    "secret": (
        SecretFile("/run/secrets/tok", b"hush"),
        "cat /run/secrets/tok; stat -c ' %a %u:%g' /run/secrets/tok; (echo x > /run/secrets/tok)"
        " 2>/dev/null || echo ro",
        "hush 400 0:0 ro",
        [],
    ),
    "secret beside a file": (
        SecretFile("/etc/tok", b"x"),
        "touch /etc/new",
        "",
        ["etc", "etc/new"],
    ),
    "secret of a user": (
        SecretFile("/run/tok", b"x", mode=0o440, uid=5, gid=6),
        "stat -c %a:%u:%g /run/tok",
        "440:5:6",
        [],
    ),
    "secret below a time": (SecretFile("/etc/tok", b"x"), "touch -d @5 /etc", "", ["etc"]),
    "secret over a file": (SecretFile("/etc/passwd", b"x"), "cat /etc/passwd", "x", []),
    "secret through a symlink": (
        SecretFile("/link/tok", b"x"),
        "cat /etc/tok",
        "x",
        [],
    ),
    "secret on a dangling symlink": (SecretFile("/dangling", b"x"), "cat /var/gone/f", "x", []),
    "directory on a dangling symlink": (Tmpfs("/dangling"), "touch /var/gone/f/x", "", []),
    "below a dangling symlink": (Tmpfs("/dangling/in"), "touch /var/gone/f/in/x", "", []),
    "host path": (
        BindPath("/h", "/etc", readonly=True),
        "test -e /h/passwd && echo there; (echo x > /h/x) 2>/dev/null || echo ro",
        "there ro",
        [],
    ),
    "host file below": (
        BindPath("/h", "/etc", readonly=True, source="/passwd"),
        "test -s /h && echo there",
        "there",
        [],
    ),
    "socket or device": (BindPath("/n", "/dev/null"), "test -c /n && echo there", "there", []),
}


@pytest.mark.parametrize("name", MOUNT_CASES)
def test_mounts(who: Account, name: str) -> None:
    mount, script, out, left = MOUNT_CASES[name]
    prepared = (("run/keep", "", 0o644),) if name == "secret" else ()
    links = (("link", "etc", LINK), ("dangling", "var/gone/f", LINK))
    found = good(one(who, Case(sh(script, mounts=(mount,)), files=prepared + links)))
    assert " ".join(found.out.split()) == out
    assert found.names == left


def test_mounts_inside_mounts(who: Account) -> None:
    """In the order of their targets, however they are given."""
    step = sh(
        "ls -A /m /m/d; cat /m/d/f",
        mounts=(SecretFile("/m/d/f", b"!"), Tmpfs("/m/d"), Tmpfs("/m")),
    )
    found = good(one(who, step))
    assert found.out.split() == ["/m:", "d", "/m/d:", "f", "!"]
    assert found.names == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"readonly": True}, "no"),
        ({"readonly": False, "writable_discard": True}, "yes gone f"),
    ],
)
def test_trees(who: Account, options: dict[str, bool], expected: str) -> None:
    """Another tree: read-only, or written and thrown away."""
    script = (
        "(echo x > /t/new) 2>/dev/null && echo yes || echo no; "
        "(rm /t/d/f && rmdir /t/d && mkdir /t/d && ls /t/d) 2>/dev/null;"
        "test -e /t/d/f || echo gone; test -d /t/d && test -e /t/new && echo f; true"
    )
    mount = BindTree("/t", (Mount("bind", "@tree", ("rbind", "ro")),), **options)
    found = run(who, [Case(sh(script, mounts=(mount,)), files=(("tree/d/f", "1", 0o644),))])[0]
    assert " ".join(good(found).out.split()) == expected
    assert found.names == []


def test_source_inside_a_tree(who: Account) -> None:
    """`source` cannot lead out of the tree."""
    tree = (Mount("bind", "@tree", ("rbind", "ro")),)
    mounts = (
        BindTree("/f", tree, source="/d/f"),
        BindTree("/up", tree, source="/../../d"),
    )
    found = good(
        run(
            who,
            [Case(sh("cat /f; ls /up", mounts=mounts), files=(("tree/d/f", "1\n", 0o644),))],
        )[0]
    )
    assert found.out.split() == ["1", "f"]


def test_missing_source(who: Account) -> None:
    tree = (Mount("bind", "@tree", ("rbind", "ro")),)
    step = sh("true", mounts=(BindTree("/f", tree, source="/nope"),))
    found = run(who, [Case(step, files=(("tree/d/f", "", 0o644),))])[0]
    assert found.error[0] == "DefinitionError" and "/nope" in found.error[1]


def test_directory_on_a_file(who: Account) -> None:
    found = one(who, sh("true", mounts=(Tmpfs("/etc/passwd"),)))
    assert found.error[0] == "DefinitionError" and "/etc/passwd" in found.error[1]


USER_CASES = {
    "": "0 0 0 /root",
    "app": "1500 1600 1600,1700,1701 /home/app",
    "app:root": "1500 0 0 /home/app",
    "1500": "1500 1600 1600,1700,1701 /home/app",
    "bare": "1501 1600 1600,1701 /",
    "77:88": "77 88 88 /",
    "4242": "4242 0 0 /",
}


@pytest.mark.parametrize("user", USER_CASES)
def test_users(who: Account, user: str) -> None:
    """FACTS 4 and 5; the primary group is a supplementary one too, as BuildKit has it."""
    groups = "sed -n 's/^Groups:[[:space:]]*//p' /proc/self/status | tr ' ' , | sed 's/,$//'"
    if who.kind == "single":
        groups = "id -G | tr ' ' ,"  # What a program is answered; the kernel knows one id.
    script = f"g=$({groups}); echo $(id -u) $(id -g) ${{g:-none}} $HOME"
    found = good(one(who, sh(script, user=user)))
    uid, gid, groups, home = USER_CASES[user].split()
    got = found.out.split()
    assert got[:2] == [uid, gid] and got[3] == home
    assert sorted(got[2].split(",")) == sorted(groups.split(","))


@pytest.mark.parametrize(
    ("user", "word"),
    [("nobodyknows", "unable to find user nobodyknows"), ("app:gone", "unable to find group gone")],
)
def test_unknown_users(who: Account, user: str, word: str) -> None:
    found = one(who, sh("true", user=user))
    assert found.error[0] == "DefinitionError" and word in found.error[1]


def test_no_privileges_for_a_user() -> None:
    found = good(
        one(account("own"), sh("grep -E 'Cap(Eff|Prm|Bnd)' /proc/self/status", user="app"))
    )
    assert found.out.split() == ["CapPrm:", "0" * 16, "CapEff:", "0" * 16, "CapBnd:", SANDBOX_CAPS]


def test_changing_owners(who: Account) -> None:
    script = "touch /f && chown 5:6 /f && stat -c %u:%g /f"
    assert good(one(who, sh(script))).out.strip() == "5:6"


PROGRAM_CASES = [
    (("nope",), 127, 'exec: "nope": executable file not found in $PATH'),
    (("/no/such", "x"), 127, 'exec: "/no/such": stat /no/such: no such file or directory'),
    (("/etc/passwd",), 126, 'exec: "/etc/passwd": permission denied'),
    (("/etc",), 126, 'exec: "/etc": is a directory'),
    (("/script",), 126, "exec format error: neither a binary nor a script"),
    (("/elf",), 126, "exec format error: built for another machine"),
    (("/lost",), 127, "/no/interpreter is not in the image"),
    (("/crlf",), 127, "carriage return"),
    ((), 127, "no command"),
    (("true",), 0, ""),
]


def test_programs(who: Account) -> None:
    files = (
        ("script", "echo hi\n", 0o755),
        ("elf", "\x7fELF\x01\x01\x01", 0o755),
        ("lost", "#!/no/interpreter -x\n", 0o755),
        ("crlf", "#!/bin/sh\r\necho\r\n", 0o755),
    )
    cases = [Case(Step((), args, (("PATH", "/bin"),)), files=files) for args, _, _ in PROGRAM_CASES]
    for (args, code, message), found in zip(PROGRAM_CASES, run(who, cases), strict=True):
        assert found.exit is not None and found.exit.code == code, (args, found)
        assert message in found.err, args


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 3", StepExit(3)),
        ("kill -9 $$; exit 4", StepExit(4)),  # FACTS 6
        ("sh -c 'kill -9 $$'; exit $?", StepExit(137)),
        ("sleep 300 & echo started", StepExit(0)),
        ("(sleep 300 >/dev/null 2>&1 </dev/null &) ; exit 0", StepExit(0)),
    ],
)
def test_ends(who: Account, script: str, expected: StepExit) -> None:
    """Background processes do not keep a step from ending."""
    killed = expected.code == 137
    assert run(who, [Case(sh(script))], fresh=killed)[0].exit == expected


def test_cancel(who: Account) -> None:
    """Soon, also where the program ignores signals and has children."""
    script = "trap '' TERM INT HUP; sleep 300 & sleep 300"
    found = run(who, [Case(sh(script), cancel_after_s=0.2), Case(sh("ps | grep -c sleep"))])
    assert found[0].error[0] == "Cancelled"


def test_working_directory(who: Account) -> None:
    """A missing one is made, with the user as its owner; it belongs to the layer."""
    script = "pwd; stat -c %u:%g ."
    found = good(one(who, sh(script, cwd="/a/b", user="app")))
    assert found.out.split() == ["/a/b", "1500:1600"]
    assert found.left["a/b"] == ("dir", 0o755, 1500, 1600)
    assert one(who, sh("true", cwd="/etc/passwd")).error[0] == "DefinitionError"
    for written, meant in (("/x//y/../z/", "/x/z"), ("//etc/../new", "/new"), ("/./tmp", "/tmp")):
        assert good(one(who, sh("pwd", cwd=written))).out.split() == [meant], written


@pytest.mark.needs("netns")
def test_no_network(who: Account) -> None:
    script = (
        "ls /sys/class/net; ping -c1 -W1 127.0.0.1 >/dev/null 2>&1; ip addr show lo | grep -c 127"
    )
    found = one(who, sh(script, network="none"))
    assert found.out.split() == ["lo", "1"], found


def test_limits(who: Account) -> None:
    """A hard limit that cannot be raised is no error."""
    limits = (Limit("nofile", 100, 200), Limit("core", -1, -1))
    found = good(one(who, sh("ulimit -n; ulimit -Hn", limits=limits)))
    assert found.out.split() == ["100", "200"]
    assert one(who, sh("true", limits=(Limit("nope", 1, 1),))).error[0] == "DefinitionError"


def test_shm_size(who: Account) -> None:
    script = "df -k /dev/shm | tail -1 | awk '{print $2}'"
    assert good(one(who, sh(script, shm_size_bytes=1 << 20))).out.strip() == "1024"
    assert good(one(who, sh(script))).out.strip() == "65536"


def test_big_environment_and_output(who: Account) -> None:
    """More than a socket's message or a pipe holds."""
    env = (("PATH", "/bin"), *((f"V{n}", "x" * 100_000) for n in range(6)))
    script = "echo ${#V5}; head -c 3000000 /dev/zero | tr '\\0' y; echo end >&2"
    found = good(one(who, sh(script, env=env)))
    assert found.out.startswith("100000\n") and found.out.count("y") == 3_000_000
    assert found.err == "end\n"


def test_read_only_root(who: Account) -> None:
    """Mount points are made out of sight."""
    step = sh("(echo x > /x) 2>/dev/null || echo ro; ls /new", mounts=(Tmpfs("/new"),))
    found = run(who, [Case(step, files=(("@readonly", "", 0o644),))])[0]
    assert good(found).out.split() == ["ro"]


HOSTILE = {
    # what is replaced: (by what, what comes of it)
    "dev to a path of the host": ({"dev": "@host"}, ""),
    "dev upwards": ({"dev": "../../../../../../..@host"}, ""),
    "dev dangling": ({"dev": "/no/where"}, ""),
    "dev to itself": ({"dev": "dev"}, "/dev: Too many levels"),
    "proc to a path of the host": ({"proc": "@host"}, "/proc: in the image it is not an ordinary"),
    "proc to etc": ({"proc": "etc"}, "/proc: in the image it is not an ordinary"),
    "proc upwards": ({"proc": "../../../../proc"}, "/proc: in the image it is not an ordinary"),
    "sys to proc": ({"sys": "/proc"}, "/sys: in the image it is not an ordinary"),
    "sys and dev to each other": ({"sys": "dev", "dev": "sys"}, "/dev: Too many levels"),
    "hosts to a file of the host": ({"etc/hosts": "@host/f"}, ""),
    "hosts through a process": ({"etc/hosts": "/proc/1/root@host/f"}, ""),
    "hosts through a directory": ({"etc/hosts": "/proc/self/cwd@host/f"}, ""),
    "hosts through a descriptor": ({"etc/hosts": "/proc/self/fd/9"}, "/etc/hosts: No such file"),
    "resolv.conf to a device": ({"etc/resolv.conf": "/dev/null"}, ""),
    "resolv.conf of systemd": ({"etc/resolv.conf": "../run/systemd/resolve/stub.conf"}, ""),
    "both to each other": ({"etc/hosts": "resolv.conf", "etc/resolv.conf": "hosts"}, "Too many"),
    "etc to a path of the host": ({"etc": "@host"}, ""),
    "etc upwards": ({"etc": "../../../../../../..@host"}, ""),
    "etc through a process": ({"etc": "/proc/1/root/../../..@host"}, ""),
    "etc to sys": ({"etc": "/sys"}, "/etc/hosts: Read-only file system"),
}


@pytest.fixture
def host() -> Iterator[Path]:
    """A directory that every account may write to."""
    with tempfile.TemporaryDirectory(prefix="minibuild-host-") as folder:
        (Path(folder) / "f").write_text("the host's")
        (Path(folder) / "f").chmod(0o666)
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_hostile_mount_points(who: Account, host: Path) -> None:
    """Symlinks where a step's own files are mounted: nothing of the host is touched."""
    before = [os.lstat(path) for path in (host, host / "f", Path("/etc"), Path("/dev"))]
    script = "ls -d /dev/null /proc/self/fd /sys/class | grep -c . && grep -c localhost /etc/hosts"
    cases = []
    for links, _ in HOSTILE.values():
        files = tuple((n, t.replace("@host", str(host)), LINK) for n, t in links.items())
        cases.append(Case(sh(script), files=files))
    for name, found in zip(HOSTILE, run(who, cases), strict=True):
        if refused := HOSTILE[name][1]:
            assert found.error[0] == "DefinitionError" and refused in found.error[1], (name, found)
        else:
            assert found.exit == OK and found.out.split() == ["3", "2"], (name, found)
            assert found.names == [] or name == "dev dangling", (name, found)
    after = [os.lstat(path) for path in (host, host / "f", Path("/etc"), Path("/dev"))]
    assert [f"{s.st_mode} {s.st_mtime_ns}" for s in after] == [
        f"{s.st_mode} {s.st_mtime_ns}" for s in before
    ]
    assert (host / "f").read_text() == "the host's" and os.listdir(host) == ["f"]


def test_hostile_root(who: Account) -> None:
    """Symlinks in the places that are mounted on stay inside the root."""
    links = (("evil", "/../../../../tmp", LINK), ("run", "../../../../etc", LINK))
    step = sh(
        "ls /evil/t; cat /etc/secret", mounts=(Tmpfs("/evil/t"), SecretFile("/run/secret", b"s"))
    )
    found = good(run(who, [Case(step, files=links)])[0])
    assert found.out == "s"
    assert found.names == []
