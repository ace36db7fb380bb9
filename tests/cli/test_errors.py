"""How an error is shown: golden texts, and nothing that could fool a terminal."""

import io
from pathlib import Path

import pytest

from minibuild.cli.errors import Line, describe, excerpt
from minibuild.errors import (
    BuildError,
    Cancelled,
    DefinitionError,
    SourceText,
    Span,
    StepFailed,
    UsageError,
)
from minibuild.progress.console import Console
from minibuild.progress.trace import StepFailure

GOLDEN = Path(__file__).parent / "golden"
TEXT = """\
FROM busybox
ENV A=1
# a comment
RUN echo hello; \\
\techo world
RUN flase
CMD ["sh"]
"""
LOG = ("0.011 \x1b[31mgcc: error\x1b[0m", "0.012 /bin/sh: flase: not found")


def failure(span: Span) -> StepFailed:
    message = 'process "/bin/sh -c flase" did not complete successfully: exit code: 127'
    error = StepFailed(message, code=127, hint="is it installed?", detail="not again")
    error.span = span
    error.source = SourceText("Dockerfile", TEXT)
    return error


def located(error: BuildError) -> BuildError:
    error.source = SourceText("Dockerfile", TEXT)
    return error


def written(lines: list[Line]) -> str:
    """The lines as they come out of a console."""
    out = io.StringIO()
    for line in lines:
        Console(out).write(*line, "\n")
    return out.getvalue()


STEP = StepFailure("[3/3] RUN flase", LOG)
CASES: dict[str, tuple[BuildError, list[StepFailure]]] = {
    "step": (failure(Span("Dockerfile", 6, 6)), [STEP]),
    "step-without-log": (failure(Span("Dockerfile", 6, 6)), [StepFailure("[3/3] RUN flase", ())]),
    "two-steps": (
        failure(Span("Dockerfile", 4, 5)),
        [STEP, StepFailure("[b 2/2] RUN x", ("0 x",))],
    ),
    "definition": (
        located(
            DefinitionError(
                "unknown instruction: RUNN", hint="did you mean RUN?", span=Span("Dockerfile", 1, 1)
            )
        ),
        [],
    ),
    "last-line": (located(DefinitionError("bad CMD", span=Span("Dockerfile", 7, 7))), []),
    "beyond-the-end": (located(DefinitionError("odd", span=Span("Dockerfile", 9, 9))), []),
    "no-source": (DefinitionError("odd", span=Span("Dockerfile", 3, 3)), []),
    "no-span": (UsageError("no such thing\nat all", detail="one\ntwo", hint="try another"), []),
    "cancelled": (Cancelled("cancelled", span=Span("Dockerfile", 3, 3)), [STEP]),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, golden) -> None:  # type: ignore[no-untyped-def]
    error, failed = CASES[name]
    lines = describe(error, failed=failed, places={"Dockerfile": "sub/Dockerfile"})
    golden(GOLDEN / f"error-{name}.txt", written(lines))


def test_colours(golden) -> None:  # type: ignore[no-untyped-def]
    error, failed = CASES["step"]
    text = written(describe(error, failed=failed, places={}, colours=True))
    assert "\x1b[31merror:\x1b[0m process" in text
    assert "\x1b[31mgcc: error\x1b[0m\x1b[0m" in text, "a colour must not run on"
    assert "\x1b" not in written(describe(error, failed=failed, places={}))


def test_a_long_instruction_is_shortened() -> None:
    text = "FROM x\nRUN <<EOF\n" + "".join(f"line {n}\n" for n in range(3, 60)) + "EOF\nCMD a\n"
    lines = excerpt(text, Span("Dockerfile", 2, 60), "Dockerfile")
    assert lines[:4] == ["Dockerfile:2", "-" * 20, "   1 |     FROM x", "   2 | >>> RUN <<EOF"]
    assert "     | ..." in lines
    assert lines[-5:-1] == [
        "  58 | >>> line 58",
        "  59 | >>> line 59",
        "  60 | >>> EOF",
        "  61 |     CMD a",
    ]
    assert len(lines) < 28


def test_the_line_of_the_instruction_is_named_and_the_part_is_marked() -> None:
    lines = excerpt("FROM x\nENV A=1 \\\n  B\n", Span("D", 3, 3), "D", 2)
    assert lines[0] == "D:2" and [line[:10] for line in lines if ">>>" in line] == ["   3 | >>>"]


@pytest.mark.parametrize("length", range(1, 40))
def test_every_line_is_shown_once_or_left_out_with_a_mark(length: int) -> None:
    text = "".join(f"l{n}\n" for n in range(1, 101))
    lines = excerpt(text, Span("D", 10, 9 + length), "D")[2:-1]
    numbers = [int(line[:4]) for line in lines if line[:4].strip()]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 7 and numbers[-1] == 12 + length
    assert (lines.count("     | ...") == 1) is (len(numbers) < length + 6)


def test_a_message_cannot_fool_the_terminal() -> None:
    error = DefinitionError("no \x1b[2Jx\ny\x07", hint="h\x1b]0;t\x07", detail="d\x1b[31m")
    assert written(describe(error, places={})) == (
        "error: no \\x1b[2Jx\n  y\\x07\n  d\\x1b[31m\nhint: h\\x1b]0;t\\x07\n"
    )


def test_a_dockerfile_cannot_fool_the_terminal() -> None:
    text = "FROM x\nRUN echo \x1b[2J\x1b]0;pwned\x07 \x1b[31mred\nRUN \udcff\r\n"
    shown = written([(line,) for line in excerpt(text, Span("D", 2, 3), "D")])
    assert "   2 | >>> RUN echo \\x1b[2J\\x1b]0;pwned\\x07 \\x1b[31mred\n" in shown
    assert "   3 | >>> RUN \\xff\n" in shown
