"""Where a COPY puts things; the other actions; hostile trees, trouble and progress."""

import os
import threading
from pathlib import Path

import pytest

from minibuild.errors import BuildError, Cancelled, DefinitionError
from minibuild.fileop.api import Hooks, SourceTree
from minibuild.fileop.apply import apply
from minibuild.graph.op import Copy, Mkdir, Mkfile, Rm, Symlink
from tests.fileop.trees import DIR, USERS, Bench, make, modes, opened, owners, tell
from tests.support.descriptors import open_descriptors, opened_since

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
        apply((Copy(0, (".",), "/a"),), dest_fd, tree, Hooks(lambda *now: seen.append(now)))
        assert seen == [(256, 1280), (512, 2560), (600, 3000)]
        with pytest.raises(Cancelled):
            apply((Copy(0, (".",), "/b"),), dest_fd, tree, Hooks(cancelled=stop))


def test_no_descriptor_is_left_open(bench: Bench) -> None:
    make(bench.source, {f"{'d/' * depth}f": "x" for depth in range(100)})
    before = open_descriptors()
    bench.copy(".", "/x")
    bench.copy("d/*/nothere*", "/")
    for words in (("nothere", "/"), (".", "/x/d/f")):
        with pytest.raises(BuildError):
            bench.copy(*words)
    assert not opened_since(before)
