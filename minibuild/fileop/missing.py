"""Why a source of a copy is not there, said so that a person can mend it.

Comes in: what was named and the tree. Goes out: a `DefinitionError` that says where it was looked
for, with the end of BuildKit's message (`"/a": not found`), which people search for; and with
the cause as the hint: ignored by which line, outside the context, a dangling symlink, or a name
that is nearly right. Runs only when a build has failed, so it may look around at leisure.
"""

import os

from minibuild.errors import DefinitionError
from minibuild.fileop.api import SourceTree
from minibuild.graph.ignore import IgnorePatterns, compiled
from minibuild.linux.beneath import join, lstat, open_beneath, parents, readlink, real_path
from minibuild.linux.descriptors import closing_fd

_SHOWN = 3
"""So many names are shown."""


def not_found(
    tree: SourceTree, ignore: IgnorePatterns, written: str, named: str, real: str
) -> DefinitionError:
    """The error for `written`, which means the path `named`, of which `real` is the real one.

    An empty `real` is worked out here.
    """
    real = real or _real(tree, named)
    return DefinitionError(
        f'"/{named}": not found in {_place(tree)}',
        hint=_outside(tree, written, named)
        or _ignored(tree, ignore, named, real)
        or _left_out(tree, named, real)
        or _dangling(tree, named)
        or _similar(tree, ignore, named, real),
    )


def closed_directory(tree: SourceTree, path: str) -> str:
    """The last directory on the way to a path before which this process has to stop."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        try:
            lstat(tree.fd, real_path(tree.fd, "/".join(parts[: count + 1])))
        except PermissionError:
            return "/".join(parts[:count])
        except OSError:
            break
    return path


def _real(tree: SourceTree, named: str) -> str:
    try:
        return real_path(tree.fd, named)
    except OSError:
        return named


def _place(tree: SourceTree) -> str:
    context, _, name = tree.name.partition(":")
    if context != "context":
        return tree.name or "the tree it should come from"
    return f"the build context {name}".rstrip()


def _outside(tree: SourceTree, written: str, named: str) -> str:
    if not _escapes(written):
        return ""
    return (
        f"{written} is outside {_place(tree)}, so it was looked for as /{named} inside it: "
        "use a context that is higher up, or add one with --build-context"
    )


def _escapes(path: str) -> bool:
    """Whether `path` tries to go above its root."""
    depth = 0
    for part in path.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return True
    return False


def _ignored(tree: SourceTree, ignore: IgnorePatterns, named: str, real: str) -> str:
    links = (path for path in parents(real) if ignore.excluded(path) and readlink(tree.fd, path))
    real = next(links, real)
    index = ignore.deciding_pattern(real) if real and lstat(tree.fd, real) else None
    if index is None or not ignore.excluded(real):
        return ""
    via = f" (through /{real})" if real != named else ""
    return f"/{named}{via} is there, but it is {_excluded(tree, tree.ignore, index)}"


def _left_out(tree: SourceTree, named: str, real: str) -> str:
    """Of a tree that was made without some files it is not known which files they were."""
    if tree.ignore:
        return ""  # All of them are there to be looked at.
    patterns = compiled(tree.ignored.patterns)
    index = patterns.deciding_pattern(real) if real else None
    if index is None or not patterns.excluded(real):
        return ""
    return f"/{named} is {_excluded(tree, tree.ignored.patterns, index)}"


def _excluded(tree: SourceTree, patterns: tuple[str, ...], index: int) -> str:
    _, name, lines = tree.ignored
    line = f" by line {lines[index]}" if index < len(lines) else ""
    file = f" of {name}" if name else " by the ignore file"
    return f"excluded{line}{file}: {patterns[index]}"


def _dangling(tree: SourceTree, named: str) -> str:
    """Whether the last component is a symlink to nothing."""
    head, _, name = named.rpartition("/")
    try:
        target = readlink(tree.fd, join(real_path(tree.fd, head), name))
    except OSError:
        return ""
    if target is None:
        return ""
    return f"/{named} is a symlink to {target}, which does not exist in {_place(tree)}"


def _similar(tree: SourceTree, ignore: IgnorePatterns, named: str, real: str) -> str:
    """Names like the first component that is missing, in the directory where it should be."""
    import difflib

    parts = real.split("/")
    for depth, part in enumerate(parts):
        above = "/".join(parts[:depth])
        if lstat(tree.fd, join(above, part)) is not None:
            continue
        try:
            names = [n for n in _names(tree, above) if not ignore.excluded(join(above, n))]
        except NotADirectoryError:
            return f"/{above} is not a directory"
        except OSError:
            break
        missing = join(above, part)
        text = f"there is no /{missing}; " if missing != named else ""
        by_case = [name for name in names if name.lower() == part.lower()]
        close = by_case or difflib.get_close_matches(part, names, _SHOWN)
        if not close:
            return text + _contents(f"/{above}" if above else _place(tree), names)
        likely = ("/".join([*parts[:depth], name, *parts[depth + 1 :]]) for name in close)
        return f"{text}did you mean {', '.join('/' + path for path in likely)}?"
    return f"/{named} is there, but --exclude leaves nothing of it, or it is behind a symlink"


def _contents(directory: str, names: list[str]) -> str:
    """What a directory has instead, so that a wrong directory is seen to be one."""
    if not names:
        return f"{directory} is empty"
    if names == ["Dockerfile"]:
        return f"{directory} has Dockerfile alone: name a folder with the files, and that with -f"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{directory} has {', '.join(names[:_SHOWN])}{more}"


def _names(tree: SourceTree, real: str) -> list[str]:
    with closing_fd(open_beneath(tree.fd, real, os.O_RDONLY | os.O_DIRECTORY)) as fd:
        return sorted(os.listdir(fd))
