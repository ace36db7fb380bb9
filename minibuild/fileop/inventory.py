"""What a copy put, in order, and what its sources looked like: one sorted table for each copy.

Comes in: the entries of a plan, as they are put. Goes out: a file, and from it, when the same copy
is done again, what of it is still as it was. The entries of a plan come in the order of a walk, and
so do the records of the table, so the two are read side by side, like two sorted lists that are
merged. Neither is ever in memory as a whole.

An entry is as it was if its source is: same device, inode, size, mtime and ctime, as in
`digest_cache`. A file that was changed just before the copy is kept without its stamp, because a
second change could get the same one. What a look cannot see is compared as well: which name of
several is the first, whether a directory is only made where there is none, and its time.

A record also says how long the entry is in the tar of the layer, and how much there is before it
that is no entry. So a record stays right when one before it gets longer, and the table of a copy
that begins with the last one has pieces of that one's. The table is a hint like the blocks of
`layer.chunk_cache`: without it, or with a damaged one, everything is copied. Read next: `update`.
"""

import os
import stat
import struct
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from itertools import chain
from typing import Self
from zlib import crc32

from minibuild.fileop.api import Entry, Planned, Sink
from minibuild.fileop.dest import Unplannable
from minibuild.fileop.digest_cache import RACY_NS, STAMP, packed_stamp, stamp_of
from minibuild.fileop.hasher import ForwardingSink
from minibuild.fileop.layer import LayerSink
from minibuild.fileop.walk import FoundFile, place
from minibuild.layer.tar_format import TarSpan
from minibuild.linux.contents import write_all
from minibuild.startup.tuples import NamedTuple

_START = struct.Struct("<16sQQ")
"""Of the table: `_MAGIC`, how many records, and the length of the tar. It is written last."""

_MAGIC = b"inventory 3\n"
_BATCH = 500
_MOST = 2 * _BATCH
"""How many records a batch has: this many after a piece of an earlier one."""
_FEW_ENTRIES = 32
_FEW_BYTES = 1 << 20
"""A copy of less is done again as soon as it is looked up, and has no table."""

_HEAD = struct.Struct("<III")
"""Of a batch: how many records, the bytes of their names, and the CRC-32 of what follows."""

_NUMBERS = struct.Struct("<I40sqq")
"""Mode, stamp of the source (`digest_cache.STAMP`), and what is before the entry in the tar and in
it, in bytes (of no meaning if the tar was given up)."""

_KEEP = 1 << 31
"""In the mode: an existing directory would keep its own. The stamp has the time alone."""

_IMPLIED = 1 << 30
"""In the mode: only the way to what is copied."""

_NO_STAMP = bytes(STAMP.size)
_UNSAFE_STAMP = STAMP.pack(0, 0, -1, 0, 0)

Record = tuple[str, str, tuple[int, bytes, int, int]]
"""A path, the earlier entry that it is another name of, and `_NUMBERS`."""

LookItems = Iterator[tuple[str, tuple[bytes]]]
"""Lines and stamps of a `SourceLook`."""

_NOTHING = "", (b"",)


class InventorySink(ForwardingSink):
    """Puts entries into another sink, and notes them in a table, the file `path`. Use it in a
    `with`. `tar` says where the last entry is in the layer, if there is one."""

    def __init__(self, path: str, sink: Sink, tar: LayerSink | None) -> None:
        super().__init__(sink)
        self._path = path
        self._tar = tar
        self._limit_ns = time.time_ns() - RACY_NS
        self._fd = -1
        self._count = self._size = self._end = 0
        self._names: list[str] = []
        self._numbers = bytearray()

    def put(self, entry: Planned, found: FoundFile | None = None) -> None:
        self._sink.put(entry, found)
        if isinstance(entry, Entry):
            self.note(entry, found)

    def note(self, entry: Entry, found: FoundFile | None) -> None:
        """Note an entry that was put last."""
        stamp = _of_time(entry.mtime_ns) if found is None else self._stamp(found.stat)
        self._size += entry.size
        start, end = self._tar.span if self._tar is not None else (0, 0)
        lengths, self._end = (start - self._end, end - start), end
        numbers = _NUMBERS.pack(_mode(entry, found), stamp, *lengths)
        self._add((entry.path, entry.target if entry.hardlink else ""), numbers)

    def keep(self, batch: "Batch") -> None:
        """Note entries as they are in the last table, which come next in the tar, too."""
        self._size += _FEW_BYTES  # They were not few.
        if self._tar is not None:
            self._end = self._tar.span[1]
        self._add(*batch)

    def _stamp(self, status: os.stat_result) -> bytes:
        """The stamp of a source; that of no file if it was changed just now, because it may get the
        same one by a second change."""
        if status.st_mtime_ns >= self._limit_ns or status.st_ctime_ns >= self._limit_ns:
            return _UNSAFE_STAMP
        return stamp_of(status)

    def _add(self, names: Sequence[str], numbers: bytes) -> None:
        if len(self._names) + len(names) > 2 * _MOST:
            self._flush()
        self._names += names
        self._numbers += numbers
        if len(self._names) >= 2 * _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o600)
            write_all(self._fd, bytes(_START.size))
        names = "\0".join(self._names).encode("utf-8", "surrogateescape")
        body, count = names + self._numbers, len(self._names) // 2
        write_all(self._fd, _HEAD.pack(count, len(names), crc32(body)) + body)
        self._count += count
        self._names.clear()
        self._numbers.clear()

    def settle(self) -> None:
        """Write what is left, too. Without it the table is not whole."""
        super().settle()
        few = len(self._names) < 2 * _FEW_ENTRIES and self._size < _FEW_BYTES
        if self._numbers and not (few and self._fd < 0):
            self._flush()
        if self._fd >= 0:
            os.pwrite(self._fd, _START.pack(_MAGIC, self._count, self._end), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        if kind is not None:
            discard(self._path)


class Batch(NamedTuple):
    """Some records: each path, and behind it the earlier entry that it is another name of; and
    their `_NUMBERS`, as they are in the file."""

    names: list[str]
    numbers: bytes

    @property
    def length(self) -> int:
        """How many they are."""
        return len(self.names) // 2

    def piece(self, first: int, end: int | None = None) -> "Batch":
        """Those from one to another, or to the end."""
        end, size = self.length if end is None else end, _NUMBERS.size
        return Batch(self.names[2 * first : 2 * end], self.numbers[size * first : size * end])

    def records(self) -> Iterator[Record]:
        """One after the other."""
        numbers = _NUMBERS.iter_unpack(self.numbers)
        return zip(self.names[::2], self.names[1::2], numbers, strict=True)


_NO_BATCH = Batch([], b"")
PassedOver = Callable[[Batch, TarSpan], None]


class Inventory:
    """A table that is read beside a plan. Use it in a `with`. Opening it raises `Unplannable` if it
    is not there, and reading it if it is damaged."""

    __slots__ = (
        "_at",
        "_batch",
        "_batches",
        "_fd",
        "_number",
        "_records",
        "length",
        "met",
        "next",
        "tar_bytes",
    )

    def __init__(self, path: str) -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise Unplannable("it is not known what the copy put before") from None
        start = os.read(self._fd, _START.size)
        if len(start) != _START.size or not start.startswith(_MAGIC):
            os.close(self._fd)
            raise _damaged()
        _, self.length, self.tar_bytes = _START.unpack(start)
        self._at = 0
        """Where in the tar the record ends that was met last."""
        self.met: Record | None = None
        self._batches = _batches(self._fd, self.length)
        self._batch, self._number = _NO_BATCH, 0
        """What was read last, and which of its records is `next`."""
        self._records: Iterator[Record] = iter(())
        self.next: Record | None = None
        """What comes next in the table."""

    def same(self, entry: Entry, found: FoundFile | None) -> TarSpan | None:
        """Where in the tar an entry is that is as it was; None if it is not. Then `met` is what was
        at its path, if something was. Everything before it went through `gone`."""
        record = self.next
        if record is None or record[0] != entry.path:
            self.met = None
            return None
        self.met = record
        mode, stamp, _, size = record[2]
        end = self._go_on(record)
        if stamp != (_of_time(entry.mtime_ns) if found is None else stamp_of(found.stat)):
            return None
        if mode != _mode(entry, found) or record[1] != (entry.target if entry.hardlink else ""):
            return None
        return end - size, end

    def gone(self, path: str | None) -> Iterator[str]:
        """The paths of the table that come before `path` (None: all) and were not met."""
        record = self.next
        if record is None or record[0] == path:
            return
        limit = None if path is None else place(path)
        while record is not None and (limit is None or place(record[0]) < limit):
            self._go_on(record)
            yield record[0]
            record = self.next

    def pass_over(
        self, items: LookItems, below: int, top: str, not_alone: Set[str], kept: PassedOver
    ) -> str:
        """Leave behind what is as a look saw it: `items` whose paths begin at `below`, and belong
        into the directory `top`. `kept` gets it, and where it is in the tar. Returns the first line
        of what may be otherwise, and has to be met by `same`; "" if all items are through."""
        cut = len(top) + 1 if top else 0
        while self.next is not None:
            batch, first, start = self._batch, self._number, self._at
            number, at, changed = first, start, ""
            records = chain((self.next,), self._records)
            for (path, target, numbers), (line, (now,)) in zip(records, items, strict=False):
                mode, stamp, gap, size = numbers
                rest = path[cut:]
                plain = stamp == now and mode < _IMPLIED and not (gap or target)
                if not plain or rest in not_alone or not line.startswith(f"{rest}\0", below):
                    self.next, changed = (path, target, numbers), line
                    break
                number += 1
                at += size
            if number > first:
                kept(batch.piece(first, number), (start, at))
            self._number, self._at = number, at
            if changed:
                return changed
            self._stand(batch.piece(number))
            if number < batch.length:
                return ""
        return next(items, _NOTHING)[0]

    def _go_on(self, record: Record) -> int:
        """Leave a record behind; returns where its entry ends."""
        _, _, gap, size = record[2]
        self._at += gap + size
        self._number += 1
        self.next = next(self._records, None)
        if self.next is None:
            self._stand(_NO_BATCH)
        return self._at

    def _stand(self, batch: "Batch") -> None:
        """Have a batch next, or the one after it if it is empty."""
        self._batch, self._number = batch if batch.names else next(self._batches, _NO_BATCH), 0
        self._records = self._batch.records()
        self.next = next(self._records, None)

    def __enter__(self) -> Self:
        try:
            self._stand(_NO_BATCH)
        except Unplannable:
            os.close(self._fd)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def was_directory(record: Record) -> bool:
    """Whether a directory was put there."""
    return stat.S_ISDIR(record[2][0] & ~(_KEEP | _IMPLIED))


def _batches(fd: int, left: int) -> Iterator[Batch]:
    """All of a table. Raises `Unplannable` for one that is damaged or cut short."""
    while left > 0:
        head = os.read(fd, _HEAD.size)
        if len(head) != _HEAD.size:
            raise _damaged()
        count, names_size, crc = _HEAD.unpack(head)
        # After a power cut there may be zeros, which have the checksum of nothing.
        size = names_size + count * _NUMBERS.size if 0 < count <= min(_MOST, left) else 0
        body = os.read(fd, size)
        if not body or len(body) != size or crc32(body) != crc:
            raise _damaged()
        names = body[:names_size].decode("utf-8", "surrogateescape").split("\0")
        yield Batch(names, body[names_size:])
        left -= count
    if os.read(fd, 1):
        raise _damaged()


def _damaged() -> Unplannable:
    return Unplannable("what is known of the earlier copy is damaged")


def _of_time(mtime_ns: int | None) -> bytes:
    """The stamp of what no source has, but for a time (None: that of the writing)."""
    return _NO_STAMP if mtime_ns is None else packed_stamp(0, 0, 0, mtime_ns, 1)


def _mode(entry: Entry, found: FoundFile | None) -> int:
    if found is not None and found.implied:
        return entry.mode | _IMPLIED
    return entry.mode | _KEEP if entry.keep else entry.mode


# --- The tables of a store ---


def average_bytes(path: str) -> int:
    """What an entry takes in the tar on average. Raises `Unplannable` as `Inventory` does."""
    with Inventory(path) as inventory:
        average: int = inventory.tar_bytes // max(inventory.length, 1)
        return average


def keep(making: str, folder: str, name: str) -> None:
    """Keep a whole table in the folder of tables, if one was made."""
    try:
        os.makedirs(folder, exist_ok=True)
        os.rename(making, os.path.join(folder, name))
    except OSError:
        discard(making)  # It is a hint: the copy is whole without.


def join(tables: Sequence[str]) -> None:
    """Put the tables of the shares of a copy behind each other, into the first; they have no tar.
    Raises `OSError` if one is not there: then the first is not whole."""
    with open(tables[0], "r+b") as whole:
        count = 0
        for path in tables:
            with open(path, "rb") as table:
                count += _START.unpack(table.read(_START.size))[1]
                if path != tables[0]:
                    whole.seek(0, os.SEEK_END)
                    while data := table.read(1 << 20):
                        whole.write(data)
        whole.seek(0)
        whole.write(_START.pack(_MAGIC, count, 0))


def discard(making: str) -> None:
    """Remove a table in the making, if there is one."""
    with suppress(FileNotFoundError):
        os.unlink(making)
