"""Reading whole Dockerfiles: commands, heredocs, words, triggers, and any bytes at all."""

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minibuild_dockerfile import split
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.instructions import (
    Copy,
    Env,
    ExecForm,
    Healthcheck,
    Onbuild,
    ParsedFile,
    Run,
    ShellForm,
)
from minibuild_dockerfile.parse import parse, parse_trigger
from minibuild_dockerfile.words import Piece

from minibuild.errors import SourceText, Span
from tests.conftest import CHECKOUT


def read(text: str) -> ParsedFile:
    return parse(SourceText("Dockerfile", text))


def after_from(line: str) -> ParsedFile:
    return read(f"FROM busybox\n{line}\n")


def only_run(line: str) -> Run:
    run = after_from(line).instructions[1]
    assert isinstance(run, Run)
    return run


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("RUN", ShellForm("")),
        ("RUN   a   b  ", ShellForm("a   b")),
        ('RUN ["a",\t"b c" ]', ExecForm(("a", "b c"))),
        ("RUN []", ExecForm(())),
        ('RUN ["a"] b', ShellForm('["a"] b')),
        ('RUN ["a",]', ShellForm('["a",]')),
        ("RUN ['a']", ShellForm("['a']")),
        ('RUN [ -f x ] && echo "y"', ShellForm('[ -f x ] && echo "y"')),
        ('RUN ["\\ud800", NaN]', ShellForm('["\\ud800", NaN]')),
        ('RUN ["\\ud800"]', ExecForm(("\ufffd",))),
        ("RUN a#b # c", ShellForm("a#b # c")),
        ("RUN a \\\\\nRUN b", ShellForm("a \\\\")),
        ("RUN a \\\n# c\n\n   b \\ \t\n#d", ShellForm("a    b")),
        ("R\\\nU\\\nN a", ShellForm("a")),
        ("RUN -- --a", ShellForm("--a")),
        ("RUN\ta\vb", ShellForm("a\vb")),
    ],
)
def test_run_command(line: str, command: ShellForm | ExecForm) -> None:
    assert only_run(line).command == command


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [
        ("FOO", "FROM"),
        ("COPPY", "COPY"),
        ("foo", "from"),
        ("Fron", "FROM"),
        ("RNU", "RUN"),
        ("HEALTHCECKS", "HEALTHCHECK"),
        ("CD", "WORKDIR"),
        ("cd", "workdir"),
        ("EXPORT", "ENV"),
        ("COMMAND", "CMD"),
        ("X", ""),
        ("INCLUDE", ""),
        ("apt-get", ""),
    ],
)
def test_unknown_instructions_say_what_was_meant(keyword: str, meant: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        after_from(f"{keyword} x")
    suggestion = f" (did you mean {meant}?)" if meant else ""
    assert caught.value.message == f"unknown instruction: {keyword}{suggestion}"


@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("apt-get", "write RUN apt-get to run a program"),
        ("./configure", "write RUN ./configure to run a program"),
        ("&&", "if the line belongs to the instruction before it, end that one with \\"),
        ("INCLUDE", "if the line belongs"),
        ("<<<<<<<", "git left a conflict here"),
    ],
)
def test_hints_about_unknown_instructions(keyword: str, hint: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        after_from(f"{keyword} x")
    assert caught.value.hint.startswith(hint)


def test_no_break_space_separates_nothing() -> None:
    with pytest.raises(DockerfileError, match="unknown instruction: RUN\xa0x"):
        after_from("RUN\xa0x")
    assert only_run("RUN \xa0x\x1c").command == ShellForm("x\x1c")


@pytest.mark.parametrize(
    ("line", "script", "shell_text"),
    [
        ("RUN <<EOF\nx\nEOF", True, "x\n"),
        ("RUN <<-EOF\n\tx\n\t\ty\n\tEOF", True, "x\ny\n"),
        ("RUN << 'E F'\nx\nE F", True, "x\n"),
        ("RUN --network=none <<EOF\nx\nEOF", True, "x\n"),
        ("RUN <<EOF sh\nx\nEOF", False, "<<EOF sh\nx\nEOF"),
        ("RUN cat <<-EOF\n\tx\n\tEOF", False, "cat <<-EOF\n\tx\nEOF"),
        ("RUN cat <<A <<B\nB\nA\nA\nB", False, "cat <<A <<B\nB\nA\nA\nB"),
        ("RUN cat <<E\r\nx\r\nE\r", False, "cat <<E\nx\r\nE"),
        ("RUN cat <<E\n\\\n# x\n\nE", False, "cat <<E\n\\\n# x\n\nE"),
        ("RUN echo \"<<EOF\" 'x << y' $((1<<4)) \\<<Z", False, None),
        ("RUN cat <<<word", False, None),
        ("RUN echo it's <<EOF", False, None),
        ('RUN ["cat", "<<EOF"]', False, None),
        ("RUN echo ${#x} $((1 << 4))", False, None),
    ],
)
def test_run_heredocs(line: str, script: bool, shell_text: str | None) -> None:
    run = only_run(line)
    assert run.script == script
    assert bool(run.heredocs) == (shell_text is not None)
    if shell_text is not None:
        assert run.shell_text == shell_text


@pytest.mark.parametrize(
    ("word", "name", "expand"),
    [
        ("<<eof", "eof", True),
        ("<<eo\\'f", "eo'f", True),
        ("<<eo'f'", "eof", False),
        ("<<'e'o\\'f", "eo'f", False),
        ('<<"eof"', "eof", False),
        ("<<$x", "$x", True),
        ("<<-${x:-y}", "${x:-y}", True),
    ],
)
def test_heredoc_names(word: str, name: str, expand: bool) -> None:
    (heredoc,) = only_run(f"RUN x {word}\n{name}").heredocs
    assert (heredoc.name, heredoc.expand) == (name, expand)


def test_copy_puts_paths_before_heredocs() -> None:
    copy = after_from("COPY a <<E b <<'F' /d/\n$x\nE\n$y\nF").instructions[1]
    assert isinstance(copy, Copy)
    assert (copy.sources, copy.dest) == (("a", "b"), "/d/")
    assert [(doc.name, doc.text, doc.expand) for doc in copy.heredocs] == [
        ("E", "$x\n", True),
        ("F", "$y\n", False),
    ]
    assert copy.heredocs[1].span == Span("Dockerfile", 5, 6)


def test_quotes_go_from_flags_but_not_from_words() -> None:
    copy = after_from("""COPY --chown="$A":'b c' --exclude=a\\ b "x" 'y'""").instructions[1]
    assert isinstance(copy, Copy)
    assert (copy.chown, copy.exclude) == ("$A:b c", ("a b",))
    assert (copy.sources, copy.dest) == (('"x"',), "'y'")


def test_env_words() -> None:
    env = after_from('ENV A=a\\ b B="c \\" d"\'e f\' C= D="open').instructions[1]
    assert isinstance(env, Env)
    assert [(pair.key, pair.value) for pair in env.pairs] == [
        ("A", "a\\ b"),
        ("B", '"c \\" d"\'e f\''),
        ("C", ""),
        ("D", '"open'),
    ]


def test_comments_belong_to_what_follows_them() -> None:
    def comments(text: str) -> list[str]:
        return list(read(text).instructions[-1].head.comments)

    assert comments("# a\n# b\nFROM x\n") == ["a", "b"]
    assert comments("# a\n\n# b\n  # c\n\nFROM x\n") == ["a", "b", "c"]
    assert comments("# a\n#\n# b\nFROM x\n") == ["b"]
    assert comments("# a\n #\nFROM x\n") == []
    assert comments("# a\nFROM x\nRUN y\n") == []
    assert comments("#syntax=x\nFROM x\n") == []


@pytest.mark.parametrize(
    ("text", "escape"),
    [
        ("# escape=`\nFROM a", "`"),
        ("  #   EsCaPe  =  `  \nFROM a", "`"),
        ("#syntax=x\n#check=skip=all\n#escape=`\nFROM a", "`"),
        ("\ufeff# escape=`\nFROM a", "`"),
        ("# a comment\n# escape=`\nFROM a", "\\"),
        ("\n# escape=`\nFROM a", "\\"),
        ("# unknown=1\n# escape=`\nFROM a", "\\"),
        ("# escape=\n# escape=`\nFROM a", "\\"),
        ("FROM a\n# escape=`", "\\"),
    ],
)
def test_escape_directive(text: str, escape: str) -> None:
    assert read(text).escape == escape


def test_directives_behind_a_first_line_for_the_shell() -> None:
    parsed = read("#!/usr/bin/env -S minibuild build -f\n# check=skip=all\n# escape=`\nFROM a")
    assert parsed.directives.check and parsed.directives.check.span.first == 2
    assert parsed.escape == "\\"


def test_trigger_is_recorded_and_read_back() -> None:
    onbuild = after_from("ONBUILD RNU x").instructions[1]  # it may never be carried out
    assert isinstance(onbuild, Onbuild) and onbuild.trigger == "RNU x"
    onbuild = after_from('ONBUILD  RUN echo   "x"  \\\n y <<EOF\nz\nEOF').instructions[1]
    assert isinstance(onbuild, Onbuild)
    assert onbuild.trigger == 'RUN echo   "x"   y <<EOF\nz\nEOF'
    span = Span("Dockerfile", 7, 7)
    run = parse_trigger(onbuild.trigger, span)
    assert isinstance(run, Run)
    assert run.head.span == run.heredocs[0].span == span
    for bad in ("", "RUN a\nRUN b", "FROM x", "XYZZY", "COPY --x a b"):
        with pytest.raises(DockerfileError) as caught:
            parse_trigger(bad, span)
        assert caught.value.span == span


def test_healthcheck_times() -> None:
    check = after_from("HEALTHCHECK --interval=5m30s --start-period=1.5s CMD x").instructions[1]
    assert isinstance(check, Healthcheck)
    assert (check.interval_ns, check.start_period_ns) == (330_000_000_000, 1_500_000_000)
    assert check.command == ShellForm("x")


def test_onbuild_of_onbuild_of_onbuild() -> None:
    with pytest.raises(DockerfileError, match="Chaining ONBUILD"):
        after_from("ONBUILD " * 5_000 + "RUN <<EOF")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("RUN <<E\nx\n  E\n", "line 4 has white space before E: nothing may stand beside it"),
        ("RUN <<-E\nx\n\t E\n", "line 4 has white space before E: only tabs may stand before it"),
        ("COPY <<E /x\nE \nE\t\n", "line 3 has white space behind E"),
        ("RUN <<E\nx\nEE\n", "end the text with a line that is E and nothing else"),
        ("<<<<<<< HEAD\nRUN x\n", "git left a conflict here"),
        ("RUN a\n=======\n", "git left a conflict here"),
        ("\u200bRUN x\n", "it holds the character U+200B"),
        ("RUN\u00a0x\n", "it holds the character U+00A0"),
        ("RUN a\n  && b\n", "if the line belongs to the instruction before it"),
    ],
)
def test_hints_for_what_cannot_be_seen(text: str, hint: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        after_from(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_said_to_be_one(codec: str) -> None:
    with pytest.raises(DockerfileError, match="UTF-16") as caught:
        read(surrogates("\ufeffFROM a\n".encode(codec)))
    assert "UTF-8" in caught.value.hint


def test_a_single_dash_is_no_flag() -> None:
    with pytest.raises(DockerfileError) as caught:
        read("FROM -platform=linux/amd64 a\n")
    assert "two dashes" in caught.value.hint


def test_library_splits_ordinary_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers are used as they are; our own splitting is for what it gets wrong."""

    def refuse(text: str, offset: int = 0) -> tuple[Piece, Piece]:
        raise AssertionError(f"own splitting of {text!r}")

    monkeypatch.setattr(split, "split_keyword", refuse)
    for path in sorted((CHECKOUT / "testdata" / "parse").glob("*.Dockerfile")):
        read(path.read_bytes().decode())
    for line in ("RUN", "run  x  ", "RUN a \\\\", "ENV A=`", "COPY \\\n a \\\n b"):
        after_from(line)


def test_file_name_is_in_spans() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(SourceText("sub/My.Dockerfile", "NOPE"))
    assert caught.value.span.file == "sub/My.Dockerfile"


def surrogates(data: bytes) -> str:
    """Bytes as the text of a file that is no UTF-8."""
    return data.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"# \xff\nFROM a\nCOPY <<E /x\n\xff\nE\n", 0),
        (b"FROM a\nRUN a \\\n# \xff\n && b\n", 0),
        (b"FROM a\nRUN echo \xff\n", 2),
        (b"FROM a\nRUN a \\\n# \xff\n && \xff\n", 4),
        (b"FROM a\nCOPY <<\xff /x\n\xff\n", 2),
        (b"FROM a\nRUN <<E\na\n\xff\nE\n", 3),
        (b"FROM \xff\n", 1),
    ],
)
def test_what_is_no_text(data: bytes, line: int) -> None:
    """It may stand in comments and in the files that are written in the Dockerfile."""
    if not line:
        read(surrogates(data))
        return
    with pytest.raises(DockerfileError, match="not UTF-8") as caught:
        read(surrogates(data))
    assert caught.value.span.first == line and caught.value.hint


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"LABEL a=\xe9", "LABEL a=\ufffd"),
        (b"ENV a=b\xff\xfe c=\xc3\xa9", "ENV a=b\ufffd\ufffd c=é"),
        (b"COPY \xe9 /", "COPY \ufffd /"),
        (b"ONBUILD RUN \xff", "ONBUILD RUN \ufffd"),
        (b'CMD ["\xff"]', 'CMD ["\ufffd"]'),
    ],
)
def test_what_only_the_config_has_is_made_text(data: bytes, expected: str) -> None:
    """As in BuildKit, which writes the config as JSON."""
    (_, found) = read(surrogates(b"FROM a\n" + data + b"\n")).instructions
    assert found == read(f"FROM a\n{expected}\n").instructions[1]


WORDS = st.sampled_from(
    "FROM a|ARG X|ENV A=1|RUN x|COPY a b|<<EOF|EOF|\\|`|\n|\r\n|#|# escape=`|'|\"|$|${|}|[|]|,"
    '|"a"| |\t|--mount=|--link|ONBUILD |HEALTHCHECK CMD|\ufeff|\xa0|\x00|\x85|é|1|=|<<-|'.split("|")
)


@settings(max_examples=400, deadline=None)
@given(st.lists(WORDS, max_size=40).map("".join) | st.text() | st.binary().map(surrogates))
def test_any_text_is_read_or_refused(text: str) -> None:
    for source in (text, "FROM a\n" + text):
        try:
            parsed = read(source)
        except DockerfileError as error:
            assert 1 <= error.span.first <= error.span.last <= source.count("\n") + 1
        else:
            last = 0
            for instruction in parsed.instructions:
                assert last < instruction.head.span.first <= instruction.head.span.last
                last = instruction.head.span.last
            assert last <= source.count("\n") + 1


@pytest.mark.parametrize(
    "text",
    [
        "RUN a" + " \\\n  && b" * 40_000,
        "RUN <<EOF\n" + "x\n" * 40_000 + "EOF\n",
        "RUN a\n" * 4_000,
        "# comment\n" * 40_000 + "RUN a",
        "RUN a \\\n" + "# comment\n\n" * 20_000 + "b",
        "ENV " + "A=b " * 20_000,
        "ENV A=" + "'" * 99_999,
        "COPY " + "--exclude=x " * 5_000 + "a b",
        "COPY " + "a " * 40_000,
        "RUN " + "\\ " * 100_000,
        "CMD " + "[" * 100_000,
        "ENV A=" + "${A:-" * 20_000,
        "RUN <<A " + "${A:-" * 20_000,
        "RUN <<A " + '"$A' * 20_000,
        "RUN " + "<" * 100_000,
    ],
    ids=lambda text: repr(text)[:24],
)
def test_time_is_in_proportion_to_length(text: str) -> None:
    started = time.process_time()
    with suppress(DockerfileError):
        read("FROM a\n" + text + "\n")
    assert time.process_time() - started < 2
