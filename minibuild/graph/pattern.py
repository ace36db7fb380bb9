"""Patterns of ignore files and of `--exclude`, and the wildcards of `COPY`.

Comes in: patterns as people write them. Goes out: regular expressions, and `match_glob` for one
name. Nothing here touches a disk.

Two pattern languages, as in Docker: a wildcard is that of Go's `filepath.Match` (`*`, `?`,
classes, backslash escapes); an ignore pattern adds `**` for any number of directories and a
leading `!` that brings files back (docs.docker.com, "Dockerfile reference", ".dockerignore file").
Read next: `ignore` for lists of patterns, `op` for where patterns end up.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

from minibuild.errors import DefinitionError
from minibuild.startup.regex import regex

_ANY = "[^/]*"
_WILDCARDS = regex(r"[*?\[\\]")
_ESCAPES = {
    **{"d": "[0-9]", "s": r"[\t\n\f\r ]", "w": "[0-9A-Za-z_]"},
    **{"D": "[^0-9]", "S": r"[^\t\n\f\r ]", "W": "[^0-9A-Za-z_]"},
    **{char: f"\\{char}" for char in "afnrtv"},
    **{"b": r"(?a:\b)", "B": r"(?a:\B)", "A": r"(?:\A)", "z": r"(?:\Z)"},
}
"""What a backslash makes of a letter in an ignore pattern: Docker's matcher hands both on to Go's
regular expressions. Few of those mean anything in the name of a file, and here only these do."""


def has_wildcard(pattern: str) -> bool:
    """Whether `pattern` is more than a plain name for Go's `filepath.Match`."""
    return _WILDCARDS.search(pattern) is not None


def match_glob(pattern: str, name: str) -> bool:
    """Whether `name` is what `pattern` means: Go's `filepath.Match`; raises `DefinitionError`."""
    return compile_glob(pattern)(name)


def glob_matcher(pattern: str) -> Callable[[str], bool]:
    """`match_glob` for one pattern and many names."""
    match = re.compile(_translate(pattern, lambda rest: (_ANY, 1)), re.DOTALL).fullmatch
    return lambda name: match(name) is not None


compile_glob = lru_cache(maxsize=256)(glob_matcher)
"""The same for patterns that come up again and again."""


def escape_glob(name: str) -> str:
    """A pattern that matches just `name`.

    Each special character becomes a class of its own. A backslash before it would not do: COPY
    takes a path without any wildcard as a plain name, backslashes included, as BuildKit does.
    """
    return _WILDCARDS.sub(lambda found: r"[\\]" if found[0] == "\\" else f"[{found[0]}]", name)


def unescape_glob(pattern: str) -> str:
    """The name that `escape_glob` made a pattern of."""
    return re.sub(r"\[(\\)?([*?\[\\])\]", r"\2", pattern)


def clean(path: str) -> str:
    """Go's `path.Clean`: no `.`, no empty parts, `..` taken back where that is possible."""
    rooted = path.startswith("/")
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif (part == ".." and not rooted) or part not in ("", ".", ".."):
            parts.append(part)
    return ("/" if rooted else "") + "/".join(parts) or "."


# --- translation to regular expressions ---------------------------------------------------------


def _translate(
    pattern: str,
    star: Callable[[str], tuple[str, int]],
    escaped: Callable[[str], str] = re.escape,
) -> str:
    """`pattern` as a regular expression; `star` translates what begins with a star, and `escaped` a
    character behind a backslash, or returns nothing if it cannot stand there.

    `star` gets the rest of the pattern and returns an expression and the characters it consumed.
    """
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "*":
            expression, consumed = star(pattern[at:])
            parts.append(expression)
            at += consumed
        elif char == "?":
            parts.append("[^/]")
            at += 1
        elif char == "[":
            expression, at = _class(pattern, at)
            parts.append(expression)
        elif char == "\\":
            expression = escaped(pattern[at + 1]) if at + 1 < len(pattern) else ""
            if not expression:
                raise _bad(pattern)
            parts.append(expression)
            at += 2
        else:
            parts.append(re.escape(char))
            at += 1
    return _without_retries(parts)


def _without_retries(parts: list[str]) -> str:
    """The parts as one expression that never tries a star again once what follows it was found.

    Where another `*` comes next, the first place that fits is as good as any later one: that star
    takes what is between. (If no part can be a slash; and before a `**`, which begins at one,
    it is not so.) Without this a pattern with many stars takes time without end on some names.
    """
    made: list[str] = []
    stars = [at for at, part in enumerate(parts) if part == _ANY]
    done = 0
    for here, following in pairwise(stars):
        between = parts[here + 1 : following]
        if any(part[0] in "(." or _takes_slash(part) for part in between):
            continue
        made += [*parts[done:here], f"(?>[^/]*?{''.join(between)})"]
        done = following
    return "".join(made + parts[done:])


def _takes_slash(part: str) -> bool:
    """Whether a part is a class that a slash is in; a slash itself holds a star in its place."""
    return part[0] == "[" and part != "[^/]" and re.match(part, "/") is not None


def _class(pattern: str, start: int) -> tuple[str, int]:
    """The character class that begins at `start`, and the position after it."""
    at = start + 1
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[str] = []
    empty = True
    while not (pattern.startswith("]", at) and not empty):
        low, at = _class_member(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _class_member(pattern, at + 1)
        empty = False
        if low <= high:  # a range the wrong way round holds nothing
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    if not ranges:
        return ("." if negated else "(?!)"), at + 1
    return f"[{'^' if negated else ''}{''.join(ranges)}]", at + 1


def _class_member(pattern: str, at: int) -> tuple[str, int]:
    if at >= len(pattern) or pattern[at] in "-]":
        raise _bad(pattern)
    if pattern[at] == "\\":
        at += 1
    if at + 1 >= len(pattern):  # the class needs at least its closing bracket after this
        raise _bad(pattern)
    return pattern[at], at + 1


def _bad(pattern: str) -> DefinitionError:
    return DefinitionError(
        f"syntax error in pattern: {pattern}",
        hint="a class needs its closing bracket, and a backslash something to escape; directories "
        "are separated by slashes; "
        'a list is written ["a", "b"], with double quotes and commas',
    )


def _ignore_star(rest: str) -> tuple[str, int]:
    """What a star means in an ignore pattern: `**` is any number of directories, even none."""
    if not rest.startswith("**"):
        return _ANY, 1
    consumed = 3 if rest.startswith("**/") else 2
    return (".*" if consumed == len(rest) else "(?:.*/)?"), consumed


def _ignore_escape(char: str) -> str:
    """What a character behind a backslash means in an ignore pattern."""
    if char.isascii() and not char.isalnum():
        return re.escape(char)
    return _ESCAPES.get(char, "")


def ignore_expression(pattern: str) -> str:
    """An ignore pattern, cleaned and without its `!`, as a regular expression."""
    expression = _translate(pattern, _ignore_star, _ignore_escape)
    rest = pattern[2:]
    # Docker's matcher takes `**name` for "ends in name", though `**name*` has to begin a name.
    if pattern.startswith("**") and rest and not rest.startswith("/") and not has_wildcard(rest):
        return ".*" + re.escape(rest)
    return expression
