"""Digests, and the two things they name in an image.

Comes in: bytes or plain data. Goes out: `Digest` values such as `sha256:2c26...`. The two
names follow the OCI image specification, and mixing them up is a type error:

- `Digest`: of a blob as it is stored and transferred (a layer's is that of the *compressed* tar);
- `DiffID`: of a layer's tar *before* compression ("Layer DiffID" in the image spec's config.md).

Read next: `graph.op`.
"""

import importlib
import json
import sys
from collections.abc import Callable, Iterable
from functools import cache
from itertools import islice
from typing import Any, NewType, Protocol

_HEX = frozenset("0123456789abcdef")
_SMALL = 32 << 10
"""Bytes that the interpreter hashes in less time than it takes to load OpenSSL (2 ms), which
hashes five times as fast."""

_BLOCK = 1000
"""Strings that are hashed at once."""

Digest = NewType("Digest", str)
DiffID = NewType("DiffID", Digest)


class Hash(Protocol):
    """What takes data to be hashed: a part of what `hashlib` makes."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Add bytes."""

    def digest(self) -> bytes:
        """The digest."""

    def hexdigest(self) -> str:
        """The digest in hex."""


class InvalidDigest(ValueError):
    """The text is not `sha256:` and 64 lower-case hex digits."""


def parse_digest(text: str) -> Digest:
    """The digest that `text` spells; a path can be made from it without further checks.

    Raises `InvalidDigest` for anything but sha256 in its canonical form.
    """
    algorithm, _, hexadecimal = text.partition(":")
    if algorithm != "sha256" or len(hexadecimal) != 64 or not _HEX.issuperset(hexadecimal):
        raise InvalidDigest(f"not a sha256 digest: {text!r}")
    return Digest(text)


def digest_hex(digest: Digest) -> str:
    """The 64 hex digits of a digest."""
    return digest.partition(":")[2]


def digest_bytes(data: bytes) -> Digest:
    """The digest of some bytes."""
    return Digest("sha256:" + sha256_of(len(data))(data).hexdigest())


def sha256_of(size: int) -> Callable[[bytes], Hash]:
    """What hashes `size` bytes soonest: much of it OpenSSL, and little too if it is there."""
    if size > _SMALL or "hashlib" in sys.modules:
        import hashlib

        return hashlib.sha256
    return _own_sha256()


@cache
def _own_sha256() -> Callable[[bytes], Hash]:
    """That of the interpreter itself; hashlib falls back on it where there is no OpenSSL."""
    try:
        module = importlib.import_module("_sha256" if sys.version_info < (3, 12) else "_sha2")
    except ImportError:  # an interpreter may be made without
        module = importlib.import_module("hashlib")
    made: Callable[[bytes], Hash] = module.sha256
    return made


def canonical_json(value: Any) -> bytes:
    """`value` as JSON that depends on nothing but its contents: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogateescape"
    )


def digest_json(value: Any) -> Digest:
    """The digest of plain data (dicts, lists, strings, numbers, booleans, None)."""
    return digest_bytes(canonical_json(value))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def digest_strings(parts: Iterable[str]) -> Digest:
    """The digest of a sequence of strings; no two different sequences share one."""
    sha: Hash | None = None
    left = iter(parts)
    while (block := list(islice(left, _BLOCK))) or sha is None:
        # Each with its length in bytes, which is that of the text if all is ASCII.
        text = "".join([f"{len(part)}:{part}" for part in block])
        if not text.isascii():
            text = "".join([f"{len(_utf8(part))}:{part}" for part in block])
        data = _utf8(text)
        sha = sha or sha256_of(len(data))(b"")
        sha.update(data)
    return Digest("sha256:" + sha.hexdigest())
