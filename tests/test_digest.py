"""Digests: one algorithm, in two implementations; which of them hashed cannot be told."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from minibuild import digest

CHECKOUT = Path(__file__).parent.parent
SIZES = [0, 1, 300, digest._SMALL - 1, digest._SMALL, digest._SMALL + 1, 3 * digest._SMALL + 5]


@pytest.fixture(params=["with OpenSSL", "without"])
def loaded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has hashlib already, and one that has not."""
    if request.param == "without":
        monkeypatch.delitem(sys.modules, "hashlib")


def prefixed(data: bytes) -> str:
    """What a digest says of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("size", SIZES)
def test_bytes(size: int) -> None:
    """As hashlib has it, below and above the size from which hashlib does it."""
    data = b"abcdefg" * (size // 7) + b"x" * (size % 7)
    assert digest.digest_bytes(data) == prefixed(data)


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 2, 1000])
def test_strings(size: int, count: int) -> None:
    """Each string after its length, however they are put together for hashing."""
    parts = ["é" * (size // count)] * count
    raw = parts[0].encode()
    assert digest.digest_strings(parts) == prefixed(b"".join([b"%d:" % len(raw) + raw] * count))


@pytest.mark.usefixtures("loaded")
def test_no_two_sequences_share_a_digest() -> None:
    """Where a string ends is part of what is hashed, as are bytes that are no UTF-8."""
    make: Callable[[list[str]], str] = digest.digest_strings
    made = {make(["ab", "c"]), make(["a", "bc"]), make(["abc"]), make(["abc", ""]), make([])}
    assert len({*made, make(["ab\udc80"]), make(["1:a"])}) == 7


@pytest.mark.parametrize(("size", "loads"), [("digest._SMALL", "False"), ("1 << 16", "True")])
def test_openssl_is_loaded_for_much(size: str, loads: str) -> None:
    """It takes 2 ms, which a cached build has no use for."""
    program = (
        "import sys; from minibuild import digest; "
        f"digest.digest_bytes(bytes({size})); digest.digest_json(1); digest.digest_strings('ab'); "
        "print('_hashlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True)
    assert done.stdout.decode().strip() == loads, done.stderr.decode()
