"""Files of contexts, as a plan reads them: some of them are taken as changed.

Comes in: a step whose inputs are known, and paths. Goes out: the parts of its fast key, as
`solver.inputs` makes them, but nothing is remembered, for a plan writes nothing.
Read next: `planning`.
"""

import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence

from minibuild.digest import Digest, digest_strings
from minibuild.errors import UsageError, located
from minibuild.fileop.digest_cache import DigestCache
from minibuild.fileop.hasher import line
from minibuild.frontend.definition import Definition
from minibuild.graph.op import Exec, File
from minibuild.graph.vertex import IgnoreRules
from minibuild.session.request import BuildRequest
from minibuild.solver.inputs import contents_of, open_directory
from minibuild.solver.keys import Contents, Part, ReadyVertex, fast_parts, fast_reads, pairs
from minibuild.store.read_only import ReadOnlyStore

_DIGITS = 64
"""Of the digest that ends the fingerprint of what has data."""

ChangedFiles = Mapping[str, Collection[str]]
"""Paths of contexts that are taken as changed, by the name of the context."""


class ContextReader:
    """Reads what steps would read of contexts; some of it is taken as changed."""

    def __init__(
        self, directories: Mapping[str, str], store: ReadOnlyStore, cancelled: threading.Event
    ) -> None:
        self.changed: ChangedFiles = {}
        self._directories = directories
        self._digests = _Recalled(store.db)
        self._cancelled = cancelled
        self._met: set[tuple[str, str]] = set()
        self._read: dict[tuple[Digest, int], Contents] = {}

    def parts(self, ready: ReadyVertex, op: Exec | File) -> list[Part]:
        """The parts of a step's fast key; the files are read once for each step."""
        contents: dict[int, Contents] = {}
        for number, reader in fast_reads(ready, op).items():
            known = self._read.get((ready.vertex.digest, number))
            if known is not None:
                contents[number] = known
                continue
            found, vertex = ready.input(reader.input), ready.vertex.inputs[reader.input]
            assert found is not None and found.local is not None and vertex is not None
            ignored, name = vertex.note.ignored or IgnoreRules(), found.local.name
            path = self._directories.get(name, "")
            with located(ready.vertex.note.span), open_directory(path, found.local, ignored) as t:
                read = contents_of(reader, t, self._digests, self._cancelled)
            contents[number] = self._as_if(name, read)
            self._read[ready.vertex.digest, number] = contents[number]
        return fast_parts(ready, op, contents)

    def unread(self) -> tuple[str, ...]:
        """The paths taken as changed of which nothing was read."""
        return tuple(
            path
            for name, paths in self.changed.items()
            for path in paths
            if (name, path) not in self._met
        )

    def _as_if(self, name: str, contents: Contents) -> Contents:
        changed = self.changed.get(name, ())
        if not changed:
            return contents
        return tuple(
            line(path, self._words(name, changed, path, words)) for path, words in pairs(contents)
        )

    def _words(self, name: str, changed: Collection[str], path: str, words: str) -> str:
        inside = path.strip("/")
        for taken in changed:
            if taken in ("", inside) or inside.startswith(f"{taken}/"):
                self._met.add((name, taken))
                head, _, last = words.rpartition(" ")
                if len(last) == _DIGITS:
                    return f"{head} {digest_strings(('changed', last))[7:]}"
                # What has no data, such as a directory, stays as it is, but for a link itself.
                return f"{words} changed" if words.startswith("symlink ") else words
        return words


class _Recalled(DigestCache):
    """Digests that are known; others are not remembered."""

    def remember(self, fresh: bytes | bytearray) -> None:
        """Nothing is written."""


def changed_paths(
    words: Sequence[str], request: BuildRequest, definition: Definition
) -> dict[str, list[str]]:
    """What `--if` names: paths as the caller sees them, or in the main context. Raises
    `UsageError` for one that is in no context of the build."""
    found: dict[str, list[str]] = {}
    for word in words:
        places = [(word, *at) for at in definition.directories.items()]
        inside = [name_and_path for place in places for name_and_path in _inside(*place)]
        if not inside and not os.path.isabs(word) and os.path.isdir(request.context):
            under = os.path.join(request.context, word)
            inside = [found for place in places for found in _inside(under, *place[1:])]
        if not inside:
            raise UsageError(
                f"--if {word}: there is no such file in a context of the build",
                hint="name a file or a folder of the context; to change the Dockerfile, edit it",
            )
        for name, path in inside:
            found.setdefault(name, []).append(path)
    return found


def _inside(word: str, name: str, folder: str) -> Iterator[tuple[str, str]]:
    """The context, and the path in it, if `word` is something in the folder of that context."""
    above, last = os.path.split(os.path.abspath(word))
    path, top = os.path.join(os.path.realpath(above), last), os.path.realpath(folder)
    if os.path.lexists(path) and (path == top or path.startswith(top.rstrip("/") + "/")):
        yield name, "" if path == top else os.path.relpath(path, top)
