"""Walking a tree as a build sees it: without what patterns exclude, and in one order everywhere.

Comes in: an open directory and filters. Goes out: what is below it, each directory before its
contents, sorted by name as bytes. A directory that is excluded itself is still there when a
pattern brings back something inside it; it comes just before the first such thing, as `implied`.
Excluded directories that nothing can come back from are not even opened. Read next: `select`.
"""

import os
import stat
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from minibuild.errors import DefinitionError
from minibuild.fileop.dirs import DirStack
from minibuild.fileop.paths import join
from minibuild.graph.pattern import IgnorePatterns


class Found(NamedTuple):
    """Something below the start of a walk, at `path`: the entry `name` of the directory `dir_fd`.

    The descriptor is good until the walk goes on; that of an `implied` directory may not be.
    """

    path: str
    dir_fd: int
    name: str
    stat: os.stat_result
    implied: bool = False


class Filter(NamedTuple):
    """Patterns, and the path (in their terms) of the directory where a walk starts."""

    patterns: IgnorePatterns
    prefix: str = ""


class _Level:
    """A directory in progress. `found` is set while it is only implied and not told yet."""

    __slots__ = ("entries", "found")

    def __init__(self, fd: int, found: Found | None) -> None:
        with os.scandir(fd) as entries:
            listed = list(entries)
        if len(listed) > 1:
            listed.sort(key=_name_bytes, reverse=True)
        self.entries = listed
        self.found = found


def _name_bytes(entry: "os.DirEntry[str]") -> bytes:
    return os.fsencode(entry.name)


def walk(top_fd: int, filters: Sequence[Filter] = ()) -> Generator[Found]:
    """Everything below the directory that the filters leave. Sockets are never there.

    Raises `DefinitionError` for a directory that may not be read.
    """
    filters = [f for f in filters if f.patterns]
    with DirStack(top_fd) as stack:
        levels = [_Level(stack.fd, None)]
        while levels:
            level = levels[-1]
            if not level.entries:
                levels.pop()
                if levels:
                    stack.pop()
                continue
            entry = level.entries.pop()
            path = join(stack.path, entry.name)
            taken = not any(f.patterns.excluded(join(f.prefix, path)) for f in filters)
            if not taken and not _leads_on(entry, path, filters):
                continue
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISSOCK(status.st_mode):
                continue  # Nothing that outlives its process; neither tar nor BuildKit keep it.
            found = Found(path, stack.fd, entry.name, status, not taken)
            if taken:
                yield from _implied(levels)
                yield found
            if stat.S_ISDIR(status.st_mode):
                levels.append(_open(stack, found))


def _leads_on(entry: "os.DirEntry[str]", path: str, filters: Sequence[Filter]) -> bool:
    """Whether an excluded entry is a directory that may hold something that is not."""
    if not entry.is_dir(follow_symlinks=False):
        return False
    return not any(f.patterns.may_prune(join(f.prefix, path)) for f in filters)


def _implied(levels: Sequence[_Level]) -> Iterator[Found]:
    for level in levels:
        if level.found is not None:
            yield level.found
            level.found = None


def _open(stack: DirStack, found: Found) -> _Level:
    try:
        return _Level(stack.push(found.name), found if found.implied else None)
    except PermissionError as error:
        raise unreadable(found.path, error) from error


def unreadable(path: str, error: OSError) -> DefinitionError:
    """The error for a source that this process may not read."""
    return DefinitionError(
        f"cannot read {path}: {error.strerror}",
        hint="make it readable for you, or exclude it in the ignore file",
    )
