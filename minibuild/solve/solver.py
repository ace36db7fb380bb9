"""The solver: every vertex of a graph becomes a result, from the cache or by work.

Comes in: vertices, inputs first. Goes out: a `Solved` for each. For a vertex that is not in the
cache, its key is locked first: of two builds that want the same step at the same time, in one
process or in two, one does it and the other finds it done.
Read next: `run_exec`, `run_file` and `sources`, which do the work.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from minibuild.digest import Digest, digest_strings
from minibuild.errors import BuildError, Cancelled, explained, located
from minibuild.events import Completed, Planned, Remark, Started, VertexInfo
from minibuild.fileop.memo import OnlyKnown, Unknown
from minibuild.graph.op import (
    Diff,
    Exec,
    File,
    GitSource,
    HttpSource,
    ImageSource,
    LocalSource,
    Merge,
)
from minibuild.graph.vertex import Vertex, topological
from minibuild.solve.cache import Cache, Record, StepKeys
from minibuild.solve.cachekey import Part, combined_key, explain, step_key
from minibuild.solve.keys import base_key, canonical_parts, fast_parts, still_so
from minibuild.solve.pack_file import Packing, layered, pack_file, unread
from minibuild.solve.results import Result
from minibuild.solve.schedule import Scheduler
from minibuild.solve.sources import Sources
from minibuild.solve.trees import Solved
from minibuild.solve.workbench import Voice, Workbench

if TYPE_CHECKING:
    from minibuild.solve.foresight import Foresight, Guess
    from minibuild.solve.packer import Packer

DEFAULT_JOBS = 16
"""Steps wait for the network and the disk as often as for a processor, so more than there are."""

_CHANGED = "files of the context changed meanwhile, so the result is not kept in the cache"

Done = Mapping[Digest, Solved]


class Solver:
    """Solves the graphs of one build. `known` are vertices that an earlier solver of it did: the
    definition was read from them, so its steps must see the same, also if a branch moved since."""

    def __init__(
        self,
        bench: Workbench,
        cache: Cache,
        sources: Sources,
        *,
        jobs: int = 0,
        salt: str = "",
        packing: Packing | None = None,
        known: Done | None = None,
    ) -> None:
        self._bench = bench
        self._cache = cache
        self._sources = sources
        self._jobs = jobs or DEFAULT_JOBS
        self._salt = salt
        self._packing = packing
        self._known = known or {}
        self._elsewhere = bench.elsewhere
        self._fast: dict[Digest, Digest] = {}
        self.steps: tuple[StepKeys, ...] = ()
        """The keys of all vertices that have one, solved or not needed after all."""
        self._unread: frozenset[Digest] = frozenset()
        self._layered: frozenset[Digest] = frozenset()
        # Walking, hashing and copying small files holds the interpreter lock between two system
        # calls; threads that do it side by side only take it from each other.
        self._files = threading.Lock()
        self._packer: Packer | None = None
        self._packers = threading.Lock()
        self.cached = 0
        self.executed = 0

    def solve(self, targets: Sequence[Vertex | None]) -> dict[Digest, Solved]:
        """Everything the targets need, by vertex digest. Raises the first error of a step.

        With `packing`, what no step reads becomes a layer at once; without, all are trees.
        """
        vertices = topological(targets)
        if self._packing is not None:
            self._unread = unread(vertices)
            if self._packing.wanted:
                self._layered = layered(targets)
        self._bench.report(
            Planned(
                tuple(
                    VertexInfo(
                        v.digest, v.note.name, tuple(i.digest for i in v.inputs if i), v.note.span
                    )
                    for v in vertices
                    if v.digest not in self._known
                )
            )
        )
        ahead = self._foresee(vertices, targets)
        # The step server is forked from a process with one thread, and only if a step may run.
        left = vertices if ahead is None else ahead.left
        runs = any(isinstance(v.op, Exec) for v in left)

        def before_threads() -> None:
            if runs:
                self._bench.executor()

        scheduler = Scheduler(
            self._quick,
            self._work,
            self._bench.cancelled,
            self._jobs,
            before_threads,
        )
        try:
            done = scheduler.run(left, None if ahead is None else ahead.solved)
        finally:
            if self._packer is not None:
                self._packer.stop()
            self._cache.flush()
        known = done if ahead is None else {**ahead.keys, **done}
        self.steps = tuple(self._keys_of(vertices, known))
        return done

    def _keys_of(self, vertices: Sequence[Vertex], found: Done) -> Iterator[StepKeys]:
        for vertex in vertices:
            solved = found.get(vertex.digest)
            if solved is not None and solved.key is not None:
                fast = self._fast.get(vertex.digest, solved.key)
                yield StepKeys(solved.key, fast, vertex.note.name)

    def _foresee(
        self, vertices: Sequence[Vertex], targets: Sequence[Vertex | None]
    ) -> "Foresight | None":
        """What the caches of other machines make needless, if there are any."""
        if self._elsewhere is None:
            return None
        from minibuild.solve.foresight import foresee

        ahead = foresee(vertices, targets, self._guess, dict(self._known))
        done = ahead.keys.keys() - {vertex.digest for vertex in ahead.left} - self._known.keys()
        for vertex in vertices:
            if vertex.digest in done:
                self._announce(vertex, ahead.keys[vertex.digest])
        return ahead

    def _guess(self, vertex: Vertex, inputs: list[Solved | None]) -> "Guess | None":
        """What can be known of a vertex by the keys of its inputs."""
        from minibuild.solve.foresight import Guess

        match vertex.op:
            case LocalSource() as op:
                return Guess(Solved((), None, local=op))
            case ImageSource() as op:
                return Guess(self._sources.image(op))
            case Merge() as op:
                return Guess(self._merge(op, inputs))
            case Diff() as op:
                key = self._diff_key(op, inputs)
            case Exec() | File() as op if not self._must_execute(vertex, inputs):
                voice = Voice(self._bench.report, vertex.digest)
                try:
                    parts = fast_parts(self._bench, vertex, inputs, voice)
                except BuildError:
                    return None  # A mistake is told by the step that made it.
                key = self._fast_key(vertex, op, base_key(inputs), parts)
            case _:
                return None
        if (found := self._lookup(key)) is not None:
            return Guess(found)
        assert self._elsewhere is not None
        canonical = self._elsewhere.canonical(key)
        return None if canonical is None else Guess(Solved((), canonical, cached=True), whole=False)

    # --- what needs no thread ---

    def _quick(self, vertex: Vertex, done: Done) -> Solved | None:
        known = self._known.get(vertex.digest)
        if known is not None:
            return known
        inputs = [None if v is None else done[v.digest] for v in vertex.inputs]
        match vertex.op:
            case LocalSource() as op:
                return self._announce(vertex, Solved((), None, local=op))
            case Merge() as op:
                return self._announce(vertex, self._merge(op, inputs), _put_together(inputs))
            case Exec() | File():
                return self._try_fast(vertex, inputs)
            case Diff() as op if not any(i.fresh for i in inputs if i):
                return self._hit(vertex, self._lookup(self._diff_key(op, inputs)))
            case ImageSource() as op:
                # Known since the frontend asked for its config; its layers stay where they are.
                return self._announce(vertex, self._sources.image(op))
        return None

    def _merge(self, op: Merge, inputs: Sequence[Solved | None]) -> Solved:
        """A merge is its inputs' diffs, one list after the other: nothing to do or to keep."""
        result: Result = tuple(key for i in inputs if i is not None for key in i.result)
        return Solved(
            result,
            combined_key(op, [i and i.key for i in inputs]),
            fresh=any(i.fresh for i in inputs if i),
            cached=all(i.cached for i in inputs if i),
            origin=next((i.origin for i in inputs if i and i.origin), ""),
        )

    def _diff_key(self, op: Diff, inputs: Sequence[Solved | None]) -> Digest:
        return self._salted(combined_key(op, [i and i.key for i in inputs]))

    def _try_fast(self, vertex: Vertex, inputs: Sequence[Solved | None]) -> Solved | None:
        if self._must_execute(vertex, inputs) or any(i and i.fresh for i in inputs):
            return None
        voice = Voice(self._bench.report, vertex.digest)
        # Walking a context is quick; hashing files that changed is not, and is left to a thread,
        # as is a mistake, which belongs to the step that made it.
        bench = self._bench._replace(memo=OnlyKnown(self._bench.store.db))
        try:
            parts = fast_parts(bench, vertex, inputs, voice)
        except (Unknown, BuildError):
            return None
        assert isinstance(vertex.op, Exec | File)
        key = self._fast_key(vertex, vertex.op, base_key(inputs), parts)
        return self._hit(vertex, self._lookup(key))

    def _must_execute(self, vertex: Vertex, inputs: Sequence[Solved | None]) -> bool:
        """Whether a record would be ignored: on request, or because the base was made anew."""
        return vertex.note.ignore_cache or bool(inputs and inputs[0] and inputs[0].fresh)

    # --- what may take long ---

    def _work(self, vertex: Vertex, done: Done) -> Solved:
        inputs = [None if v is None else done[v.digest] for v in vertex.inputs]
        voice = Voice(self._bench.report, vertex.digest)
        self._bench.report(Started(vertex.digest, time.time()))
        try:
            with located(vertex.note.span):
                solved = self._solve(vertex, inputs, voice)
        except BaseException as error:
            error = explained(error)
            self._bench.report(
                Completed(
                    vertex.digest,
                    time.time(),
                    error=str(error) or type(error).__name__,
                    cancelled=isinstance(error, Cancelled),
                )
            )
            raise error from error.__cause__
        self.cached += solved.cached
        self.executed += not solved.cached
        if solved.cached and solved.origin:
            voice.remark(f"found in {solved.origin}")
        self._bench.report(Completed(vertex.digest, time.time(), cached=solved.cached))
        return solved

    def _solve(self, vertex: Vertex, inputs: Sequence[Solved | None], voice: Voice) -> Solved:
        match vertex.op:
            case Exec() | File() as op:
                return self._step(vertex, op, inputs, voice)
            case Diff() as op:
                from minibuild.solve.run_diff import run_diff

                result = run_diff(self._bench, inputs, voice)
                key = self._diff_key(op, inputs)
                # A record is for good, and what other machines have may be gone tomorrow.
                if not any(i.origin for i in inputs if i):
                    self._cache.save({key}, Record(key, result), vertex.note.name)
                return Solved(result, key, fresh=any(i.fresh for i in inputs if i))
            case HttpSource() | GitSource() as op:
                return self._sources.remote(op, voice, ignore_cache=vertex.note.ignore_cache)
        raise AssertionError(f"{vertex!r} needs no work")

    def _step(
        self, vertex: Vertex, op: Exec | File, inputs: Sequence[Solved | None], voice: Voice
    ) -> Solved:
        bench, base, since_ns = self._bench, base_key(inputs), time.time_ns()
        with self._files:
            parts = fast_parts(bench, vertex, inputs, voice)
        fast = self._fast_key(vertex, op, base, parts)
        forced = self._must_execute(vertex, inputs)
        # An input that was made anew may have kept its key and changed its contents.
        if not forced and not any(i and i.fresh for i in inputs):
            found = self._lookup(fast)
            if found is not None:
                return found
        parts = canonical_parts(bench, vertex, inputs, parts, voice)
        canonical = self._salted(step_key(op, base, parts))
        with bench.store.lock(f"key-{canonical[7:39]}", bench.cancelled):
            found = None if forced else self._lookup(canonical)
            if found is None:
                result = self._execute(vertex, op, inputs, voice)
                with self._files:
                    as_before = still_so(bench, vertex, inputs, parts, since_ns, voice)
                if not as_before:
                    voice.remark(_CHANGED)
                    return Solved(result, _nobodys_key(), fresh=forced)
                self._cache.save_parts(canonical, vertex.note.name, explain(op, base, parts))
                self._cache.save({fast, canonical}, Record(canonical, result), vertex.note.name)
                return Solved(result, canonical, fresh=forced)
        if fast != canonical and not found.origin:
            self._cache.save({fast}, Record(canonical, found.result), vertex.note.name)
        return found

    def _execute(
        self, vertex: Vertex, op: Exec | File, inputs: Sequence[Solved | None], voice: Voice
    ) -> Result:
        if isinstance(op, Exec):
            from minibuild.solve.run_exec import run_exec  # a cached build runs nothing

            result = run_exec(self._bench, vertex, op, inputs, voice)
            if vertex.digest in self._layered:
                self._pack_meanwhile(result)
            return result
        from minibuild.solve.run_file import run_file

        with self._files:
            if self._packing is not None and vertex.digest in self._unread:
                packed = pack_file(self._bench, vertex, op, inputs, voice, self._packing)
                if packed is not None:
                    return packed
            packing = self._packing if vertex.digest in self._layered else None
            return run_file(self._bench, vertex, op, inputs, voice, packing)

    def _pack_meanwhile(self, result: Result) -> None:
        """Have the layer that a step made packed while later steps run."""
        from minibuild.solve.packer import Packer

        with self._packers:
            if self._packer is None and self._packing is not None:
                self._packer = Packer(self._bench, self._packing)
        if self._packer is not None:
            self._packer.add(result[-1])

    # --- small things ---

    def _fast_key(
        self, vertex: Vertex, op: Exec | File, base: Digest | None, parts: Sequence[Part]
    ) -> Digest:
        """The fast key of a vertex, which is remembered for those who tell others of it."""
        key = self._salted(step_key(op, base, parts))
        self._fast[vertex.digest] = key
        return key

    def _salted(self, key: Digest) -> Digest:
        """The key, kept apart from normal ones while an old defect is being shown."""
        return Digest(f"{key}+{self._salt}") if self._salt else key

    def _lookup(self, key: Digest) -> Solved | None:
        """What the store has for a key, or another machine's cache."""
        record, origin = self._cache.lookup(key), ""
        if record is None and self._elsewhere is not None:
            record, origin = self._elsewhere.find(key)
        if record is None:
            return None
        return Solved(record.result, record.canonical, cached=True, origin=origin)

    def _hit(self, vertex: Vertex, found: Solved | None) -> Solved | None:
        return None if found is None else self._announce(vertex, found)

    def _announce(self, vertex: Vertex, solved: Solved, remark: str = "") -> Solved:
        now = time.time()
        if solved.origin and not isinstance(vertex.op, Merge):
            remark = f"found in {solved.origin}"
        self.cached += solved.cached
        self._bench.report(Started(vertex.digest, now))
        if remark:
            self._bench.report(Remark(vertex.digest, remark, now))
        self._bench.report(Completed(vertex.digest, now, cached=solved.cached))
        return solved


def _put_together(inputs: Sequence[Solved | None]) -> str:
    """What to say of a merge that is new while some of its inputs are not, lest people think that
    an unchanged `COPY --link` was done again."""
    cached = sum(1 for i in inputs if i and i.cached)
    if cached in (0, len(inputs)):
        return ""
    return (
        f"put together anew of {len(inputs)} results, {cached} of them cached; no data was touched"
    )


def _nobodys_key() -> Digest:
    """A key that no other step has, and so nothing that depends on it either."""
    return digest_strings(("changed", os.urandom(16).hex()))
