"""Fingerprints change with what a copy would make, and with nothing else."""

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minibuild.errors import DefinitionError
from minibuild.fileop import checksum, digest_cache
from minibuild.fileop.api import SourceTree
from minibuild.fileop.checksum import changed_since, content_digests, tree_digests
from minibuild.fileop.digest_cache import (
    BATCH,
    DigestCache,
    FreshDigests,
    QuickDigestCache,
    Unknown,
    stamp_of,
    stamps_of,
)
from minibuild.fileop.hasher import Contents
from minibuild.graph.op import Copy, CopyRules
from minibuild.linux import xattr
from minibuild.linux.contents import SMALL
from minibuild.store.layout import Store
from tests.fileop.trees import Bench, make, opened

TREE = {"d/f": "f", "d/g": "g", "d/sub/h": "h", "d/l": "-> f", "other": "o"}
DOT = Copy(0, ("d",), "/")


def prints(
    bench: Bench, copy: Copy = DOT, ignore: tuple[str, ...] = (), memo: DigestCache | None = None
) -> Contents:
    with opened(bench.source) as (fd,):
        return content_digests(copy, SourceTree(fd, ignore), memo)


def by_path(contents: Contents) -> dict[str, str]:
    """Paths and their words, in order."""
    return dict(line.split("\0") for line in contents)


def test_they_are_readable_and_sorted(bench: Bench) -> None:
    make(bench.source, TREE)
    empty_g = "cd0aa9856147b6c5b4ff2b7dfee5da20aa38253099ef1b4a64aced233c9afe29"
    found = by_path(prints(bench))
    assert list(found) == ["/d", "/d/f", "/d/g", "/d/l", "/d/sub", "/d/sub/h"]
    assert found | {"/d/f": "", "/d/sub/h": ""} == {
        "/d": "dir",
        "/d/f": "",
        "/d/g": f"file 0644 {empty_g}",
        "/d/l": "symlink f",
        "/d/sub": "dir 0755",
        "/d/sub/h": "",
    }


def test_the_top_counts_where_it_is_copied_itself(bench: Bench) -> None:
    make(bench.source, TREE)
    itself = DOT._replace(rules=CopyRules(contents=False))
    assert by_path(prints(bench, itself))["/d"] == "dir 0755"
    os.chmod(f"{bench.source}/d", 0o700)
    assert by_path(prints(bench, itself))["/d"] == "dir 0700"
    assert by_path(prints(bench))["/d"] == "dir"


def at(name: str, change: Callable[[str], object]) -> Callable[[str], object]:
    return lambda top: change(os.path.join(top, name))


def write(text: str) -> Callable[[str], object]:
    return lambda path: Path(path).write_text(text)


def relink(top: str) -> None:
    os.unlink(f"{top}/d/l")
    os.symlink("g", f"{top}/d/l")


def join_files(top: str) -> None:
    Path(f"{top}/d/g").write_text("f")
    os.unlink(f"{top}/d/f")
    os.link(f"{top}/d/g", f"{top}/d/f")


CHANGES = {
    "data": at("d/f", write("F")),
    "mode": at("d/f", lambda path: os.chmod(path, 0o600)),
    "mode of a directory": at("d/sub", lambda path: os.chmod(path, 0o700)),
    "a new file": at("d/sub/new", write("")),
    "a new directory": at("d/new", os.mkdir),
    "a file removed": at("d/sub/h", os.unlink),
    "a file renamed": lambda top: os.rename(f"{top}/d/f", f"{top}/d/k"),
    "target of a symlink": relink,
    "a file made a hardlink of an equal one": join_files,
    "a fifo": at("d/pipe", os.mkfifo),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_they_change_with(bench: Bench, name: str) -> None:
    make(bench.source, TREE)
    if name.startswith("a file made"):
        Path(bench.source, "d/g").write_text("f")
    before = prints(bench)
    CHANGES[name](bench.source)
    assert prints(bench) != before


NO_CHANGES: dict[str, Callable[[str], object]] = {
    "times": at("d/f", lambda path: os.utime(path, (1, 1))),
    "times of a directory": at("d", lambda path: os.utime(path, (1, 1))),
    "mode of the top": at("d", lambda path: os.chmod(path, 0o700)),
    "a file elsewhere": at("other", write("x")),
    "an ignored file": at("d/x.tmp", write("x")),
    "an excluded file": at("d/sub/x.log", write("x")),
    "an ignored directory": at("d/node_modules", os.mkdir),
    "the file rewritten": at("d/f", write("f")),
}


@pytest.mark.parametrize("name", NO_CHANGES)
def test_what_they_do_not_change_with(bench: Bench, name: str) -> None:
    make(bench.source, TREE)
    copy, ignore = DOT._replace(exclude=("**/*.log",)), ("**/*.tmp", "**/node_modules")
    before = prints(bench, copy, ignore)
    NO_CHANGES[name](bench.source)
    assert prints(bench, copy, ignore) == before


def test_modes_that_chmod_replaces_do_not_count(bench: Bench) -> None:
    make(bench.source, TREE)
    octal, symbolic = DOT._replace(chmod="0700"), DOT._replace(chmod="u=rwX,go=")
    before = prints(bench, octal), prints(bench, symbolic)
    os.chmod(os.path.join(bench.source, "d/f"), 0o604)
    assert (prints(bench, octal), prints(bench, symbolic)) == before
    os.chmod(os.path.join(bench.source, "d/f"), 0o744)
    assert prints(bench, octal) == before[0]
    assert prints(bench, symbolic) != before[1]


@pytest.mark.usefixtures("chowns")
def test_owners_count_only_where_they_are_kept(bench: Bench) -> None:
    make(bench.source, TREE)
    kept = DOT._replace(keep_owner=True)
    replaced = kept._replace(chown="5")
    before = [prints(bench, copy) for copy in (DOT, replaced, kept)]
    os.chown(os.path.join(bench.source, "d/f"), 5, 5)
    after = [prints(bench, copy) for copy in (DOT, replaced, kept)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False]


@pytest.mark.needs("trusted_xattr", "user_xattr")
def test_capabilities_count_and_other_attributes_do_not(bench: Bench) -> None:
    make(bench.source, TREE)
    before = prints(bench)
    path = os.path.join(bench.source, "d/f")
    xattr.set(path, "user.x", b"1")
    assert prints(bench) == before
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    xattr.set(path, "security.capability", capability)
    assert prints(bench) != before


@pytest.mark.usefixtures("devices")
def test_devices(bench: Bench) -> None:
    make(bench.source, {"d/": ""})
    os.mknod(os.path.join(bench.source, "d/null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(os.path.join(bench.source, "d/null"), 0o666)
    assert by_path(prints(bench))["/d/null"] == "char 0666 1:3"


def test_a_path_read_twice_counts_twice(bench: Bench) -> None:
    make(bench.source, TREE)
    orders = [Copy(0, (".", "d"), "/"), Copy(0, ("d", "."), "/")]
    before = [prints(bench, copy) for copy in orders]
    os.chmod(os.path.join(bench.source, "d"), 0o700)
    after = [prints(bench, copy) for copy in orders]
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_through_symlinks_the_written_path_counts(bench: Bench) -> None:
    make(bench.source, TREE | {"link": "-> d/f", "dl": "-> d"})
    found = by_path(prints(bench, Copy(0, ("link", "dl"), "/")))
    assert found["/link"].startswith("file 0644")
    assert found["/dl/f"] == found["/link"]


def test_missing_sources_are_errors(bench: Bench) -> None:
    with pytest.raises(DefinitionError, match='"/x": not found'):
        prints(bench, Copy(0, ("x",), "/"))
    assert prints(bench, Copy(0, ("*.x",), "/")) == ()


def test_of_a_tree(bench: Bench) -> None:
    make(bench.source, TREE | {"d/": "0711"})
    with opened(bench.source) as (fd,):
        whole = by_path(tree_digests(SourceTree(fd, ("d/g",)), "/"))
        part = by_path(tree_digests(SourceTree(fd), "/d"))
        single = tree_digests(SourceTree(fd), "d/f")
    owner = f"{os.getuid()}:{os.getgid()}"
    assert sorted(whole) == ["/", "/d", "/d/f", "/d/l", "/d/sub", "/d/sub/h", "/other"]
    assert part["/d"] == f"dir 0711 {owner}"
    assert single == (f"/d/f\0{part['/d/f']}",)


class Reads:
    """Counts the files that are opened to be hashed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        original = checksum._Reading._digest

        def digest(
            reading: checksum._Reading, path: str, label: str
        ) -> tuple[os.stat_result, bytes]:
            self.count += 1
            return original(reading, path, label)

        monkeypatch.setattr(checksum._Reading, "_digest", digest)


def let_time_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that changed just now are not remembered; ctime cannot be set, so the clock is."""
    clock = SimpleNamespace(time_ns=lambda: time.time_ns() + 2 * digest_cache.RACY_NS)
    monkeypatch.setattr(digest_cache, "time", clock)


def test_what_changed_since(bench: Bench) -> None:
    make(bench.source, TREE)
    time.sleep(0.1)  # Longer than the clock of files takes to tick.
    with opened(bench.source) as (fd,):
        tree = SourceTree(fd)
        began_ns = time.time_ns()
        copies = Copy(0, (".",), "/"), Copy(0, ("d/*",), "/"), "d"
        assert not any(changed_since(what, tree, began_ns) for what in copies)
        top = Path(bench.source)
        (top / "new").write_text("")
        assert not changed_since("d", tree, began_ns)
        (top / "d/f").chmod(0o600)
        assert all(changed_since(what, tree, began_ns) for what in copies)
        assert changed_since(Copy(0, ("nosuch",), "/"), tree, began_ns)


def test_the_memo(bench: Bench, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    make(bench.source, TREE)
    reads, memo = Reads(monkeypatch), DigestCache(store.db)
    fresh = prints(bench, memo=memo)
    assert prints(bench, memo=memo) == fresh
    assert reads.count == 6, "files changed just now must not be remembered"
    let_time_pass(monkeypatch)
    assert prints(bench, memo=memo) == fresh
    assert reads.count == 9
    assert prints(bench, memo=DigestCache(store.db)) == fresh
    assert reads.count == 9
    # The same size and time: only the ctime tells.
    path = os.path.join(bench.source, "d/f")
    before = os.stat(path)
    Path(path).write_text("F")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed = prints(bench, memo=memo)
    assert reads.count == 10
    assert [p for p, q in zip(fresh, changed, strict=True) if p != q] == [fresh[1]]


def test_the_memo_takes_inode_numbers_with_high_bits(store: Store) -> None:
    memo = DigestCache(store.db)
    big = (1 << 63) + 5
    times = {"st_mtime_ns": 1, "st_ctime_ns": 1}
    status = os.stat_result((0o100644, big, (1 << 64) - 1, 1, 0, 0, 3, 1, 1, 1), times)
    memo.remember(_rows((status, b"d" * 32)))
    assert memo.recall([status]) == [b"d" * 32]


def test_the_memo_takes_times_beyond_2262(store: Store) -> None:
    """There 64 bits of nanoseconds end; a stamp still tells one time from another."""
    far = 10**21
    statuses = [_at(far), _at(far + 1), _at(-far), _at(5)]
    stamps = stamps_of(statuses)
    assert len(set(stamps)) == 4 and stamps == [stamp_of(status) for status in statuses]
    assert DigestCache(store.db).recall(statuses) == [None] * 4


def _at(mtime_ns: int) -> os.stat_result:
    times = {"st_mtime_ns": mtime_ns, "st_ctime_ns": 1}
    return os.stat_result((0o100644, 5, 7, 1, 0, 0, 3, 1, 1, 1), times)


def _rows(*files: tuple[os.stat_result, bytes]) -> bytes:
    fresh = FreshDigests(10 * 10**9)
    for status, digest in files:
        fresh.add(status, digest)
    return bytes(fresh.rows)


def test_more_than_a_batch_in_the_memo(store: Store) -> None:
    """Neighbours that are noted in two batches, and in two rows of the same group."""
    memo, files = DigestCache(store.db), [_status(n * 7, n) for n in range(BATCH * 2 + 9)]
    memo.remember(_rows(*((status, b"%032d" % status.st_size) for status in reversed(files))))
    found = [
        digest for at in range(0, len(files), 99) for digest in memo.recall(files[at : at + 99])
    ]
    assert found == [b"%032d" % n for n in range(len(files))]


def _status(inode: int, size: int = 3, device: int = 7) -> os.stat_result:
    times = {"st_mtime_ns": 1, "st_ctime_ns": 1}
    return os.stat_result((0o100644, inode, device, 1, 0, 0, size, 1, 1, 1), times)


def test_neighbours_in_the_memo(store: Store) -> None:
    """Inodes that are kept together do not stand for each other, and are added one by one."""
    memo = DigestCache(store.db)
    inodes = [1, 2, 63, 64, 65, 1000, 128, (1 << 64) - 1]
    for inode in inodes:
        memo.remember(_rows((_status(inode), bytes([inode % 251]) * 32)))
    found = memo.recall([_status(n) for n in inodes])
    assert found == [bytes([inode % 251]) * 32 for inode in inodes]
    assert memo.recall([_status(3), _status(1, size=4), _status(1, device=8)]) == [None] * 3
    memo.remember(_rows((_status(1, size=4), b"n" * 32)))
    assert memo.recall([_status(1, size=4), _status(1), _status(2)]) == [
        b"n" * 32,
        None,
        b"\2" * 32,
    ]


def test_a_damaged_row_of_the_memo_is_not_believed(store: Store) -> None:
    memo = DigestCache(store.db)
    memo.remember(_rows((_status(1), b"d" * 32)))
    store.db.execute("UPDATE digests_of_files SET files = substr(files, 1, 20)")
    assert memo.recall([_status(1)]) == [None]
    memo.remember(_rows((_status(1), b"e" * 32)))
    assert memo.recall([_status(1)]) == [b"e" * 32]


def test_a_build_without_time_stops_at_the_first_files_that_are_new(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count, not a time: of 400 new files a few are looked at, and none is opened."""
    make(str(tmp_path / "c"), {f"f{n:03}": "x" for n in range(400)})
    seen, opened_files = 0, 0
    real_stat, real_open = os.stat, os.open

    def count_stat(*args: Any, **named: Any) -> os.stat_result:
        nonlocal seen
        seen += 1
        return real_stat(*args, **named)

    def count_open(path: Any, *args: Any, **named: Any) -> int:
        nonlocal opened_files
        opened_files += str(path).startswith("f")
        return real_open(path, *args, **named)

    fd = os.open(tmp_path / "c", os.O_RDONLY)
    monkeypatch.setattr(os, "stat", count_stat)
    monkeypatch.setattr(os, "open", count_open)
    try:
        with pytest.raises(Unknown):
            content_digests(Copy(0, (".",), "/"), SourceTree(fd), QuickDigestCache(store.db))
    finally:
        os.close(fd)
    assert seen < 30
    assert opened_files == 0


@pytest.mark.parametrize("size", [0, 1, 1000, 5007, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL])
def test_a_filesystem_that_gives_little_at_once(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As FUSE may."""
    (tmp_path / "f").write_bytes(os.urandom(size))
    with opened(str(tmp_path)) as (fd,):
        usual = content_digests(Copy(0, ("f",), "/"), SourceTree(fd))
        readv = os.readv
        monkeypatch.setattr(os, "readv", lambda fd, into: readv(fd, [memoryview(into[0])[:1000]]))
        assert content_digests(Copy(0, ("f",), "/"), SourceTree(fd)) == usual
