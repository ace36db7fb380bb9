"""What a COPY does to a destination; the other actions; modes, owners, times and attributes."""

import os
import socket
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from minibuild.errors import BuildError, Cancelled, DefinitionError
from minibuild.fileop.api import SourceTree
from minibuild.fileop.apply import apply
from minibuild.graph.op import Copy, CopyRules, Mkdir, Mkfile, Rm, Symlink
from minibuild.linux import device, xattr
from tests.fileop.trees import ME, Bench, make, modes, opened, owners, tell
from tests.support.descriptors import open_descriptors

DIR = {"dir/one": "1", "dir/sub/two": "2", "dir/sub/deep/three": "3"}
PASSWD = "root:x:0:0::/root:/bin/sh\napp:x:1500:1600::/:/bin/sh\nweb:x:1501:1601::/:\nbad:x:1:x::\n"
GROUP = "root:x:0:\nappgrp:x:1600:\nwebgrp:x:1601:\nextra:x:1700:app\n"
USERS = {"etc/passwd": PASSWD, "etc/group": GROUP}


# --- where things go ---


@pytest.mark.parametrize(
    ("before", "words", "expected"),
    [
        ({"x": "old"}, ("dir/one", "/x"), {"x": "1"}),
        ({"x/": ""}, ("dir/one", "/x"), {"x": "/", "x/one": "1"}),
        (
            {"x/": "", "x/one": "-> k", "x/k": "k"},
            ("dir/one", "/x"),
            {"x": "/", "x/one": "1", "x/k": "k"},
        ),
        ({"t": "old", "l": "-> t"}, ("dir/one", "/l"), {"l": "-> t", "t": "1"}),
        ({"t": "old", "l": "-> /t"}, ("dir/one", "/l"), {"l": "-> /t", "t": "1"}),
        ({"l": "-> missing"}, ("dir/one", "/l"), {"l": "-> missing", "missing": "1"}),
        (
            {"l": "-> no/where"},
            ("dir/one", "/l/x"),
            {"l": "-> no/where", "no": "/", "no/where": "/", "no/where/x": "1"},
        ),
        ({"r/": "", "l": "-> r"}, ("dir/one", "/l"), {"l": "-> r", "r": "/", "r/one": "1"}),
        ({"r/": "", "l": "-> r"}, ("dir/one", "/l/"), {"l": "-> r", "r": "/", "r/one": "1"}),
        (
            {"r/k": "k", "l": "-> r"},
            ("dir/sub/deep", "/l"),
            {"l": "-> r", "r": "/", "r/k": "k", "r/three": "3"},
        ),
        ({"l": "-> ../../up"}, ("dir/one", "/l"), {"l": "-> ../../up", "up": "1"}),
        (
            {"d/l": "-> ../f", "f": "f"},
            ("dir/one", "/d/l/../x"),
            {"d": "/", "d/l": "-> ../f", "d/x": "1", "f": "f"},
        ),
        (
            {"a/sub/keep": "k"},
            ("dir", "/a"),
            {
                "a": "/",
                "a/one": "1",
                "a/sub": "/",
                "a/sub/keep": "k",
                "a/sub/two": "2",
                "a/sub/deep": "/",
                "a/sub/deep/three": "3",
            },
        ),
    ],
)
def test_destinations(
    bench: Bench, before: dict[str, str], words: tuple[str, ...], expected: dict[str, str]
) -> None:
    make(bench.source, DIR)
    make(bench.dest, before)
    assert bench.copy(*words) == expected


@pytest.mark.parametrize(
    ("before", "words", "message"),
    [
        ({"etc/passwd": "p"}, ("dir/one", "/etc/passwd/x"), "mkdir /etc/passwd: not a directory"),
        ({"etc/passwd": "p"}, ("dir/one", "/etc/passwd/x/y"), "mkdir /etc/passwd: not a directory"),
        ({"etc/passwd": "p"}, ("dir/one", "/etc/passwd/"), "mkdir /etc/passwd: not a directory"),
        ({"t": "file"}, ("dir", "/t"), "cannot copy to non-directory: /t"),
        ({"t": "file"}, ("dir", "/t/"), "mkdir /t: not a directory"),
        ({"t/sub": "file"}, ("dir", "/t"), "cannot copy to non-directory: /t/sub"),
        ({"t/sub": "-> /"}, ("dir", "/t"), "cannot copy to non-directory: /t/sub"),
        ({"t/one/": ""}, ("dir", "/t"), "cannot replace to directory /t/one with file"),
        ({"t/one/": ""}, ("dir/one", "/t"), "cannot replace to directory /t/one with file"),
        ({"l": "-> l"}, ("dir/one", "/l"), "Too many levels of symbolic links"),
    ],
)
def test_collisions(
    bench: Bench, before: dict[str, str], words: tuple[str, ...], message: str
) -> None:
    make(bench.source, DIR)
    make(bench.dest, before)
    with pytest.raises(DefinitionError, match=message):
        bench.copy(*words)


def test_a_hardlinked_destination_is_left_by_its_other_names(bench: Bench) -> None:
    make(bench.source, {"f": "new"})
    make(bench.dest, {"a": "old", "b": "= a"})
    assert bench.copy("f", "/a") == {"a": "new", "b": "old"}


@pytest.mark.usefixtures("chowns")  # with one id, owners never are as planned
def test_a_file_that_is_there_already_is_left_alone(bench: Bench) -> None:
    make(bench.source, {"d/same": "same", "d/time": "1", "d/mode": "2", "d/data": "3"})
    bench.copy("d", "/")
    inodes = {name: os.stat(os.path.join(bench.dest, name)).st_ino for name in tell(bench.dest)}
    times = os.stat(os.path.join(bench.source, "d/data"))
    Path(bench.source, "d/data").write_text("4")
    os.utime(os.path.join(bench.source, "d/data"), ns=(times.st_atime_ns, times.st_mtime_ns))
    os.utime(os.path.join(bench.source, "d/time"), (1, 1))
    os.chmod(os.path.join(bench.source, "d/mode"), 0o600)
    held = [os.open(os.path.join(bench.dest, name), os.O_RDONLY) for name in inodes]
    assert bench.copy("d", "/")["data"] == "4"
    again = {name: os.stat(os.path.join(bench.dest, name)).st_ino for name in inodes}
    for fd in held:  # so that no inode number was free to be used again
        os.close(fd)
    assert {name for name in inodes if inodes[name] == again[name]} == {"same"}


def test_symlinks_of_an_earlier_source_are_seen(bench: Bench) -> None:
    make(bench.source, {"one/l": "-> /t", "t": "t"})
    make(bench.dest, {"t/": ""})
    bench.run(Copy(0, ("one",), "/"), Copy(0, ("t",), "/l"))
    assert tell(bench.dest) == {"l": "-> /t", "t": "/", "t/t": "t"}


# --- metadata ---


def test_modes_are_kept_but_that_of_the_top(bench: Bench) -> None:
    make(bench.source, {"d/sg/": "2755", "d/st/": "1777", "d/f": "f", "d/": "0700"})
    os.chmod(os.path.join(bench.source, "d/f"), 0o4711)
    bench.copy("d", "/new/out")
    assert modes(bench.dest) == {
        "new": "755",
        "new/out": "755",
        "new/out/f": "4711",
        "new/out/sg": "2755",
        "new/out/st": "1777",
    }


def test_existing_directories(bench: Bench) -> None:
    make(bench.source, DIR | {"dir/": "0750", "dir/sub/": "0711"})
    make(bench.dest, {"t/sub/": "0700", "t/": "0701"})
    bench.copy("dir", "/t")
    assert modes(bench.dest, "t", "t/sub") == {"t": "701", "t/sub": "711"}


def test_existing_directories_with_parents(bench: Bench) -> None:
    make(bench.source, {"p/q/f": "f", "p/": "0700", "p/q/": "0711"})
    make(bench.dest, {"p/": "0750"})
    bench.copy("p/q/f", "/", parents=True)
    assert modes(bench.dest) == {"p": "750", "p/q": "711", "p/q/f": "644"}


@pytest.mark.parametrize(
    ("chmod", "words", "expected"),
    [
        pytest.param(
            "600",
            ("dir/one", "/new/x"),
            {"new": "600", "new/x": "600"},
            marks=pytest.mark.needs("root"),  # others cannot look inside to see it
        ),
        ("4755", ("dir/one", "/new/x"), {"new": "755", "new/x": "4755"}),
        (
            "0751",
            ("dir/sub", "/t"),
            {"t": "751", "t/deep": "751", "t/deep/three": "751", "t/two": "751"},
        ),
        ("1777", ("dir/one", "/x"), {"x": "1777"}),
        (
            "go-rwx",
            ("dir/sub", "/t"),
            {"t": "755", "t/deep": "700", "t/deep/three": "600", "t/two": "600"},
        ),
        (
            "u=rwX,go=rX",
            ("dir/sub/", "/t/"),
            {"t": "755", "t/deep": "755", "t/deep/three": "644", "t/two": "644"},
        ),
    ],
)
def test_chmod(bench: Bench, chmod: str, words: tuple[str, ...], expected: dict[str, str]) -> None:
    make(bench.source, DIR)
    bench.copy(*words, chmod=chmod)
    os.chmod(bench.dest, 0o755)
    assert modes(bench.dest) == expected


def test_chmod_leaves_existing_directories_and_symlinks(bench: Bench) -> None:
    make(bench.source, {"l/s": "-> x", "l/f": "f"})
    make(bench.dest, {"d/": "0701"})
    bench.copy("l", "/d", chmod="0600")
    assert modes(bench.dest, "d", "d/f") == {"d": "701", "d/f": "600"}


@pytest.mark.usefixtures("chowns")
@pytest.mark.parametrize(
    ("chown", "owner"),
    [
        ("12:34", "12:34"),
        ("56", "56:56"),
        ("0:78", "0:78"),
        ("app", "1500:1600"),
        ("app:webgrp", "1500:1601"),
        ("web:0", "1501:0"),
        ("77:extra", "77:1700"),
        (":extra", "0:1700"),
        ("1500", "1500:1500"),
        ("nobodyknows", "0:0"),
        ("nobodyknows:extra", "0:1700"),
        ("app:nosuchgroup", "1500:1600"),
        ("bad", "1:0"),
        ("", "0:0"),
    ],
)
def test_chown(bench: Bench, chown: str, owner: str) -> None:
    make(bench.source, DIR | {"dir/link": "-> one"})
    make(bench.dest, USERS)
    os.chown(os.path.join(bench.source, "dir/one"), 5, 6)
    bench.copy("dir", "/new/dir", chown=chown)
    copied = [name for name in tell(bench.dest) if name.startswith("new")]
    assert set(owners(bench.dest, *copied).values()) == {owner}
    assert owners(bench.dest, "etc/passwd") == {"etc/passwd": "0:0"}


@pytest.mark.usefixtures("chowns")
def test_owners_are_kept_when_asked(bench: Bench) -> None:
    make(bench.source, {"x/f": "f", "x/d/": "0711", "x/s": "-> f"})
    for number, name in enumerate(("x", "x/f", "x/d", "x/s"), 1):
        os.chown(os.path.join(bench.source, name), number, number, follow_symlinks=False)
    bench.copy("x", "/plain", keep_owner=True)
    bench.copy("x", "/owned", keep_owner=True, chown="9")
    assert owners(bench.dest) == {
        "plain": "0:0",
        "plain/f": "2:2",
        "plain/d": "3:3",
        "plain/s": "4:4",
        **{name: "9:9" for name in ("owned", "owned/f", "owned/d", "owned/s")},
    }


@pytest.mark.usefixtures("chowns")
def test_set_id_bits_survive_chown(bench: Bench) -> None:
    make(bench.source, {"tool": "t"})
    bench.copy("tool", "/tool", chmod="6755", chown="7:8")
    assert modes(bench.dest) == {"tool": "6755"}


@pytest.mark.usefixtures("chowns")
def test_set_group_id_directories_do_not_pass_their_group_on(bench: Bench) -> None:
    make(bench.source, {"f": "f"})
    make(bench.dest, {"sg/": ""})
    os.chown(os.path.join(bench.dest, "sg"), 0, 99)
    os.chmod(os.path.join(bench.dest, "sg"), 0o2755)
    bench.copy("f", "/sg/new/f")
    assert owners(bench.dest, "sg/new", "sg/new/f") == {"sg/new": "0:0", "sg/new/f": "0:0"}
    assert modes(bench.dest, "sg/new") == {"sg/new": "755"}


@pytest.mark.parametrize("chown", ["app", "app:webgrp", "1:webgrp"])
def test_names_cannot_be_looked_up_in_an_empty_tree(bench: Bench, chown: str) -> None:
    make(bench.source, DIR)
    with pytest.raises(DefinitionError, match="invalid user index: -1"):
        bench.copy("dir", "/x", chown=chown)
    assert tell(bench.dest) == {}


def test_times_are_kept(bench: Bench) -> None:
    make(bench.source, {"d/e/f": "f", "d/s": "-> e"})
    for name in ("d/e/f", "d/s", "d/e"):
        os.utime(
            os.path.join(bench.source, name),
            ns=(1, 1_500_000_000_000_000_007),
            follow_symlinks=False,
        )
    bench.copy("d", "/o")
    for name in ("o/e/f", "o/s", "o/e"):
        assert os.lstat(os.path.join(bench.dest, name)).st_mtime_ns == 1_500_000_000_000_000_007


@pytest.mark.needs("trusted_xattr", "user_xattr")
def test_of_attributes_only_capabilities_come_along(bench: Bench) -> None:
    make(bench.source, {"d/f": "f"})
    source, copied = os.path.join(bench.source, "d/f"), os.path.join(bench.dest, "f")
    # cap_net_bind_service=ep, see linux/capability.h: vfs_cap_data, revision 2.
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    xattr.set(source, "user.note", b"x")
    xattr.set(source, "security.capability", capability)
    bench.copy("d", "/", chown="7:8", chmod="0755")
    assert xattr.get_all(copied) == {"security.capability": capability}


# --- kinds of files ---


def test_hardlinks_within_one_source(bench: Bench) -> None:
    make(bench.source, {"d/a": "l", "d/e/c": "= d/a", "d/z": "= d/a", "d/o": "o"})
    bench.copy("d", "/copy")
    bench.copy("d/a", "d/z", "/pair/")
    inode = {n: os.stat(os.path.join(bench.dest, n)).st_ino for n in tell(bench.dest)}
    assert inode["copy/a"] == inode["copy/e/c"] == inode["copy/z"] != inode["copy/o"]
    assert inode["pair/a"] != inode["pair/z"]


def test_hardlinks_over_existing_files(bench: Bench) -> None:
    make(bench.source, {"d/a": "new", "d/b": "= d/a"})
    make(bench.dest, {"a": "old", "b": "old"})
    assert bench.copy("d", "/") == {"a": "new", "b": "new"}
    assert os.stat(os.path.join(bench.dest, "a")).st_nlink == 2


def test_a_hardlink_whose_partner_is_not_copied_is_a_file(bench: Bench) -> None:
    make(bench.source, {"outside": "x", "d/in": "= outside", "d/e/deep": "= outside"})
    bench.copy("d", "/", exclude=("in",))
    assert os.stat(os.path.join(bench.dest, "e/deep")).st_nlink == 1


def test_sockets_of_this_machine_are_empty_files(bench: Bench) -> None:
    """So BuildKit sends them (tonistiigi/fsutil pull request 67). Those of images are left out."""
    make(bench.source, {"d/f": "f"})
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.join(bench.source, "d/sock"))
    os.chmod(os.path.join(bench.source, "d/sock"), 0o640)
    bench.local = True
    assert bench.copy("d", "/o") == {"o": "/", "o/f": "f", "o/sock": ""}
    assert modes(bench.dest, "o/sock") == {"o/sock": "640"}
    assert bench.copy("d/sock", "/sock") == {"o": "/", "o/f": "f", "o/sock": "", "sock": ""}


def test_fifos_are_copied_and_sockets_are_not(bench: Bench) -> None:
    make(bench.source, {"d/pipe": "|", "d/f": "f"})
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.join(bench.source, "d/sock"))
    os.chmod(os.path.join(bench.source, "d/pipe"), 0o620)
    assert bench.copy("d", "/o") == {"o": "/", "o/f": "f", "o/pipe": "|"}
    assert modes(bench.dest, "o/pipe") == {"o/pipe": "620"}
    assert bench.copy("d/sock", "/sock") == {"o": "/", "o/f": "f", "o/pipe": "|"}


@pytest.mark.usefixtures("devices")
def test_devices(bench: Bench) -> None:
    os.mknod(os.path.join(bench.source, "null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    bench.copy("null", "/x")
    status = os.lstat(os.path.join(bench.dest, "x"))
    assert stat.S_ISCHR(status.st_mode)
    assert status.st_rdev == os.makedev(1, 3)
    os.mknod(os.path.join(bench.source, "whiteout"), stat.S_IFCHR, 0)
    with pytest.raises(DefinitionError, match="device 0:0"):
        bench.copy("whiteout", "/w")


def test_odd_and_long_names(bench: Bench) -> None:
    long = "x" * 200
    names = {"bad\udcff\udcfename": "1", "new\nline": "2", "-rf": "3", f"{long}/{long}/{long}": "4"}
    make(bench.source, {f"d/{name}": text for name, text in names.items()})
    copied = bench.copy("d", "/o")
    assert {f"o/{name}": text for name, text in names.items()}.items() <= copied.items()
    assert bench.copy("d/bad*", "/glob")["glob"] == "1"


def test_deeper_than_path_max_and_open_files(bench: Bench) -> None:
    here = os.open(bench.source, os.O_RDONLY)
    for _ in range(150):
        os.mkdir("d" * 60, 0o711, dir_fd=here)
        here, above = os.open("d" * 60, os.O_RDONLY, dir_fd=here), here
        os.close(above)
    for name in ("f", "g"):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    bench.run(Copy(0, (".",), "/"))
    script = "find . -type d -perm 0711 | wc -l; find . -name '[fg]' | wc -l"
    shell = subprocess.run(
        ["sh", "-c", script], cwd=bench.dest, capture_output=True, text=True, check=True
    )
    assert shell.stdout.split() == ["150", "2"]


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1_000_000])
def test_sizes(bench: Bench, size: int) -> None:
    data = os.urandom(size)
    Path(bench.source, "f").write_bytes(data)
    bench.copy("f", "/f")
    assert Path(bench.dest, "f").read_bytes() == data


def test_holes_stay_holes(bench: Bench) -> None:
    with open(os.path.join(bench.source, "f"), "wb") as file:
        file.seek(5 << 20)
        file.write(b"middle" * 30_000)
        file.truncate(64 << 20)
    bench.copy("f", "/f")
    before, after = (Path(top, "f") for top in (bench.source, bench.dest))
    assert after.read_bytes() == before.read_bytes()
    assert after.stat().st_blocks <= before.stat().st_blocks + 64


# --- the other actions ---


def test_mkdir(bench: Bench) -> None:
    make(bench.dest, {"a/": "0700", "lnk": "-> a"})
    bench.run(Mkdir("/lnk/made/deep"), Mkdir("/a"), Mkdir("x/../y", 0o711))
    assert modes(bench.dest, "a", "a/made", "a/made/deep", "y") == {
        "a": "700",
        "a/made": "755",
        "a/made/deep": "755",
        "y": "711",
    }
    with pytest.raises(DefinitionError, match="mkdir /f: not a directory"):
        bench.run(Mkfile("/f", b""), Mkdir("/f/x"))


@pytest.mark.usefixtures("chowns")
def test_mkdir_owner(bench: Bench) -> None:
    make(bench.dest, USERS)
    bench.run(Mkdir("/made/by", owner="app:webgrp"), Mkdir("/made/by/sub", owner="1234"))
    assert owners(bench.dest, "made", "made/by", "made/by/sub") == {
        "made": "1500:1601",
        "made/by": "1500:1601",
        "made/by/sub": "1234:1234",
    }


def test_mkfile_symlink_rm(bench: Bench) -> None:
    make(bench.dest, {"t": "old", "l": "-> t", "d/x/y": "y", "out": "-> d"})
    bench.run(
        Mkfile("/l", b"new", 0o600),
        Mkfile("/deep/er/f", b"f"),
        Symlink("/s/link", "anywhere"),
        Rm("/out/x"),
        Rm("/nothing/at/all", missing_ok=True),
    )
    assert tell(bench.dest) == {
        "t": "new",
        "l": "-> t",
        "d": "/",
        "out": "-> d",
        "deep": "/",
        "deep/er": "/",
        "deep/er/f": "f",
        "s": "/",
        "s/link": "-> anywhere",
    }
    assert modes(bench.dest, "t", "deep/er/f") == {"t": "600", "deep/er/f": "644"}
    for action in (Rm("/nothing"), Rm("/"), Symlink("/t", "x"), Rm("/t/x")):
        with pytest.raises(DefinitionError):
            bench.run(action)


def test_a_directory_removed_right_after_it_was_made(bench: Bench) -> None:
    bench.run(Mkdir("/a/b", 0o700), Rm("/a"), Mkfile("/a", b"x"))
    assert tell(bench.dest) == {"a": "x"}


# --- hostile trees, trouble, progress ---


def test_symlinks_never_lead_out(bench: Bench, tmp_path: Path) -> None:
    outside = make(str(tmp_path / "outside"), {"secret": "s", "etc/": ""})
    up = "../" * 20
    make(bench.source, {"abs": f"-> {outside}/secret", "up": f"-> {up}{outside}/secret", "f": "f"})
    make(bench.dest, {"abs": f"-> {outside}/etc", "up": f"-> {up}{outside}/etc"})
    for name in ("abs", "up"):
        with pytest.raises(DefinitionError, match="not found"):
            bench.copy(name, "/x")
        bench.copy("f", f"/{name}/f")
    assert tell(outside) == {"secret": "s", "etc": "/"}
    assert os.path.exists(bench.dest + outside + "/etc/f")


def test_passwd_that_leads_out_or_blocks(bench: Bench) -> None:
    make(bench.source, {"f": "f"})
    make(bench.dest, {"etc/passwd": "|", "etc/group": "-> /../../../../etc/group"})
    bench.copy("f", "/f", chown="root:root")
    assert tell(bench.dest)["f"] == "f"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("top/f", "top/f"),
        ("top/f*", "top/f"),
        ("top/d", "top/d"),
        ("top/d/in", "top/d"),
        ("top/d/in/deep", "top/d"),
        ("top/d*", "top/d"),
        ("t*/d/*", "top/d"),
        ("top/*/in", "top/d"),
        ("top/link/in", "top/link"),
        ("top", "top/d"),
        (".", "top/d"),
    ],
)
def test_unreadable_source(bench: Bench, source: str, told: str) -> None:
    """The error names what is closed, by its path in the context."""
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    make(bench.source, {"top/f": "f", "top/d/in": "x", "top/link": "-> d"})
    for name in ("f", "d"):
        os.chmod(f"{bench.source}/top/{name}", 0)
    try:
        with pytest.raises(DefinitionError) as caught:
            bench.copy(source, "/x/")
    finally:
        os.chmod(f"{bench.source}/top/d", 0o755)
    message = caught.value.message.replace(f"{bench.source}/", "")
    assert message == f"cannot read {told}: Permission denied"
    assert caught.value.hint == "make it readable for you, or exclude it in the ignore file"


def test_cancelled_and_progress(bench: Bench) -> None:
    make(bench.source, {f"f{n}": "12345" for n in range(600)})
    seen: list[tuple[int, int]] = []
    stop = threading.Event()
    stop.set()
    with opened(bench.source, bench.dest) as (source_fd, dest_fd):
        tree = {0: SourceTree(source_fd)}
        apply((Copy(0, (".",), "/a"),), dest_fd, tree, progress=lambda *now: seen.append(now))
        assert seen == [(256, 1280), (512, 2560), (600, 3000)]
        with pytest.raises(Cancelled):
            apply((Copy(0, (".",), "/b"),), dest_fd, tree, cancelled=stop)


def test_no_descriptor_is_left_open(bench: Bench) -> None:
    make(bench.source, {f"{'d/' * depth}f": "x" for depth in range(100)})
    before = open_descriptors()
    bench.copy(".", "/x")
    for words in (("nothere", "/"), ("d/*/nothere*", "/"), (".", "/x/f")):
        try:
            bench.copy(*words)
        except BuildError:
            pass
    assert open_descriptors() == before


# --- rules of copies that programs make ---


@pytest.mark.parametrize(
    ("before", "words", "rules", "expected"),
    [
        ({}, ("dir/sub", "/x"), CopyRules(contents=False), {"x": "/", "x/two": "2"}),
        (
            {"x/": ""},
            ("dir/sub", "/x"),
            CopyRules(contents=False),
            {"x": "/", "x/sub": "/", "x/sub/two": "2"},
        ),
        (
            {},
            ("dir/sub", "/x/"),
            CopyRules(contents=False),
            {"x": "/", "x/sub": "/", "x/sub/two": "2"},
        ),
        (
            {},
            ("/", "/x"),
            CopyRules(contents=False, include=("*/one",)),
            {"x": "/", "x/dir": "/", "x/dir/one": "1"},
        ),
        ({}, ("link", "/x"), CopyRules(follow=False), {"x": "-> dir/one"}),
        (
            {},
            ("dir", "/x"),
            CopyRules(include=("s*", "!sub/deep")),
            {"x": "/", "x/sub": "/", "x/sub/two": "2"},
        ),
        ({"x": "old"}, ("dir/sub", "/x"), CopyRules(replace=True), {"x": "/", "x/two": "2"}),
        (
            {"x/one/a": "a", "x/sub": "old"},
            ("dir", "/x"),
            CopyRules(replace=True),
            {"x": "/", "x/one": "1", "x/sub": "/", "x/sub/two": "2"},
        ),
    ],
)
def test_rules(
    bench: Bench,
    before: dict[str, str],
    words: tuple[str, ...],
    rules: CopyRules,
    expected: dict[str, str],
) -> None:
    make(bench.source, {"dir/one": "1", "dir/sub/two": "2", "link": "-> dir/one"})
    make(bench.dest, before)
    assert bench.copy(*words, rules=rules) == expected


def test_a_time_for_all(bench: Bench) -> None:
    make(bench.source, DIR)
    bench.copy("dir", "/x/y", rules=CopyRules(contents=False, time_ns=5_000_000_000))
    bench.run(Mkdir("/m", time_ns=5), Mkfile("/f", b"", time_ns=5), Symlink("/l", "f", time_ns=5))
    for name in ("x", "x/y", "x/y/one", "x/y/sub/two"):
        assert os.lstat(os.path.join(bench.dest, name)).st_mtime == 5
    for name in ("m", "f", "l"):
        assert os.lstat(os.path.join(bench.dest, name)).st_mtime_ns == 5


@pytest.mark.parametrize(
    ("words", "rules", "message"),
    [
        (("dir", "/no/x"), CopyRules(make_dest=False), "there is no directory /no"),
        (("no*", "/x"), CopyRules(allow_empty=False), "nothing matches no"),
    ],
)
def test_rules_that_fail(
    bench: Bench, words: tuple[str, ...], rules: CopyRules, message: str
) -> None:
    make(bench.source, DIR)
    with pytest.raises(DefinitionError, match=message):
        bench.copy(*words, rules=rules)


def test_wildcards_of_what_is_removed(bench: Bench) -> None:
    make(bench.dest, {"a1": "", "a2/": "", "b": "", "a3": "-> b"})
    bench.run(Rm("/a*", wildcard=True), Rm("/x*", wildcard=True))
    assert tell(bench.dest) == {"b": ""}
    with pytest.raises(DefinitionError, match="no such file"):
        bench.run(Mkdir("/no/x", parents=False))


@pytest.mark.needs("user_xattr")
def test_an_empty_file_takes_the_place_of_a_device(tmp_path: Path) -> None:
    """It looks like the placeholder, to the time."""
    bench = Bench(str(tmp_path))
    for folder in (bench.source, bench.dest):
        make(folder, {"b": ""})
        os.utime(f"{folder}/b", (1, 1))
    xattr.set(f"{bench.dest}/b", device.PLACEHOLDER, b"char 1:3")
    bench.copy("b", "/b", chown=ME)
    assert xattr.names(f"{bench.dest}/b") == []
