"""gzip by several threads: its bytes are those of one block after the other, and it holds few."""

import gzip
import itertools
import random
import struct
import threading
import zlib
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from minibuild.layer.chunker import BLOCK_BYTES
from minibuild.layer.compress import deflater
from minibuild.layer.gzip_writer import Deflater, GzipWriter
from tests.support.threads import started_since
from tests.support.waiting import PATIENCE_S

WINDOW = 32 << 10
AHEAD = 2


def text(size: int, seed: int = 0) -> bytes:
    """Lines that compress, with matches long and short, near and far."""
    chance = random.Random(seed)
    lines = (
        b"%x %x\n" % (chance.getrandbits(40), chance.getrandbits(9)) for _ in itertools.count()
    )
    data = bytearray()
    while len(data) < size:
        data += next(lines)
        if chance.random() < 0.3 and len(data) > 300:
            at = chance.randrange(len(data) - 200)
            data += data[at : at + chance.randrange(3, 200)]
    return bytes(data[:size])


def written(deflater: Deflater, blocks: list[bytes], threads: int = 2) -> bytes:
    """What a writer makes of these blocks."""
    out: list[bytes] = []
    writer = GzipWriter(deflater, threads, lambda data: out.append(bytes(data)))
    try:
        for block in blocks[:-1]:
            buffer = bytearray(BLOCK_BYTES)
            buffer[: len(block)] = block
            assert len(writer.feed(buffer, len(block))) == BLOCK_BYTES
        writer.finish(bytearray(blocks[-1]), len(blocks[-1]))
    finally:
        writer.close()
    return b"".join(out)


@pytest.mark.parametrize("level", [1, 6, 9])
@pytest.mark.parametrize("sizes", [[0], [5], [70_000], [100_000, 90_000, 1], [40, 5, 60_000, 0]])
def test_the_bytes_are_those_of_block_after_block(level: int, sizes: list[int]) -> None:
    """Each deflated with the library's own settings, and with what came before as a dictionary."""
    blocks = [text(size, seed) for seed, size in enumerate(sizes)]
    found = deflater(level)
    expected, last_window = bytearray(b"\x1f\x8b\x08\0\0\0\0\0\0\xff"), b""
    for number, block in enumerate(blocks):
        settings = [level, found.library.DEFLATED, -15, 8, 0]
        stream = found.library.compressobj(*settings, *([last_window] if last_window else []))
        is_last = number == len(blocks) - 1
        end = found.library.Z_FINISH if is_last else found.library.Z_SYNC_FLUSH
        expected += stream.compress(block) + stream.flush(end)
        last_window = block[-WINDOW:]
    whole = b"".join(blocks)
    expected += struct.pack("<II", zlib.crc32(whole), len(whole))
    made = written(found, blocks)
    assert made == bytes(expected)
    assert gzip.decompress(made) == whole


def test_isal_at_levels_whose_bytes_differ_between_processors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its third has others with AVX2 than with AVX-512; blocks of another kind of processor have
    other keys."""
    data = memoryview(text(200_000))
    second, third = (deflater(level).compress(data, b"", last=True) for level in (2, 3))
    assert second == third != deflater(1).compress(data, b"", last=True)
    here = deflater(1).name
    assert here == deflater(1).name
    monkeypatch.setattr("isal.isal_zlib.compress", lambda data, level: b"of another processor")
    assert deflater(1).name != here


def test_zlib_has_its_usual_settings() -> None:
    """What any other program would get from zlib at this level."""
    data = text(200_000)
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    expected = stream.compress(data) + stream.flush()
    assert deflater(6).compress(memoryview(data), b"", last=True) == expected


class Library(SimpleNamespace):
    """A library that makes of a block as many bytes as its first ones say. Of each block it waits
    until it may go on."""

    DEFLATED = Z_FINISH = Z_SYNC_FLUSH = 0

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()
        self.may.set()

    def compressobj(self, *_: object) -> "Library":
        return self

    def compress(self, data: memoryview) -> bytes:
        assert self.may.wait(PATIENCE_S)
        return bytes(int.from_bytes(data[:4], "big"))

    def flush(self, _: int) -> bytes:
        return b""

    @staticmethod
    def crc32(data: memoryview, value: int) -> int:
        return zlib.crc32(data, value)


class Known:
    """Known blocks that knows none, and counts the questions."""

    def __init__(self) -> None:
        self.asked = 0

    def expected(self, start: int, crc: int) -> None:
        pass

    def find(self, key: bytes, start: int) -> None:
        self.asked += 1

    def add(self, key: bytes, start: int, crc: int, offset: int, data: bytes) -> None:
        pass


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def out() -> list[int]:
    return []


@pytest.fixture
def writer(library: Library, out: list[int]) -> Iterator[GzipWriter]:
    made = GzipWriter(Deflater(1, library, "x"), 3, lambda data: out.append(len(data)))
    yield made
    made.close()


def block(result_bytes: int, size: int = 1000) -> bytearray:
    """A block that the library makes so many bytes of."""
    return bytearray(result_bytes.to_bytes(4, "big")) + bytes(size - 4)


def test_few_blocks_are_held(writer: GzipWriter, out: list[int]) -> None:
    """One for each thread and a few more: then each that comes waits for the oldest, and its
    buffer is handed back."""
    (header,) = out
    buffers = [block(number) for number in range(8)]
    for buffer in buffers[: 3 + AHEAD - 1]:
        assert writer.feed(buffer, 1000) not in buffers
        assert out == [header]
    for number, buffer in enumerate(buffers[3 + AHEAD - 1 :]):
        assert writer.feed(buffer, 1000) is buffers[number]
        assert out == [header, *range(number + 1)]


def test_threads_do_not_keep_a_program_alive(writer: GzipWriter) -> None:
    """What ends while a layer is written is not to wait for its blocks."""
    before = threading.enumerate()
    writer.feed(block(1), 1000)
    threads = started_since(before)
    assert len(threads) == 3 and all(thread.daemon for thread in threads)
    writer.close()
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("most", [0, 1, 2])
def test_few_threads_are_enough(
    writer: GzipWriter, out: list[int], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """A user may have no more of them; with none at all there is an error."""
    real, started = threading.Thread.start, itertools.count()

    def start(thread: threading.Thread) -> None:
        if next(started) >= most:
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    if not most:
        with pytest.raises(RuntimeError, match="new thread"):
            writer.feed(block(1), 1000)
        return
    for _ in range(9):
        writer.feed(block(1), 1000)
    writer.finish(block(1), 1000)
    assert out[1:] == [1] * 10 + [8]


@pytest.mark.parametrize(("result_bytes", "asked"), [(899, 3), (900, 1), (990, 1), (1001, 1)])
def test_what_does_not_compress_is_not_looked_up(
    library: Library, result_bytes: int, asked: int
) -> None:
    """A tenth has to be saved; one thread, so each block is done before the next one."""
    known = Known()
    writer = GzipWriter(Deflater(1, library, "x"), 1, lambda data: None, known)
    try:
        for _ in range(3):
            writer.feed(block(result_bytes), 1000)
        writer.finish(block(1), 1000)
    finally:
        writer.close()
    assert known.asked == asked


def test_the_size_is_that_of_rfc_1952(library: Library) -> None:
    """It has 32 bits, whatever comes."""
    out: list[bytes] = []
    writer = GzipWriter(Deflater(1, library, "x"), 1, lambda data: out.append(bytes(data)))
    writer._size = (1 << 32) - 10
    writer.finish(block(1, 15), 15)
    assert out[-1][4:] == struct.pack("<I", 5)
