"""Compression: right, and the same bytes every time."""

import bz2
import gzip
import io
import lzma
import os
import random
from collections.abc import Callable

import pytest
import zstandard

from minibuild.errors import HostError, ImageError, UsageError
from minibuild.layer import compress
from minibuild.layer.chunker import BLOCK_BYTES
from minibuild.layer.compress import compressor, decompressed, parse_level
from minibuild.oci.model import DOCKER_LAYER, OCI_LAYER, Compression


def run(data: bytes, compression: Compression, level: int | None = None) -> bytes:
    """All of `data` through a compressor, buffer by buffer."""
    written: list[bytes] = []
    made = compressor(compression, level, lambda piece: written.append(bytes(piece)))
    buffer, used, at = bytearray(BLOCK_BYTES), 0, 0
    while at < len(data):
        piece = data[at : at + BLOCK_BYTES - used]
        buffer[used : used + len(piece)] = piece
        used, at = used + len(piece), at + len(piece)
        if used == BLOCK_BYTES:
            length = made.cut(buffer)
            rest = bytes(buffer[length:])
            buffer = made.feed(buffer, length)
            buffer[: len(rest)] = rest
            used = len(rest)
    made.finish(buffer, used)
    made.close()
    return b"".join(written)


def text(size: int) -> bytes:
    """Something that compresses, but not to nothing."""
    made = random.Random(size)
    words = [made.randbytes(5).hex().encode() for _ in range(500)]
    return b" ".join(made.choice(words) for _ in range(size // 10 + 1))[:size]


DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "uncompressed": lambda data: data,
    "gzip": gzip.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}
SIZES = (0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES + 77)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("compression", DECODERS)
def test_round_trip(compression: Compression, size: int) -> None:
    """Around the places where blocks are cut, and the same bytes again."""
    data = text(size)
    packed = run(data, compression)
    assert DECODERS[compression](packed) == data
    assert run(data, compression) == packed


@pytest.mark.parametrize("level", range(10))
def test_gzip_levels(level: int) -> None:
    """Two libraries, one format."""
    data = text(BLOCK_BYTES + 100)
    packed = run(data, "gzip", level)
    assert gzip.decompress(packed) == data
    assert len(packed) > len(data) if level == 0 else len(packed) < len(data)


@pytest.mark.parametrize(("compression", "level"), [("gzip", 1), ("zstd", 3)])
def test_default_levels(compression: Compression, level: int) -> None:
    data = text(100_000)
    packed = [run(data, compression, which) for which in (None, level, level + 1)]
    assert packed[0] == packed[1] != packed[2]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_the_number_of_processors_changes_nothing(
    compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer is the same wherever it is built."""
    data = text(4 * BLOCK_BYTES + 9)
    packed = []
    for count in (1, 2, 5, None):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        packed.append(run(data, compression))
    assert len(set(packed)) == 1


def test_gzip_header_names_nothing() -> None:
    """No name, no time, no system."""
    assert run(b"x", "gzip")[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


@pytest.mark.parametrize(
    ("compression", "text", "level"),
    [
        ("gzip", "0", 0),
        ("gzip", "+9", 9),
        ("gzip", "-1", None),
        ("gzip", "-2", None),
        ("zstd", "-5", 1),
        ("zstd", "0", 1),
        ("zstd", "7", 7),
        ("zstd", "30", 22),
        ("uncompressed", "7", None),
    ],
)
def test_a_level_in_words(compression: Compression, text: str, level: int | None) -> None:
    assert parse_level(text, compression) == level


@pytest.mark.parametrize(
    ("text", "says"),
    [("10", "out of range"), ("-3", "out of range"), ("x", "not a number"), ("", "not a number")],
)
def test_levels_that_do_not_exist(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_level(text, "gzip")


def test_an_error_in_a_thread_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """And does not hang whoever waits."""

    def broken(self: object, task: object) -> None:
        raise MemoryError

    made = compressor("gzip", 1, lambda _: None)
    monkeypatch.setattr(type(made), "_compress", broken)
    buffer = bytearray(BLOCK_BYTES)
    with pytest.raises(MemoryError):
        for _ in range(20):
            buffer = made.feed(buffer, BLOCK_BYTES)
    made.close()


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"BZh9", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x50\x2a\x4d\x18", "zstd"),
        (b"\x5f\x2a\x4d\x18\x04", "zstd"),
        (b"\x60\x2a\x4d\x18\x04", "uncompressed"),
        (b"name\0\0\0", "uncompressed"),
        (b"", "uncompressed"),
    ],
)
def test_detect(start: bytes, name: str) -> None:
    """By the first bytes."""
    assert compress.detect_compression(start) == name


@pytest.mark.parametrize(
    ("name", "compression"), [("", "uncompressed"), ("gzip", "gzip"), ("zstd", "zstd")]
)
def test_media_types(name: str, compression: Compression) -> None:
    """OCI's, and docker's, which stand for the same."""
    media_type = f"{OCI_LAYER}+{name}".removesuffix("+")
    docker = f"{DOCKER_LAYER}.{name}".removesuffix(".")
    assert compress.layer_media_type(compression) == media_type
    assert compress.compression_of(media_type) == compress.compression_of(docker) == compression


def test_a_media_type_of_no_layer() -> None:
    with pytest.raises(ImageError, match="unknown media type text/plain"):
        compress.compression_of("text/plain")


OTHERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("compression", OTHERS)
def test_what_others_compressed(compression: str) -> None:
    """In one part or more. Who has read it closes the file himself."""
    parts = [text(100_000), text(3), b""]
    file = io.BytesIO(b"".join(map(OTHERS[compression], parts)))
    assert compress.detect_compression(file.getvalue()[:16]) == compression
    stream = compress.decompressed(file, compression)
    assert stream.read() == b"".join(parts)
    stream.close()
    assert not file.closed


def test_what_is_not_compressed_is_read_as_it_is() -> None:
    file = io.BytesIO(b"data")
    assert compress.decompressed(file, "uncompressed") is file
    assert compress.stream_errors("uncompressed") == ()


@pytest.mark.parametrize("compression", OTHERS)
def test_damage_is_one_of_the_errors(compression: str) -> None:
    packed = OTHERS[compression](text(100_000))
    middle = len(packed) // 2
    damaged = [packed[:middle] + bytes(500) + packed[middle + 500 :]]
    if compression != "zstd":  # There a blob that is cut is met by its digest.
        damaged.append(packed[:middle])
    for data in damaged:
        stream = compress.decompressed(io.BytesIO(data), compression)
        with pytest.raises(compress.stream_errors(compression)):
            while stream.read(1 << 16):
                pass


def xz(data: bytes, dictionary: int) -> bytes:
    """Data compressed with a dictionary of a size."""
    quick = {"preset": 0, "mf": lzma.MF_HC3, "depth": 1}
    return lzma.compress(
        data, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": dictionary, **quick}]
    )


class Slow(io.BytesIO):
    """A stream that gives less than it is asked for, as one of a network may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 5))


@pytest.mark.parametrize("behind", [b"", b"\n", b"what is no stream"])
@pytest.mark.parametrize("kind", [io.BytesIO, Slow])
def test_xz_in_several_streams_with_zeros_between_and_something_else_behind(
    kind: type[io.BytesIO], behind: bytes
) -> None:
    one, two = text(300_000), text(5)
    data = lzma.compress(one) + bytes(8) + xz(two, 64 << 20) + bytes(4) + behind
    assert decompressed(kind(data), "xz").read() == one + two


def test_xz_of_which_a_later_stream_is_damaged_is_no_shorter_file() -> None:
    damaged = bytearray(lzma.compress(b"y"))
    damaged[7] ^= 1
    with pytest.raises(lzma.LZMAError):
        decompressed(io.BytesIO(lzma.compress(b"x") + damaged), "xz").read()


def test_xz_that_takes_too_much_memory_is_an_error_before_it_takes_it() -> None:
    """Also where only the second stream does. The error is not that of data that is damaged."""
    large = xz(b"x", 1 << 30)
    for data in (large, lzma.compress(b"y") + large):
        with pytest.raises(HostError, match="300 MiB of memory"):
            decompressed(io.BytesIO(data), "xz").read()
