"""`minibuild why`: the cause of each kind of edit, exactly."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli
from tests.integration.explained import BASE, CONF, JOIN, LINK, MOUNT, SOURCES, WORK, Project

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]


@pytest.fixture
def project(cli: Cli, tmp_path: Path, busybox_store: str) -> Project:
    cli.has_busybox(busybox_store)
    return Project(cli, tmp_path / "context")


Edit = Callable[[Project], tuple[str, ...] | None]
Expected = dict[int, list[str]]


def edit(path: str, text: str) -> Edit:
    def do(project: Project) -> None:
        (project.folder / path).write_text(text)

    return do


def run(act: Callable[[Path], Any]) -> Edit:
    def do(project: Project) -> None:
        act(project.folder)

    return do


def line(old: str, new: str) -> Edit:
    return lambda project: project.replace(old, new)


def flags(*words: str) -> Edit:
    return lambda project: words


EDITS: dict[str, tuple[Edit, Expected]] = {
    "nothing": (lambda project: None, {}),
    "touch": (run(lambda f: os.utime(f / "src/a", (1, 1))), {}),
    "contents, same size": (
        edit("src/b", "c\n"),
        {SOURCES: ["/src/b: contents"], JOIN: []},
    ),
    "contents, another size": (
        edit("src/b", "longer\n"),
        {SOURCES: ["/src/b: contents"], JOIN: [],
         LINK: ["/app/size: contents"], CONF: [], MOUNT: []},
    ),
    "mode": (
        run(lambda f: (f / "src/b").chmod(0o700)),
        {SOURCES: ["/src/b: mode 0644 -> 0700"], JOIN: []},
    ),
    "contents and mode": (
        run(lambda f: ((f / "src/b").write_text("c\n"), (f / "src/b").chmod(0o600))),
        {SOURCES: ["/src/b: contents, mode 0644 -> 0600"], JOIN: []},
    ),
    "a new file": (
        edit("src/empty", ""),
        {SOURCES: ["/src/empty is new"], JOIN: []},
    ),
    "a file less": (
        run(lambda f: (f / "src/b").unlink()),
        {SOURCES: ["/src/b is gone"], JOIN: [],
         LINK: ["/app/size: contents"], CONF: [], MOUNT: []},
    ),
    "a file moved": (
        run(lambda f: (f / "conf/x").rename(f / "conf/y")),
        {CONF: ["/conf/x is gone", "/conf/y is new"], MOUNT: []},
    ),
    "a link for a file": (
        run(lambda f: ((f / "conf/x").unlink(), (f / "conf/x").symlink_to("../a/target"))),
        {CONF: ["/conf/x: a file -> a symlink"], MOUNT: []},
    ),
    "a directory for a file": (
        run(lambda f: ((f / "conf/x").unlink(), (f / "conf/x").mkdir())),
        {CONF: ["/conf/x: a file -> a directory"], MOUNT: []},
    ),
    "ignored": (edit(".dockerignore", "conf/x\n"), {CONF: ["/conf/x is gone"], MOUNT: []}),
    "ignored, what nobody reads": (edit(".dockerignore", "docs\n"), {}),
    "a build argument": (
        flags("--build-arg", "VERSION=2"),
        {JOIN: ["VERSION '1.0' -> '2'   (ARG in line 6, from --build-arg)"]},
    ),
    "a default of an argument": (
        line("VERSION=1.0", "VERSION=3"),
        {JOIN: ["VERSION '1.0' -> '3'   (ARG in line 6)"]},
    ),
    "an environment value": (
        line("MODE=prod", "MODE=dev"),
        {JOIN: ["MODE 'prod' -> 'dev'   (ENV in line 7)"]},
    ),
    "a new variable": (
        line("ENV MODE=prod", "ENV MODE=prod MORE=1"),
        {JOIN: ["MORE is new: '1'   (ENV in line 7)"]},
    ),
    "a command": (
        line("mkdir /app &&", "mkdir -p /app &&"),
        {
            BASE: [
                "command 'mkdir /app && echo base > /app/base' -> "
                "'mkdir -p /app && echo base > /app/base'"
            ],
            SOURCES: [], JOIN: [], WORK: [], CONF: [], MOUNT: [],
        },
    ),
    "a destination": (
        line("conf /etc/conf", "conf /etc/config"),
        {CONF: ["destination '/etc/conf' -> '/etc/config'"], MOUNT: []},
    ),
    "an owner": (
        line("COPY conf", "COPY --chown=1:2 conf"),
        {CONF: ["chown none -> '1:2'"], MOUNT: []},
    ),
    "a working directory": (
        line("WORKDIR /srv", "WORKDIR /srv/x"),
        {WORK: ["path '/srv' -> '/srv/x'"], CONF: [],
         MOUNT: ["working directory '/srv' -> '/srv/x'"]},
    ),
    "a mount": (
        line("source=src/a,target=/a cat /a", "source=src/a,target=/b cat /b"),
        {MOUNT: ["command 'cat /a > /srv/a' -> 'cat /b > /srv/a'",
                 "bind mount /b: target '/a' -> '/b'"]},
    ),
    "what a mount shows": (
        edit("src/a", "A\n"),
        {SOURCES: ["/src/a: contents"], JOIN: [], MOUNT: ["/src/a: contents"]},
    ),
    "a new step": (
        line("WORKDIR /srv\n", "WORKDIR /srv\nRUN echo new > /new\n"),
        {13: ["a new step: the build before had none like it"], CONF + 1: [], MOUNT + 1: []},
    ),
    "a step less": (
        line("COPY conf /etc/conf\n", ""),
        {MOUNT - 1: ["COPY conf /etc/conf is gone, on which it stood"]},
    ),
    "lines moved": (line("FROM busybox", "\n# a comment\n\nFROM busybox"), {}),
    "no cache": (
        flags("--no-cache-filter", "build"),
        {SOURCES: ["it was to run in any case: --no-cache"],
         JOIN: ["it was to run in any case: --no-cache"]},
    ),
    "another base": (
        line("FROM busybox AS base", "FROM other AS base"),
        {BASE: ["busybox:latest -> other:latest"], SOURCES: [], JOIN: [], WORK: [], CONF: [],
         MOUNT: []},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory, busybox_store: str) -> Project:
    """A project of which most of the edits are tried: all its steps are in the cache then."""
    folder = tmp_path_factory.mktemp("edited")
    cli = Cli(str(folder / "root"))
    cli.has_busybox(busybox_store)
    return Project(cli, folder / "context")


@pytest.mark.parametrize("name", EDITS)
def test_the_causes_of_an_edit(
    name: str, request: pytest.FixtureRequest, edited: Project, tmp_path: Path
) -> None:
    """The lines that ran, each with its causes; those without causes follow from others."""
    change, expected = EDITS[name]
    project: Project = edited if expected else request.getfixturevalue("project")
    project.restore()
    if "another base" in name:
        import_other(project, tmp_path)
    project.build()
    more = change(project) or ()
    project.build(*more)
    if not expected:
        *later, _ = json.loads(project.cli("builds", "--format", "json").stdout)
        assert all(build["ran"] == 0 for build in later)
        return
    story = project.why()
    assert {step["line"]: said(step) for step in story["ran"]} == expected
    for step in story["ran"]:
        assert step["causes"] or step["follows"]
        assert set(step["follows"]) <= set(expected)


def said(step: Any) -> list[str]:
    noted = {"environment"}
    return [
        f"{c['text']}   ({c['note']})" if c["kind"] in noted and c["note"] else c["text"]
        for c in step["causes"]
    ]


def import_other(project: Project, tmp_path: Path) -> None:
    """A base image of other layers."""
    context = tmp_path / "other"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM busybox\nRUN touch /other\n")
    project.cli("build", "-q", "-t", "other", str(context))


def test_a_base_that_moved(project: Project, tmp_path: Path) -> None:
    """The name is the same, and what is behind it is not."""
    import_other(project, tmp_path)
    project.build()
    project.cli("image", "tag", "other", "busybox")
    project.build()
    (first, *_) = project.why()["ran"]
    assert first["line"] == BASE
    (cause,) = first["causes"]
    assert cause["kind"] == "base"
    assert cause["text"].startswith("busybox:latest moved from sha256:")


def test_where_the_change_stopped(project: Project) -> None:
    project.build()
    (project.folder / "src/b").write_text("c\n")
    project.build()
    assert project.why()["stopped"] == [{"line": JOIN, "reader": LINK, "paths": ["/app/size"]}]
    text = project.cli("why", cwd=str(project.folder)).stdout
    assert "/app/size came out the same for line 13" in text


def test_a_cached_step_is_explained(project: Project) -> None:
    """Where it ran, and how long it took then."""
    project.build()
    first = json.loads(project.cli("builds", "--format", "json").stdout)[0]["id"]
    (project.folder / "conf/x").write_text("y\n")
    project.build()
    (step,) = project.why(str(JOIN))["steps"]
    assert (step["state"], step["causes"], step["ran_in"]["build"]) == ("cached", [], first)
    (step,) = project.why("cat /src")["steps"]
    assert step["line"] == JOIN


def test_a_step_that_failed(project: Project) -> None:
    """A failed build is recorded, and explains what it did; the next one knows of it."""
    project.build()
    project.replace("cat /a > /srv/a", "exit 3")
    project.build(code=5)
    story = project.why()
    assert "exit code: 3" in story["error"]
    (failed,) = story["ran"]
    assert (failed["line"], failed["state"]) == (MOUNT, "failed")
    assert said(failed) == ["command 'cat /a > /srv/a' -> 'exit 3'"]
    project.build(code=5)
    (failed,) = project.why()["ran"]
    assert said(failed) == ["it did not end well in the build before, so it was not kept"]


def test_after_a_build_that_failed(project: Project) -> None:
    """What it did not come to is explained by what it follows from, and what ended well in it is
    cached."""
    project.build()
    (project.folder / "src/b").write_text("longer text\n")
    text = (project.folder / "Dockerfile").read_text()
    project.replace("cat /src/* > /app/all", "exit 3")
    project.build(code=5)
    (project.folder / "Dockerfile").write_text(text)
    project.build()
    story = {step["line"]: step for step in project.why()["ran"]}
    assert said(story[JOIN]) == [
        "command 'exit 3; wc -c < /app/all > /app/size' -> "
        "'cat /src/* > /app/all; wc -c < /app/all > /app/size'",
        "it did not end well in the build before, so it was not kept",
    ]
    assert (said(story[LINK]), story[LINK]["follows"]) == ([], [JOIN])
    assert (said(story[CONF]), story[CONF]["follows"]) == ([], [LINK])


def test_after_a_prune(project: Project) -> None:
    """What keys were made of outlives their results, as long as a build is kept that names them."""
    project.build()
    project.cli("image", "rm", "app")
    project.cli("prune", "--max-used-space", "1")
    (project.folder / "conf/x").write_text("y\n")
    project.build()
    found = {step["line"]: step["causes"] for step in project.why()["ran"]}
    assert [c["text"] for c in found[CONF]] == ["/conf/x: contents"]
    assert [(c["text"], c["perhaps"]) for c in found[JOIN]] == [("its result was pruned", True)]


def test_every_step_that_ran_has_a_cause(project: Project) -> None:
    """Random edits, builds and flags: what ran has a cause or follows from what ran, and none of
    the causes is at a loss; what was cached has none."""
    chance = random.Random(4516)
    project.build()
    original = {name: (project.folder / name) for name in ("src/a", "src/b")}
    for _ in range(15):
        for path in original.values():
            if chance.random() < 0.4:
                path.write_text(chance.choice("xyz") * chance.randint(1, 3))
        more: list[str] = []
        if chance.random() < 0.3:
            more = ["--build-arg", f"VERSION={chance.randint(1, 3)}"]
        if chance.random() < 0.3:
            mode = chance.choice((0o600, 0o644))
            (project.folder / "conf/x").chmod(mode)
        if chance.random() < 0.3:
            text = (project.folder / "Dockerfile").read_text()
            value = chance.choice(("prod", "dev", "test"))
            lines = [f"ENV MODE={value}" if x.startswith("ENV ") else x for x in text.splitlines()]
            (project.folder / "Dockerfile").write_text("\n".join(lines) + "\n")
        project.build(*more)
        story = project.why()
        ran = {step["line"] for step in story["ran"]}
        for step in story["ran"]:
            assert step["causes"] or step["follows"], step
            assert set(step["follows"]) <= ran
            assert not [c for c in step["causes"] if c["kind"] == "unknown" or c["perhaps"]], step
        if cached := sorted({BASE, SOURCES, JOIN, WORK, LINK, CONF, MOUNT} - ran):
            (step,) = project.why(str(chance.choice(cached)))["steps"]
            assert (step["state"], step["causes"]) == ("cached", [])
