"""The patterns of `${name#pattern}`, `${name%pattern}` and `${name/pattern/text}`.

Comes in: a pattern of literal characters, `*`, `?` and backslashes, and a value. Goes out: the
value with the matching part cut away or replaced. The rules are those of POSIX parameter
expansion without bracket expressions, with what BuildKit adds: a backslash may only stand before
`*`, `?`, a backslash, `}` and `/`, and neither wildcard matches a line break.
Read next: `lexer`, the only user.

A pattern becomes a regular expression that never goes back over what it has matched: the first
place where a literal part fits is always good enough for what follows, except that the last
`*` of a greedy pattern reaches as far as it can. So matching stays cheap for any pattern.
"""

import re
from collections.abc import Iterator
from typing import Final

from minibuild_dockerfile.limits import MOST_EXPANDED

STAR: Final = None
"""The token of `*`. Other tokens are pieces of a regular expression that match one character."""

Token = str | None


class PatternError(ValueError):
    """A backslash where none may stand; the text says which."""


def tokens(pattern: str) -> list[Token]:
    """The pattern as tokens, or `PatternError`."""
    found: list[Token] = []
    characters = iter(pattern)
    for character in characters:
        if character == "*":
            found.append(STAR)
        elif character == "?":
            found.append(".")
        elif character == "\\":
            escaped = next(characters, "")
            if not escaped or escaped not in "*?\\}/":
                raise PatternError(f"invalid escape '\\{escaped}'")
            found.append(re.escape(escaped))
        else:
            found.append(re.escape(character))
    return found


def _compile(parts: list[Token], greedy: bool) -> re.Pattern[str]:
    """A regular expression for tokens. See the module's text for why the groups are atomic."""
    chunks = [""]
    for part in parts:
        if part is not STAR:
            chunks[-1] += part
        elif len(chunks) == 1 or chunks[-1]:  # `**` is `*`
            chunks.append("")
    first, *rest = chunks
    if not rest:
        return re.compile(first)
    *middle, last = rest
    final = f".*{last}" if greedy else f".*?{last}"
    return re.compile(first + "".join(f"(?>.*?{chunk})" for chunk in middle) + final)


def without_prefix(value: str, pattern: str, greedy: bool) -> str:
    """The value without its shortest, or longest, beginning that the pattern matches."""
    return _cut(value, tokens(pattern), greedy)


def without_suffix(value: str, pattern: str, greedy: bool) -> str:
    """The value without its shortest, or longest, end that the pattern matches."""
    return _cut(value[::-1], tokens(pattern)[::-1], greedy)[::-1]


def _cut(value: str, parts: list[Token], greedy: bool) -> str:
    match = _compile(parts, greedy).match(value)
    return value[match.end() :] if match else value


def _matches(parts: list[Token], value: str) -> Iterator[re.Match[str]]:
    """All matches, the longest at each place, from left to right.

    What a star has not found on the rest of a line it does not find from a later place of that
    line either, so these are passed over: the time is not the square of a long value's length.
    """
    whole = _compile(parts, greedy=True)
    if STAR not in parts:
        yield from whole.finditer(value)
        return
    head = _compile(parts[: parts.index(STAR)], greedy=True)
    at, hopeless = 0, -1
    while at <= len(value) and (begun := head.search(value, at)):
        at = begun.start() + 1
        if begun.end() <= hopeless:
            continue
        if match := whole.match(value, begun.start()):
            yield match
            at = max(at, match.end())
            continue
        newline = value.find("\n", begun.end())
        hopeless = len(value) if newline < 0 else newline


def replaced(
    value: str, pattern: str, replacement: str, every: bool, most: int = MOST_EXPANDED
) -> str:
    """The value with the first match, or every match, replaced by a literal text.

    Raises `OverflowError` if the replacements have more than `most` characters.
    """
    pieces: list[str] = []
    done = 0
    for match in _matches(tokens(pattern), value):
        if pieces and match.start() == match.end() == done:
            continue  # nothing, right after a match: not a match of its own
        pieces += (value[done : match.start()], replacement)
        most -= len(replacement)
        if most < 0:
            raise OverflowError
        done = match.end()
        if not every:
            break
    return "".join((*pieces, value[done:]))
