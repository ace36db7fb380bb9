"""Where a copy puts what it reads, told from its operation alone.

Comes in: a `Copy` as records have it, and a path that it read. Goes out: where that is afterwards.
Rules: those of COPY. Of a folder that is named the contents are copied; a file goes into the
destination if that is written as a folder, or if there are several sources.
"""

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from minibuild.fileop.plan import names_directory

_WILD = "*?[\\"


def destination(
    copy: Mapping[str, Any], source: str, *, folder: bool, named: str = ""
) -> str | None:
    """Where the file or `folder` at `source` of the input comes, if there is no folder of the name
    of the destination; None if it is not copied, or not for the path that is `named`. Paths have
    no slash around them."""
    dest, names = str(copy["dest"]), source.strip("/").split("/")
    top = dest.strip("/").removesuffix("/.").removeprefix("./")
    if copy.get("parents"):
        return posixpath.join(top, *names)
    for path in [named] if named else copy["paths"]:
        pattern = [name for name in path.split("/") if name not in ("", ".")]
        if len(names) < len(pattern) or not all(map(_may_match, pattern, names)):
            continue
        rest = names[len(pattern) :]
        if rest or folder:
            return posixpath.join(top, *rest).strip("/")
        return posixpath.join(top, names[-1]) if into_folder(copy) else top
    return None


def placed(copy: Mapping[str, Any], files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """All that a copy wrote, in order, as paths and where they came from; `files` are those that it
    read, with their fingerprints. A file may also have come into a folder of the name of the
    destination, if there was one."""
    for named in copy["paths"]:
        for source, words in files.items():
            folder = words.startswith("dir")
            path = destination(copy, source, folder=folder, named=named)
            if path:
                yield path, source
                if not folder and path == str(copy["dest"]).strip("/"):
                    yield posixpath.join(path, posixpath.basename(source)), source


def into_folder(copy: Mapping[str, Any]) -> bool:
    """Whether the destination is a folder, whatever is there."""
    wild = any(c in path for path in copy["paths"] for c in _WILD)
    return names_directory(str(copy["dest"])) or len(copy["paths"]) > 1 or wild


def _may_match(pattern: str, name: str) -> bool:
    return pattern == name or any(c in pattern for c in _WILD)
