"""From the text of a Dockerfile to logical lines.

Comes in: text. Goes out: one `Logical` for each instruction: its continuations joined, comments
and blank lines inside it dropped, the texts of its heredocs beside it; and the directives at the
top of the file. One pass, each line is looked at once. The rules are those of BuildKit's parser.
Read next: `split`, which cuts off the keywords, and `heredocs`.

- A line ending in one escape character, and not in two, is continued; spaces may follow it.
- Comments and blank lines inside a continued instruction vanish; blank ones are worth a warning.
- Line endings are LF or CRLF; only heredocs keep them. A byte order mark is dropped.
- Directives stand before all else. What is no directive, or an unknown one, ends them. A first
  line that begins with `#!` ends them too, but for `syntax` and `check`.
"""

from bisect import bisect_right
from collections.abc import Callable

from minibuild.errors import Span
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.heredocs import Announced, announced
from minibuild_dockerfile.instructions import Directive, Directives, Heredoc
from minibuild_dockerfile.lexer import SPACES
from minibuild_dockerfile.limits import check_instructions

Locate = Callable[[int, int], Span]
"""Makes a span of a first and a last line, both counted from 1."""

_DIRECTIVE = regex(r"#[\t\f\r ]*([a-zA-Z][a-zA-Z0-9]*)[\t\f\r ]*=[\t\f\r ]*(.*)")
_KNOWN = ("syntax", "escape", "check")


class Logical(NamedTuple):
    """One instruction as text. `offsets` are where in `text` a physical line begins, `numbers`
    are these lines' numbers. `empty_continuation` is the last line's number if blank lines are
    inside, else 0."""

    text: str
    offsets: tuple[int, ...]
    numbers: tuple[int, ...]
    span: Span
    comments: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    empty_continuation: int = 0

    def line_at(self, offset: int) -> int:
        """The number of the physical line that a character of `text` comes from."""
        return self.numbers[max(0, bisect_right(self.offsets, offset) - 1)]


class Scanned(NamedTuple):
    """A whole file. `lines` are without line endings."""

    directives: Directives
    escape: str
    logical: tuple[Logical, ...]
    lines: tuple[str, ...]


def scan(text: str, locate: Locate) -> Scanned:
    """Read a whole Dockerfile."""
    return _Scanner(text.removeprefix("\ufeff"), locate).scan()


class _Scanner:
    """Walks over the physical lines, `position` being the index of the next one."""

    __slots__ = ("escape", "lines", "locate", "position", "raw")

    def __init__(self, text: str, locate: Locate) -> None:
        self.raw = [line + "\n" for line in text.split("\n")]
        self.raw[-1] = self.raw[-1][:-1]
        if not self.raw[-1]:
            self.raw.pop()
        self.lines = [line.rstrip("\r\n") for line in self.raw]
        self.locate = locate
        self.escape = "\\"
        self.position = 0

    def scan(self) -> Scanned:
        directives = self.directives()
        if self.lines and self.lines[0].startswith("#!"):
            self.position = 1
            behind = self.directives()
            directives = Directives(behind.syntax, None, behind.check)
            self.position, self.escape = 0, "\\"
        found: list[Logical] = []
        comments: list[str] = []
        while self.position < len(self.lines):
            line = self.lines[self.position].lstrip(SPACES)
            if not line or line.startswith("#"):
                self.position += 1
                if comment := line[1:].strip():
                    comments.append(comment)
                elif line:
                    comments = []  # An empty comment parts them from what follows, no blank line.
                continue
            found.append(self.logical(tuple(comments)))
            check_instructions(len(found), found[-1].span)
            comments = []
        return Scanned(directives, self.escape, tuple(found), tuple(self.lines))

    def directives(self) -> Directives:
        """Take the directives at the top."""
        found: dict[str, Directive] = {}
        while self.position < len(self.lines):
            line = self.lines[self.position].lstrip(SPACES)
            match = _DIRECTIVE.fullmatch(line) if line.startswith("#") else None
            value = match[2].rstrip("\t\f\r ") if match else ""
            if not match or match[1].lower() not in _KNOWN or not value:
                break
            name, number = match[1].lower(), self.position + 1
            if name in found:
                raise DockerfileError(
                    f"only one {name} parser directive can be used",
                    self.locate(found[name].span.first, number),
                    hint="remove one of them",
                )
            found[name] = Directive(value, self.locate(number, number))
            self.position += 1
        if escape := found.get("escape"):
            if escape.value not in ("\\", "`"):
                raise DockerfileError(
                    f"invalid escape token '{escape.value}' does not match ` or \\",
                    escape.span,
                    hint="write # escape=\\ or # escape=`",
                )
            self.escape = escape.value
        return Directives(**found)

    def logical(self, comments: tuple[str, ...]) -> Logical:
        """Take one instruction, with its continuations and heredocs."""
        first = self.position + 1
        line, continued = self.cut(self.lines[self.position].lstrip(SPACES))
        self.position += 1
        parts, offsets, numbers, has_blanks = [line], [0], [first], False
        length = len(line)
        while continued and self.position < len(self.lines):
            line = self.lines[self.position]
            self.position += 1
            bare = line.lstrip(SPACES)
            has_blanks = has_blanks or not bare
            if not bare or bare.startswith("#"):
                continue
            line, continued = self.cut(line)
            parts.append(line)
            offsets.append(length)
            numbers.append(self.position)
            length += len(line)
        text, last = "".join(parts), self.position
        heredocs = tuple(self.heredoc(doc, first) for doc in announced(text))
        return Logical(
            text,
            tuple(offsets),
            tuple(numbers),
            self.locate(first, self.position),
            comments,
            heredocs,
            last if has_blanks else 0,
        )

    def cut(self, line: str) -> tuple[str, bool]:
        """The line without its continuation mark, and whether there was one."""
        body = line.rstrip(" \t")
        if body.endswith(self.escape) and not body.endswith(self.escape * 2):
            return body[:-1], True
        return line, False

    def heredoc(self, doc: Announced, first: int) -> Heredoc:
        """Take the text of one heredoc and its terminator."""
        start = self.position
        while self.position < len(self.lines):
            line = self.lines[self.position]
            self.position += 1
            if (line.lstrip("\t") if doc.chomp else line) == doc.name:
                content = "".join(self.raw[start : self.position - 1])
                span = self.locate(start + 1, self.position)
                return Heredoc(doc.name, content, doc.expand, doc.chomp, span)
        raise DockerfileError(
            f"unterminated heredoc: no line is just '{doc.name}'",
            self.locate(first, start),
            hint=self.almost_ends(doc, start)
            or f"end the text with a line that is {doc.name} and nothing else; "
            "if << is no heredoc here, put it in quotes or leave out the spaces after it",
        )

    def almost_ends(self, doc: Announced, start: int) -> str:
        """A hint about the first line that would end the heredoc but for spaces around it."""
        allowed = "only tabs may stand before it" if doc.chomp else "nothing may stand beside it"
        for number, line in enumerate(self.lines[start:], start + 1):
            if line.strip() == doc.name:
                where = "before" if line.rstrip() == line else "behind"
                return f"line {number} has white space {where} {doc.name}: {allowed}"
        return ""
