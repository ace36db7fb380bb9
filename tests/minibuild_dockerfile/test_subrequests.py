"""Answers to `--call`: the field names are BuildKit's."""

from base64 import b64encode

import pytest
from minibuild_dockerfile.subrequests import lint, outline, targets

from minibuild.errors import SourceText
from minibuild.graph.frontend import FrontendRequest
from minibuild.graph.platform import Platform
from tests.support.resolver import FakeResolver

AMD64 = Platform("linux", "amd64")
TEXT = """\
# BASE is where it starts
ARG BASE=busybox
ARG UNUSED=x
# build compiles
FROM ${BASE} AS build
ARG TARGETARCH
ARG UNUSED
# level of output
ARG LEVEL=1
RUN --mount=type=secret,id=token,required --mount=type=ssh make
RUN --mount=type=cache,target=/c,id=cache make
FROM scratch AS other
ARG NOT_HERE=1
FROM --platform=$TARGETPLATFORM build
ARG LATE
"""


def request(target: str = "") -> FrontendRequest:
    return FrontendRequest(
        SourceText("Dockerfile", TEXT),
        (AMD64,),
        AMD64,
        target=target,
        build_args={"LEVEL": "2"},
    )


def at(line: int) -> dict[str, object]:
    return {"ranges": [{"start": {"line": line}, "end": {"line": line}}]}


DATA = b64encode(TEXT.encode()).decode()


def test_targets() -> None:
    assert targets(request()) == {
        "targets": [
            {
                "name": "build",
                "description": "compiles",
                "base": "${BASE}",
                "location": at(5),
            },
            {"name": "other", "base": "scratch", "location": at(12)},
            {
                "default": True,
                "base": "build",
                "platform": "$TARGETPLATFORM",
                "location": at(14),
            },
        ],
        "sources": [DATA],
    }


def test_outline() -> None:
    found = outline(request(), FakeResolver())
    assert found == {
        "args": [
            {
                "name": "BASE",
                "description": "is where it starts",
                "value": "busybox",
                "location": at(2),
            },
            {"name": "UNUSED", "value": "x", "location": at(3)},
            {"name": "LEVEL", "value": "2", "location": at(9)},
            {"name": "LATE", "location": at(15)},
        ],
        "secrets": [{"name": "token", "required": True, "location": at(10)}],
        "ssh": [{"name": "default", "location": at(10)}],
        "cache": [{"ID": "cache", "location": at(11)}],
        "sources": [DATA],
    }


def test_outline_of_a_target() -> None:
    assert outline(request("other"), FakeResolver()) == {
        "name": "other",
        "args": [{"name": "NOT_HERE", "value": "1", "location": at(13)}],
        "sources": [DATA],
    }


def test_outline_has_what_a_default_is_made_of() -> None:
    text = (
        "ARG NAME=box\nARG LATER=$NAME\nARG A=${LATER}\nARG B=busy$NAME\nARG C=$B\n"
        "FROM $B AS first\nARG C\nFROM ${A}\nCOPY --from=first /a /\n"
    )

    def names(**given: str) -> list[str]:
        asked = request()._replace(source=SourceText("Dockerfile", text), build_args=given)
        found = outline(asked, FakeResolver({"busybox": {}, "box": {}}))
        return [arg["name"] for arg in found["args"]]

    assert names() == ["NAME", "LATER", "A", "B", "C"]
    assert names(A="box", B="box") == ["A", "B", "C"]


def test_outline_names_mounts_in_the_order_of_the_file() -> None:
    text = (
        "FROM busybox AS a\nRUN --mount=type=secret,id=x --mount=type=ssh one\n"
        "FROM busybox\nRUN --mount=type=secret,id=y two\n"
        "COPY --from=a /a /\nRUN --mount=type=secret,id=x,required --mount=type=ssh,id=k three\n"
    )
    asked = request()._replace(source=SourceText("Dockerfile", text))
    found = outline(asked, FakeResolver())
    assert found["secrets"] == [
        {"name": "y", "location": at(4)},
        {"name": "x", "required": True, "location": at(6)},
    ]
    assert [agent["name"] for agent in found["ssh"]] == ["default", "k"]


def test_lint() -> None:
    (warning,) = lint(request(), FakeResolver())["warnings"]
    assert warning["ruleName"] == "RedundantTargetPlatform"
    assert set(warning) == {"ruleName", "description", "url", "detail", "location"}
    assert warning["location"] == at(14)


def test_an_instruction_of_several_lines_has_a_range_for_each() -> None:
    asked = request()._replace(source=SourceText("Dockerfile", "FROM busybox\nCMD a \\\n b\n"))
    (warning,) = lint(asked, FakeResolver())["warnings"]
    lines = [place["start"]["line"] for place in warning["location"]["ranges"]]
    assert lines == [2, 3]


def test_lint_tells_what_it_found_before_an_error() -> None:
    text = "FROM busybox AS A\nFROM nothing\n"
    asked = request()._replace(source=SourceText("Dockerfile", text))
    found = lint(asked, FakeResolver())
    assert [warning["ruleName"] for warning in found["warnings"]] == ["StageNameCasing"]
    assert found["buildError"]["location"] == at(2)
    assert "nothing" in found["buildError"]["message"]
    (source,) = found["sources"]
    assert (source["filename"], source["language"]) == ("Dockerfile", "Dockerfile")


def test_lint_looks_at_all_stages_or_at_one() -> None:
    text = "FROM busybox AS a\nLABEL x=$foo\nFROM busybox AS b\nLABEL x=$bar\n"
    asked = request()._replace(source=SourceText("Dockerfile", text))

    def details(target: str) -> list[str]:
        answer = lint(asked._replace(target=target), FakeResolver())
        return [warning["detail"][-5:-1] for warning in answer["warnings"]]

    assert details("") == ["$foo", "$bar"]
    assert details("b") == ["$bar"]


@pytest.mark.parametrize(
    ("text", "args"),
    [
        # The target's own declaration, else that of its base, else that of a stage it copies from.
        ("FROM busybox AS a\nARG A=1\nFROM a\nARG A=2\n", [("A", "2", 4)]),
        (
            "FROM busybox AS a\nARG A=1\nFROM busybox AS b\nARG A=2 B=3\n"
            "FROM a\nCOPY --from=b x /\n",
            [("A", "1", 2), ("B", "3", 4)],
        ),
        (
            "FROM busybox AS a\nARG A=1\nFROM busybox AS b\nARG A=2\n"
            "FROM busybox\nRUN --mount=from=a,target=/a x\nCOPY --from=b x /\n",
            [("A", "1", 2)],
        ),
        ("ARG A=0\nFROM busybox AS a\nARG A=5\nFROM a\nARG A\n", [("A", "0", 1)]),
        ("FROM busybox\nARG A=1\nARG A=2\n", [("A", "2", 3)]),
        ("ARG A=0\nARG B=$A\nFROM busybox:$B\n", [("A", "0", 1), ("B", "0", 2)]),
        ("ARG A=0\nFROM busybox:$A AS a\nFROM a\nARG A=1\n", [("A", "1", 4)]),
        # What has no value has none, whatever the platform would give it.
        ("ARG TARGETOS\nFROM busybox\nARG TARGETOS\n", [("TARGETOS", None, 1)]),
        ("FROM busybox\nARG A\nARG B=$A\n", [("A", None, 2), ("B", None, 3)]),
    ],
)
def test_arguments_come_from_the_stage_nearest_to_the_target(
    text: str, args: list[tuple[str, str | None, int]]
) -> None:
    source = SourceText("Dockerfile", text)
    found = outline(FrontendRequest(source, (AMD64,), AMD64), FakeResolver()).get("args", [])
    listed = [
        (arg["name"], arg.get("value"), arg["location"]["ranges"][0]["start"]["line"])
        for arg in found
    ]
    assert listed == args
