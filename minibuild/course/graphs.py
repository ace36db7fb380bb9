"""Lesson 4: the graph, not the file. Marked by the longest chain of RUNs, and by the files."""

import hashlib
from collections.abc import Iterator

from minibuild.course.exercise import Exercise, Requirement, Submission
from minibuild.image.listing import tree_of
from minibuild.record.records import longest_chain

_TASK = """\
The four slow RUNs wait for each other. Write the Dockerfile so that they do not: of its
RUNs no more than 2 may stand on each other, each slow one stays a RUN of its own, and
/out has the same files."""

_FILES = {"a": "a\n", "b": "b\n", "c": "c\n", "d": "d\n", "all": "a\nb\nc\nd\n"}
_LONGEST = 2


def _check(answer: Submission) -> Iterator[Requirement]:
    build = answer.built()
    chain = longest_chain(build, lambda step: step.kind == "exec")
    said = ", ".join(str(step.line) for step in chain)
    yield Requirement(
        len(chain) <= _LONGEST, f"no more than 2 RUNs stand on each other (the most: lines {said})"
    )
    slow = [step for step in build.steps if step.kind == "exec" and "sleep" in step.text]
    single = [step for step in slow if step.text.count("sleep") == 1]
    yield Requirement(len(single) >= 4, "each slow command has a RUN of its own")
    tree = tree_of(answer.layers(build), hashed=True)
    for name, text in _FILES.items():
        item = tree.get(f"out/{name}")
        same = item is not None and item.sha == hashlib.sha256(text.encode()).hexdigest()
        yield Requirement(same, f"/out/{name} has the same contents")


EXERCISE = Exercise(
    4,
    "The graph, not the file",
    _TASK,
    {
        "Dockerfile": """\
FROM busybox
WORKDIR /out
RUN sleep 1; echo a > a
RUN sleep 1; echo b > b
RUN sleep 1; echo c > c
RUN sleep 1; echo d > d
RUN cat a b c d > all
"""
    },
    _check,
)
