"""What a copy does to modes, owners, times and attributes."""

import os
import shutil
import tarfile
from typing import Any, Literal

import pytest

from minibuild.errors import DefinitionError
from minibuild.fileop.api import Hooks, SourceTree
from minibuild.fileop.copy import CopyJob, CopyTrees, Form, copy
from minibuild.fileop.dest import Unplannable
from minibuild.graph.op import Copy, CopyRules
from minibuild.linux import xattr
from minibuild.oci.content import ContentStore
from tests.fileop.trees import DIR, ME, USERS, Bench, make, modes, opened, owners, tell


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


_NO_TIME = -1


@pytest.mark.parametrize(
    ("words", "options", "time"),
    [
        (("one", "/to"), {}, 1),
        (("one", "/to/"), {"chmod": "700", "chown": ME}, 1),
        (("one/.", "/link"), {}, 1),
        (("empty", "/to"), {}, 3),
        (("one", "two", "/to/"), {}, 2),
        (("o*", "/to"), {}, 1),
        (("file", "one", "/to/"), {}, 1),
        (("one", "file", "/to/"), {}, _NO_TIME),
        (("file", "/to/"), {}, _NO_TIME),
        ((".", "/to"), {}, _NO_TIME),
        (("one", "/to"), {"exclude": ("f",)}, 1),
        (("one", "/to/"), {"parents": True}, _NO_TIME),
        (("one/./sub", "/to/"), {"parents": True}, 1),
        (("one", "/to"), {"rules": CopyRules(time_ns=7)}, 7),
    ],
)
@pytest.mark.parametrize("there", [False, True])
def test_the_destination_gets_the_time_of_the_last_directory(
    bench: Bench, there: bool, words: tuple[str, ...], options: dict[str, Any], time: int
) -> None:
    """Unless something that is no directory is put into it after that."""
    make(bench.source, {"one/f": "", "one/sub/f": "", "two/f": "", "empty/": "", "file": ""})
    for number, name in enumerate(("one", "two", "empty", "one/sub"), 1):
        os.utime(os.path.join(bench.source, name), ns=(number, number))
    make(bench.dest, {"link": "-> to"})
    if there:
        make(bench.dest, {"to/": "0711", "to/sub/": "", "to/f": ""})
    start_ns = os.stat(bench.dest).st_mtime_ns
    bench.copy(*words, **options)
    found = os.stat(os.path.join(bench.dest, "to"))
    assert found.st_mtime_ns == time if time != _NO_TIME else found.st_mtime_ns >= start_ns
    if there:
        assert found.st_mode & 0o777 == 0o711


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("form", ["", "tree", "layer", "both"])
@pytest.mark.parametrize(
    ("paths", "time"), [(("one", "file"), _NO_TIME), (("file", "one"), 1), (("two", "one"), 1)]
)
def test_the_last_copy_into_a_destination_gives_it_its_time(
    bench: Bench,
    content: ContentStore,
    there: bool,
    form: Form | Literal[""],
    paths: tuple[str, ...],
    time: int,
) -> None:
    """As where one copy has several sources. What an instruction copies from several trees is that
    many copies. With no form they are done as other actions are."""
    make(bench.source, {"one/f": "", "two/g": "", "file": ""})
    for number, name in enumerate(("one", "two"), 1):
        os.utime(os.path.join(bench.source, name), ns=(number, number))
    if there:
        make(bench.dest, {"to/": "0711"})
        os.utime(os.path.join(bench.dest, "to"), ns=(5, 5))
    start_ns = os.stat(bench.dest).st_mtime_ns
    copies = tuple(Copy(0, (path,), "/to/", chown=ME) for path in paths)
    if not form:
        bench.run(*copies)
    else:
        base = shutil.copytree(bench.dest, f"{bench.dest}-base")
        with opened(bench.source, bench.dest, base) as (source_fd, root_fd, base_fd):
            places = CopyTrees(root_fd, base_fd, {0: SourceTree(source_fd, local=True)})
            try:
                done = copy(CopyJob(copies, form, "uncompressed"), places, content, Hooks())
            except Unplannable:
                assert form == "layer"
                return
        if done.layer is not None:
            with tarfile.open(content.path(done.layer.digest)) as tar:
                assert tar.getmember("to").mtime in (
                    (0,) if time == 1 else range(start_ns // 10**9, 1 << 40)
                )
        if form == "layer":
            return
    found = os.stat(os.path.join(bench.dest, "to")).st_mtime_ns
    assert found == time if time != _NO_TIME else found >= start_ns


def test_existing_directories(bench: Bench) -> None:
    make(bench.source, DIR | {"dir/": "0750", "dir/sub/": "0711"})
    make(bench.dest, {"t/sub/": "0700", "t/": "0701"})
    bench.copy("dir", "/t")
    assert modes(bench.dest, "t", "t/sub") == {"t": "701", "t/sub": "711"}


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        # What is on the way takes the mode, but neither what --chown nor what --chmod says.
        ("p/q/f", {"parents": True}, "p 2700 5:6, p/q 711 5:6, p/q/f 644 0:0"),
        ("p/./q/f", {"parents": True}, "p 750 5:6, p/q 751 5:6, q 711 0:0, q/f 644 0:0"),
        ("p/q", {"parents": True}, "p 2700 5:6, p/q 711 0:0, p/q/f 644 0:0"),
        ("p", {"parents": True}, "p 2700 0:0, p/q 711 0:0, p/q/f 644 0:0"),
        (
            "p/q/f",
            {"parents": True, "chmod": "701", "chown": "8:9"},
            "p 2700 5:6, p/q 711 5:6, p/q/f 701 8:9",
        ),
        (
            "p/q",
            {"parents": True, "chmod": "701", "chown": "8:9"},
            "p 2700 5:6, p/q 701 8:9, p/q/f 701 8:9",
        ),
        (".", {"exclude": ("p", "!p/q/f")}, "p 2700 5:6, p/q 711 5:6, p/q/f 644 0:0"),
        (".", {"exclude": ("p", "!p/q")}, "p 2700 5:6, p/q 711 0:0, p/q/f 644 0:0"),
        # What an ignore file hides is not there, and all the rest is as any other.
        (".", {"ignore": ("p", "!p/q/f")}, "p 2700 0:0, p/q 711 0:0, p/q/f 644 0:0"),
        (
            "p/q",
            {"parents": True, "ignore": ("p", "!p/q/f")},
            "p 2700 5:6, p/q 711 0:0, p/q/f 644 0:0",
        ),
    ],
)
@pytest.mark.needs("root")
def test_existing_directories_on_the_way(
    bench: Bench, path: str, options: dict[str, Any], expected: str
) -> None:
    make(bench.source, {"p/q/f": "f", "p/": "2700", "p/q/": "0711"})
    make(bench.dest, {"p/q/": "0751", "p/": "0750"})
    for directory in ("p", "p/q"):
        os.chown(os.path.join(bench.dest, directory), 5, 6)
    bench.copy(path, "/", **options)
    found, ids = modes(bench.dest), owners(bench.dest)
    assert ", ".join(f"{p} {found[p]} {ids[p]}" for p in sorted(found)) == expected


@pytest.mark.needs("root")
def test_a_directory_on_the_way_that_the_same_copy_made(bench: Bench) -> None:
    make(bench.source, {"p/q/f": "f", "p/q/g/h": "h"})
    bench.copy("p/./q", "p/./q/g", "/", parents=True, chown="8:9")
    assert {*owners(bench.dest).values()} == {"8:9"}


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
