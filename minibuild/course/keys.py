"""Lesson 3: a key names contents. Marked by the records of the last two builds."""

from collections.abc import Iterator

from minibuild.course.exercise import Exercise, NotReady, Requirement, Submission
from minibuild.record.records import BuildRecords
from minibuild.record.story import newest_before

_DOCKERFILE = """\
FROM busybox AS base
COPY tools/ /tools/
RUN cat /tools/* > /tools.txt

FROM base AS site
ARG THEME=light
COPY pages/ /pages/
RUN cat /pages/* > /site.txt && echo "$THEME"

FROM base
COPY --from=site /site.txt /srv/site.txt
RUN wc -l < /srv/site.txt > /srv/lines
"""
_TASK = """\
Build, then change one thing that is not the Dockerfile, and build again: exactly the
steps in lines 7 and 8 are to run, and all others are to come from the cache."""
_WANTED = [7, 8]


def _check(answer: Submission) -> Iterator[Requirement]:
    build = answer.built()
    yield Requirement(build.text == _DOCKERFILE, "the Dockerfile is as it was given")
    before = newest_before(BuildRecords(answer.worker.store.root).of_place(build.place), build)
    if before is None:
        raise NotReady("that was the first build: change something, and build again")
    ran = sorted(step.line for step in build.ran)
    said = ", ".join(map(str, ran)) or "none"
    yield Requirement(ran == _WANTED, f"the lines that ran are 7 and 8 (they were: {said})")


EXERCISE = Exercise(
    3,
    "A key names contents",
    _TASK,
    {
        "Dockerfile": _DOCKERFILE,
        "tools/hammer": "a hammer\n",
        "pages/one": "page one\n",
        "pages/two": "page two\n",
    },
    _check,
)
