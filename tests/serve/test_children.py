"""The process that waits for the next build: it is taken, replaced if it died, and ended."""

import pytest

from minibuild.rootless.parent import BuildChild
from minibuild.serve.children import Children


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
    children = Children()
    children.prepare()
    children.prepare()  # one is enough
    first = children.take()
    second = children.take()
    assert first is not second and first.waits() and second.waits()
    for child in (first, second):
        child.close()
        assert not child.waits()


def test_one_that_died_is_not_given(made: list[BuildChild]) -> None:
    children = Children()
    children.prepare()
    made[0].close()
    child = children.take()
    assert child is made[1] and child.waits()
    child.close()


def test_none_waits_after_the_end(made: list[BuildChild]) -> None:
    children = Children()
    children.prepare()
    children.close()
    children.prepare()
    assert len(made) == 1 and not made[0].waits()


def test_the_end_waits_for_those_that_end(made: list[BuildChild]) -> None:
    children = Children()
    taken = [children.take(), children.take()]
    for child in taken:
        children.give_back(child)
    children.prepare_soon()
    children.close()
    assert not any(child.waits() for child in made)
