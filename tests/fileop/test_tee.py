"""A copy written as a tree and as a layer at once: the layer is that of the tree, byte for byte."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from minibuild.fileop.api import Hooks, SourceTree
from minibuild.fileop.checksum import content_digests
from minibuild.fileop.copy import CopyJob, CopyTrees
from minibuild.fileop.copy import copy as do
from minibuild.graph.op import Copy
from minibuild.layer.pack import LayerPacker
from minibuild.layer.writer import LayerWriter
from minibuild.linux import xattr
from minibuild.oci.content import ContentStore
from tests.fileop.trees import ALL_KINDS, ME, make, opened
from tests.support.descriptors import open_descriptors, opened_since


def _both(
    tmp_path: Path, content: ContentStore, copies: Sequence[Copy], base: str = ""
) -> bytes | None:
    """Copy `from` to `to`, both in `tmp_path`; the tar that was written meanwhile, if one was."""
    source_fd = os.open(tmp_path / "from", os.O_RDONLY)
    root_fd = os.open(tmp_path / "to", os.O_RDONLY)
    base_fd = os.open(tmp_path / base, os.O_RDONLY) if base else None
    try:
        owned = tuple(copy._replace(chown=ME) for copy in copies)
        places = CopyTrees(root_fd, base_fd, {0: SourceTree(source_fd)})
        layer = do(CopyJob(owned, "both", "uncompressed"), places, content, Hooks()).layer
        return None if layer is None else Path(content.path(layer.digest)).read_bytes()
    finally:
        for fd in (source_fd, root_fd, base_fd):
            if fd is not None:
                os.close(fd)


def _packed(tmp_path: Path, content: ContentStore, *, but: Sequence[str] = ()) -> bytes:
    """The tar of all that is in `to` by now, less some names."""
    top = str(tmp_path / "to")
    with LayerWriter(content, "uncompressed") as writer:
        packer = LayerPacker(writer)
        found = [
            os.path.relpath(os.path.join(folder, name), top)
            for folder, dirs, files in os.walk(top)
            for name in (*dirs, *files)
        ]
        for path in sorted(found, key=lambda p: p.encode().split(b"/")):
            if path not in but:
                packer.add(path, os.path.join(top, path))
        digest = writer.commit().digest
    return Path(content.path(digest)).read_bytes()


@pytest.mark.parametrize(
    "copy",
    [
        Copy(0, (".",), "/"),
        Copy(0, (".",), "/made/of/many"),
        Copy(0, ("sub",), "/x", chmod="4755"),
        Copy(0, ("a", "b"), "/x/"),
        Copy(0, (".",), "/", exclude=("sub",)),
        Copy(0, ("a", "sub"), "/", parents=True),
        Copy(0, ("sub", "sub"), "/x/"),
        Copy(0, ("b", "sub"), "/x/"),
        Copy(0, ("sub", "zz"), "/x/"),
    ],
    ids=[
        "all",
        "into new directories",
        "mode",
        "several",
        "less some",
        "parents",
        "directories",
        "a directory at last",
        "a directory before",
    ],
)
def test_layer_is_that_of_the_tree(tmp_path: Path, content: ContentStore, copy: Copy) -> None:
    make(str(tmp_path / "from"), {**ALL_KINDS, "zz": "z"})
    os.utime(tmp_path / "from/sub", (1, 1))
    (tmp_path / "to").mkdir()
    assert _both(tmp_path, content, [copy]) in (_packed(tmp_path, content), None)


@pytest.mark.parametrize(
    ("source", "dest"), [("sub/c", "usr/share/"), ("sub", "usr/share"), ("empty", "usr/share")]
)
def test_directories_of_the_base_get_the_time_that_the_layer_says(
    tmp_path: Path, content: ContentStore, source: str, dest: str
) -> None:
    make(str(tmp_path / "from"), {**ALL_KINDS, "empty/": ""})
    for name in ("base", "to"):
        make(str(tmp_path / name), {"usr/share/old": "o"})
        for folder in ("usr/share", "usr"):
            os.utime(tmp_path / name / folder, (7, 7))
    for folder in ("sub", "empty"):
        os.utime(tmp_path / "from" / folder, (9, 9))
    tar = _both(tmp_path, content, [Copy(0, (source,), dest)], "base")
    assert tar == _packed(tmp_path, content, but=["usr/share/old"])
    assert os.stat(tmp_path / "to/usr").st_mtime == 7
    assert os.stat(tmp_path / "to/usr/share").st_mtime > 7


@pytest.mark.parametrize(
    "copies",
    [
        [Copy(0, ("sub/c", "a"), "/")],
        [Copy(0, ("a",), "/x"), Copy(0, ("sub/c",), "/x")],
    ],
    ids=["out of order", "over a file"],
)
def test_the_tree_is_whole_where_there_is_no_layer(
    tmp_path: Path, content: ContentStore, copies: Sequence[Copy]
) -> None:
    make(str(tmp_path / "from"), ALL_KINDS)
    (tmp_path / "to").mkdir()
    assert _both(tmp_path, content, copies) is None
    assert sorted(os.listdir(tmp_path / "to")) in (["a", "c"], ["x"])
    assert os.listdir(tmp_path / "store/ingest") == []


@pytest.mark.parametrize("left", [0, 10])
@pytest.mark.parametrize("size", [5000, 200_000])
def test_a_file_that_shrinks_meanwhile_is_still_copied(
    tmp_path: Path, content: ContentStore, size: int, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(str(tmp_path / "from"), {"d/f": "x" * size})
    (tmp_path / "to").mkdir()
    _at_first(monkeypatch, "open", lambda: os.truncate(tmp_path / "from/d/f", left), "f")
    assert _both(tmp_path, content, [Copy(0, ("d/f",), "/")]) is None
    assert (tmp_path / "to/f").read_text() == "x" * left


@pytest.mark.needs("trusted_xattr", "user_xattr")
def test_of_attributes_only_capabilities_are_in_both(tmp_path: Path, content: ContentStore) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    make(str(tmp_path / "from"), {"a": "a", "b": "", "c": "c"})
    for name in "ab":
        xattr.set(str(tmp_path / "from" / name), "user.note", b"x")
        xattr.set(str(tmp_path / "from" / name), "security.capability", capability)
    (tmp_path / "to").mkdir()
    before = open_descriptors()
    tar = _both(tmp_path, content, [Copy(0, (".",), "/")])
    assert tar == _packed(tmp_path, content)
    assert tar is not None and tar.count(capability) == 2 and b"user.note" not in tar
    with opened(str(tmp_path / "from")) as (source_fd,):
        source = SourceTree(source_fd)
        places = CopyTrees(-1, None, {0: source})
        copy = Copy(0, (".",), "/", chown=ME)
        done = do(CopyJob((copy,), "layer", "uncompressed", watched=True), places, content, Hooks())
        assert done.seen is not None
        assert done.seen.contents == [content_digests(copy, source)]
    assert done.layer is not None and Path(content.path(done.layer.digest)).read_bytes() == tar
    assert not opened_since(before)


def _at_first(
    monkeypatch: pytest.MonkeyPatch, call: str, action: Callable[[], object], name: str
) -> None:
    """Do something just before a function of `os` is called for the first time with a name."""
    real, done = getattr(os, call), list[object]()

    def wrapped(path: Any, *args: Any, **named: Any) -> Any:
        if path == name and not done:
            done.append(action())
        return real(path, *args, **named)

    monkeypatch.setattr(os, call, wrapped)


def test_each_file_is_opened_and_read_once(
    tmp_path: Path, content: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts, since times say little on a busy machine: what is done for 60 files of one kind."""
    make(str(tmp_path / "from"), {f"d/f{n:02}": "x" * n for n in range(1, 61)})
    (tmp_path / "to").mkdir()
    calls: Counter[str] = Counter()

    def count(name: str) -> None:
        real = getattr(os, name)

        def counted(*args: Any, **named: Any) -> Any:
            calls[name] += 1
            return real(*args, **named)

        monkeypatch.setattr(os, name, counted)

    for name in ("open", "readv", "write", "fstat", "fchown", "fchmod", "stat", "utime", "lseek"):
        count(name)
    _both(tmp_path, content, [Copy(0, (".",), "/")])
    slack = 20  # For the directories, the root and the blob.
    assert 120 <= calls["open"] < 120 + slack
    assert 60 <= calls["write"] < 60 + slack
    assert 60 <= calls["utime"] < 60 + slack
    assert calls["stat"] < 60 + slack
    assert calls["readv"] == 60
    assert calls["fchown"] + calls["fchmod"] + calls["fstat"] + calls["lseek"] < slack
