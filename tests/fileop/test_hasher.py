"""What is seen of files while they are copied is what reading them says, word for word."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from minibuild.fileop import digest_cache
from minibuild.fileop.api import Hooks, SourceTree
from minibuild.fileop.checksum import content_digests
from minibuild.fileop.copy import CopyJob, CopyTrees, Form
from minibuild.fileop.copy import copy as do
from minibuild.fileop.digest_cache import DigestCache, QuickDigestCache, Unknown
from minibuild.fileop.hasher import Contents, CopyFingerprints, line, sorted_prints
from minibuild.graph.op import Copy
from minibuild.linux.contents import Copier
from minibuild.oci.content import ContentStore
from minibuild.store.layout import Store
from tests.fileop.trees import ALL_KINDS, ME, make

TREE = ALL_KINDS | {
    "sub/other": "= sub/c",
    "sub/deep/": "0755",
    "sub/deep/x.log": "log",
}

FORMS: tuple[Form, ...] = ("tree", "layer", "both")


def seen_by(
    form: Form,
    copies: Sequence[Copy],
    root_fd: int,
    tree: SourceTree,
    store: Store,
    base_fd: int | None = None,
) -> CopyFingerprints | None:
    """What a hasher sees of copies that become a tree, a layer, or both."""
    job = CopyJob(tuple(copies), form, watched=True)
    places = CopyTrees(-1 if form == "layer" else root_fd, base_fd, {0: tree})
    return do(job, places, ContentStore(store), Hooks()).seen


@pytest.fixture
def source(tmp_path: Path) -> Iterator[int]:
    make(str(tmp_path / "from"), TREE)
    fd = os.open(tmp_path / "from", os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "to").mkdir()
    fd = os.open(tmp_path / "to", os.O_RDONLY)
    yield fd
    os.close(fd)


def _contents(seen: CopyFingerprints | None) -> list[Contents] | None:
    return None if seen is None else seen.contents


def _expected(copies: Sequence[Copy], tree: SourceTree) -> list[Contents]:
    return [content_digests(copy, tree) for copy in copies]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "copies",
    [
        [Copy(0, (".",), "/")],
        [Copy(0, (".",), "/deep/er/")],
        [Copy(0, ("a",), "/x")],
        [Copy(0, ("sub/[cosu]*",), "/d/")],
        [Copy(0, (".",), "/", chmod="0640")],
        [Copy(0, (".",), "/", exclude=("**/*.log",))],
        [Copy(0, ("sub/deep",), "/", parents=True)],
        [Copy(0, ("a", "big"), "/d/"), Copy(0, ("sub",), "/e/")],
    ],
    ids=["all", "below", "file", "wildcard", "chmod", "exclude", "parents", "two"],
)
def test_it_says_what_reading_says(
    form: Form, copies: list[Copy], source: int, target: int, store: Store
) -> None:
    copies = [copy._replace(chown=ME) for copy in copies]
    tree = SourceTree(source, ignore=("b",))
    assert _contents(seen_by(form, copies, target, tree, store)) == _expected(copies, tree)


def test_a_path_that_is_read_twice(source: int, target: int, store: Store) -> None:
    copies = [Copy(0, ("sub/deep", "sub"), "/d/", chown=ME)]
    tree = SourceTree(source)
    assert _contents(seen_by("tree", copies, target, tree, store)) == _expected(copies, tree)


def test_lines_are_merged_in_the_order_of_paths() -> None:
    """A path of which two things are said keeps both, and others stay the same string."""
    found = [line("/a", "dir"), line("/a!", "file"), line("/b", "dir"), line("/a", "dir 0755")]
    merged = sorted_prints([*found, line("/b", "dir")], repeated=True)
    assert merged == (line("/a", "dir; dir 0755"), line("/a!", "file"), line("/b", "dir"))
    assert sorted_prints(found[:3], repeated=False) == tuple(found[:3])


def test_the_cache_of_digests_gets_what_was_read(
    source: int, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards nobody has to open a file to know its digest."""
    # Files that changed just now are not remembered.
    monkeypatch.setattr(digest_cache, "RACY_NS", -(10**9))
    copies, tree = [Copy(0, (".",), "/", chown=ME)], SourceTree(source)
    for form in FORMS:
        store.db.execute("DELETE FROM digests_of_files")
        memo = QuickDigestCache(store.db)
        memo._files = 0
        with pytest.raises(Unknown):
            content_digests(copies[0], tree, memo)
        (tmp_path / form).mkdir()
        fd = os.open(tmp_path / form, os.O_RDONLY)
        seen = seen_by(form, copies, fd, tree, store)
        os.close(fd)
        assert seen is not None
        DigestCache(store.db).remember(seen.fresh[0])
        memo = QuickDigestCache(store.db)
        memo._files = 0
        assert content_digests(copies[0], tree, memo) == _expected(copies, tree)[0]


@pytest.mark.parametrize("name", ["a", "big"])
def test_a_file_that_changes_meanwhile_makes_it_doubt(
    name: str,
    source: int,
    target: int,
    tmp_path: Path,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It grows while it is copied: what was hashed is not what is in the tree."""
    original = Copier.copy

    def copy(self: Copier, source_fd: int, target_fd: int, size: int, *sha: object) -> None:
        with open(tmp_path / "from" / name, "ab") as file:
            file.write(b"more")
        original(self, source_fd, target_fd, size, *sha)  # type: ignore[arg-type]

    monkeypatch.setattr(Copier, "copy", copy)
    copies, tree = [Copy(0, (name,), "/", chown=ME)], SourceTree(source)
    seen = _contents(seen_by("tree", copies, target, tree, store))
    # A small file is hashed while it is copied, so what is said is true of what was copied.
    assert seen is None if name == "big" else seen == _expected(copies, tree)


def test_a_copy_onto_what_is_there_is_not_seen_whole(
    source: int, target: int, tmp_path: Path, store: Store
) -> None:
    copies, tree = [Copy(0, ("a",), "/", chown=ME)], SourceTree(source)
    assert seen_by("tree", copies, target, tree, store) is not None
    # Equal, so it is not read.
    assert seen_by("tree", copies, target, tree, store) is None
    base_fd = os.open(tmp_path / "to", os.O_RDONLY)
    try:
        assert seen_by("both", copies, target, tree, store, base_fd) is None
    finally:
        os.close(base_fd)
