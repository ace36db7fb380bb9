"""The list of a kept folder: known to the byte, and forgotten with the first that differs."""

import os
from pathlib import Path

import pytest

from minibuild.buildkit.messages import framed
from minibuild.serve.contexts import Listing

ENTRIES = [b"\x12\x03abc", b"\x12\x02de", b""]
DATA = b"\x08\x02\x22\x01x"


def raw(*messages: bytes) -> bytes:
    return b"".join(map(framed, messages))


def heard(listing: Listing, *parts: bytes) -> bytes:
    """What of these parts is not known."""
    return b"".join(listing.unknown(parts))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose list was kept; contents of files came in between."""
    made = tmp_path / "tree"
    made.mkdir()
    listing = Listing(str(made))
    sent = [ENTRIES[0], DATA, *ENTRIES[1:]]
    assert heard(listing, raw(*sent)) == raw(*sent) and not listing.is_whole
    assert list(listing.noting(sent)) == sent
    listing.save()
    return made


@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_the_same_again(folder: Path, size: int) -> None:
    """However it is cut, it is known, and nothing is read after its end."""
    data = raw(*ENTRIES)
    listing, parts = (
        Listing(str(folder)),
        [data[at : at + size] for at in range(0, len(data), size)],
    )
    assert heard(listing, *parts[:-1]) == b""
    whole_before = listing.is_whole
    rest = iter([parts[-1], b"more"])
    assert list(listing.unknown(rest)) == []
    assert (whole_before, listing.is_whole) == (False, True)
    assert next(rest) == b"more"


@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_one_that_differs(folder: Path, size: int) -> None:
    """All of it is given, and the list is gone before anything is changed."""
    other = [ENTRIES[0], b"\x12\x02df", b""]
    data, listing = raw(*other), Listing(str(folder))
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    for _ in range(2):
        assert heard(listing, *parts) == data and not listing.is_whole
        assert heard(Listing(str(folder)), raw(ENTRIES[0])) == raw(ENTRIES[0])
    assert list(listing.noting(other)) == other
    listing.save()
    assert heard(Listing(str(folder)), data) == b""


def test_fewer_and_more(folder: Path) -> None:
    listing = Listing(str(folder))
    assert heard(listing, raw(*ENTRIES[:2])) == b"" and not listing.is_whole
    assert heard(listing, raw(b"", b"x")) == raw(*ENTRIES[:2], b"", b"x")


def test_a_folder_that_was_changed_or_replaced(folder: Path) -> None:
    (folder / "stray").touch()
    assert heard(Listing(str(folder)), raw(ENTRIES[0])) == raw(ENTRIES[0])


def test_the_machine_was_started_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot_id = folder / "../boot"
    boot_id.write_text("another\n")
    monkeypatch.setattr("minibuild.serve.contexts._BOOT_ID", os.fspath(boot_id))
    assert heard(Listing(str(folder)), raw(ENTRIES[0])) == raw(ENTRIES[0])
