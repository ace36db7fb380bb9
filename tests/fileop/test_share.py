"""A copy in shares comes to what a copy in one piece comes to, whichever share is done first: the
same tree with the same times, the same fingerprints, the same table."""

import itertools
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from minibuild.fileop import inventory, share
from minibuild.fileop.api import Hooks, SourceTree
from minibuild.fileop.copy import CopyJob, CopyTrees
from minibuild.fileop.copy import copy as do
from minibuild.fileop.dest import Unplannable
from minibuild.fileop.hasher import CopyFingerprints
from minibuild.fileop.inventory import join
from minibuild.fileop.share import Share, has_many, shares_of, together
from minibuild.fileop.walk import Filter, names, walk
from minibuild.graph.ignore import IgnorePatterns
from minibuild.graph.op import Copy
from minibuild.oci.content import ContentStore
from minibuild.store.layout import Store
from tests.fileop.trees import ME, make, opened, paths

COPY = Copy(0, (".",), "/to/here", chown=ME)
_OLD_NS = 1_600_000_000_000_000_000


class Copied(SimpleNamespace):
    tree: list[tuple[object, ...]]
    seen: CopyFingerprints | None
    table: list[inventory.Record]
    told: int


class Copying:
    """One source, copied onto one base in one piece or in shares."""

    def __init__(self, top: Path, content: ContentStore) -> None:
        self.source = make(str(top / "source"), {})
        self.base = make(str(top / "base"), {"to/here/in/kept": "k", "to/here/in/f": "of the base"})
        self.content = content
        self.count = 0
        self._top = top

    def run(self, shares: Sequence[Share], order: Sequence[int], copy: Copy = COPY) -> Copied:
        self.count += 1
        root = str(self._top / f"tree{self.count}")
        shutil.copytree(self.base, root)
        tables = [str(self._top / f"table{self.count}-{n}") for n in range(len(shares))]
        seen: list[CopyFingerprints | None] = [None] * len(shares)
        mine = told = 0

        def progress(files: int, _: int) -> None:
            nonlocal mine
            mine = files

        with opened(self.source, root) as (source_fd, root_fd):
            source = SourceTree(source_fd, ("*.no",), local=True)
            for n in order:
                mine = 0
                job = CopyJob((copy,), "tree", watched=True, inventory=tables[n])
                job = job._replace(share=None if len(shares) == 1 else shares[n])
                places = CopyTrees(root_fd, None, {0: source})
                seen[n] = do(job, places, self.content, Hooks(progress)).seen
                told += mine
        if len(tables) > 1:
            join(tables)
        table = [] if not os.path.exists(tables[0]) else _records(tables[0])
        whole = together(seen)
        if whole is not None:
            whole = whole._replace(fresh=[bytearray().join(whole.fresh)])
        return Copied(tree=_tree(root), seen=whole, table=table, told=told)


def _records(path: str) -> list[inventory.Record]:
    fd = os.open(path, os.O_RDONLY)
    try:
        start = inventory._START
        batches = inventory._batches(fd, start.unpack(os.read(fd, start.size))[1])
        return [record for batch in batches for record in batch.records()]
    finally:
        os.close(fd)


def _tree(top: str) -> list[tuple[object, ...]]:
    found, first_names = list[tuple[object, ...]](), dict[int, str]()
    for path in paths(top):
        full = os.path.join(top, path)
        status = os.lstat(full)
        is_dir = os.path.isdir(full) and not os.path.islink(full)
        data = None if is_dir or not os.path.isfile(full) else Path(full).read_bytes()
        first = "" if is_dir else first_names.setdefault(status.st_ino, path)
        # What the copy makes on the way has the time of the copy.
        times = 0 if path in ("to", "to/here") else status.st_mtime_ns
        found.append((path, status.st_mode, status.st_uid, first, times, data))
    return found


@pytest.fixture
def copying(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Copying:
    monkeypatch.setattr(inventory, "RACY_NS", 0)
    monkeypatch.setattr(inventory, "_FEW_ENTRIES", 1)
    monkeypatch.setattr(share, "_MARK_EVERY", 1)
    monkeypatch.setattr(share, "_LEAST_FILES", 1)
    return Copying(tmp_path, ContentStore(store))


def _fill(rng: random.Random, top: str) -> None:
    """A tree of few names, with hardlinks, symlinks, and directories that may be closed."""
    closed = "0550" if os.geteuid() == 0 else "0750"
    make(top, {"in/a": "a", "in/f": "f", "in/z": "z"})
    for _ in range(25):
        name = "/".join(rng.choices(("a", "b", "f", "m", "m-1", "é", "x.no"), k=rng.randint(1, 4)))
        try:
            make(top, {name: "x" * rng.randrange(9000)})
        except OSError:
            continue  # A file is in the way, or the name is taken.
        if rng.random() < 0.2:
            os.symlink("../f", f"{top}/{os.path.dirname(name)}/link{rng.random()}")
        if rng.random() < 0.1 and not os.path.lexists(f"{top}/{name}2"):
            os.link(f"{top}/{name}", f"{top}/{name}2")
    for path in sorted(paths(top), reverse=True):
        if os.path.isdir(f"{top}/{path}") and not os.path.islink(f"{top}/{path}"):
            os.chmod(f"{top}/{path}", int(rng.choice(("0755", "0700", closed)), 8))
        os.utime(f"{top}/{path}", ns=(_OLD_NS, rng.randrange(_OLD_NS)), follow_symlinks=False)


@pytest.mark.parametrize("seed", range(12))
def test_shares_come_to_the_whole(copying: Copying, seed: int) -> None:
    rng = random.Random(seed)
    _fill(rng, copying.source)
    whole = copying.run([Share()], [0])
    assert whole.seen is not None
    with opened(copying.source) as (source_fd,):
        source = SourceTree(source_fd, ("*.no",), local=True)
        shares = shares_of(COPY, source, 3)
    assert len(shares) == 3 and shares[0].first == shares[-1].end == ""
    tried = 0
    for order in itertools.permutations(range(3)):
        try:
            parts = copying.run(shares, order)
        except Unplannable as reason:
            assert str(reason) == "names of one file are in two shares"
            continue
        tried += 1
        assert parts == whole
    assert tried in (0, 6)


def test_names_of_one_file_in_two_shares_are_refused(copying: Copying) -> None:
    make(copying.source, {"a": "1", "b/c": "2", "d": "= a", "e": "3"})
    with pytest.raises(Unplannable):
        copying.run([Share("", "b"), Share("b", "")], [0, 1])
    assert copying.run([Share("", "dd"), Share("dd", "")], [1, 0]).told == 4


CASES: dict[str, tuple[Copy, int]] = {
    "a directory": (COPY, 3),
    "two of them": (COPY._replace(paths=("m", "n")), 1),
    "a file": (COPY._replace(paths=("f",)), 1),
    "a wildcard that matches one": (COPY._replace(paths=("[m]",)), 2),
    "parents": (COPY._replace(parents=True), 1),
    "all but few": (COPY._replace(exclude=("m", "n")), 1),
}


@pytest.mark.parametrize("case", CASES)
def test_who_gets_what(copying: Copying, case: str) -> None:
    make(copying.source, {"f": "f", "m/1": "1", "m/2": "2", "n/1": "1", "none.no": "no"})
    copy, count = CASES[case]
    with opened(copying.source) as (source_fd,):
        found = shares_of(copy, SourceTree(source_fd, ("*.no",), local=True), 3)
    assert len(found) == count


@pytest.mark.parametrize("ignored", [(), ("a", "!a/1", "*.no"), ("**/1", "a-b")])
def test_names_are_those_of_the_walk(copying: Copying, ignored: tuple[str, ...]) -> None:
    files = ("a/1", "a/d/1", "a/d/x.no", "a-b", "c.no/1", "z/e/1")
    make(copying.source, {**dict.fromkeys(files, ""), "b": "-> a"})
    filters = [Filter(IgnorePatterns(ignored), hides=True)]
    with opened(copying.source) as (source_fd,):
        walked = [found.path for found in walk(source_fd, filters) if not found.implied]
    # A directory that is there for what is in it counts for nothing.
    named = list(names(copying.source, filters))
    assert [path for path in walked if path in named] == named
    assert all(any(n.startswith(f"{path}/") for n in named) for path in set(walked) - set(named))


def test_many_files_are_counted_by_names(copying: Copying, monkeypatch: pytest.MonkeyPatch) -> None:
    make(copying.source, {"a/1": "1", "a/2": "2", "b": "-> a"})
    for least, many in ((2, True), (3, False)):
        monkeypatch.setattr(share, "_LEAST_FILES", least)
        assert has_many(copying.source) == many
    assert not has_many(copying.source + "/missing")
