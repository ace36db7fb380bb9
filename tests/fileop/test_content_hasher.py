"""What a witness says of a copy is what reading the files says, word for word."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from minibuild.fileop.api import SourceTree
from minibuild.fileop.apply import apply
from minibuild.fileop.checksum import content_digests
from minibuild.fileop.content_hasher import Witness
from minibuild.fileop.dest import InMemory
from minibuild.fileop.digest_cache import DigestMemo, MostlyKnown, Unknown
from minibuild.fileop.fingerprint import Contents
from minibuild.fileop.layer import LayerWriter, pack_copies
from minibuild.fileop.tee import Unplannable, apply_and_pack
from minibuild.fileop.write import Writer
from minibuild.graph.op import Copy
from minibuild.layer.sink import LayerSink
from minibuild.oci.content import ContentStore
from minibuild.store.layout import Store
from tests.fileop.trees import ALL_KINDS, ME, make

TREE = ALL_KINDS | {
    "sub/other": "= sub/c",
    "sub/deep/": "0755",
    "sub/deep/x.log": "log",
}

Way = Callable[[Sequence[Copy], int, SourceTree, Store, Witness], None]


def _as_tree(
    copies: Sequence[Copy], root_fd: int, tree: SourceTree, store: Store, witness: Witness
) -> None:
    apply(copies, root_fd, {0: tree}, writer=Writer(root_fd, witness=witness))


def _as_layer(
    copies: Sequence[Copy], root_fd: int, tree: SourceTree, store: Store, witness: Witness
) -> None:
    with LayerSink(ContentStore(store), "gzip", None) as sink:
        pack_copies(copies, None, {0: tree}, sink, witness=witness)


def _as_both(
    copies: Sequence[Copy], root_fd: int, tree: SourceTree, store: Store, witness: Witness
) -> None:
    with LayerSink(ContentStore(store), "gzip", None) as sink:
        layer = LayerWriter(sink, InMemory(None), None, witness=witness)
        apply_and_pack(copies, root_fd, {0: tree}, layer)


WAYS: dict[str, Way] = {"tree": _as_tree, "layer": _as_layer, "both": _as_both}


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


def _contents(witness: Witness) -> list[Contents] | None:
    seen = witness.seen()
    return None if seen is None else seen.contents


def _expected(copies: Sequence[Copy], tree: SourceTree) -> list[Contents]:
    return [content_digests(copy, tree) for copy in copies]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
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
    way: Way, copies: list[Copy], source: int, target: int, store: Store
) -> None:
    copies = [copy._replace(chown=ME) for copy in copies]
    tree, witness = SourceTree(source, ignore=("b",)), Witness()
    way(copies, target, tree, store, witness)
    assert _contents(witness) == _expected(copies, tree)


def test_a_path_that_is_read_twice(source: int, target: int, store: Store) -> None:
    copies = [Copy(0, ("sub/deep", "sub"), "/d/", chown=ME)]
    tree, witness = SourceTree(source), Witness()
    _as_tree(copies, target, tree, store, witness)
    assert _contents(witness) == _expected(copies, tree)


def test_the_memo_learns_what_was_read(source: int, tmp_path: Path, store: Store) -> None:
    """Afterwards nobody has to open a file to know its digest."""
    time.sleep(2.1)  # Files that changed just now are not remembered.
    copies, tree = [Copy(0, (".",), "/", chown=ME)], SourceTree(source)
    for name, way in WAYS.items():
        store.db.execute("DELETE FROM digests_of_files")
        memo, witness = MostlyKnown(store.db), Witness()
        memo._files = 0
        with pytest.raises(Unknown):
            content_digests(copies[0], tree, memo)
        (tmp_path / name).mkdir()
        fd = os.open(tmp_path / name, os.O_RDONLY)
        way(copies, fd, tree, store, witness)
        os.close(fd)
        seen = witness.seen()
        assert seen is not None
        DigestMemo(store.db).remember(seen.rows)
        memo = MostlyKnown(store.db)
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
    from minibuild.fileop import data

    original = data.Copier.copy

    def copy(self: data.Copier, source_fd: int, target_fd: int, size: int, *sha: object) -> int:
        with open(tmp_path / "from" / name, "ab") as file:
            file.write(b"more")
        return original(self, source_fd, target_fd, size, *sha)  # type: ignore[arg-type]

    monkeypatch.setattr(data.Copier, "copy", copy)
    witness = Witness()
    copies, tree = [Copy(0, (name,), "/", chown=ME)], SourceTree(source)
    _as_tree(copies, target, tree, store, witness)
    seen = _contents(witness)
    # A small file is hashed while it is copied, so what is said is true of what was copied.
    assert seen is None if name == "big" else seen == _expected(copies, tree)


def test_a_copy_onto_what_is_there_is_not_seen_whole(
    source: int, target: int, tmp_path: Path, store: Store
) -> None:
    copies, tree = [Copy(0, ("a",), "/", chown=ME)], SourceTree(source)
    _as_tree(copies, target, tree, store, Witness())
    witness = Witness()
    _as_tree(copies, target, tree, store, witness)  # Equal, so nobody reads it.
    assert _contents(witness) is None
    base_fd = os.open(tmp_path / "to", os.O_RDONLY)
    try:
        with LayerSink(ContentStore(store), "gzip", None) as sink, pytest.raises(Unplannable):
            layer = LayerWriter(sink, InMemory(base_fd), base_fd, witness=witness)
            apply_and_pack(copies, target, {0: tree}, layer)
    finally:
        os.close(base_fd)
    assert _contents(witness) is None
