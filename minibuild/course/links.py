"""Lesson 5: COPY --link and merge. Marked by the trees of two targets."""

from collections.abc import Iterator

from minibuild.course.exercise import Exercise, Requirement, Submission
from minibuild.image.listing import tree_of

_TASK = """\
In busybox everyone may write to /tmp, and the sticky bit keeps others from removing what
is there: mode 1777. Write two stages, both with a COPY --link that puts a file into /tmp.
In the stage `lost` the sticky bit of /tmp is gone, in the stage `kept` it is there. Build
both, with --target."""

_STICKY, _ALL = 0o1000, 0o1777


def _check(answer: Submission) -> Iterator[Requirement]:
    for target in ("lost", "kept"):
        build = answer.built(target)
        linked = any(step.kind == "merge" for step in build.steps)
        yield Requirement(linked, f"{target}: there is a COPY --link, and a merge of it")
        tree = tree_of(answer.layers(build))
        inside = any(p.startswith("tmp/") and i.entry.kind == "file" for p, i in tree.items())
        yield Requirement(inside, f"{target}: there is a file in /tmp")
        mode = tree["tmp"].entry.mode & 0o7777 if "tmp" in tree else 0
        if target == "lost":
            yield Requirement(
                not mode & _STICKY, f"lost: /tmp has no sticky bit (it has {mode:04o})"
            )
        else:
            yield Requirement(mode == _ALL, f"kept: /tmp has the mode 1777 (it has {mode:04o})")


EXERCISE = Exercise(
    5,
    "COPY --link and merge",
    _TASK,
    {
        "Dockerfile": "FROM busybox AS lost\n\nFROM busybox AS kept\n",
        "note": "a note\n",
        "root/tmp/note": "a note\n",
    },
    _check,
)
