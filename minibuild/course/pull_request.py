"""Lesson 7: pull request 4516. Marked by building both ways."""

from collections.abc import Iterator

from minibuild.course.exercise import Exercise, Requirement, Submission
from minibuild.errors import HostError
from minibuild.lab.whiteout_hardlink import EXHIBIT
from minibuild.startup.regex import regex

_DEFECT = EXHIBIT.name
_TASK = f"""\
Write breaks.Dockerfile: it fails with the defect of the pull request, and passes without;
with files of your own, not file1, file2 or file3. Then write passes.Dockerfile: the same
but for one change, and it passes with the defect as well. Try them with
minibuild build --lab={_DEFECT} -f breaks.Dockerfile ."""

_FAILURE = regex(r"failed to hardlink.*no such file")
_OF_THE_STORY = ("file1", "file2", "file3")


def _check(answer: Submission) -> Iterator[Requirement]:
    texts = [answer.text(name) for name in ("breaks.Dockerfile", "passes.Dockerfile")]
    own = not any(name in text for text in texts for name in _OF_THE_STORY)
    yield Requirement(own, "the files have names of their own")
    yield Requirement(texts[0] != texts[1], "the two Dockerfiles are not the same")
    with_defect, without, other = answer.ran
    if answer.worker.snapshots.whiteouts == "plain":
        raise HostError("this cannot be seen here: these snapshots are not overlays")
    fails = with_defect.code != 0 and _FAILURE.search(with_defect.output) is not None
    yield Requirement(fails, "breaks.Dockerfile fails with the defect, as it tries to hardlink")
    yield Requirement(without.code == 0, "breaks.Dockerfile passes without the defect")
    yield Requirement(other.code == 0, "passes.Dockerfile passes with the defect")


_BUILD = ("build", "--no-record", "--progress=plain", "-o", "type=cacheonly", "-f")
EXERCISE = Exercise(
    7,
    "Pull request 4516",
    _TASK,
    {
        "breaks.Dockerfile": "FROM busybox\n",
        "passes.Dockerfile": "FROM busybox\n",
        "one": "one\n",
        "two": "two\n",
    },
    _check,
    (
        (*_BUILD, "breaks.Dockerfile", f"--lab={_DEFECT}", "."),
        (*_BUILD, "breaks.Dockerfile", "."),
        (*_BUILD, "passes.Dockerfile", f"--lab={_DEFECT}", "."),
    ),
)
