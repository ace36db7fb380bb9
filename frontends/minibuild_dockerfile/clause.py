"""One instruction between text and type: its pieces, its flags, and its errors.

Comes in: a logical line, cut into its keyword and the rest. Goes out: flags checked and typed,
spans for pieces, errors that know their place. Every function of `grammar` works with a `Clause`.
Read next: `grammar`.
"""

from collections.abc import Mapping

from minibuild.errors import Span
from minibuild.graph.spelling import did_you_mean
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.instructions import FLAGS, Flag, FlagKind, Head
from minibuild_dockerfile.limits import check_words
from minibuild_dockerfile.lines import Locate, Logical
from minibuild_dockerfile.split import Split
from minibuild_dockerfile.words import (
    NotStrings,
    Piece,
    json_array,
    split_flags,
    split_separated,
    split_words,
)

PASSED_ON = ("ADD", "ARG", "COPY", "ENV", "RUN", "WORKDIR")
"""Instructions whose words the kernel gets: paths, arguments and variables, which end at a NUL."""


class Clause:
    """An instruction being read. `rest` is what follows the flags."""

    __slots__ = ("escape", "instruction", "keyword", "locate", "logical", "pieces", "rest")

    def __init__(self, logical: Logical, split: Split, escape: str, locate: Locate) -> None:
        self.logical = logical
        self.instruction = split.instruction
        self.keyword = split.keyword.text
        self.pieces, self.rest = split_flags(split.rest)
        self.escape = escape
        self.locate = locate
        check_words(len(self.pieces), logical.span)

    def error(self, message: str, hint: str = "", span: Span | None = None) -> DockerfileError:
        """An error about this instruction, or about the part of it that `span` is."""
        return DockerfileError(message, span or self.logical.span, hint=hint)

    def span_of(self, piece: Piece) -> Span:
        """The lines that a piece stands on."""
        last = max(piece.offset, piece.end - 1)
        return self.locate(self.logical.line_at(piece.offset), self.logical.line_at(last))

    def comment_about(self, name: str) -> str:
        """The description of `name` in the comments above: what follows the name there."""
        for comment in self.logical.comments if name else ():
            if comment.startswith(name + " "):
                return comment.removeprefix(name + " ")
        return ""

    def words(self) -> list[Piece]:
        """The arguments as words of a shell."""
        words = split_words(self.rest, self.escape)
        check_words(len(words), self.logical.span)
        return words

    def separated(self) -> list[Piece]:
        """The arguments where only spaces separate words."""
        words = split_separated(self.rest)
        check_words(len(words), self.logical.span)
        return words

    def json(self) -> tuple[str, ...] | None:
        """The arguments as a JSON array, None if they are none."""
        try:
            words = json_array(self.rest.text)
        except NotStrings:
            raise not_strings(self.logical.span) from None
        check_words(len(words or ()), self.logical.span)
        if self.instruction in PASSED_ON and any("\0" in word for word in words or ()):
            raise no_nul(self.logical.span)
        return words

    def head(self) -> Head:
        """What all instructions have, with the flags, which are known and rightly used."""
        known = FLAGS.get(self.instruction, {})
        found = tuple(self.flag(piece, known) for piece in self.pieces)
        seen: set[str] = set()
        for flag in found:
            if flag.name in seen and known[flag.name] != "texts":
                raise self.error(
                    f"duplicate flag specified: --{flag.name}", "give it once only", flag.span
                )
            seen.add(flag.name)
        line = self.logical
        return Head(line.span, self.keyword, line.text, found, line.comments)

    def flag(self, piece: Piece, known: Mapping[str, FlagKind]) -> Flag:
        """One flag, checked."""
        name, equals, value = piece.text[2:].partition("=")
        span = self.span_of(piece)
        if name not in known:
            near = did_you_mean(f"--{name}", [f"--{other}" for other in known])
            may_be = ", ".join("--" + other for other in known)
            hint = f"{self.instruction} takes {may_be or 'no flags'}"
            if takers := [other for other, flags in FLAGS.items() if name in flags]:
                hint = f"--{name} is for {' and '.join(takers)}; {hint}"
            raise self.error(f"unknown flag: --{name}{near}", hint, span)
        if known[name] == "bool":
            if equals and value.lower() not in ("true", "false"):
                raise self.error(
                    f"expecting boolean value for flag --{name}, not: {value}"
                    if value
                    else f"missing a value on flag: --{name}",
                    f"write --{name}, --{name}=true or --{name}=false",
                    span,
                )
        elif not equals:
            raise self.error(
                f"missing a value on flag: --{name}", f"write --{name}=VALUE, without spaces", span
            )
        return Flag(name, value if equals else None, span)


def no_nul(span: Span) -> DockerfileError:
    """The error about a NUL in one of `PASSED_ON`."""
    return DockerfileError(
        "a NUL character", span, hint="remove it: no path, argument or variable can hold one"
    )


def not_strings(span: Span) -> DockerfileError:
    """The error about an array that holds numbers or the like."""
    return DockerfileError(
        "when using JSON array syntax, arrays must be comprised of strings only",
        span,
        hint='put every element in double quotes, as in ["echo", "1"]',
    )
