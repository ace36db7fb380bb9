"""Amounts and cells: small things that are wrong in every second program."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.progress.cells import cells, cut
from minibuild.progress.quantity import amount, bytes_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (1530, "1.53kB"),
        (999_994, "999.99kB"),
        (999_996, "1MB"),
        (5_000_000_000, "5GB"),
        (10**18, "1000PB"),
    ],
)
def test_bytes(count: int, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("current", "total", "unit", "text"),
    [
        (0, 0, "B", ""),
        (5, 0, "B", "5B"),
        (0, 5, "B", "0B / 5B"),
        (0, 0, "files", ""),
        (3, 0, "files", "3 files"),
        (3, 4, "files", "3 / 4 files"),
    ],
)
def test_amount(current: int, total: int, unit: str, text: str) -> None:
    assert amount(current, total, unit) == text


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("漢字", 4, "漢字"),
        ("漢字", 3, "漢…"),
        ("漢字", 2, "…"),
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
        ("abc", 0, ""),
    ],
)
def test_cut(text: str, room: int, expected: str) -> None:
    assert cut(text, room) == expected


@given(st.text(), st.integers(0, 40))
def test_cut_fits(text: str, room: int) -> None:
    assert cells(cut(text, room)) <= room
