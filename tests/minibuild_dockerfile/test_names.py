"""What steps are called in progress: the names that BuildKit gives them."""

from typing import Any

import pytest
from minibuild_dockerfile.convert import convert

from minibuild.errors import SourceText
from minibuild.graph.frontend import FrontendRequest
from minibuild.graph.op import ImageSource
from minibuild.graph.platform import Platform
from minibuild.graph.vertex import topological
from tests.support.resolver import FakeResolver

AMD64 = Platform("linux", "amd64")


def names(text: str, images: Any = None, **request: Any) -> list[str]:
    """The names of all steps but FROM and internal ones."""
    source = SourceText("Dockerfile", text)
    made = convert(FrontendRequest(source, (AMD64,), AMD64, **request), FakeResolver(images))
    vertices = topological(built.vertex for built in made.images)
    listed = [v.note.name for v in vertices if not isinstance(v.op, ImageSource)]
    return [name for name in listed if not name.startswith("[internal]")]


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("while [ $i -lt 100 ]; do f; done", "while [ $i -lt 100 ]; do f; done"),
        ('echo "code $?" $$ $0 $@ $# $- $!', 'echo "code $?" $$ $0 $@ $# $- $!'),
        ("a ${i} ${i:-$KNOWN} ${i:+x} ${i?no} ${i:?no}", "a ${i} ${i:-1} ${i:+x} ${i?no} ${i:?no}"),
        ("a ${i#*/} ${i%%.*} ${i/a/b} ${i//a/b}", "a ${i#*/} ${i%%.*} ${i/a/b} ${i//a/b}"),
        ("a $KNOWN ${KNOWN} ${KNOWN:-2} ${KNOWN:+3}", "a 1 1 1 3"),
        ("a \"$KNOWN\" '$KNOWN' \\$KNOWN", "a \"1\" '$KNOWN' $KNOWN"),
        ("a ${i:0:3} $KNOWN", "a ${i:0:3} 1"),
        ("a ${KNOWN:0:3} $KNOWN", "a ${KNOWN:0:3} $KNOWN"),
        ("a ${i^^} $KNOWN", "a ${i^^} $KNOWN"),
        ("a  b \\\n  c  ", "a  b   c"),
        ('["a", "$KNOWN", "$i"]', '["a", "1", "$i"]'),
        ("a $EMPTY.", "a ."),
        ("<<EOF\n  echo $i $KNOWN\nEOF", "<<EOF (echo $i 1)"),
        ("<<EOF cat\n$i\nEOF", "<<EOF cat"),
    ],
)
def test_a_run_keeps_what_the_shell_knows(command: str, shown: str) -> None:
    text = f'FROM busybox\nENV KNOWN=1 EMPTY=""\nRUN {command}\n'
    assert names(text) == [f"[2/2] RUN {shown}"]


@pytest.mark.parametrize(
    ("instruction", "shown"),
    [
        ('COPY ["a b", "$KNOWN/"]', "COPY [a b, 1/]"),
        ("copy  --chmod=$MODE a$KNOWN '/b' ", "COPY  --chmod= a1 /b"),
        ("ADD <<'A' <<-\"B\" /\nx\nA\ny\nB", "ADD <<A <<-B /"),
        ('WORKDIR "/a $KNOWN"', "WORKDIR /a 1"),
        ("COPY --link a /b", "LINK COPY --link a /b"),
        ("ADD https://ada:hush@h/x /y/", "ADD https://****@h/x /y/"),
    ],
)
def test_words_of_other_steps_are_expanded(instruction: str, shown: str) -> None:
    assert names(f"FROM busybox\nENV KNOWN=1\n{instruction}\nRUN x\n")[-2:] == [
        f"[2/3] {shown}",
        "[3/3] RUN x",
    ]


@pytest.mark.parametrize(
    ("instruction", "shown"),
    [
        ("RUN curl -H $TOKEN ${API_KEY} ${TOKEN:-x}", "RUN curl -H **** **** ****"),
        ("RUN a ${TOKEN:+given} ${TOKEN#hunt} $my_password", "RUN a given **** ****"),
        ("RUN a $PUBLIC_KEY $KEYBOARD $NO_TOKEN $EMPTY_TOKEN.", "RUN a pub kb $NO_TOKEN ."),
        ("COPY --chown=$TOKEN a/$API_KEY /", "COPY --chown=**** a/**** /"),
        ("WORKDIR /$TOKEN", "WORKDIR /****"),
        ("RUN --mount=type=secret,id=a,env=PLAIN b $PLAIN $TOKEN", "--env=PLAIN b **** ****"),
    ],
)
def test_secrets_are_not_shown(instruction: str, shown: str) -> None:
    arguments = "TOKEN API_KEY my_password PUBLIC_KEY=pub KEYBOARD=kb EMPTY_TOKEN="
    text = f"FROM busybox\nARG {arguments}\n{instruction}\n"
    given = {"TOKEN": "hunter2", "API_KEY": "hunter2", "my_password": "hunter2"}
    (name,) = names(text, build_args=given)
    expected = shown.replace("--env", "RUN --mount=type=secret,id=a,env")
    assert name.partition("] ")[2] == expected


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("FROM busybox\nRUN x\n", [""]),
        ("FROM busybox AS one\nRUN x\n", [""]),
        ("FROM busybox AS one\nRUN --mount=target=/m x\n", ["one "]),
        ("FROM busybox\nRUN --mount=type=cache,target=/m x\n", ["stage-0 "]),
        ("FROM busybox\nCOPY --from=busybox a /b\nRUN x\n", ["stage-0 ", "stage-0 "]),
        ("FROM busybox AS one\nRUN x\nFROM one\nRUN y\n", ["one ", "stage-1 "]),
        ("FROM trigger\nRUN x\n", ["", ""]),
    ],
)
def test_the_stage_is_named_unless_it_is_alone(text: str, labels: list[str]) -> None:
    found = names(text, {"trigger": {"config": {"OnBuild": ["COPY --from=busybox a /"]}}})
    assert [name[1:].partition("/")[0].rstrip("0123456789") for name in found] == labels


def test_a_trigger_is_named_so() -> None:
    images = {"trigger": {"config": {"OnBuild": ["RUN a", "COPY --link b /"]}}}
    assert names("FROM trigger\nRUN c\n", images) == [
        "[2/4] ONBUILD RUN a",
        "[3/4] ONBUILD COPY --link b /",
        "[3/4] ONBUILD LINK COPY --link b /",
        "[4/4] RUN c",
    ]
