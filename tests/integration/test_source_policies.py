"""A build under a policy of sources: what it may not use, and what it uses in its place."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Builds
from tests.support.webserver import serving

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

Project = Callable[[Mapping[str, str]], str]
VARIABLE = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"


def rule(action: str, identifier: str, to: str = "", **attributes: str) -> dict[str, Any]:
    made: dict[str, Any] = {"action": action, "selector": {"identifier": identifier}}
    if action == "CONVERT":
        made["updates"] = {"identifier": to, "attrs": attributes}
    return made


@pytest.fixture
def policy(builds: Builds, tmp_path: Path) -> Any:
    """Writes the policy that builds are under."""
    path = tmp_path / "policy.json"
    builds.cli.environment[VARIABLE] = str(path)
    return lambda *rules: path.write_text(json.dumps({"rules": rules}))


def test_refused(builds: Builds, project: Project, policy: Any) -> None:
    """With the line that asks for it, and the rule that refuses it; also what is only looked at."""
    context = project({"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "f"})
    policy(rule("DENY", "local://*"))
    said = builds.cli("build", context, code=6).stderr
    assert ">>> COPY f /" in said and "source denied by policy: local://context" in said
    assert "refused by rule 1 of" in said
    policy(rule("DENY", "*"), rule("ALLOW", "local://context"))
    builds.cli("build", "-q", context)
    policy(rule("DENY", "docker-image://*example*"))
    text = "FROM registry.example/a:1\nCOPY --from=registry.example/b / /\n"
    other = project({"Dockerfile": text})
    said = builds.cli("build", "--call=outline", other, code=6).stderr
    assert "denied by policy: docker-image://registry.example/a:1" in said


def test_in_its_place(builds: Builds, project: Project, policy: Any) -> None:
    """Another image, a folder for a named context, and a file from another address."""
    with serving() as web:
        there = web.put("/there", b"there")
        context = project(
            {
                "Dockerfile": "FROM registry.example/none AS base\nRUN echo ran > /ran\n"
                "FROM scratch\nCOPY --from=lib f /lib\nCOPY --from=base /ran /\n"
                f"ADD {web.url('/nothing')} /web\n",
            }
        )
        lib = project({"f": "of the folder"})
        policy(
            rule("CONVERT", "docker-image://registry.example/none:*",
                 "docker-image://docker.io/library/busybox:latest"),
            rule("CONVERT", "docker-image://registry.example/lib:2", "local://instead"),
            rule("CONVERT", web.url("/nothing"), there),
        )  # fmt: skip
        flags = ("--build-context=lib=docker-image://registry.example/lib:2",
                 f"--build-context=instead={lib}")  # fmt: skip
        files = builds.image(context, *flags).files
        assert files["ran"].data == b"ran\n" and files["lib"].data == b"of the folder"
        assert files["web"].data == b"there"
        policy(rule("CONVERT", web.url("/there"), "", **{"http.checksum": "sha256:" + "0" * 64}))
        pinned = project({"Dockerfile": f"FROM scratch\nADD {there} /web\n"})
        assert "0000" in builds.cli("build", pinned, code=6).stderr


def test_a_context_from_elsewhere(builds: Builds, policy: Any) -> None:
    """It is asked about before it is fetched."""
    with serving() as web:
        web.put("/Dockerfile", b"FROM scratch\n")
        policy(rule("DENY", web.url("/*")))
        said = builds.cli("build", web.url("/Dockerfile"), code=6).stderr
        assert "source denied by policy" in said and not web.seen
        builds.cli("build", "--call=targets", web.url("/Dockerfile"), code=6)
        assert not web.seen


def test_a_folder_that_is_not_there(builds: Builds, project: Project, policy: Any) -> None:
    policy(rule("CONVERT", "docker-image://docker.io/library/a:latest", "local://b"))
    context = project({"Dockerfile": "FROM scratch\nCOPY --from=a / /\n"})
    said = builds.cli("build", context, code=6).stderr
    assert "which is to be an image" in said
    said = builds.cli("build", "--build-context=a=docker-image://a", context, code=6).stderr
    assert "the build has no such folder" in said and "--build-context b=DIR" in said
