"""Finding inline files (`<<EOF`) in a logical line.

Comes in: the text of a RUN, COPY or ADD. Goes out: the heredocs that it announces, without their
texts, which `lines` reads from the lines below. The rules are BuildKit's: the line is lexed as a
shell would, with a backslash as escape whatever the file says, and a line that cannot be lexed
announces nothing. Spaces may stand after `<<`, so `$((1 << 4))` announces one too.
Read next: `lines`.
"""

from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple
from minibuild_dockerfile.lexer import Lexer, LexError, TooMuchError, separated
from minibuild_dockerfile.words import NotStrings, json_array, split_flags, split_keyword

_ANNOUNCED = regex(r"[0-9]*<<(-?)[\t\f\r ]*([^<]*)")
_KEYWORDS = frozenset(("ADD", "COPY", "RUN"))


class Announced(NamedTuple):
    """A heredoc that a line announces. The fields are those of `instructions.Heredoc`."""

    name: str
    expand: bool
    chomp: bool


def announced(line: str) -> list[Announced]:
    """The heredocs of a whole logical line, in order."""
    if "<<" not in line or not _may_have_heredocs(line):
        return []
    lexer = Lexer(line, _unset, keep_quotes=True, keep_escapes=True, keep_unset=True)
    try:
        words = separated(lexer.until(""))
    except (LexError, TooMuchError):
        return []
    return [found for word in words if (found := heredoc_word(word))]


def _may_have_heredocs(line: str) -> bool:
    """Whether it is a RUN, COPY or ADD (or ONBUILD of these) and no JSON array."""
    keyword, rest = split_keyword(line)
    _, rest = split_flags(rest)
    if keyword.text.upper() == "ONBUILD":
        keyword, rest = split_keyword(rest.text)
        _, rest = split_flags(rest)
    try:
        is_json = json_array(rest.text) is not None
    except NotStrings:
        is_json = True
    return keyword.text.upper() in _KEYWORDS and not is_json


def heredoc_word(word: str) -> Announced | None:
    """The heredoc that one word announces, if it does."""
    match = _ANNOUNCED.fullmatch(word) if "<<" in word else None
    if not match or not match[2]:
        return None
    try:
        names = separated(Lexer(match[2], _unset, keep_unset=True).until(""))
        kept = Lexer(match[2], _unset, keep_unset=True, keep_quotes=True)
        quoted = separated(kept.until(""))
    except (LexError, TooMuchError):
        return None
    if len(names) != 1 or len(quoted) != 1:
        return None
    expand = _quotes(names[0]) == _quotes(quoted[0])
    return Announced(names[0], expand, match[1] == "-")


def _unset(name: str) -> None:
    """The shell is to read the line later: no variable has a value yet."""


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')
