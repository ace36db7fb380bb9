"""What is mounted for a step, what that leaves behind, and paths that lead elsewhere."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibuild.executor.api import (
    BindPath,
    BindTree,
    SecretFile,
    StepMount,
    Tmpfs,
)
from minibuild.snapshot.api import Mount
from tests.executor.steps import (
    LINK,
    OK,
    Account,
    Case,
    good,
    one,
    run,
    sh,
)

pytestmark = [pytest.mark.integration, pytest.mark.needs("busybox", "overlay", "trusted_xattr")]


def test_parents_keep_their_times(who: Account) -> None:
    """A mount point was made and removed in /etc, and leaves no trace."""
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
    "part of a host path": (BindPath("/h", "/etc", True, "passwd"), "test -s /h", "", []),
    "host file": (
        BindPath("/h", "/etc/passwd", readonly=True),
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


def test_a_tmpfs_has_the_mode_of_what_it_hides(who: Account) -> None:
    """Also behind a symlink, in another mount, and if the tmpfs cannot be written."""
    mounts = (Tmpfs("/root", readonly=True), Tmpfs("/l"), Tmpfs("/tmp"), Tmpfs("/tmp/in"))
    step = sh("stat -c '%a %u' /root /usr /tmp /tmp/in", mounts=mounts)
    found = good(one(who, Case(step, files=(("l", "usr", LINK),))))
    assert found.out.split() == ["700", "0", "755", "0", "1777", "0", "1777", "0"]
    assert found.names == []


@pytest.mark.parametrize(("mode", "out"), [(0o500, "ran"), (0o444, "refused")])
def test_a_secret_that_may_run_runs(who: Account, mode: int, out: str) -> None:
    secret = SecretFile("/run/tool", b"#!/bin/sh\necho ran", mode=mode)
    found = one(who, sh("/run/tool 2>/dev/null || echo refused", mounts=(secret,)))
    assert good(found).out.split() == [out]


def test_a_user_is_one_of_the_tree_and_not_of_what_is_mounted_on_it(who: Account) -> None:
    step = sh("echo $HOME; ls /etc", user="app", mounts=(Tmpfs("/etc"),))
    assert good(one(who, step)).out.split() == ["/home/app"]


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
    ("mount", "expected"),
    [
        (BindTree("/t", Mount(("@tree",)), readonly=True), "no"),
        (BindTree("/t", Mount(("@tree",)), readonly=False, writable_discard=True), "yes gone f"),
    ],
)
def test_trees(who: Account, mount: BindTree, expected: str) -> None:
    """Another tree: read-only, or written and thrown away."""
    script = (
        "(echo x > /t/new) 2>/dev/null && echo yes || echo no; "
        "(rm /t/d/f && rmdir /t/d && mkdir /t/d && ls /t/d) 2>/dev/null;"
        "test -e /t/d/f || echo gone; test -d /t/d && test -e /t/new && echo f; true"
    )
    found = run(who, [Case(sh(script, mounts=(mount,)), files=(("tree/d/f", "1", 0o644),))])[0]
    assert " ".join(good(found).out.split()) == expected
    assert found.names == []


def test_source_inside_a_tree(who: Account) -> None:
    """`source` cannot lead out of the tree."""
    tree = Mount(("@tree",))
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
    tree = Mount(("@tree",))
    step = sh("true", mounts=(BindTree("/f", tree, source="/nope"),))
    found = run(who, [Case(step, files=(("tree/d/f", "", 0o644),))])[0]
    assert found.error[0] == "DefinitionError" and "/nope" in found.error[1]


def test_directory_on_a_file(who: Account) -> None:
    found = one(who, sh("true", mounts=(Tmpfs("/etc/passwd"),)))
    assert found.error[0] == "DefinitionError" and "/etc/passwd" in found.error[1]


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
