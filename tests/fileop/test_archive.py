"""ADD: archives are unpacked by content, everything else is copied."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable

import pytest

from minibuild.errors import ImageError
from tests.fileop.trees import Bench, make, modes, owners, tell


def tar() -> bytes:
    """A small archive with owners and modes of its own."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, kind, data, mode in (
            ("top", tarfile.DIRTYPE, b"", 0o750),
            ("top/file", tarfile.REGTYPE, b"content", 0o640),
            ("loose", tarfile.REGTYPE, b"loose", 0o644),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid, member.gid = kind, mode, 21, 22
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return raw.getvalue()


@pytest.fixture
def sources(bench: Bench) -> Bench:
    """Archives and what only looks like them."""
    make(bench.source, {"text.tar": "not a tar at all", "plain.txt": "p"})
    for name, data in (
        ("named.txt", gzip.compress(tar())),
        ("p.tar", tar()),
        ("text.gz", gzip.compress(b"plain text")),
    ):
        with open(os.path.join(bench.source, name), "wb") as file:
            file.write(data)
    return bench


@pytest.mark.parametrize("dest", ["/out", "/out/"])
def test_unpacked_into_a_directory(sources: Bench, dest: str) -> None:
    unpacked = {"out": "/", "out/top": "/", "out/top/file": "content", "out/loose": "loose"}
    assert sources.copy("named.txt", dest, unpack=True) == unpacked
    assert modes(sources.dest, "out", "out/top", "out/top/file") == {
        "out": "755",
        "out/top": "750",
        "out/top/file": "640",
    }


@pytest.mark.usefixtures("chowns")
@pytest.mark.parametrize(("chown", "owner"), [("", "21:22"), ("71:72", "71:72")])
def test_owners(sources: Bench, chown: str, owner: str) -> None:
    sources.copy("p.tar", "/out", unpack=True, chown=chown)
    assert set(owners(sources.dest, "out/top", "out/top/file", "out/loose").values()) == {owner}
    assert owners(sources.dest, "out") == {"out": chown or "0:0"}


def archive_of(*members: tuple[str, bytes, str]) -> bytes:
    """Members by name, type and data (of a link: its target), owned by 21:22."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, kind, data in members:
            member = tarfile.TarInfo(name)
            member.type, member.uid, member.gid = kind, 21, 22
            if kind == tarfile.LNKTYPE:
                member.linkname, data = data, ""
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data.encode()))
    return raw.getvalue()


@pytest.mark.usefixtures("chowns")
@pytest.mark.parametrize("chown", ["", "71:72"])
def test_directories_that_are_not_listed_are_of_root(bench: Bench, chown: str) -> None:
    """Also below a directory that is listed."""
    data = archive_of(
        ("p/q/f", tarfile.REGTYPE, "1"), ("d", tarfile.DIRTYPE, ""), ("d/e/f", tarfile.REGTYPE, "2")
    )
    with open(os.path.join(bench.source, "a.tar"), "wb") as file:
        file.write(data)
    bench.copy("a.tar", "/out/", unpack=True, chown=chown)
    given = chown or "21:22"
    expected = {
        "out/p": "0:0", "out/p/q": "0:0", "out/p/q/f": given,
        "out/d": given, "out/d/e": "0:0", "out/d/e/f": given,
    }  # fmt: skip
    assert owners(bench.dest, *expected) == expected


def test_names_with_dots(bench: Bench) -> None:
    """The destination is the root of the archive's names, also for targets of links."""
    members = [
        ("x/../c", tarfile.REGTYPE, "c"),
        ("./../b", tarfile.REGTYPE, "b"),
        ("l", tarfile.LNKTYPE, "../../b"),
    ]
    with open(os.path.join(bench.source, "a.tar"), "wb") as file:
        file.write(archive_of(*members))
    copied = bench.copy("a.tar", "/deep/out/", unpack=True)
    assert {name.rpartition("/")[2] for name in copied} == {"deep", "out", "c", "b", "l"}
    names = [os.path.join(bench.dest, "deep/out", name) for name in ("b", "l")]
    assert os.stat(names[0]).st_ino == os.stat(names[1]).st_ino


def test_a_time_before_1970_is_none(bench: Bench) -> None:
    early = tarfile.TarInfo("f")
    early.mtime = -5
    with tarfile.open(os.path.join(bench.source, "a.tar"), "w") as archive:
        archive.addfile(early)
    bench.copy("a.tar", "/", unpack=True)
    assert os.stat(os.path.join(bench.dest, "f")).st_mtime == 0


UNUSABLE: dict[str, Callable[[bytes], bytes]] = {
    "a type that is not known": lambda head: head[:156] + b"Q" + head[157:],
    "an id beyond all": lambda head: head[:108] + b"\x80" + b"\xff" * 7 + head[116:],
    "a time beyond all": lambda head: head[:136] + b"\x80" + b"\x7f" * 11 + head[148:],
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_archive_that_cannot_be_unpacked_is_no_file(bench: Bench, case: str) -> None:
    """Its first header is sound, so it is an archive: an error, and not a copy of it in silence."""
    data = UNUSABLE[case](tar())
    blank = data[:148] + b" " * 8 + data[156:512]
    with open(os.path.join(bench.source, "a.tar"), "wb") as file:
        file.write(data[:148] + b"%06o\0 " % sum(blank) + data[156:])
    with pytest.raises(ImageError, match="the archive"):
        bench.copy("a.tar", "/out/", unpack=True)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_archive_that_ends_early_is_no_file(
    bench: Bench, compress: Callable[[bytes], bytes]
) -> None:
    with open(os.path.join(bench.source, "a.tar"), "wb") as file:
        file.write(compress(tar() + os.urandom(100))[:-4])
    what = r"the archive a\.tar is not sound \w+ data: it is cut short"
    with pytest.raises(ImageError, match=what):
        bench.copy("a.tar", "/out/", unpack=True)


@pytest.mark.parametrize("chmod", ["700", "u+s,go-rx"])
def test_chmod_is_not_for_archives(sources: Bench, chmod: str) -> None:
    sources.copy("p.tar", "/new/out", unpack=True, chmod=chmod)
    found = modes(sources.dest, "new", "new/out", "new/out/top")
    assert list(found.values()) == ["755", "755", "750"]


def test_several_and_others(sources: Bench) -> None:
    copied = sources.copy("p.tar", "text.tar", "text.gz", "plain.txt", "/out/", unpack=True)
    assert sorted(copied) == sorted(
        f"out{name}"
        for name in ("", "/loose", "/plain.txt", "/text.gz", "/text.tar", "/top", "/top/file")
    )


def test_over_existing(sources: Bench) -> None:
    make(sources.dest, {"out/top/file": "old", "out/top/keep": "k", "out/": "0700"})
    sources.copy("p.tar", "/out", unpack=True)
    assert tell(sources.dest)["out/top/file"] == "content"
    assert tell(sources.dest)["out/top/keep"] == "k"
    assert modes(sources.dest, "out", "out/top") == {"out": "700", "out/top": "750"}


def test_copy_never_unpacks(sources: Bench) -> None:
    sources.copy("p.tar", "/out/")
    assert os.listdir(os.path.join(sources.dest, "out")) == ["p.tar"]
