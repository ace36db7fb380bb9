"""The first lines of `minibuild why`: which build is meant, and whether one after it was cached."""

import pytest

from minibuild.cli import why_text
from minibuild.cli.why_text import whole
from minibuild.record.records import BuildRecord, RecordedStep
from minibuild.record.story import story

RAN = RecordedStep(0, "exec", state="ran")
CACHED = RecordedStep(0, "exec", state="cached")
FAILED = RecordedStep(0, "exec", state="failed")


def build(name: str, step: RecordedStep, *, again: bool = False, error: str = "") -> BuildRecord:
    """A build of one step that has just ended."""
    data = {"tags": ["shop"], "seconds": 0.5, "error": error}
    return BuildRecord(name, "place", 7.0, 7.6 if again else 7.5, (step,), data, {})


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(why_text, "ago", lambda moment: "just now")


@pytest.mark.parametrize(
    ("asked", "head"),
    [
        (build("b1", RAN), ["build b1 of shop, just now: 1 of 1 steps ran"]),
        (
            build("b1", RAN, again=True),
            [
                "built again just now: everything was cached",
                "build b1 of shop, just now: 1 of 1 steps ran",
            ],
        ),
        (
            build("b1", CACHED),
            [
                "build b1 of shop, just now: everything was cached",
                "the last that ran steps, just now: minibuild why --build b0",
            ],
        ),
        (build("b1", FAILED, error="x"), ["build b1 of shop failed just now: 1 of 1 steps ran"]),
    ],
)
def test_it_says_which_build_is_meant(asked: BuildRecord, head: list[str]) -> None:
    working = None if asked.ran else build("b0", RAN)
    lines = list(whole(story(asked, None, lambda key: None), 10, working))
    assert lines[: len(head)] == head


def test_a_build_without_an_image_goes_by_its_definition() -> None:
    data = {"context": "/src", "file": "/src/a.Dockerfile", "seconds": 0.5}
    asked = build("b1", RAN)._replace(data=data)
    head = next(whole(story(asked, None, lambda key: None), 10))
    assert head == "build b1 of /src/a.Dockerfile, just now: 1 of 1 steps ran"
