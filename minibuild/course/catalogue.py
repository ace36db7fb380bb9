"""All exercises by number. A new one is a module with its files and its check, and a line here."""

from collections.abc import Mapping

from minibuild.course import (
    again,
    algebra,
    deletions,
    diffs,
    graphs,
    keys,
    links,
    pull_request,
)
from minibuild.course.exercise import Exercise
from minibuild.errors import UsageError

_MODULES = (diffs, deletions, keys, graphs, links, algebra, pull_request, again)
EXERCISES: Mapping[int, Exercise] = {m.EXERCISE.number: m.EXERCISE for m in _MODULES}


def exercise(number: str) -> Exercise:
    """The exercise of a lesson. Raises `UsageError`."""
    found = EXERCISES.get(int(number)) if number.isdigit() else None
    if found is None:
        raise UsageError(f"there is no lesson {number}", hint=f"they are 1 to {len(EXERCISES)}")
    return found
