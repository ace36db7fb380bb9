"""Lesson 8: the same bytes again. Marked by `verify`."""

from collections.abc import Iterator

from minibuild.course.exercise import Exercise, Requirement, Submission
from minibuild.image.listing import tree_of

_TASK = """\
Two builds of this Dockerfile do not give the same image. Mend it, so that
`minibuild verify` ends with 0, and the image still has /app/built, /app/names and
/app/id, each with something in it."""

_FILES = ("app/built", "app/names", "app/id")


def _check(answer: Submission) -> Iterator[Requirement]:
    tree = tree_of(answer.layers(answer.built()))
    for path in _FILES:
        item = tree.get(path)
        there = item is not None and item.entry.size > 0
        yield Requirement(there, f"/{path} is there, and not empty")
    (verified,) = answer.ran
    yield Requirement(verified.code == 0, "`minibuild verify` finds the same image twice")


EXERCISE = Exercise(
    8,
    "The same bytes again",
    _TASK,
    {
        "Dockerfile": """\
FROM busybox
WORKDIR /app
COPY names.txt .
RUN date +%s > built
RUN ls -l names.txt > names
RUN cat /proc/sys/kernel/random/uuid > id
""",
        "names.txt": "ada\ngrace\n",
    },
    _check,
    (("verify", "."),),
)
