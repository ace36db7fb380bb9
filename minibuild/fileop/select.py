"""Which files of a tree a `Copy` names: wildcards, symlinks, `--parents`, `--exclude`.

Comes in: a `Copy` and the `SourceTree` it reads. Goes out: `Pick`s, one for each thing named, and
what is below each of them. The rules are those of COPY in BuildKit: a symlink that is named (or
matched by a wildcard) is followed, those inside a directory are kept; `..` stops at the root; a
wildcard without a match is fine, a plain name without a file is not. Read next: `plan`.
"""

import os
import re
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from minibuild.errors import DefinitionError
from minibuild.fileop.api import SourceTree, unreadable
from minibuild.graph.ignore import IgnorePatterns, compiled
from minibuild.graph.op import Copy, CopyRules
from minibuild.graph.pattern import compile_glob, escape_glob, unescape_glob
from minibuild.linux.beneath import clean, join, lstat, open_beneath, real_path
from minibuild.linux.cursor import Cursor
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:  # a copy of files alone walks through no directory
    from minibuild.fileop.walk import Filter, FoundFile

_PIVOT = "/./"
_SPECIAL = frozenset("*?[")
_WILDCARD = regex(r"(?:[^\\*?\[]|\\.)*[*?\[]", re.DOTALL)


def _has_wildcard(path: str) -> bool:
    """Whether it is a pattern: it has a wildcard with no backslash before it."""
    return not _SPECIAL.isdisjoint(path) and _WILDCARD.match(path) is not None


def one_path(path: str) -> Copy:
    """What a bind mount of `path` reads, as a copy: just that, and it has to be there."""
    return Copy(0, (escape_glob(path) or "/",), "/", rules=CopyRules(allow_empty=False))


class Pick(NamedTuple):
    """One thing that a copy names: `named` is its path as written or matched, `real` where it is.

    Of a directory only the contents are copied; the `wanted` patterns say which (`--parents`).
    """

    named: str
    real: str
    stat: os.stat_result
    wanted: IgnorePatterns | None = None

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.stat.st_mode)


class Selection:
    """What one `Copy` reads from one tree. Nothing is remembered of the tree itself."""

    __slots__ = ("_exclude", "_ignore", "copy", "tree")

    def __init__(self, copy: Copy, tree: SourceTree) -> None:
        self.copy = copy
        self.tree = tree
        self._ignore = compiled(tree.ignore)
        self._exclude = IgnorePatterns(copy.exclude)

    def picks(self) -> Iterator[Pick]:
        """Everything the copy names, in order. Raises `DefinitionError` for what is not there."""
        for path in self.copy.paths:
            if self.copy.parents:
                yield from self._with_parents(path)
            elif _has_wildcard(path):
                matched = False
                for named in self._expand(path):
                    matched = True
                    yield self._pick(named, path)
                if not matched and not self.copy.rules.allow_empty:
                    from minibuild.fileop.missing import not_found

                    raise not_found(self.tree, self._ignore, path, unescape_glob(clean(path)), "")
            else:
                yield self._pick(clean(path), path)

    def filters(self, pick: Pick) -> "list[Filter]":
        """What leaves out files of a picked directory."""
        from minibuild.fileop.walk import Filter

        filters = [Filter(self._ignore, pick.real, hides=True), Filter(self._exclude)]
        if pick.wanted is not None:
            filters.append(Filter(pick.wanted))
        if self.copy.rules.include:
            filters.append(Filter(_only(self.copy.rules.include)))
        return filters

    def below(self, pick: Pick) -> "Generator[FoundFile]":
        """What of a picked directory is copied."""
        from minibuild.fileop.walk import walk

        with self._directory(pick.real) as fd:
            local, owners, filters = self.tree.local, self.tree.owners, self.filters(pick)
            yield from walk(fd, filters, sockets=local, top=pick.real, owners=owners)

    @contextmanager
    def parent(self, pick: Pick) -> Iterator[tuple[int, str]]:
        """The open directory that holds a picked file, and its name there."""
        head, _, name = pick.real.rpartition("/")
        with self._directory(head) as fd:
            yield fd, name

    def _pick(self, named: str, written: str) -> Pick:
        try:
            real = self._real(named)
        except PermissionError as error:
            from minibuild.fileop.missing import closed_directory

            raise unreadable(closed_directory(self.tree, named), error) from error
        except OSError as error:
            raise DefinitionError(f"cannot copy {written}: {error.strerror}") from error
        status = lstat(self.tree.fd, real)
        if status is None or not self._visible(real, stat.S_ISDIR(status.st_mode)):
            from minibuild.fileop.missing import not_found

            raise not_found(self.tree, self._ignore, written, named, real)
        if not status.st_size or self.tree.owners is not None:
            from minibuild.linux import owner, xattr

            status = owner.seen(status, xattr.at(self.tree.fd, real), self.tree.owners)
        return Pick(named, real, status)

    def _real(self, named: str) -> str:
        if self.copy.rules.follow:
            # A symlink that is ignored is not there, so it leads nowhere.
            return real_path(self.tree.fd, named, lambda link: not self._ignore.excluded(link))
        head, _, name = named.rpartition("/")
        return join(real_path(self.tree.fd, head), name) if name else ""

    def _visible(self, real: str, is_dir: bool) -> bool:
        """Whether the ignore patterns leave this path, or something below it."""
        if not real or not self._ignore.excluded(real):
            return True
        if not is_dir or self._ignore.may_prune(real):
            return False
        from minibuild.fileop.walk import Filter, walk

        filters = [Filter(self._ignore, real)]
        with self._directory(real) as fd, closing(walk(fd, filters, top=real)) as below:
            return next(below, None) is not None

    # --- wildcards ---

    def _expand(self, path: str) -> Iterator[str]:
        """The paths that a wildcard matches, sorted. Symlinks on the way are not followed.

        They are in the part before the first wildcard, which has to be there.
        """
        parts = clean(path).split("/")
        first = next(i for i, part in enumerate(parts) if _has_wildcard(part))
        fixed = self._pick("/".join(parts[:first]), path) if first else None
        top = fixed.real if fixed else ""
        if fixed is not None and not fixed.is_dir:
            return
        with self._directory(top) as fd, Cursor(fd) as stack:
            yield from self._match(stack, top, parts[first:])

    def _match(self, stack: Cursor, above: str, patterns: Sequence[str]) -> Iterator[str]:
        matches = compile_glob(patterns[0])
        with os.scandir(stack.fd) as scan:
            entries = [(e.name, e.is_dir(follow_symlinks=False)) for e in scan if matches(e.name)]
        for name, is_dir in sorted(entries, key=lambda entry: os.fsencode(entry[0])):
            path = join(above, name)
            if len(patterns) == 1:
                if self._visible(path, is_dir):
                    yield path
            elif is_dir and not self._ignore.may_prune(path):
                try:
                    stack.push(name)
                except PermissionError as error:
                    raise unreadable(path, error) from error
                yield from self._match(stack, path, patterns[1:])
                stack.pop()

    # --- --parents ---

    def _with_parents(self, path: str) -> Iterator[Pick]:
        """The directories from which a source's parents count, and a pattern for the source.

        That is the root, or what is before `/./` in the source; there may be wildcards in it, and
        a file that they match is named itself, as in BuildKit.
        """
        base, pivot, rest = path.partition(_PIVOT)
        if not pivot:
            base, rest = "", path
        pattern = clean(rest)
        if _has_wildcard(base):
            picks = (self._pick(named, path) for named in self._expand(base))
            yield from (_wanted(pick, pattern) if pick.is_dir else pick for pick in picks)
            return
        pick = self._pick(clean(base), path)
        required = not _has_wildcard(pattern)
        if not (pick.is_dir or required or self.tree.local):
            yield pick  # Of a context BuildKit fetches what the pattern matches, and so nothing.
            return
        pick = _wanted(pick, pattern)
        if not pick.is_dir or (required and (not pattern or not self._any(pick))):
            from minibuild.fileop.missing import not_found

            raise not_found(self.tree, self._ignore, path, join(pick.named, pattern), "")
        yield pick

    def _any(self, pick: Pick) -> bool:
        with closing(self.below(pick)) as below:
            return next(below, None) is not None

    @contextmanager
    def _directory(self, real: str) -> Iterator[int]:
        try:
            fd = open_beneath(self.tree.fd, real, os.O_RDONLY | os.O_DIRECTORY)
        except PermissionError as error:
            raise unreadable(real, error) from error
        try:
            yield fd
        finally:
            os.close(fd)


def _wanted(pick: Pick, pattern: str) -> Pick:
    """Only what the pattern means, in a directory."""
    return pick._replace(wanted=_only([pattern])) if pattern else pick


def _only(patterns: Sequence[str]) -> IgnorePatterns:
    """What leaves out all that the patterns do not match."""
    opposite = [p[1:] if p.startswith("!") else f"!{p}" for p in patterns]
    return IgnorePatterns(["**", *opposite])
