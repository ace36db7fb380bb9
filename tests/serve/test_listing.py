"""The list of a kept folder: known to the byte, and forgotten with the first that differs."""

import os
from pathlib import Path

import pytest

from minibuild.buildkit.messages import framed
from minibuild.serve.listing import Listing

ENTRIES = [b"\x12\x03abc", b"\x12\x02de", b""]
DATA = b"\x08\x02\x22\x01x"


def raw(*messages: bytes) -> bytes:
    return b"".join(map(framed, messages))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose list was kept; contents of files came in between."""
    made = tmp_path / "tree"
    made.mkdir()
    listing = Listing(str(made))
    assert not listing.is_known(raw(*ENTRIES)) and not listing.is_whole
    assert listing.passed() == []
    sent = [ENTRIES[0], DATA, *ENTRIES[1:]]
    assert list(listing.noting(sent)) == sent
    listing.save()
    return made


@pytest.mark.parametrize("pieces", [[3], [1, 2], [1, 1, 1]])
def test_the_same_again(folder: Path, pieces: list[int]) -> None:
    listing, rest = Listing(str(folder)), ENTRIES
    for count in pieces:
        assert not listing.is_whole
        assert listing.is_known(raw(*rest[:count]))
        rest = rest[count:]
    assert listing.is_whole


def test_one_that_differs(folder: Path) -> None:
    """What was passed is given back, and the list is gone before anything is changed."""
    listing = Listing(str(folder))
    assert listing.is_known(raw(ENTRIES[0]))
    other = [b"\x12\x02df", b""]
    assert not listing.is_known(raw(*other))
    assert listing.passed() == ENTRIES[:1]
    assert not Listing(str(folder)).is_known(raw(ENTRIES[0]))
    assert not listing.is_known(raw(*ENTRIES)) and listing.passed() == []
    assert list(listing.noting([ENTRIES[0], *other])) == [ENTRIES[0], *other]
    listing.save()
    assert Listing(str(folder)).is_known(raw(ENTRIES[0], *other))


def test_fewer_and_more(folder: Path) -> None:
    listing = Listing(str(folder))
    assert listing.is_known(raw(*ENTRIES[:2])) and not listing.is_whole
    assert not listing.is_known(raw(b"", b"\x12\x01x"))


def test_a_folder_that_was_changed_or_replaced(folder: Path) -> None:
    (folder / "stray").touch()
    assert not Listing(str(folder)).is_known(raw(ENTRIES[0]))


def test_the_machine_was_started_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot_id = folder / "../boot"
    boot_id.write_text("another\n")
    monkeypatch.setattr("minibuild.serve.listing._BOOT_ID", os.fspath(boot_id))
    assert not Listing(str(folder)).is_known(raw(ENTRIES[0]))
