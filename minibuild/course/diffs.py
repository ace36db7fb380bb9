"""Lesson 1: an image is a list of diffs. Marked by its layers."""

from collections.abc import Iterator

from minibuild.course.exercise import Exercise, Requirement, Submission
from minibuild.image.listing import tree_of

_TASK = """\
Write a Dockerfile whose image has exactly 3 layers, of which the second (layer 1) hides
a file of the first (layer 0). FROM scratch has no layer, FROM busybox has one."""


def _check(answer: Submission) -> Iterator[Requirement]:
    layers = answer.layers(answer.built())
    yield Requirement(len(layers) == 3, f"the image has exactly 3 layers (it has {len(layers)})")
    first = tree_of(layers[:1])
    both = tree_of(layers[:2])
    files = [path for path, item in first.items() if item.entry.kind != "dir"]
    found = [path for path in files if path not in both or both[path].layer == 1]
    said = f"/{found[0]}" if found else "none"
    yield Requirement(bool(found), f"layer 1 hides a file of layer 0 (it hides {said})")


EXERCISE = Exercise(
    1,
    "An image is a list of diffs",
    _TASK,
    {
        "Dockerfile": "FROM scratch\nCOPY old.txt /note.txt\n",
        "old.txt": "the old text\n",
        "new.txt": "the new text\n",
    },
    _check,
)
