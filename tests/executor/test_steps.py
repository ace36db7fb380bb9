"""What a step sees and leaves, on real overlays: as root, with subordinate ids, with one id."""

import os
import sys

import pytest

from minibuild.executor.api import Step, StepExit, Tmpfs
from minibuild.graph.op import Ulimit
from minibuild.snapshot.api import Mount
from tests.executor.steps import (
    SANDBOX_CAPS,
    Account,
    Case,
    account,
    good,
    one,
    run,
    sh,
)

pytestmark = [pytest.mark.integration, pytest.mark.needs("busybox", "overlay", "trusted_xattr")]


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


USER_CASES = {
    "": "0 0 0 /root",
    "app": "1500 1600 1600,1700,1701 /home/app",
    "app:root": "1500 0 0 /home/app",
    "1500": "1500 1600 1600,1700,1701 /home/app",
    "bare": "1501 1600 1600,1701 ",
    "77:88": "77 88 88 /",
    "4242": "4242 0 0 /",
}


@pytest.mark.parametrize("user", USER_CASES)
def test_users(who: Account, user: str) -> None:
    """FACTS 4 and 5; the primary group is a supplementary one too, as BuildKit has it."""
    groups = "sed -n 's/^Groups:[[:space:]]*//p' /proc/self/status | tr ' ' , | sed 's/,$//'"
    if who.kind == "single":
        groups = "id -G | tr ' ' ,"  # What a program is answered; the kernel knows one id.
    script = f'g=$({groups}); echo $(id -u) $(id -g) ${{g:-none}} "$HOME"'
    found = good(one(who, sh(script, user=user)))
    uid, gid, groups, home = USER_CASES[user].split(" ")
    got = found.out.removesuffix("\n").split(" ")
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
    (("echo", "a\0b"), 1, "an argument of the command contains a NUL character"),
    (("true",), 0, ""),
]


def test_programs(who: Account) -> None:
    files = (
        ("script", "echo hi\n", 0o755),
        ("elf", "\x7fELF\x01\x01\x01", 0o755),
        ("lost", "#!/no/interpreter -x\n", 0o755),
        ("crlf", "#!/bin/sh\r\necho\r\n", 0o755),
    )
    cases = [
        Case(Step(Mount(()), args, (("PATH", "/bin"),)), files=files)
        for args, _, _ in PROGRAM_CASES
    ]
    for (args, code, message), found in zip(PROGRAM_CASES, run(who, cases), strict=True):
        assert found.exit is not None and found.exit.code == code, (args, found)
        assert message in found.err, args


def test_variables_that_no_program_can_have(who: Account) -> None:
    wrong = {("A", "secret\0"): "can't contain null: A\n", ("", "B=c"): "name can't be empty\n"}
    cases = [Case(Step(Mount(()), ("true",), (("PATH", "/bin"), item))) for item in wrong]
    for message, found in zip(wrong.values(), run(who, cases), strict=True):
        assert found.exit == StepExit(1)
        assert message in found.err and "secret" not in found.err


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
    limits = (Ulimit("nofile", 100, 200), Ulimit("core", -1, -1))
    found = good(one(who, sh("ulimit -n; ulimit -Hn", limits=limits)))
    assert found.out.split() == ["100", "200"]
    assert one(who, sh("true", limits=(Ulimit("nope", 1, 1),))).error[0] == "DefinitionError"


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
