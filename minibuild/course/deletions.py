"""Lesson 2: a deletion is a thing. Marked by the upperdir of the last step."""

from collections.abc import Iterator

from minibuild.cache.results import DiffKey
from minibuild.course.exercise import Exercise, NotReady, Requirement, Submission
from minibuild.errors import HostError
from minibuild.snapshot.upperdir import upper_entries

_TASK = """\
Write a Dockerfile whose last RUN leaves a directory /d that is opaque: it hides all that
/d had before, without a whiteout for each file. There is to be a file in the /d of
before, and another in the new one."""


def _check(answer: Submission) -> Iterator[Requirement]:
    build, snapshots = answer.built(), answer.worker.snapshots
    last = next((step for step in reversed(build.steps) if step.kind == "exec"), None)
    if last is None or not last.result:
        raise NotReady("there is no RUN in the Dockerfile")
    if snapshots.whiteouts == "plain":
        raise HostError("this cannot be seen here: these snapshots are not overlays")
    row = answer.worker.diffs.get(DiffKey(last.result[-1]))
    if row.upper is None:
        raise NotReady("the files of the RUN are no longer in the store: build with --no-cache")
    found = {e.path: e for e in upper_entries(snapshots.layer_dir(row.upper), snapshots.whiteouts)}
    directory = found.get("d")
    yield Requirement(
        directory is not None and directory.type == "directory",
        f"line {last.line} leaves /d as a directory",
    )
    yield Requirement(directory is not None and directory.opaque, "it is opaque")
    inside = [path for path, entry in found.items()
              if path.startswith("d/") and not entry.is_whiteout]  # fmt: skip
    yield Requirement(bool(inside), "there is a file in the new /d")


EXERCISE = Exercise(
    2,
    "A deletion is a thing",
    _TASK,
    {"Dockerfile": "FROM busybox\nRUN mkdir /d && echo old > /d/old\nRUN rm /d/old\n"},
    _check,
)
