"""A Dockerfile, from text to typed instructions.

Comes in: the text. Goes out: a `ParsedFile`, or a `DockerfileError` with the lines at fault. No
image, no context, no argument is looked at: the same text always gives the same result.
Read next: `lines` and `split` for how the text is cut, `grammar` for what the pieces mean.
"""

import re
from collections.abc import Iterable, Iterator

from minibuild.errors import SourceText, Span, located
from minibuild.graph.frontend import NoNotes, Notes
from minibuild.graph.spelling import nearest
from minibuild.startup.regex import regex
from minibuild_dockerfile.clause import PASSED_ON, Clause, no_nul, not_strings
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.grammar import GRAMMAR
from minibuild_dockerfile.instructions import Arg, From, Instruction, Onbuild, ParsedFile
from minibuild_dockerfile.lines import Locate, Logical, Scanned, scan
from minibuild_dockerfile.split import Split, split_all
from minibuild_dockerfile.words import NotStrings, as_utf8, json_array, split_flags, split_keyword

_NO_UTF8 = regex("[\udc80-\udcff]")
_UTF16 = ("\udcff\udcfe", "\udcfe\udcff")
"""The byte order marks of UTF-16. Bytes that are no UTF-8 are surrogates in the text, as above."""

_MEANT = {
    **dict.fromkeys(("CD", "CHDIR"), "WORKDIR"),
    **dict.fromkeys(("EXPORT", "SET", "SETENV"), "ENV"),
    **dict.fromkeys(("EXEC", "SH", "BASH", "SUDO", "DO"), "RUN"),
    **dict.fromkeys(("CP", "MV"), "COPY"),
    **dict.fromkeys(("COMMAND", "START"), "CMD"),
    **dict.fromkeys(("PORT", "PORTS"), "EXPOSE"),
    **dict.fromkeys(("BASE", "IMAGE"), "FROM"),
    "MOUNT": "VOLUME",
}
"""Words of shells and of other tools that are no misspelling of what they stand for here."""

_PAIRS = ("ENV", "LABEL")
_ARRAYS = ("ADD", "CMD", "COPY", "ENTRYPOINT", "HEALTHCHECK", "RUN", "SHELL", "VOLUME")
"""Triggers that BuildKit looks at where they are written: the former whole, of the latter whether
an array has strings only. Of others it notes the text alone."""

_REFUSED = ("FROM", "RUN")
"""Instructions that may hold no bytes that are no UTF-8."""

_PROGRAM = regex(r"[a-z][a-z0-9_.]*(?:-[a-z0-9_.]+)*|[./~].*")
_CONFLICT = ("<<<<<<<", "=======", ">>>>>>>")


def parse(source: SourceText) -> ParsedFile:
    """Read a whole Dockerfile."""
    parsed, error = parse_up_to_error(source, NoNotes())
    if error is not None:
        raise error
    return parsed


def parse_up_to_error(
    source: SourceText, notes: Notes
) -> tuple[ParsedFile, DockerfileError | None]:
    """Like `parse`, but if an instruction is wrong: those above it, and the error.

    What cannot even be cut into instructions is raised.
    """

    def locate(first: int, last: int) -> Span:
        return Span(source.name, first, last)

    if not source.text:
        raise DockerfileError(
            "the Dockerfile cannot be empty", locate(1, 1), hint="begin with FROM image"
        )
    if source.text.startswith(_UTF16):
        raise DockerfileError(
            "the Dockerfile is in UTF-16", locate(1, 1), hint="save it in UTF-8, as editors can"
        )
    scanned = scan(source.text, locate)
    splits = split_all(scanned.logical, notes)
    if not splits:
        last = max(1, len(scanned.lines))
        raise DockerfileError(
            "file with no instructions", locate(last, last), hint="begin with FROM image"
        )
    instructions: list[Instruction] = []
    found: DockerfileError | None = None
    try:
        for instruction in _instructions(scanned, splits, locate):
            instructions.append(instruction)
    except DockerfileError as error:
        found = error
    empty = [line for logical in scanned.logical if (line := logical.empty_continuation)]
    parsed = ParsedFile(
        source,
        scanned.directives,
        scanned.escape,
        tuple(instructions),
        tuple(locate(line, line) for line in empty),
    )
    return parsed, found


def _instructions(
    scanned: Scanned, splits: Iterable[Split], locate: Locate
) -> Iterator[Instruction]:
    """The instructions of a file, in order."""
    in_stage = False
    for logical, split in zip(scanned.logical, splits, strict=True):
        with located(logical.span):
            instruction = _instruction(logical, split, scanned.escape, locate)
        in_stage = in_stage or isinstance(instruction, From)
        if isinstance(instruction, Onbuild):
            _look_at_trigger(instruction.trigger, logical.span)
        yield instruction
        if not in_stage and not isinstance(instruction, Arg):
            raise DockerfileError(
                "no build stage in current context",
                logical.span,
                hint="only ARG may stand before the first FROM",
            )


def _look_at_trigger(trigger: str, span: Span) -> None:
    """Raise `DockerfileError` about what is wrong already where the trigger is written."""
    keyword, rest = split_keyword(trigger)
    name = keyword.text.upper()
    if name in _PAIRS:
        parse_trigger(trigger, span)
    elif name in _ARRAYS:
        text = split_flags(rest)[1].text
        words = text.split(None, 1)[1:] if name == "HEALTHCHECK" else [text]
        try:
            json_array("".join(words))
        except NotStrings:
            raise not_strings(span) from None


def parse_trigger(trigger: str, span: Span) -> Instruction:
    """Read the one instruction that an image recorded with ONBUILD.

    Every span is `span`: the ONBUILD, or the FROM that brought it. The escape is a backslash,
    whatever the file says that wrote it.
    """

    def locate(first: int, last: int) -> Span:
        return span

    scanned = scan(trigger, locate)
    splits = split_all(scanned.logical, NoNotes())
    if len(splits) != 1:
        raise DockerfileError(
            f'onbuild trigger should be a single expression: "{trigger}"',
            span,
            hint="split it into several ONBUILD instructions",
        )
    if splits[0].instruction in ("FROM", "ONBUILD"):
        raise DockerfileError(
            f"{splits[0].instruction} isn't allowed as an ONBUILD trigger",
            span,
            hint="a trigger is a step such as RUN or COPY",
        )
    return _instruction(scanned.logical[0], splits[0], scanned.escape, locate)


def _instruction(logical: Logical, split: Split, escape: str, locate: Locate) -> Instruction:
    read = GRAMMAR.get(split.instruction)
    if read is None:
        raise _unknown(split.keyword.text, logical, escape)
    return read(Clause(*_in_text(logical, split, locate), escape, locate))


def _unknown(keyword: str, logical: Logical, escape: str) -> DockerfileError:
    """The error about what stands where an instruction should be, and what may have been meant."""
    meant = _MEANT.get(keyword.upper()) or nearest(keyword.upper(), GRAMMAR, short=2)
    near = f" (did you mean {meant.lower() if keyword.islower() else meant}?)" if meant else ""
    message = f"unknown instruction: {keyword}{near}"
    return DockerfileError(message, logical.span, hint=_about_unknown(keyword, escape))


def _about_unknown(keyword: str, escape: str) -> str:
    """What may have happened where an instruction should be."""
    if keyword in _CONFLICT:
        return "git left a conflict here: keep one of the two sides, and remove the marks"
    unseen = next((c for c in keyword if c.isspace() or not c.isprintable()), "")
    if unseen:
        return f"it holds the character U+{ord(unseen):04X}, which cannot be seen: write it again"
    belongs = f"if the line belongs to the instruction before it, end that one with {escape}"
    if _PROGRAM.fullmatch(keyword):
        return f"write RUN {keyword} to run a program; {belongs}"
    return belongs


def _in_text(logical: Logical, split: Split, locate: Locate) -> tuple[Logical, Split]:
    """An instruction whose text is UTF-8, and holds no NUL where none can be.

    Bytes that are none, which the text holds as surrogates, become U+FFFD, as in BuildKit: the JSON
    of an image cannot say them. They may stay as they are in comments and in files that COPY and
    ADD take from heredocs, but not in what a RUN runs.
    """
    if "\0" in logical.text and split.instruction in PASSED_ON:
        line = logical.line_at(logical.text.index("\0"))
        raise no_nul(locate(line, line))
    is_copy = split.instruction in ("COPY", "ADD")
    for heredoc in () if is_copy else logical.heredocs:
        if _not_utf8(heredoc.content):
            raise _no_text(heredoc.span)
    found = _not_utf8(logical.text)
    if not found:
        return logical, split
    if split.instruction in _REFUSED or logical.heredocs:
        line = logical.line_at(found.start())
        raise _no_text(locate(line, line))
    rest = split.rest._replace(text=as_utf8(split.rest.text))
    return logical._replace(text=as_utf8(logical.text)), split._replace(rest=rest)


def _not_utf8(text: str) -> re.Match[str] | None:
    return None if text.isascii() else _NO_UTF8.search(text)


def _no_text(span: Span) -> DockerfileError:
    return DockerfileError(
        "the Dockerfile is not UTF-8 here",
        span,
        hint="save it as UTF-8; bytes that are no text can come from a file, by COPY",
    )
