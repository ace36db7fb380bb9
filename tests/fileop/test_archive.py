"""ADD: archives are unpacked by content, everything else is copied."""

import gzip
import io
import os
import tarfile

import pytest

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
