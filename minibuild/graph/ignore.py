"""A list of ignore patterns: which paths below a root are there at all.

Comes in: the patterns of an ignore file, or of `--exclude`, in order. Goes out: `IgnorePatterns`.
The rules are those by which BuildKit sends a context: patterns are tried in order and the last one
that matches wins; a pattern that matched a directory also matches what is below it, and a pattern
that had no say for a directory (because the answer was its own already) is tried for each path
below by that path alone.

Ignore files are generated, too, and may have tens of thousands of lines. So neighbours that say the
same, exclude or bring back, make one *run*, within which the order does not matter; and a pattern
is looked up by the text that it begins or ends with, and not tried for each path.
Read next: `pattern` for what one pattern means, `ignore_file` for the file.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from minibuild.errors import DefinitionError
from minibuild.graph.pattern import clean, glob_matcher, has_wildcard, ignore_expression
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

_ANYWHERE = "**/"
_SPECIAL = regex(r"\\.|[*?\[\]]", re.DOTALL)

Match = Callable[[str], re.Match[str] | None]


class _Pattern(NamedTuple):
    """One pattern: its place in the list given, its cleaned text, and what it does."""

    number: int
    text: str
    negated: bool


class _Matched(NamedTuple):
    """The state of a directory: whether it is excluded, and the runs that matched it."""

    excluded: bool
    runs: tuple[int, ...]


class IgnorePatterns:
    """Compiled ignore patterns. Paths are relative to the root, with `/`, without `.` or `..`.

    Answers for directories are remembered, so that a walk costs one step for each path.
    """

    __slots__ = ("_below", "_directories", "_index", "_negated", "_patterns", "_runs")

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = tuple(_read(patterns))
        self._runs: list[list[_Pattern]] = []
        for pattern in self._patterns:
            if not self._runs or self._runs[-1][0].negated != pattern.negated:
                self._runs.append([])
            self._runs[-1].append(pattern)
        self._negated = [run[0].negated for run in self._runs]
        self._index = _Index(self._runs)
        self._below = _Below(pattern.text for pattern in self._patterns if pattern.negated)
        self._directories = {"": _Matched(False, ())}

    def __bool__(self) -> bool:
        """Whether there is any pattern."""
        return bool(self._patterns)

    def excluded(self, path: str) -> bool:
        """Whether `path` is left out."""
        return self._state(path).excluded

    def may_prune(self, directory: str) -> bool:
        """Whether all of `directory` is left out: no pattern can bring back anything below it."""
        return self.excluded(directory) and not self._below.reached(directory)

    def deciding_pattern(self, path: str) -> int | None:
        """The index of the pattern that decided over `path`; None if none of them matched it."""
        matched, deciding = False, None
        for run in self._state(path).runs:
            if matched == self._negated[run]:
                matched, deciding = not self._negated[run], run
        if deciding is None:
            return None
        paths = [path, *(path[:at] for at in _slashes(path))]
        return next(p.number for p in self._runs[deciding] if _matches_any(p.text, paths))

    def _state(self, path: str) -> _Matched:
        above, missing = path.rpartition("/")[0], list[str]()
        while (known := self._directories.get(above)) is None:
            missing.append(above)
            above = above.rpartition("/")[0]
        for directory in reversed(missing):
            known = self._directories[directory] = self._step(directory, known)
        return self._step(path, known)

    def _step(self, path: str, above: _Matched) -> _Matched:
        """The state of `path`, given that of the directory it is in."""
        here = self._index.runs(path)
        if not (here or above.runs):
            return above
        matched, runs = False, list[int]()
        for run in sorted({*here, *above.runs}):
            negated = self._negated[run]
            if negated == matched or run in above.runs:
                runs.append(run)
                matched = not negated
        return _Matched(matched, tuple(runs))


@lru_cache(maxsize=16)
def compiled(patterns: tuple[str, ...]) -> IgnorePatterns:
    """The compiled patterns of a list that is asked for more than once."""
    return IgnorePatterns(patterns)


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
        yield _Pattern(number, clean(text[negated:]), negated)


def _matches_any(pattern: str, paths: Iterable[str]) -> bool:
    if not has_wildcard(pattern):
        return pattern in paths
    return any(map(_Wild(0, ignore_expression(pattern)).matches, paths))


def _slashes(path: str) -> list[int]:
    found, at = list[int](), path.find("/")
    while at >= 0:
        found.append(at)
        at = path.find("/", at + 1)
    return found


class _Wild:
    """An expression, and the run that it is of. It is compiled when it is tried."""

    __slots__ = ("_expression", "_match", "run")

    def __init__(self, run: int, expression: str) -> None:
        self.run = run
        self._expression = expression
        self._match: Match | None = None

    def matches(self, path: str) -> bool:
        if self._match is None:
            self._match = re.compile(self._expression, re.DOTALL).fullmatch
        return self._match(path) is not None


class _ByText:
    """Expressions by the text that is at the beginning, or the end, of all that they match."""

    __slots__ = ("_found", "_lengths")

    def __init__(self) -> None:
        self._found: dict[str, list[_Wild]] = {}
        self._lengths: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, text: str, wild: _Wild) -> None:
        self._found.setdefault(text, []).append(wild)
        self._lengths.add(len(text))

    def add_at(self, path: str, start: int, tried: list[_Wild]) -> None:
        """Add those whose text stands in `path` at `start`."""
        for length in self._lengths:
            tried += self._found.get(path[start : start + length], ())

    def add_at_end(self, path: str, tried: list[_Wild]) -> None:
        """Add those whose text is the end of `path`."""
        for length in self._lengths:
            tried += self._found.get(path[-length:], ())


class _Index:
    """Which runs a path matches by itself.

    Patterns that begin with `**/` count for each directory that the path is in, the others from
    the root. A pattern that begins and ends with a wildcard has to be tried.
    """

    __slots__ = ("_begin", "_begin_below", "_end", "_longest", "_names", "_names_below", "_rest")

    def __init__(self, runs: Sequence[Sequence[_Pattern]]) -> None:
        self._names: dict[str, set[int]] = {}
        self._names_below: dict[str, set[int]] = {}
        self._begin, self._begin_below, self._end = _ByText(), _ByText(), _ByText()
        rest: dict[int, list[str]] = {}
        for run, patterns in enumerate(runs):
            for pattern in patterns:
                if not self._add(run, pattern.text):
                    rest.setdefault(run, []).append(f"(?:{ignore_expression(pattern.text)})")
        self._longest = max(map(len, self._names_below), default=0)
        self._rest = [_Wild(run, "|".join(expressions)) for run, expressions in rest.items()]

    def _add(self, run: int, pattern: str) -> bool:
        """Enter a pattern by its text. Whether it has any."""
        name = pattern.removeprefix(_ANYWHERE)
        is_below = name != pattern
        if not has_wildcard(name):
            (self._names_below if is_below else self._names).setdefault(name, set()).add(run)
            return True
        wild = _Wild(run, ignore_expression(pattern))
        begin, *_, end = _SPECIAL.split(name)
        if name.endswith(f"**{end}"):
            end = end.removeprefix("/")  # `**/` may stand for nothing, and its slash with it
        if begin:
            (self._begin_below if is_below else self._begin).add(begin, wild)
        elif end:
            self._end.add(end, wild)
        return bool(begin or end)

    def runs(self, path: str) -> set[int]:
        """The numbers of all runs of which a pattern matches `path`."""
        found, tried = set(self._names.get(path, ())), self._rest.copy()
        self._begin.add_at(path, 0, tried)
        self._end.add_at_end(path, tried)
        if self._names_below or self._begin_below:
            # No name is longer than the longest: of a path 10,000 deep only the end is looked up.
            names, start = len(path) - self._longest, 0
            if names > 0 and not self._begin_below:
                start = path.find("/", names - 1) + 1 or len(path)
            while start < len(path):
                if start >= names:
                    found.update(self._names_below.get(path[start:], ()))
                self._begin_below.add_at(path, start, tried)
                start = path.find("/", start) + 1 or len(path)
        for wild in tried:
            if wild.run not in found and wild.matches(path):
                found.add(wild.run)
        return found


class _Below:
    """The parts of patterns as a tree: whether one can match something below a directory."""

    __slots__ = ("_anything", "_matches", "_part", "_plain", "_wild")

    def __init__(self, patterns: Iterable[str] = (), part: str = "") -> None:
        self._part = part
        self._matches: Callable[[str], bool] | None = None
        self._plain: dict[str, _Below] = {}
        self._wild: dict[str, _Below] = {}
        self._anything = False
        for pattern in patterns:
            self._add(pattern.split("/"))

    def _add(self, parts: Sequence[str]) -> None:
        node = self
        for part in parts:
            # A class may hold a slash, and so match over the border of two names.
            if "**" in part or "[" in part:
                node._anything = True
                return
            children = node._wild if has_wildcard(part) else node._plain
            node = children.setdefault(part, _Below(part=part))

    def reached(self, directory: str) -> bool:
        """Whether a pattern could match something below `directory`."""
        nodes = [self]
        for name in directory.split("/"):
            if any(node._anything for node in nodes):
                return True
            nodes = [child for node in nodes for child in node._children(name)]
        return any(node._anything or node._plain or node._wild for node in nodes)

    def _children(self, name: str) -> Iterator["_Below"]:
        if name in self._plain:
            yield self._plain[name]
        yield from (child for child in self._wild.values() if child._is_for(name))

    def _is_for(self, name: str) -> bool:
        if self._matches is None:
            self._matches = glob_matcher(self._part)
        return self._matches(name)
