"""Tables of copies against a model in memory: what is as it was, what is gone, and where in the tar
it is. A damaged table is noticed."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import NamedTuple, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from minibuild.fileop import inventory
from minibuild.fileop.api import Archive, Entry, Planned, Sink
from minibuild.fileop.dest import Unplannable
from minibuild.fileop.digest_cache import RACY_NS, stamp_of
from minibuild.fileop.inventory import Batch, Inventory, InventorySink, Record
from minibuild.fileop.layer import LayerSink
from minibuild.fileop.walk import FoundFile, place
from minibuild.layer.tar_format import TarSpan
from tests.support.descriptors import open_descriptors, opened_since

OLD_NS = 1_600_000_000_000_000_000


class Nowhere(Sink):
    """A sink that keeps nothing."""

    digest = b""

    def put(self, entry: Planned, found: FoundFile | None = None) -> None:
        pass


class Tar:
    """In the place of a layer: it knows where its last entry is."""

    def __init__(self) -> None:
        self.span = 0, 0

    def add(self, gap: int, size: int) -> None:
        start = self.span[1] + gap
        self.span = start, start + size


class Put(NamedTuple):
    """An entry as it is put, with its place in the tar. `inode` 0 is a directory that the copy
    makes; it has no source."""

    path: str
    inode: int = 1
    mode: int = stat.S_IFREG | 0o644
    target: str = ""
    keep: bool = False
    implied: bool = False
    gap: int = 0
    size: int = 512
    mtime_ns: int = OLD_NS
    ctime_ns: int = OLD_NS

    @property
    def entry(self) -> Entry:
        hardlink = bool(self.target)
        return Entry(
            self.path,
            self.mode,
            mtime_ns=self.mtime_ns,
            target=self.target,
            hardlink=hardlink,
            keep=self.keep,
            size=self.size,
        )

    @property
    def found(self) -> FoundFile | None:
        if not self.inode:
            return None
        times = {"st_mtime_ns": self.mtime_ns, "st_ctime_ns": self.ctime_ns}
        looks = os.stat_result((self.mode, self.inode, 1, 1, 0, 0, self.size, 0, 0, 0), times)
        return FoundFile(self.path, -1, self.path, looks, self.implied)

    @property
    def look(self) -> tuple[object, ...]:
        """What has to be the same, if it is to be as it was."""
        source = self.inode and (self.inode, self.size, self.ctime_ns)
        return source, self.mtime_ns, self.mode, self.target, self.keep, self.implied


class Sinking:
    """A table in the making, with the tar of its layer."""

    def __init__(self, path: str) -> None:
        self.tar = Tar()
        self.table = InventorySink(path, Nowhere(), cast(LayerSink, self.tar))

    def put(self, one: Put) -> None:
        self.tar.add(one.gap, one.size)
        self.table.put(one.entry, one.found)


def written(path: Path, puts: Sequence[Put]) -> str:
    made = Sinking(str(path))
    with made.table:
        for one in puts:
            made.put(one)
        made.table.settle()
    return str(path)


def records(path: str) -> list[Record]:
    found = []
    with Inventory(path) as table:
        while (record := table.next) is not None:
            found.append(record)
            assert list(islice(table.gone(None), 1)) == [record[0]]
    return found


@pytest.fixture(autouse=True)
def every_copy_has_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "_FEW_ENTRIES", 0)


# --- Against a model ---

NAMES = st.sampled_from(["a", "a-b", "b", "é", "d", "d/a", "d/e", "d/e/f", "d-", "z/1", "z/2"])
KINDS = st.sampled_from(["plain"] * 6 + ["kept", "implied", "link", "gap", "made"])
EDITS = st.sampled_from(["nothing"] * 6 + ["gone", "new", "stamp", "mode", "other kind"])
TREES = st.dictionaries(NAMES, st.tuples(KINDS, EDITS), max_size=11)


def one_of(path: str, kind: str, inode: int) -> Put:
    is_dir = kind in ("kept", "implied", "made")
    made = Put(path, inode, (stat.S_IFDIR | 0o755) if is_dir else (stat.S_IFREG | 0o644))
    match kind:
        case "kept":
            return made._replace(keep=True)
        case "implied":
            return made._replace(implied=True)
        case "made":
            return made._replace(inode=0, keep=True)
        case "link":
            return made._replace(target="of/another")
        case "gap":
            return made._replace(gap=1024)
    return made


def before_and_now(tree: dict[str, tuple[str, str]]) -> tuple[list[Put], list[Put]]:
    """Two trees that differ by the edits, and are never empty."""
    before, now = [Put("0")], [Put("0")]
    for number, path in enumerate(sorted(tree, key=place), 2):
        kind, edit = tree[path]
        one = one_of(path, kind, number)
        if edit != "new":
            before.append(one)
        match edit:
            case "gone":
                continue
            case "stamp":
                one = one._replace(inode=number + 100, mtime_ns=OLD_NS + 1, size=1024)
            case "mode":
                one = one._replace(mode=one.mode ^ 0o1, inode=number)
            case "other kind":
                one = one_of(path, "plain" if kind in ("kept", "link") else "link", number)
        now.append(one)
    return before, now


def spans(puts: Sequence[Put]) -> dict[str, TarSpan]:
    """Where each of them is in the tar."""
    tar, found = Tar(), dict[str, TarSpan]()
    for one in puts:
        tar.add(one.gap, one.size)
        found[one.path] = tar.span
    return found


class Again:
    """A copy that is done again beside its table: what came of each entry, and what is gone."""

    def __init__(self, before: Sequence[Put], now: Sequence[Put]) -> None:
        folder = Path(mkdtemp())
        self.path = str(folder / "new")
        self._made = Sinking(self.path)
        self._stack = ExitStack()
        self.table = self._stack.enter_context(Inventory(written(folder / "old", before)))
        self._stack.enter_context(self._made.table)
        self.spans: dict[str, TarSpan | None] = {}
        self.gone: list[str] = []
        self.passed: list[str] = []
        self._before = {one.path: one for one in before}
        self._now = now

    def put(self, one: Put) -> None:
        self.gone += self.table.gone(one.path)
        self.spans[one.path] = self.table.same(one.entry, one.found)
        met = self._before.get(one.path)
        assert (self.table.met and self.table.met[0]) == (met and met.path)
        self._made.put(one)

    def keep(self, batch: Batch, span: TarSpan) -> None:
        """What is passed over follows in the tar at once."""
        at = span[0]
        assert batch.length
        for path, _, (_, _, gap, size) in batch.records():
            self.spans[path] = at + gap, at + gap + size
            at += gap + size
            self.passed.append(path)
        assert at == span[1]
        self._made.tar.add(0, span[1] - span[0])
        self._made.table.keep(batch)

    def end(self) -> None:
        self.gone += self.table.gone(None)
        assert self.table.next is None
        self._made.table.settle()
        self._stack.close()

    def check(self) -> None:
        """What the model says."""
        then = spans(list(self._before.values()))
        expected = {}
        for one in self._now:
            old = self._before.get(one.path)
            same = old is not None and old.look == one.look
            expected[one.path] = then[one.path] if same else None
        assert self.spans == expected
        assert list(self.spans) == [one.path for one in self._now]
        assert self.gone == [path for path in self._before if path not in expected]
        whole = written(Path(self.path).with_name("whole"), self._now)
        assert records(self.path) == records(whole)


MANY = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(params=[(2, 4), (500, 1000)], ids=["small batches", "one batch"])
def batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "_BATCH", request.param[0])
    monkeypatch.setattr(inventory, "_MOST", request.param[1])


@MANY
@given(tree=TREES)
def test_a_walk_beside_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: None, tree: dict[str, tuple[str, str]]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before, now = before_and_now(tree)
    again = Again(before, now)
    for one in now:
        again.put(one)
    again.end()
    again.check()


@MANY
@given(tree=TREES, top=st.sampled_from(["", "to"]))
@example(tree={"a": ("plain", "nothing"), "b": ("plain", "gone")}, top="")
@example(tree={"a": ("plain", "gone"), "b": ("plain", "new")}, top="to")
def test_a_look_beside_the_table(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batches: None,
    tree: dict[str, tuple[str, str]],
    top: str,
) -> None:
    """What has only its stamp, and that one still, is passed over; the rest is met."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before, now = before_and_now(tree)
    modes = {one.path: one.mode for one in before}
    # A change of the mode is a change of the stamp.
    now = [
        one if one.mode == modes.get(one.path) else one._replace(ctime_ns=OLD_NS + 2) for one in now
    ]
    if top:
        made = Put(top, 0, stat.S_IFDIR | 0o755, keep=True, size=0)
        before, now = ([made, *(one._replace(path=f"to/{one.path}") for one in all_)]
                       for all_ in (before, now))  # fmt: skip
    again = Again(before, now)
    if top:
        again.put(now[0])
    looked = {one.path.removeprefix(f"{top}/"): one for one in now if one.path != top}
    # A look tells nothing of a directory that the copy makes, nor what depends on others.
    not_alone = {path for path, one in looked.items() if one.target or one.implied}
    lines = (
        (f"/x/{path}\0words", (stamp_of(one.found.stat) if one.found else b"",))
        for path, one in looked.items()
    )
    first = len("/x/")
    while line := again.table.pass_over(lines, first, top, not_alone, again.keep):
        again.put(looked[line[first:].partition("\0")[0]])
    again.end()
    again.check()
    old = {one.path: one for one in before}
    plain = [
        one.path
        for one in now
        if one == old.get(one.path) and one.inode and not (one.keep or one.implied)
    ]
    may_pass = [path for path in plain if not (old[path].target or old[path].gap)]
    assert set(again.passed) <= set(may_pass)
    if before == now:
        assert again.passed == may_pass


# --- What is not trusted ---


@pytest.mark.parametrize("changed", ["", "mtime_ns", "ctime_ns"])
def test_what_was_written_just_now_has_no_stamp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """To the nanosecond: such a file might be written again within the tick of the clock."""
    clock = SimpleNamespace(time_ns=lambda: OLD_NS + RACY_NS + 1)
    monkeypatch.setattr(inventory, "time", clock)
    one = Put("a")
    if changed == "mtime_ns":
        one = one._replace(mtime_ns=OLD_NS + 1)
    elif changed == "ctime_ns":
        one = one._replace(ctime_ns=OLD_NS + 1)
    with Inventory(written(tmp_path / "t", [one])) as table:
        assert (table.same(one.entry, one.found) is None) == bool(changed)


class Small(NamedTuple):
    """A few files, and whether a table is kept of them."""

    sizes: list[int]
    kept: bool


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        ([0] * 31, False),
        ([0] * 32, True),
        ([(1 << 20) - 1], False),
        ([(1 << 20) - 1, 1], True),
        ([], False),
    ],
)
def test_a_small_copy_has_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int], kept: bool
) -> None:
    monkeypatch.setattr(inventory, "_FEW_ENTRIES", 32)
    path = written(tmp_path / "t", [Put(f"{n:03}", size=s) for n, s in enumerate(sizes)])
    assert os.path.exists(path) == kept


def test_a_table_stays_of_what_was_not_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it was, what is passed over was worth a table."""
    batch = Batch(["a", ""], inventory._NUMBERS.pack(0, b"", 0, 1 << 21))
    monkeypatch.setattr(inventory, "_FEW_ENTRIES", 32)
    with InventorySink(str(tmp_path / "t"), Nowhere(), None) as table:
        table.keep(batch)
        table.settle()
    assert [path for path, *_ in records(str(tmp_path / "t"))] == ["a"]


def test_batches_are_of_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece of an earlier one comes beside what there is, if both are no more than may be."""
    monkeypatch.setattr(inventory, "_BATCH", 3)
    monkeypatch.setattr(inventory, "_MOST", 6)
    puts = [Put(f"{number:02}") for number in range(7)]
    with open(written(tmp_path / "plain", puts), "rb") as file:
        file.seek(inventory._START.size)
        plain = list(inventory._batches(file.fileno(), 7))
    assert [batch.length for batch in plain] == [3, 3, 1]
    one, three = plain[2], plain[0]
    five = Batch([*three.names, *plain[1].names[:4]], three.numbers + plain[1].piece(0, 2).numbers)
    six = Batch(three.names + plain[1].names, three.numbers + plain[1].numbers)
    with InventorySink(str(tmp_path / "pieces"), Nowhere(), None) as table:
        for batch in (one, three, one, one, six, one, five):
            table.keep(batch)
        table.settle()
    with open(tmp_path / "pieces", "rb") as file:
        file.seek(inventory._START.size)
        found = [batch.length for batch in inventory._batches(file.fileno(), 18)]
    assert found == [4, 2, 6, 6]
    assert os.stat(tmp_path / "pieces").st_mode & 0o777 == 0o600


def test_archives_are_not_noted(tmp_path: Path) -> None:
    with InventorySink(str(tmp_path / "t"), Nowhere(), None) as table:
        table.put(Archive("a", -1, "a"))
        table.settle()
    assert os.listdir(tmp_path) == []


def test_a_table_of_a_copy_that_fails_is_gone(tmp_path: Path) -> None:
    before = open_descriptors()
    with pytest.raises(KeyError), InventorySink(str(tmp_path / "t"), Nowhere(), None) as table:
        table.put(Put("a").entry)
        table.settle()
        raise KeyError
    assert os.listdir(tmp_path) == [] and not opened_since(before)


def _cut(data: bytes) -> Iterator[bytes]:
    yield b""
    yield from (data[:length] for length in range(1, len(data)))


def _flipped(data: bytes) -> Iterator[bytes]:
    """Any byte, but for those behind the magic, and the length of the tar, which nothing checks."""
    count = len(inventory._START.pack(b"", 0, 0)) - 16
    for at in (*range(len(inventory._MAGIC)), *range(count, len(data))):
        if not inventory._START.size - 8 <= at < inventory._START.size:
            yield data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "cut": _cut,
    "longer": lambda data: iter([data + b"\0", data + data]),
    "flipped": _flipped,
    "more records than there are": lambda data: iter(
        [inventory._START.pack(inventory._MAGIC, count, 0) + data[inventory._START.size :]
         for count in (3, 5, 1 << 40)]  # There are 4.
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_noticed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytes], Iterator[bytes]],
) -> None:
    monkeypatch.setattr(inventory, "_BATCH", 2)
    path = written(tmp_path / "t", [Put(name) for name in "abcd"])
    whole = Path(path).read_bytes()
    before = open_descriptors()
    assert len(records(path)) == 4
    for damaged in damage(whole):
        Path(path).write_bytes(damaged)
        with pytest.raises(Unplannable, match="damaged"):
            records(path)
    assert not opened_since(before)


def test_an_empty_batch_is_damage(tmp_path: Path) -> None:
    """It would be read for ever."""
    start = inventory._START.pack(inventory._MAGIC, 1, 0)
    (tmp_path / "t").write_bytes(start + inventory._HEAD.pack(0, 0, 0) * 2)
    with pytest.raises(Unplannable, match="damaged"):
        records(str(tmp_path / "t"))


def test_the_average_and_what_is_joined(tmp_path: Path) -> None:
    tables = [written(tmp_path / name, [Put(name), Put(f"{name}/b", gap=512)]) for name in "ab"]
    assert inventory.average_bytes(tables[0]) == (512 + 512 + 512) // 2
    inventory.join(tables)
    assert [path for path, *_ in records(tables[0])] == ["a", "a/b", "b", "b/b"]
    with Inventory(tables[0]) as table:
        assert (table.length, table.tar_bytes) == (4, 0)
    empty = tmp_path / "empty"
    empty.write_bytes(inventory._START.pack(inventory._MAGIC, 0, 5))
    assert inventory.average_bytes(str(empty)) == 5 and records(str(empty)) == []


@pytest.mark.parametrize("there", [True, False])
def test_keeping_is_a_hint(tmp_path: Path, there: bool) -> None:
    """A folder that is a file costs the table alone."""
    making, folder = tmp_path / "making", tmp_path / "tables"
    if there:
        written(making, [Put("a")])
    inventory.keep(str(making), str(folder / "of"), "name")
    assert (folder / "of/name").exists() == there and not making.exists()
    written(making, [Put("b")])
    inventory.keep(str(making), str(folder / "of"), "name")
    assert [path for path, *_ in records(str(folder / "of/name"))] == ["b"]
    written(making, [Put("a")])
    inventory.keep(str(making), str(folder / "of/name"), "name")
    assert not making.exists()
