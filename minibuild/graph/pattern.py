"""Patterns of ignore files and of `--exclude`, and the wildcards of `COPY`.

Comes in: patterns as people write them. Goes out: `IgnorePatterns`, which says of a path below a
root whether it is there at all, and `match_glob` for one name. Nothing here touches a disk.

Two pattern languages, as in Docker: a wildcard is that of Go's `filepath.Match` (`*`, `?`,
classes, backslash escapes); an ignore pattern adds `**` for any number of directories and a
leading `!` that brings files back (docs.docker.com, "Dockerfile reference", ".dockerignore file").
Read next: `ignore_file` for the file, `op` for where patterns end up.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

from minibuild.errors import DefinitionError
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

_ANY = "[^/]*"
_WILDCARDS = regex(r"[*?\[\\]")
_SPECIAL = regex(r"[*?\[\\]")


def has_wildcard(pattern: str) -> bool:
    """Whether `pattern` is more than a plain name for Go's `filepath.Match`."""
    return _WILDCARDS.search(pattern) is not None


def match_glob(pattern: str, name: str) -> bool:
    """Whether `name` is what `pattern` means: Go's `filepath.Match`; raises `DefinitionError`."""
    return compile_glob(pattern)(name)


@lru_cache(maxsize=256)
def compile_glob(pattern: str) -> Callable[[str], bool]:
    """`match_glob` for one pattern and many names."""
    match = re.compile(_translate(pattern, lambda rest: (_ANY, 1)), re.DOTALL).fullmatch
    return lambda name: match(name) is not None


def escape_glob(name: str) -> str:
    """A pattern that matches just `name`.

    Each special character becomes a class of its own. A backslash before it would not do: COPY
    takes a path without any wildcard as a plain name, backslashes included, as BuildKit does.
    """
    return _SPECIAL.sub(lambda found: r"[\\]" if found[0] == "\\" else f"[{found[0]}]", name)


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


def _translate(pattern: str, star: Callable[[str], tuple[str, int]]) -> str:
    """`pattern` as a regular expression; `star` translates what begins with a star.

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
            if at + 1 == len(pattern):
                raise _bad(pattern)
            parts.append(re.escape(pattern[at + 1]))
            at += 2
        else:
            parts.append(re.escape(char))
            at += 1
    return _without_retries(parts)


def _without_retries(parts: list[str]) -> str:
    """The parts as one expression that never tries a star anew once what follows it was found.

    Where another `*` comes next, the first place that fits is as good as any later one: that star
    takes what lies between. (If no part can be a slash; and before a `**`, which begins at one,
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
        hint="a class needs its closing bracket, and a backslash something to escape",
    )


def _ignore_star(rest: str) -> tuple[str, int]:
    """What a star means in an ignore pattern: `**` is any number of directories, even none."""
    if not rest.startswith("**"):
        return _ANY, 1
    consumed = 3 if rest.startswith("**/") else 2
    return (".*" if consumed == len(rest) else "(?:.*/)?"), consumed


def _ignore_expression(pattern: str) -> str:
    """An ignore pattern, cleaned and without its `!`, as a regular expression."""
    expression = _translate(pattern, _ignore_star)
    rest = pattern[2:]
    # Docker's matcher takes `**name` for "ends in name", though `**name*` has to begin a name.
    if pattern.startswith("**") and rest and not rest.startswith("/") and not has_wildcard(rest):
        return ".*" + re.escape(rest)
    return expression


# --- a list of patterns -------------------------------------------------------------------------


class _Pattern(NamedTuple):
    """One pattern: its place in the list given, its cleaned text, and what it does."""

    number: int
    text: str
    negated: bool
    expression: str


class _Run(NamedTuple):
    """Neighbouring patterns that say the same, exclude or bring back, as one expression."""

    negated: bool
    matches: Callable[[str], re.Match[str] | None]


def _read(patterns: Iterable[str]) -> Iterator[_Pattern]:
    for number, written in enumerate(patterns):
        text = written.strip()
        if not text:
            continue
        negated = text.startswith("!")
        if text == "!":
            raise DefinitionError(
                'illegal exclusion pattern: "!"', hint="name the files to bring back after the !"
            )
        text = clean(text[negated:])
        yield _Pattern(number, text, negated, _ignore_expression(text))


def _alternatives(expressions: Iterable[str]) -> str:
    return "|".join(f"(?:{expression})" for expression in expressions)


class IgnorePatterns:
    """Compiled ignore patterns. Paths are relative to the root, with `/`, without `.` or `..`.

    The rules are those by which BuildKit sends a context: patterns are tried in order and the last
    one that matches wins; a pattern that matched a directory also matches what is below it, and
    a pattern that had no say for a directory (because the answer was its own already) is tried
    for each path below by that path alone. Answers for directories are remembered, so that a walk
    costs one step for each path.
    """

    __slots__ = ("_directories", "_negated_parts", "_patterns", "_runs", "_whole")

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = tuple(_read(patterns))
        self._runs: tuple[_Run, ...] = ()
        self._whole: Callable[[str], re.Match[str] | None] | None = None
        self._negated_parts: list[list[str]] = []
        # For a directory: whether it is excluded, and which runs matched it (a set of bits).
        self._directories: dict[str, tuple[bool, int]] = {"": (False, 0)}
        if any(pattern.negated for pattern in self._patterns):
            self._runs = tuple(_runs(self._patterns))
            self._negated_parts = [p.text.split("/") for p in self._patterns if p.negated]
        elif self._patterns:
            expression = _alternatives(p.expression for p in self._patterns)
            self._whole = re.compile(f"(?:{expression})(?:/.*)?", re.DOTALL).fullmatch

    def __bool__(self) -> bool:
        """Whether there is any pattern."""
        return bool(self._patterns)

    def excluded(self, path: str) -> bool:
        """Whether `path` is left out."""
        if self._whole is not None:
            return self._whole(path) is not None
        return self._state(path)[0] if self._runs else False

    def may_prune(self, directory: str) -> bool:
        """Whether all of `directory` is left out: no pattern can bring back anything below it."""
        if not self.excluded(directory):
            return False
        return not any(_reaches_below(parts, directory) for parts in self._negated_parts)

    def deciding_pattern(self, path: str) -> int | None:
        """The index of the pattern that decided over `path`; None if none of them matched it."""
        inherited: dict[int, bool] = {}
        deciding = None
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            here = "/".join(parts[:depth])
            matched, deciding = False, None
            for pattern in self._patterns:
                hit = inherited.get(pattern.number, False)
                if not hit and pattern.negated == matched:
                    hit = re.fullmatch(pattern.expression, here, re.DOTALL) is not None
                inherited[pattern.number] = hit
                if hit and matched == pattern.negated:
                    matched, deciding = not pattern.negated, pattern.number
        return deciding

    def _state(self, path: str) -> tuple[bool, int]:
        """Whether `path` is excluded, and the runs that matched it or a directory above it."""
        above = path.rpartition("/")[0]
        if (known := self._directories.get(above)) is not None:
            return self._step(path, known)
        known = self._directories[""]
        for end in [at for at, char in enumerate(path) if char == "/"]:
            known = self._directories[path[:end]] = self._step(path[:end], known)
        return self._step(path, known)

    def _step(self, path: str, above: tuple[bool, int]) -> tuple[bool, int]:
        """The state of `path`, given that of the directory it is in."""
        matched, bits = False, 0
        for bit, run in enumerate(self._runs):
            hit = bool(above[1] >> bit & 1)
            if not hit and run.negated == matched:
                hit = run.matches(path) is not None
            if hit:
                bits |= 1 << bit
                matched = not run.negated
        return matched, bits


def _runs(patterns: Sequence[_Pattern]) -> Iterator[_Run]:
    """The patterns in runs. Within a run the order does not matter: the first match decides."""
    group: list[str] = []
    for at, pattern in enumerate(patterns):
        group.append(pattern.expression)
        if at + 1 == len(patterns) or patterns[at + 1].negated != pattern.negated:
            yield _Run(pattern.negated, re.compile(_alternatives(group), re.DOTALL).fullmatch)
            group = []


def _reaches_below(parts: Sequence[str], directory: str) -> bool:
    """Whether a pattern of these parts could match something below `directory`."""
    names = directory.split("/")
    for part, name in zip(parts, names, strict=False):
        # A class may hold a slash, and so match over the border of two names.
        if "**" in part or "[" in part:
            return True
        if not match_glob(part, name):
            return False
    return len(parts) > len(names)
