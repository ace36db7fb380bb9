"""`build --step` and `run --step`: a build that stops, and the trees of its steps."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Builds
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

DOCKERFILE = """\
FROM busybox AS build
WORKDIR /src
COPY a b ./
RUN cat a b > all; rm b

FROM busybox
ENV NAME=value
RUN mkdir /app
COPY --link --from=build /src/all /app/all
RUN ls /app && test ! -e /fail
"""
FOLDER, COPY, JOIN, MKDIR, LINK, LAST = 2, 3, 4, 8, 9, 10


class Project:
    def __init__(self, builds: Builds, folder: Path) -> None:
        self.builds, self.cli, self.folder = builds, builds.cli, folder
        folder.mkdir()
        for name, text in {"a": "a\n", "b": "b\n", "Dockerfile": DOCKERFILE}.items():
            (folder / name).write_text(text)

    def start(self, *flags: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.cli.program, "build", "--step", *flags, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.cli.environment,
            start_new_session=True,
        )

    def step(self, script: Sequence[str], *flags: str, code: int = 0) -> tuple[str, str]:
        """What a script writes."""
        process = self.start(*flags)
        out, said = process.communicate("".join(f"{line}\n" for line in script), timeout=PATIENCE_S)
        assert process.returncode == code, said
        assert "Traceback" not in said
        return out, said

    def events(self, script: Sequence[str], *flags: str, code: int = 0) -> list[dict[str, Any]]:
        out, _ = self.step(script, "--format", "json", *flags, code=code)
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


@pytest.fixture
def project(builds: Builds, tmp_path: Path) -> Project:
    return Project(builds, tmp_path / "context")


def changed(event: dict[str, Any]) -> dict[str, str]:
    return {one["path"]: one["sort"] for one in event["changes"] if one["sort"] != "dir"}


def test_a_build_step_by_step(project: Project) -> None:
    """Each step has its key and its cause before it, and what it changed after it."""
    first = project.events(["n"] * 5 + ["n", "n"])
    assert [(e["event"], e["line"]) for e in first] == [
        (when, line)
        for line in (MKDIR, FOLDER, COPY, JOIN, LINK, LAST)
        for when in ("before", "after")
    ]
    assert not any(event["cached"] for event in first)
    after = {event["line"]: changed(event) for event in first if event["event"] == "after"}
    assert after[COPY] == {"/src/a": "file", "/src/b": "file"}
    assert after[JOIN] == {"/src/all": "file", "/src/b": "gone"}
    assert after[LINK] == {"/app/all": "file"}

    (project.folder / "a").write_text("changed\n")
    again = {e["line"]: e for e in project.events(["c"]) if e["event"] == "before"}
    assert [line for line, event in again.items() if event["cached"]] == [MKDIR, FOLDER]
    assert [cause["text"] for cause in again[COPY]["causes"]] == ["/a: contents"]
    assert again[JOIN]["follows"] == [COPY]
    assert again[MKDIR]["ran_in"]
    assert all(event["key"].startswith("sha256:") for event in again.values())


def test_where_it_goes_on_to(project: Project) -> None:
    """A line, a stage, the step that writes a path; and words for what there is not."""
    script = ["c 99", "c nowhere", f"c {COPY}", "s ls", "c /src/all", "s cat /src/all", "q"]
    out, said = project.step(script, code=130)
    assert "no step that is left is in line 99" in said
    assert "no step that is left is in a stage nowhere" in said
    assert f"line {JOIN} " in said
    assert "a\nb\n" in out  # of the second command: the first is in an empty folder
    assert f"line {LINK}" in out
    assert f"line {LAST}" not in out
    events = project.events(["c build", "q"], code=130)
    assert [event["line"] for event in events if event["event"] == "before"] == [MKDIR, FOLDER]


def test_looking_around(project: Project) -> None:
    """Shells, changes and keys: of the next step, and of those before it."""
    out, said = project.step(
        ["?", f"c {LAST}", "s ls /app; echo $NAME", "b", "s ls /app", "d", "k", "b",
         "s cat /src/all; ls /src; exit 3", "x", "b", "b", "b", "b", "b", "n", "d", "n"]
    )  # fmt: skip
    assert "all\nvalue\n" in out
    assert f"(step) b\nline {LINK} " in said
    assert f"(step) b\nline {JOIN} " in said
    assert "a\nb\na\nall\n" in out
    assert "exit code 3" in said
    assert "there is no step before" in said
    assert said.count("end the build") == 2  # the help, asked for or not
    assert "reads   0: [build" in out
    assert "built in" in said


def test_a_key_shows_no_secret(project: Project) -> None:
    """Values of variables whose names say that they are secret, as in records."""
    text = DOCKERFILE.replace("ENV NAME=value", "ENV NAME=value API_TOKEN=hunter22")
    (project.folder / "Dockerfile").write_text(text)
    for flags in ((), ("--format", "json")):
        out, _ = project.step([f"c {LAST}", "k", "q"], *flags, code=130)
        assert "API_TOKEN" in out
        assert "hunter22" not in out


def test_a_script_that_ends_and_one_that_quits(project: Project) -> None:
    """As Ctrl-C does: nothing is left, and no record that the next build would compare with."""
    for script in ([], ["n"], ["q"], ["n", "q"]):
        _, said = project.step(script, code=130)
        assert said.endswith("cancelled\n")
    assert project.builds.leftovers() == []
    assert json.loads(project.cli("builds", "--format", "json").stdout) == []


def test_ctrl_c_at_a_stop(project: Project) -> None:
    process = project.start()
    assert process.stdout is not None
    while "line" not in process.stdout.readline():
        pass
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, said.splitlines()[-1]) == (130, "cancelled"), said
    assert project.builds.leftovers() == []


def test_what_another_machine_has(project: Project, tmp_path: Path, busybox_tar: str) -> None:
    """Steps that were found there are shown, too; those that are not needed then are not."""
    cache = f"type=local,%s={tmp_path}/cache"
    project.cli("build", "-q", "--cache-to", cache % "dest", str(project.folder))
    project.cli.environment["MINIBUILD_ROOT"] = str(tmp_path / "other")
    project.cli("image", "import", busybox_tar, "busybox")
    events = project.events(["n", "n", "n", "c"], "--cache-from", cache % "src")
    assert [(e["line"], e["cached"]) for e in events if e["event"] == "after"] == [
        (MKDIR, True), (LINK, True), (LAST, True)
    ]  # fmt: skip
    assert [changed(e) for e in events if e["event"] == "after"][1] == {"/app/all": "file"}


def test_a_step_that_fails(project: Project) -> None:
    """It ends as always, and what the step left is kept."""
    text = DOCKERFILE.replace("RUN ls /app", "RUN touch /fail")
    (project.folder / "Dockerfile").write_text(text)
    _, said = project.step(["c"], code=5)
    assert "minibuild run --failed sh" in said
    assert "fail" in project.cli("run", "--failed", "ls", "/").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "-"), "writes to standard output"),
        (("--plan",), "is of a build"),
        (("--check",), "is of a build"),
        (("-f", "-"), "takes commands from standard input"),
    ],
)
def test_what_does_not_go_with_it(words: tuple[str, ...], message: str, project: Project) -> None:
    _, said = project.step([], *words, code=2)
    assert message in said


# --- run --step ---


def test_the_tree_of_a_step(project: Project) -> None:
    """Of the last build here, of an image, and of a folder, whose steps are done for it."""
    here, context = str(project.folder), f"{project.folder}/"
    run: Callable[..., Any] = project.cli
    assert run("run", "--step", str(COPY), context, "cat", "/src/a").stdout == "a\n"
    assert json.loads(run("builds", "--format", "json").stdout) == []
    run("build", "-q", "-t", "app", here)
    assert run("run", "--step", "rm b", "ls", cwd=here).stdout == "a\nall\n"
    assert run("run", "--step", str(COPY), "app", "ls", "/src").stdout == "a\nb\n"
    assert (
        run("run", "--step", str(LINK), "sh", "-c", "ls /app; echo $NAME").stdout == "all\nvalue\n"
    )
    run("run", "--step", str(MKDIR), "app", "sh", "-c", "exit 7", code=7)
    (project.folder / "a").write_text("new\n")
    assert run("run", "--step", "COPY a b", context, "cat", "/src/a").stdout == "new\n"
    assert project.builds.leftovers() == []


def test_a_step_that_there_is_not(project: Project) -> None:
    context = f"{project.folder}/"
    assert "no record" in project.cli("run", "--step", "5", "ls", code=2).stderr
    said = project.cli("run", "--step", "99", context, "ls", code=2).stderr
    assert f"its steps are in lines {FOLDER}, {COPY}, {JOIN}, {MKDIR}, {LINK}, {LAST}" in said
    project.cli("build", "-q", context)
    assert "no step '99'" in project.cli("run", "--step", "99", "ls", code=2).stderr
    assert "two trees" in project.cli("run", "--step", "1", "--failed", "ls", code=2).stderr
