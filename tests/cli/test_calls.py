"""`--check` and `--call`: the flag, the text, the exit code."""

import json
from pathlib import Path

import pytest

from minibuild.cli.calls import CallOption, parse_call
from minibuild.errors import UsageError
from tests.conftest import Cli

DOCKERFILE = """\
# BASE is where it starts
ARG BASE=scratch
# build compiles
FROM $BASE AS build
RUN --mount=type=secret,id=token,required --mount=type=ssh --mount=type=cache,target=/c true
FROM scratch AS last
CMD run
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("check", CallOption("lint")),
        ("lint", CallOption("lint")),
        ("outline,format=json", CallOption("outline", "json")),
        ("format=text,targets", CallOption("targets")),
        ("check,ignorestatus=1", CallOption("lint", ignore_status=True)),
        ("graph", CallOption("graph")),
        ("format=svg,graph", CallOption("graph", "svg")),
        ("llb", CallOption("llb", "binary")),
        ("llb,format=text", CallOption("llb")),
        ("build", None),
        ("format=json", None),
    ],
)
def test_values(text: str, expected: CallOption | None) -> None:
    assert parse_call(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "chek",
        "check,outline",
        "check,format=yaml",
        "check,x=1",
        "check,format=dot",
        "llb,format=svg",
    ],
)
def test_wrong_values(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_call(text)
    assert caught.value.hint


@pytest.fixture
def context(tmp_path: Path) -> str:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    return str(tmp_path)


def test_targets(cli: Cli, context: str) -> None:
    assert cli("build", "--call=targets", context).stdout.splitlines() == [
        "TARGET          DESCRIPTION",
        "build           compiles",
        "last (default)",
    ]


def test_outline(cli: Cli, context: str) -> None:
    assert cli("build", "--call=outline", "--target=build", context).stdout.splitlines() == [
        "TARGET:       build",
        "DESCRIPTION:  compiles",
        "",
        "BUILD ARG  VALUE    DESCRIPTION",
        "BASE       scratch  is where it starts",
        "",
        "SECRET  REQUIRED",
        "token   true",
        "",
        "SSH      REQUIRED",
        "default",
        "",
        "CACHE",
        "/c",
        "",
    ]


def test_check(cli: Cli, context: str) -> None:
    done = cli("build", "--check", context, code=1)
    assert done.stdout.startswith("Check complete, 1 warning has been found!\n\nWARNING: JSONArgs")
    assert "   7 | >>> CMD run\n" in done.stdout
    assert done.stderr == ""
    cli("build", "--call=check,ignorestatus=true", context)
    skip = "--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip=JSONArgsRecommended"
    assert cli("build", "--check", skip, context).stdout == "Check complete, no warnings found.\n"
    answer = json.loads(cli("build", "--call=check,format=json", context, code=1).stdout)
    assert [warning["ruleName"] for warning in answer["warnings"]] == ["JSONArgsRecommended"]


def test_check_of_a_wrong_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nRUNN x\n")
    done = cli("build", "--check", str(tmp_path), code=6)
    assert done.stdout == ""
    assert "   2 | >>> RUNN x\n" in done.stderr
    assert "error: unknown instruction: RUNN (did you mean RUN?)\nhint: " in done.stderr
    answer = json.loads(cli("build", "--call=check,format=json", str(tmp_path), code=6).stdout)
    assert answer["buildError"]["message"].startswith("unknown instruction")
    cli("build", "--call=targets", str(tmp_path), code=6)


def test_llb(cli: Cli, context: str) -> None:
    """Bytes for programs, the same each time; text and JSON for people; one platform at a time."""
    wanted = ("--target=build", context)
    first, second = (cli("build", "--call=llb", *wanted).stdout for _ in range(2))
    assert first == second and first.startswith("\n")
    text = cli("build", "--call=llb,format=text", *wanted).stdout
    assert text.startswith("#1  line ") and "\nthe result is #1\n" in text
    assert json.loads(cli("build", "--call=llb,format=json", *wanted).stdout)["ops"]
    assert cli("build", "--call=llb,format=text", context).stdout == "the result is empty\n"
    several = ("--call=llb", "--platform=linux/amd64,linux/arm64", context)
    assert "writes the graph of one platform" in cli("build", *several, code=2).stderr
