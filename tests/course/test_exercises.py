"""Each exercise: as it is set it is not right, wrong answers are refused, a right one is not."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from minibuild.course.exercises import EXERCISES
from tests.conftest import Cli

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox", "overlay")]

Do = Callable[[Path], object]


class Answer(NamedTuple):
    """What a learner does: edits, then a build for each list of flags. `wrong` is what the course
    has to say against it; empty, if it is right."""

    files: Mapping[str, str]
    builds: Sequence[Sequence[str]] = ((),)
    wrong: str = ""
    do: Do = lambda folder: None


def dockerfile(*lines: str, wrong: str = "", builds: Sequence[Sequence[str]] = ((),)) -> Answer:
    return Answer({"Dockerfile": "\n".join(lines) + "\n"}, builds, wrong)


STAGES = [f"FROM base AS {n}\nRUN sleep 0.1; echo {n} > {n}" for n in "abcd"]
COPIES = [f"COPY --from={n} /out/{n} ." for n in "abcd"]
STORY = (
    "FROM busybox", "RUN touch /{second}", "COPY --link one /{first}",
    "RUN rm /{first} /{second}", "COPY --link two /two", "RUN test ! -e /{second}",
)  # fmt: skip


def story(first: str, second: str) -> str:
    return "\n".join(STORY).format(first=first, second=second) + "\n"


ANSWERS: dict[int, list[Answer]] = {
    1: [
        Answer({}, (), "build it first"),
        Answer({}, wrong="the image has exactly 3 layers (it has 1)"),
        dockerfile("FROM scratch", "COPY old.txt /a", "COPY new.txt /b", "COPY new.txt /c",
                   wrong="it hides none"),
        dockerfile("FROM scratch", "COPY old.txt /a", "COPY new.txt /b", "COPY new.txt /a",
                   wrong="it hides none"),
        dockerfile("FROM scratch", "COPY old.txt /a", "COPY new.txt /a", wrong="(it has 2)"),
        Answer({"Dockerfile": "FROM busybox\nRUN rm /bin/vi\nCOPY new.txt /n\n"}, (),
               "changed after the build"),
        dockerfile("FROM scratch", "COPY old.txt /a", "COPY new.txt /a", "COPY new.txt /b"),
        dockerfile("FROM busybox", "RUN rm /bin/vi", "COPY new.txt /n"),
    ],
    2: [
        Answer({}, wrong="it is opaque"),
        dockerfile("FROM busybox", "RUN mkdir /d && echo > /d/old", "RUN rm -r /d",
                   wrong="leaves /d as a directory"),
        dockerfile("FROM busybox", "RUN mkdir /d && echo > /d/old",
                   "RUN rm /d/old && echo > /d/new", wrong="it is opaque"),
        dockerfile("FROM busybox", "RUN mkdir /d && echo > /d/old", "RUN rm -r /d && mkdir /d",
                   wrong="there is a file in the new /d"),
        dockerfile("FROM busybox", "RUN mkdir /d && echo > /d/old",
                   "RUN rm -r /d && mkdir /d && echo > /d/new"),
    ],
    3: [
        Answer({}, wrong="that was the first build"),
        Answer({"pages/one": "another page\n"}, wrong="they were: 7, 8, 11, 12"),
        Answer({}, (("--build-arg", "THEME=dark"),), "they were: 8"),
        Answer({"tools/hammer": "another\n"}, wrong="they were: 2, 3"),
        Answer({"pages/nothing": ""}),
        Answer({}, do=lambda folder: (folder / "pages/one").chmod(0o600)),
    ],
    4: [
        Answer({"Dockerfile": EXERCISES[4].files["Dockerfile"].replace("sleep 1", "sleep 0.1")},
               wrong="the most: lines 3, 4, 5, 6, 7"),
        dockerfile("FROM busybox", "WORKDIR /out", "RUN sleep 0.1; for n in a b c d;"
                   " do echo $n > $n; done; cat a b c d > all", wrong="a RUN of its own"),
        dockerfile("FROM busybox AS base", "WORKDIR /out", *STAGES, "FROM base", *COPIES,
                   "RUN cat b a c d > all", wrong="/out/all has the same contents"),
        dockerfile("FROM busybox AS base", "WORKDIR /out", *STAGES, "FROM base", *COPIES,
                   "RUN cat a b c d > all"),
    ],
    5: [
        Answer({}, (("--target", "lost"), ("--target", "kept")), "there is a COPY --link"),
        dockerfile("FROM busybox AS lost", "COPY --link note /tmp/note",
                   "FROM busybox AS kept", "COPY --link note /tmp/note",
                   builds=(("--target", "lost"), ("--target", "kept")), wrong="kept: /tmp has"),
        dockerfile("FROM busybox AS lost", "COPY note /tmp/note", "FROM busybox AS kept",
                   "COPY note /tmp/note", builds=(("--target", "lost"), ("--target", "kept")),
                   wrong="there is a COPY --link"),
        dockerfile("FROM busybox AS lost", "COPY --link note /tmp/note",
                   "FROM busybox AS kept", "COPY --link root/ /",
                   builds=(("--target", "lost"), ("--target", "kept")))._replace(
                       do=lambda folder: (folder / "root/tmp").chmod(0o1777)),
    ],
    6: [
        Answer({}, (), "they differ in: none"),
        Answer({"trees": "a=x=1 y=1\nb=x=2 y=2\n"}, (), "they differ in: x y"),
        Answer({"trees": "a=x=1\nb=x=2\n"}, (), "has 2 files or more"),
        Answer({"trees": "c=x\n"}, (), "is to have a line"),
        Answer({"trees": "a=/../x y\nb=x\n"}, (), "x"),
        Answer({"trees": "a=x=1 y\nb=x=2 z\n"}, ()),
    ],
    7: [
        Answer({}, (), "breaks.Dockerfile fails with the defect"),
        Answer({"breaks.Dockerfile": story("file1", "file2"),
                "passes.Dockerfile": story("file2", "file1")}, (), "names of their own"),
        Answer({"breaks.Dockerfile": story("apple", "pear"),
                "passes.Dockerfile": story("apple", "quince")}, (), "passes with the defect"),
        Answer({"breaks.Dockerfile": story("apple", "pear"),
                "passes.Dockerfile": story("pear", "apple")}, ()),
    ],
    8: [
        Answer({}, wrong="finds the same image twice"),
        dockerfile("FROM busybox", "WORKDIR /app", "RUN touch built names id",
                   wrong="/app/built is there, and not empty"),
        dockerfile("FROM busybox", "ARG SOURCE_DATE_EPOCH", "WORKDIR /app", "COPY names.txt .",
                   "RUN echo ${SOURCE_DATE_EPOCH:-0} > built", "RUN cat names.txt > names",
                   "RUN sha256sum names > id"),
    ],
}  # fmt: skip


def test_every_exercise_has_answers() -> None:
    assert ANSWERS.keys() == EXERCISES.keys()
    for answers in ANSWERS.values():
        assert answers[-1].wrong == "" and sum(bool(answer.wrong) for answer in answers) >= 2


def marked(cli: Cli, number: int, folder: Path, *, right: bool) -> Any:
    done = cli("lab", "check", str(number), str(folder), "--format", "json", code=0 if right else 1)
    return json.loads(done.stdout)


ONE_ACCOUNT = pytest.mark.linters
"""Lessons of which one account is enough; the others run steps in ways that depend on it."""


@pytest.mark.parametrize(
    "number", [n if n in (2, 7) else pytest.param(n, marks=ONE_ACCOUNT) for n in ANSWERS]
)
def test_answers(number: int, cli: Cli, busybox_store: str, tmp_path: Path) -> None:
    cli.has_busybox(busybox_store)
    folder = tmp_path / "lesson"
    cli("lab", "learn", str(number), str(folder))
    for answer in ANSWERS[number]:
        for name, text in answer.files.items():
            (folder / name).write_text(text)
        answer.do(folder)
        for flags in answer.builds:
            cli("build", "-q", *flags, str(folder))
        found = marked(cli, number, folder, right=not answer.wrong)
        said = [one["said"] for one in found["findings"] if not one["right"]]
        assert found["right"] is not bool(answer.wrong), said
        assert answer.wrong in " ".join(said)


def test_words(cli: Cli, tmp_path: Path) -> None:
    listed = cli("lab", "learn").stdout
    assert all(one.title in listed for one in EXERCISES.values())
    said = cli("lab", "learn", "6", cwd=str(tmp_path)).stdout
    assert "lesson-6" in said and "minibuild lab check 6" in said
    assert os.listdir(tmp_path / "lesson-6") == ["trees"]
    assert "is there already" in cli("lab", "learn", "6", cwd=str(tmp_path), code=2).stderr
    for number in "9²":
        assert f"there is no lesson {number}" in cli("lab", "learn", number, code=2).stderr
    assert "no folder lesson-7" in cli("lab", "check", "7", cwd=str(tmp_path), code=2).stderr
    assert "which lesson" in cli("lab", "check", code=2).stderr
    done = cli("lab", "check", "6", cwd=str(tmp_path), code=1).stdout
    assert done.splitlines()[0].startswith("yes") and "lesson 6: not yet" in done
