"""`minibuild why PATH`: where the paths of an image come from."""

from pathlib import Path

import pytest

from minibuild.linux.namespace import needs_user_namespace
from minibuild.snapshot import select
from minibuild.snapshot.native import NativeSnapshotter
from tests.blame_cases import Case, check, instruction_lines
from tests.conftest import Cli
from tests.integration.explained import BASE, CONF, JOIN, LINK, MOUNT, WORK, Project

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]


@pytest.fixture
def project(cli: Cli, tmp_path: Path, busybox_store: str) -> Project:
    cli.has_busybox(busybox_store)
    return Project(cli, tmp_path / "context")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/srv/size", [("step", "/srv/size", LINK), ("step", "/app/size", JOIN)]),
        ("/etc/conf/x", [("step", "/etc/conf/x", CONF), ("context", "/conf/x", 0)]),
        ("/srv/a", [("step", "/srv/a", MOUNT)]),
        ("/srv", [("step", "/srv", WORK)]),
        ("/app/base", [("step", "/app/base", BASE)]),
        ("/bin/sh", [("base", "/bin/sh", 2)]),
    ],
)  # fmt: skip
def test_where_a_path_comes_from(
    path: str, expected: list[tuple[str, str, int]], project: Project
) -> None:
    """Through stages and merges to the instruction, and to the file of the context."""
    project.build()
    for word in (path, f"app:{path}", f"app:latest:{path}"):
        way = project.why(word)
        found = [(o["from"], o["path"], o["line"]) for o in way]
        assert [f for f in found if f[0] != "context"] == [e for e in expected if e[0] != "context"]
        assert [f[:2] for f in found] == [e[:2] for e in expected]


def test_a_path_that_was_deleted_and_one_that_never_was(project: Project) -> None:
    project.replace("cat /a > /srv/a", "rm /etc/conf/x")
    project.build()
    (origin,) = project.why("/etc/conf/x")
    assert (origin["line"], origin["deleted"]) == (MOUNT, True)
    assert "no /nowhere" in project.cli("why", "/nowhere", code=2, cwd=str(project.folder)).stderr


BLAMED = """\
FROM busybox AS build
COPY src /src
COPY --chown=1:1 src/a conf/x /two/
RUN cat /src/* > /src/all; rm /src/b
FROM busybox AS base
WORKDIR /srv
RUN mkdir link.d && ln -s link.d link
FROM base
COPY --link src /l
COPY --from=build /src /srv/src/
COPY --link --from=build /two/x /l/x
COPY conf/x /srv/link/
RUN echo changed > /l/a && mv /srv/src /srv/moved && ln /l/b /l/again
COPY --link src /l
ADD conf/*  /srv/link.d/
"""


@pytest.mark.parametrize("snapshots", ["best", "native"])
def test_each_path_of_an_image(
    snapshots: str, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line and the file of the context, as the layers of the image have them."""
    if needs_user_namespace():
        pytest.skip("the store is read in this process")
    if snapshots == "native":
        monkeypatch.setattr(select, "open_snapshotter", lambda store, _: NativeSnapshotter(store))
    (project.folder / "Dockerfile").write_text(BLAMED)
    case = Case("all", project.folder, project.folder / "Dockerfile", {})
    assert instruction_lines(BLAMED, {}) == [6, 7, 9, 10, 11, 12, 13, 14, 15]
    outcome = check(case, project.cli.root, tmp_path)
    assert (outcome.wrong, outcome.skipped) == ((), "")
    assert outcome.paths > 15


def test_a_step_that_only_changed_the_mode(project: Project) -> None:
    """The way goes on to what has the contents."""
    project.replace("cat /a > /srv/a", "chmod 600 /etc/conf/x && touch /srv/size")
    project.build()
    way = project.why("/etc/conf/x")
    assert [(o["from"], o["contents"]) for o in way] == [
        ("step", False), ("step", True), ("context", True)
    ]  # fmt: skip
    assert [o["line"] for o in project.why("/srv/size")] == [MOUNT, LINK, JOIN]
    text = project.cli("why", "/etc/conf/x", cwd=str(project.folder)).stdout
    assert "(only its owner, mode or time)" in text


def test_an_image_from_elsewhere(project: Project) -> None:
    (origin,) = project.why("busybox:/bin/sh")
    assert origin["layer"] == 0
