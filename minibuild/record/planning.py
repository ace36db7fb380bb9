"""What a build would do: what would run, why, and how long it took the last time.

Comes in: a request, and the folder of a store. Goes out: a `Plan`. Nothing runs and nothing is
written: the store may be on a disk that cannot be written, and no namespace is entered. Files of
contexts are read for it, as a build would; those of results are not.
A plan uses the words of `why`: it is a build whose steps have not run yet.
Some files of contexts may be taken as changed, and nothing that is read is remembered.
Read next: `foresight`, `story`.
"""

import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

from minibuild.cache.records import Cache
from minibuild.cache.results import Diffs
from minibuild.digest import Digest, digest_strings
from minibuild.errors import UsageError, located, quoting
from minibuild.events import Report, silent
from minibuild.fileop.digest_cache import DigestCache
from minibuild.fileop.hasher import line
from minibuild.frontend.bridge import Findings, convert, frontend_of, frontend_request, with_epoch
from minibuild.frontend.definition import Definition
from minibuild.frontend.subrequests import definition_of, finder_of
from minibuild.graph.op import Exec, File, ImageSource, Merge, MountOutput
from minibuild.graph.vertex import IgnoreRules, Vertex, topological
from minibuild.image.reader import ReadOnlyContent
from minibuild.record.foresight import Foreseen, Foresight
from minibuild.record.links import LinkAdvice, advice
from minibuild.record.lookup import known_parts
from minibuild.record.recorder import context_of, place_of
from minibuild.record.records import (
    BuildRecord,
    BuildRecords,
    RecordedStep,
    longest_chain,
    unwritten,
)
from minibuild.record.result_tree import ResultTrees
from minibuild.record.secrecy import mask_of
from minibuild.record.story import Story, newest_before, story
from minibuild.record.writing import MOST_OF_A_PLACE
from minibuild.session.request import BuildRequest
from minibuild.solver.inputs import contents_of, open_directory
from minibuild.solver.keys import Contents, Part, ReadyVertex, fast_parts, fast_reads, pairs
from minibuild.solver.lookup import Lookup
from minibuild.startup.tuples import NamedTuple
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


class PlannedStep(NamedTuple):
    """A step: whether it would be found in the cache, and whether that is `certain`; if not, it
    depends on what comes of the steps and sources `unless`. `seconds` is how long it took when it
    ran last, if that is known."""

    step: RecordedStep
    cached: bool
    certain: bool
    unless: tuple[RecordedStep, ...] = ()
    seconds: float | None = None


class Plan(NamedTuple):
    """The steps in order, and the causes of those that would run. `unread` are paths taken as
    changed that no step reads; with `elsewhere` there are caches that were not asked. `links` are
    for each copy of the last build, if that was asked for."""

    steps: tuple[PlannedStep, ...]
    story: Story
    unread: tuple[str, ...] = ()
    elsewhere: bool = False
    links: tuple[LinkAdvice, ...] | None = None

    @property
    def to_run(self) -> list[PlannedStep]:
        """The steps that are not certain to be found."""
        return [one for one in self.steps if not (one.cached and one.certain)]

    @property
    def seconds(self) -> float:
        """How long these took when they ran last, one after the other."""
        return sum(one.seconds or 0.0 for one in self.to_run)

    @property
    def chain_seconds(self) -> float:
        """How long the longest chain of steps that wait for each other took."""
        took = {one.step.number: one.seconds or 0.0 for one in self.to_run}
        chain = longest_chain(self.story.build, lambda step: took.get(step.number, 0.0))
        return sum(took[step.number] for step in chain)


def plan(
    request: BuildRequest,
    *,
    root: str,
    changed: Sequence[str] = (),
    links: bool = False,
    report: Report = silent,
    cancelled: threading.Event | None = None,
) -> Plan:
    """What a build would do. `changed` are paths of contexts, taken as changed. Raises what a build
    raises before its first step, and for files that a step would not find."""
    cancelled = cancelled or threading.Event()
    finder = finder_of(request, ReadOnlyContent(root), report, cancelled)
    definition = definition_of(request, finder, report, cancelled)
    with closing(ReadOnlyStore(root)) as store, quoting(definition.source):
        planner = _Planner(request, definition, store, report, cancelled)
        made = planner.plan(changed_paths(changed, request, definition))
        return made._replace(links=planner.links()) if links else made


class _Planner:
    """One plan."""

    def __init__(
        self,
        request: BuildRequest,
        definition: Definition,
        store: ReadOnlyStore,
        report: Report,
        cancelled: threading.Event,
    ) -> None:
        self._request = request
        self._definition = definition
        self._store = store
        self._report = report
        self._content = ReadOnlyContent(store.root)
        self._finder = finder_of(request, self._content, report, cancelled)
        self._cache = Cache(store.db, Diffs(store.db, self._content))
        self._reading = ContextReader(definition.directories, store, cancelled)
        self._builds = _earlier(BuildRecords(store.root), request)

    def plan(self, changed: ChangedFiles) -> Plan:
        self._reading.changed = changed
        vertices = topological(self._targets())
        request = self._request
        lookup = Lookup(self._cache, self._image, None, request.lab)
        foresight = Foresight(
            self._store.db,
            lookup,
            self._reading.parts,
            self._builds,
            elsewhere=bool(request.cache_from),
        )
        seen = foresight.of(vertices)
        build = self._build(vertices, seen)
        against = newest_before(self._builds, build)
        told = story(build, against, known_parts(self._cache, build))
        steps = tuple(self._steps(build, vertices, seen, told))
        return Plan(steps, told, self._reading.unread(), bool(request.cache_from))

    def links(self) -> tuple[LinkAdvice, ...]:
        """What `--link` would do for the copies of the last build."""
        parts, trees = known_parts(self._cache), ResultTrees(self._store, self._content)
        return tuple(
            found
            for build in self._builds[:1]
            for found in advice(build, self._builds, parts, trees.look)
        )

    def _targets(self) -> list[Vertex | None]:
        """The graph, as the build would make it."""
        request, definition = self._request, self._definition
        frontend = frontend_of(request, definition)
        epoch = frontend.epoch(frontend_request(request, definition))
        if epoch.source is not None:
            raise UsageError(
                "the time in SOURCE_DATE_EPOCH is that of a source, which is not fetched here",
                hint="write it in seconds: --build-arg SOURCE_DATE_EPOCH=0",
            )
        request = with_epoch(request, epoch.seconds)
        warn = Findings(self._report, definition.source).add
        made = convert(frontend, request, definition, self._finder, warn)
        return [image.vertex for image in made.images]

    def _image(self, op: ImageSource) -> Any:
        return (), [layer.diff_id for layer in self._finder.image(op).layers]

    def _build(self, vertices: Sequence[Vertex], seen: Mapping[Digest, Foreseen]) -> BuildRecord:
        """The plan in the form of a record."""
        request, source = self._request, self._definition.source
        likely = {digest: foreseen.likely for digest, foreseen in seen.items()}
        results = {
            digest: one.found if one.cached else one.found._replace(cached=False)
            for digest, one in likely.items()
        }
        parts = {one.found.key: one.parts for one in likely.values() if one.found.key and one.parts}
        mask = mask_of(request, source.text, vertices)
        return unwritten(request, source, vertices, results, mask, parts)

    def _steps(
        self,
        build: BuildRecord,
        vertices: Sequence[Vertex],
        seen: Mapping[Digest, Foreseen],
        told: Story,
    ) -> Iterator[PlannedStep]:
        numbers = {vertex.digest: n for n, vertex in enumerate(vertices)}
        before = {one.step.number: one.before for one in told.told}
        for step, vertex in zip(build.steps, vertices, strict=True):
            if not step.is_step:
                continue
            foreseen = seen[vertex.digest]
            cached = foreseen.likely.cached
            hinges: dict[int, RecordedStep] = {}
            if not foreseen.certain:
                for digest in foreseen.hinges:
                    hinge = vertices[numbers[digest]]
                    whole = len(seen[digest].outcomes) == 1
                    for found in _deciding(hinge, seen, whole=whole):
                        hinges[numbers[found]] = build.steps[numbers[found]]
            seconds = self._last_time(step, before.get(step.number))
            yield PlannedStep(step, cached, foreseen.certain, tuple(hinges.values()), seconds)

    def _last_time(self, step: RecordedStep, before: RecordedStep | None) -> float | None:
        """How long it took when it ran last; one whose words changed, before that; one that is in
        another stage as well, there."""
        for like, anywhere in ((step, False), (before, False), (step, True)):
            if like is None:
                continue
            for found in (found for build in self._builds for found in build.steps):
                same = found.text == like.text and (anywhere or found.stage == like.stage)
                if same and found.state == "ran":
                    return found.seconds
        return None


def _earlier(records: BuildRecords, request: BuildRequest) -> list[BuildRecord]:
    """The builds to compare with, the last first: those of the same thing; or else, as where
    another target is asked for, those from the same files."""
    found = records.of_place(place_of(request))
    if found:
        return found
    here = (context_of(request), request.file)
    same = (b for b in records.all() if (b.context, b.data.get("file", "")) == here)
    return list(islice(same, MOST_OF_A_PLACE))


def _deciding(vertex: Vertex, seen: Mapping[Digest, Foreseen], *, whole: bool) -> Iterator[Digest]:
    """The steps and sources that a vertex stands for: of a merge the inputs that may come out one
    way or another; or, where its files as a `whole` count, those that would run, or all."""
    if not isinstance(vertex.op, Merge | MountOutput):
        yield vertex.digest
        return
    inputs = [input for input in vertex.inputs if input is not None]
    open_ended = [v for v in inputs if len(seen[v.digest].outcomes) > 1]
    if whole:
        open_ended += [v for v in inputs if not seen[v.digest].likely.cached]
    for input in open_ended or inputs:
        yield from _deciding(input, seen, whole=whole)
