"""Truth values, durations, sizes, records of CSV, and misspellings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.graph.literals import (
    csv_record,
    duration_ns,
    duration_text,
    parse_bool,
    parse_uint,
    size_bytes,
)
from minibuild.graph.spelling import did_you_mean, edit_distance, one_of


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("07", 7),
        ("65535", 65535),
        ("65536", -1),
        ("0" * 5000 + "8", 8),
        *((text, -1) for text in ("", "-1", "+1", "1.0", "1_0", " 1", "²", "٣", "9" * 5000)),
    ],
)
def test_whole_number(text: str, number: int) -> None:
    assert parse_uint(text, 65535) == number
    assert parse_uint(str(2**63 - 1)) == 2**63 - 1
    assert parse_uint(str(2**63)) == -1


@pytest.mark.parametrize(
    ("text", "nanoseconds", "printed"),
    [
        ("0", 0, "0s"),
        ("0s", 0, "0s"),
        ("30s", 30_000_000_000, "30s"),
        ("1.5s", 1_500_000_000, "1.5s"),
        ("250ms", 250_000_000, "250ms"),
        ("5m30s", 330_000_000_000, "5m30s"),
        ("1m", 60_000_000_000, "1m0s"),
        ("1h", 3_600_000_000_000, "1h0m0s"),
        ("25h1m1.001s", 90_061_001_000_000, "25h1m1.001s"),
        ("1h1h", 7_200_000_000_000, "2h0m0s"),
        (".5s", 500_000_000, "500ms"),
        ("1.s", 1_000_000_000, "1s"),
        ("100us", 100_000, "100µs"),
        ("7ns", 7, "7ns"),
        ("-2s", -2_000_000_000, "-2s"),
        ("+2s", 2_000_000_000, "2s"),
    ],
)
def test_duration(text: str, nanoseconds: int, printed: str) -> None:
    assert duration_ns(text) == nanoseconds
    assert duration_text(nanoseconds) == printed


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        *((text, "invalid") for text in ("", "soon", "s", ".s", "--1s", "1s.s", "9" * 30 + "h")),
        *((text, "missing unit in") for text in ("1", "1s2", "1.", "-.5", "1h30")),
        *((text, f'unknown unit "{text[1:]}" in') for text in ("1 s", "1S", "5d")),
        ("1h2x3s", 'unknown unit "x" in'),
    ],
)
def test_bad_duration(text: str, wrong: str) -> None:
    with pytest.raises(ValueError) as caught:
        duration_ns(text)
    assert str(caught.value) == f'time: {wrong} duration "{text}"'


@given(st.integers(-(2**62), 2**62))
def test_printed_durations_are_read_back(nanoseconds: int) -> None:
    assert duration_ns(duration_text(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("100", 100),
        ("64k", 65536),
        ("1.5K", 1536),
        ("1m", 2**20),
        ("2GiB", 2**31),
        ("3 kb", 3072),
    ],
)
def test_size(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "k", "-1", "1x", "1  k", "1kk", "9" * 40])
def test_bad_size(text: str) -> None:
    with pytest.raises(ValueError, match="invalid size"):
        size_bytes(text)


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("chwon", ("chown", "chmod"), " (did you mean chown?)"),
        ("COPPY", ("COPY", "RUN"), " (did you mean COPY?)"),
        ("RNU", ("RUN", "ENV"), " (did you mean RUN?)"),
        ("FOO", ("RUN", "FROM"), " (did you mean FROM?)"),
        ("XYZZY", ("COPY", "RUN", "ENV"), ""),
        ("XX", ("COPY", "RUN", "ENV"), ""),
        ("$STATE_DIRS", ("$STAGE_DIR",), " (did you mean $STAGE_DIR?)"),
        ("$STATE_DIRS", ("$STAGE_DIRK",), " (did you mean $STAGE_DIRK?)"),
        ("$JAVA_HOME", ("$YARN_HOME",), ""),
        ("x", ("env",), ""),
        ("anything", (), ""),
        ("a" * 10_000, ("a" * 10_000,), ""),
    ],
)
def test_did_you_mean(word: str, known: tuple[str, ...], expected: str) -> None:
    assert did_you_mean(word, known) == expected


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("oic", "did you mean oci? There are oci, docker"),
        ("dokcer", "did you mean docker? There are oci, docker"),
        ("zip", "there are oci, docker"),
        ("cd", "there are oci, docker"),
        ("", "there are oci, docker"),
    ],
)
def test_one_of_few_words(word: str, hint: str) -> None:
    assert one_of(word, ("oci", "docker")) == hint


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_edit_distance(a: str, b: str) -> None:
    distance = edit_distance(a, b)
    assert distance == edit_distance(b, a)
    assert (distance == 0) == (a == b)
    assert abs(len(a) - len(b)) <= distance <= max(len(a), len(b))


def test_truth() -> None:
    assert parse_bool("true") and parse_bool("1") and parse_bool("T")
    assert not parse_bool("false") and not parse_bool("0")


@pytest.mark.parametrize("text", ["", "yes", "tRUE"])
def test_no_truth(text: str) -> None:
    with pytest.raises(ValueError, match="invalid syntax"):
        parse_bool(text)


@given(st.lists(st.text('ab,"', max_size=4), min_size=1, max_size=4))
def test_records_come_back(fields: list[str]) -> None:
    quoted = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
    assert csv_record(quoted) == fields
