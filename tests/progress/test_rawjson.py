"""JSON lines for programs."""

import io
import json
from pathlib import Path

import pytest

from minibuild.events import rfc3339
from minibuild.progress.console import Console
from minibuild.progress.rawjson import RawJson
from tests.progress import events_sample as sample

GOLDEN = Path(__file__).parent / "golden"


def shown() -> str:
    out = io.StringIO()
    report = RawJson(Console(out), clock=lambda: sample.T)
    for event in sample.build():
        report(event)
    report.close()
    return out.getvalue()


def test_golden(golden) -> None:  # type: ignore[no-untyped-def]
    golden(GOLDEN / "rawjson.txt", shown())


def test_every_line_is_one_object_of_known_members() -> None:
    for line in shown().splitlines():
        assert json.loads(line).keys() <= {"vertexes", "statuses", "logs", "warnings"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_700_000_000.5, "2023-11-14T22:13:20.5Z"),
        (1_700_000_000.000001, "2023-11-14T22:13:20.000001Z"),
        (1_699_999_999.9999999, "2023-11-14T22:13:20Z"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert rfc3339(seconds) == text
