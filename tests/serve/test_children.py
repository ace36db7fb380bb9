"""The process that waits for the next build: it is taken, comes back, is replaced, and ended."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

import pytest

from minibuild.errors import BuildError, Cancelled
from minibuild.events import Event, Started
from minibuild.rootless.parent import BuildChild
from minibuild.serve.children import Children
from minibuild.session.request import BuildRequest, Output
from tests.support.waiting import PATIENCE_S


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[BuildChild]:
    """All processes of the test."""
    found: list[BuildChild] = []

    class Noted(BuildChild):
        def __init__(self, loads: str) -> None:
            super().__init__(loads)
            found.append(self)

    monkeypatch.setattr("minibuild.serve.children.BuildChild", Noted)
    return found


def test_the_one_that_waits() -> None:
    children = Children("")
    children.prepare()
    children.prepare()  # one is enough
    first = children.take()
    second = children.take()
    assert first is not second and first.waits() and second.waits()
    for child in (first, second):
        child.close()
        assert not child.waits()


def test_one_that_died_is_not_given(made: list[BuildChild]) -> None:
    children = Children("")
    children.prepare()
    made[0].close()
    child = children.take()
    assert child is made[1] and child.waits()
    child.close()


def test_none_waits_after_the_end(made: list[BuildChild]) -> None:
    children = Children("")
    children.prepare()
    children.close()
    children.prepare()
    assert len(made) == 1 and not made[0].waits()


def test_the_end_waits_for_those_that_end(made: list[BuildChild]) -> None:
    children = Children("")
    taken = [children.take(), children.take()]
    for child in taken:
        children.give_back(child)
    assert taken[0].waits() and children.take() is taken[0]
    children.give_back(taken[0])
    children.close()
    assert not any(child.waits() for child in made)


@pytest.mark.needs("mount")
def test_the_next_build_waits_for_one_that_has_answered(
    made: list[BuildChild], tmp_path: Path
) -> None:
    children = Children("")
    child = children.take()
    children.answered(child)
    with ThreadPoolExecutor() as hands:
        taken = hands.submit(children.take)
        early = wait([taken], 0.1).done
        children.give_back(child)
        assert taken.result(PATIENCE_S) is child and not early
    children.give_back(child)
    children.close()
    assert len(made) == 1


def built(child: BuildChild, folder: Path, dockerfile: str) -> Sequence[Event]:
    """Build something. Returns the events."""
    seen: list[Event] = []
    request = BuildRequest(str(folder), dockerfile=dockerfile, outputs=(Output("cacheonly"),))
    child.build(request, root=str(folder / "root"), report=seen.extend, cancelled=threading.Event())
    assert not child.waits()
    child.rest()
    return seen


@pytest.mark.needs("mount")
def test_one_has_several_builds_as_long_as_they_succeed(
    made: list[BuildChild], tmp_path: Path
) -> None:
    children = Children("")
    for name in ("a", "b"):
        child = children.take()
        assert any(
            isinstance(e, Started) for e in built(child, tmp_path, f"FROM scratch\nWORKDIR {name}")
        )
        children.give_back(child)
    assert len(made) == 1
    child = children.take()
    with pytest.raises(BuildError):
        built(child, tmp_path, "FROM scratch\nCOPY nothing /")
    children.give_back(child)
    other = children.take()
    assert other is not child and not child.waits()

    cancelled = threading.Event()
    cancelled.set()
    with suppress(Cancelled):  # or it was faster
        request = BuildRequest(str(tmp_path), dockerfile="FROM scratch\nWORKDIR c")
        other.build(request, root=str(tmp_path / "root"), report=print, cancelled=cancelled)
        other.rest()
    assert not other.waits()
    children.give_back(other)
    children.close()
    assert not any(child.waits() for child in made)
