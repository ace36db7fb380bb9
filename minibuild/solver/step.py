"""The work on vertices that no look-up found: done once, and remembered.

Comes in: a vertex whose inputs are solved, and the fast key that was made of it, if one was. Goes
out: its `VertexResult`. The key of a step is locked first: of two builds that want the same step
at the same time, in one process or in two, one does it and the other finds it done.

A key is made of contents, so files are read before it is known whether they have to be copied.
Where nothing of a copy's *shape* is recorded (the same op on the same base, whatever it reads), no
contents can have a record either. Then it is copied at once, and its key is made of what was seen
meanwhile: each file is read one time and not two.
Read next: `file` and `exec`, which do the work.
"""

import os
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, assert_never

from minibuild.cache.records import Record
from minibuild.cache.results import Result, VertexResult
from minibuild.digest import Digest, digest_strings
from minibuild.errors import Cancelled, DefinitionError, explained, located
from minibuild.events import Completed, Started
from minibuild.fileop.digest_cache import is_since
from minibuild.graph.op import (
    Diff,
    Exec,
    File,
    GitSource,
    HttpSource,
    ImageSource,
    LocalSource,
    Merge,
    MountOutput,
)
from minibuild.graph.vertex import Vertex
from minibuild.snapshot.api import SnapshotID
from minibuild.solver.copiers import Copiers
from minibuild.solver.inputs import (
    inputs_unchanged,
    read_canonical_parts,
    read_fast_parts,
    revision_key,
)
from minibuild.solver.keys import (
    Part,
    ReadyVertex,
    diff_key,
    mount_key,
    part_names,
    read_part,
    reads_only_contexts,
    shape_key,
    step_key,
)
from minibuild.solver.layers import LayerPlan
from minibuild.solver.lookup import Lookup, PrecomputedKey
from minibuild.solver.packer import Packer
from minibuild.solver.start_order import StartOrder
from minibuild.source.source import Sources
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext

if TYPE_CHECKING:
    from minibuild.fileop.hasher import SourceLook
    from minibuild.solver.exec import ExecRun, Following
    from minibuild.solver.file import FileRunner
    from minibuild.solver.prepared_steps import PreparedStep

Outputs = Mapping[int, Result]
"""What a step left in its mounts, by their index."""

_CHANGED = "files of the context changed meanwhile, so the result is not kept in the cache"


class _StepWork(NamedTuple):
    """What is known of a step that has to be done: what its keys are made of, when that was read,
    the vertices that are waiting for it alone, and what was seen of the sources of a copy."""

    parts: list[Part]
    fast: Digest
    canonical: Digest
    since_ns: int
    waiting: Sequence[Vertex]
    look: "SourceLook | None" = None


class Steps:
    """Does the work of one build. Safe in threads."""

    def __init__(
        self,
        build: BuildContext,
        sources: Sources,
        lookup: Lookup,
        plan: LayerPlan,
        copiers: Copiers,
        starts: StartOrder,
    ) -> None:
        self._build = build
        self._cache = build.worker.cache
        self._sources = sources
        self._lookup = lookup
        self._plan = plan
        self._copiers = copiers
        self._starts = starts
        self._running: dict[Digest, PreparedStep] = {}
        self._packer = Packer(build, plan.packing) if plan.packing else None

    @cached_property
    def _files(self) -> "FileRunner":
        from minibuild.solver.file import FileRunner  # A build may only run steps.

        return FileRunner(self._build, self._plan, self._copiers)

    def close(self) -> None:
        """Wait for the layer in the making. No step runs any more."""
        while self._running:
            self._running.popitem()[1].drop()
        if self._packer is not None:
            self._packer.stop()

    def runs(self, vertex: Vertex) -> bool:
        """Whether the step of a vertex was prepared, and runs already."""
        return vertex.digest in self._running

    def do(
        self,
        ready: ReadyVertex,
        precomputed: PrecomputedKey | None,
        waiting: Sequence[Vertex] = (),
    ) -> VertexResult:
        """The result of a vertex, reported; those that are `waiting` for it alone may be prepared
        meanwhile. Raises what its work raises."""
        vertex, report = ready.vertex, self._build.report
        step = self._running.pop(vertex.digest, None)
        report(Started(vertex.digest, time.time() if step is None else step.released))
        try:
            with located(vertex.note.span):
                if step is not None:
                    result = self._go_on(ready, step, waiting)
                else:
                    result = self._do(ready, precomputed, waiting)
        except BaseException as error:
            error = explained(error)
            text, cancelled = str(error) or type(error).__name__, isinstance(error, Cancelled)
            report(Completed(vertex.digest, time.time(), error=text, cancelled=cancelled))
            raise error from error.__cause__
        if result.cached and result.origin:
            self._build.progress(vertex.digest).remark(f"found in {result.origin}")
        report(Completed(vertex.digest, time.time(), cached=result.cached))
        return result

    def _do(
        self, ready: ReadyVertex, precomputed: PrecomputedKey | None, waiting: Sequence[Vertex]
    ) -> VertexResult:
        match ready.vertex.op:
            case File() as op:
                self._starts.wait()
                # The shape of a copy says nothing of what other machines have.
                may_be_new = self._lookup.remote is None and reads_only_contexts(ready, op)
                if precomputed is None and may_be_new:
                    return self._copy_new(ready, op) or self._step(ready, op, None)
                return self._step(ready, op, precomputed)
            case Exec() as op:
                with self._starts.starting():
                    return self._step(ready, op, precomputed, waiting)
            case Diff():
                return self._diff(ready)
            case HttpSource() | GitSource() as op:
                progress, ignore = self._build.progress(ready.vertex.digest), ready.vertex.note
                return self._sources.remote(op, progress, ignore_cache=ignore.ignore_cache)
            case MountOutput() as op:
                raise DefinitionError(
                    f"the step before leaves nothing in its mount {op.mount}",
                    hint="a mount is a result of its own if it is an output",
                )
            case Merge() | ImageSource() | LocalSource():
                raise AssertionError(f"{ready.vertex!r} takes no work")
            case _ as unknown:
                assert_never(unknown)

    # --- Steps: an Exec, a File ---

    def _step(
        self,
        ready: ReadyVertex,
        op: Exec | File,
        precomputed: PrecomputedKey | None,
        waiting: Sequence[Vertex] = (),
    ) -> VertexResult:
        build, lookup, forced = self._build, self._lookup, ready.must_execute
        if precomputed is not None:
            fast, (parts, since_ns, look) = precomputed
        else:
            with self._copiers.here():
                parts, since_ns, look = read_fast_parts(build, ready, op)
            fast = step_key(op, ready.base_key, parts, lookup.version)
            if not (forced or ready.on_forced):
                found = lookup.find_step(fast, op)
                if found is not None:
                    return found
        before, parts = parts, read_canonical_parts(build, ready, op, parts)
        canonical = fast
        if parts != before:
            canonical = step_key(op, ready.base_key, parts, lookup.version)
        with build.worker.store.lock(f"key-{canonical[7:39]}", build.cancelled):
            found = None if forced else lookup.find_step(canonical, op)
            if found is None:
                answer = lookup.find_elsewhere(ready, op, canonical, contents=True)
                found = answer.result if answer is not None and answer.whole else None
            if found is None:
                made = _StepWork(parts, fast, canonical, since_ns, waiting, look)
                return self._work(ready, op, made)
        if fast != canonical and not found.origin:
            record = Record(canonical, found.result)
            self._cache.save({fast}, record, ready.vertex.note.name)
        return found._replace(fast_key=fast)

    def _go_on(
        self, ready: ReadyVertex, step: "PreparedStep", waiting: Sequence[Vertex]
    ) -> VertexResult:
        """The same for a step that runs already. Its lock is held, and it has no record."""
        with step.lock:
            work = _StepWork([], step.key, step.key, 0, waiting)
            return self._work(ready, step.op, work, step.run)

    def _work(
        self, ready: ReadyVertex, op: Exec | File, work: "_StepWork", run: "ExecRun | None" = None
    ) -> VertexResult:
        """Do a step under its lock, and remember what came of it."""
        parts, fast, canonical, since_ns, *_ = work
        result, left, newest_ns = self._run(ready, op, work, run)
        as_before = newest_ns is not None and not is_since(newest_ns, since_ns)
        if not as_before:
            with self._copiers.here():
                as_before = inputs_unchanged(self._build, ready, op, parts, since_ns)
        if not as_before:
            return self._unkept(ready, result, left)
        self._save(ready, op, parts, {fast}, Record(canonical, result), left)
        return VertexResult(result, canonical, fast, forced=ready.must_execute)

    def _run(
        self, ready: ReadyVertex, op: Exec | File, work: "_StepWork", run: "ExecRun | None"
    ) -> tuple[Result, Outputs, int | None]:
        """What a step comes to, what it left in its mounts, and the newest ctime of what it read,
        if that is known."""
        if isinstance(op, File):
            earlier = self._lookup.last_like(ready, op)
            result, done = self._files.run(ready, op, earlier=earlier, look=work.look)
            self._pack(ready, result, done.layer is None)
            return result, {}, done.newest_ns
        from minibuild.solver.exec import ExecRun, run_exec  # a build may only copy

        def meanwhile(root: SnapshotID) -> "Following | None":
            self._starts.has_started()
            return self._prepare_one(ready, work, root)

        if run is None:
            last = self._starts.is_last(ready.vertex.digest)
            run = ExecRun(self._build, ready.vertex, op, last=last)
        result, left = run_exec(self._build, ready, run, meanwhile)
        self._pack(ready, result)
        return result, left, None

    def _prepare_one(
        self, ready: ReadyVertex, work: "_StepWork", root: SnapshotID
    ) -> "PreparedStep | None":
        """Prepare a step on this one, whose process runs and writes to `root`."""
        if not work.waiting or work.parts or self._lookup.remote is not None:
            # The key may be another one in the end, or caches would be asked over a network.
            return None
        from minibuild.solver.prepared_steps import PreparedSteps

        prepared = PreparedSteps(self._build, self._lookup, self._starts, self._running)
        return prepared.prepare_one(work.waiting, ready, work.canonical, root)

    def _pack(self, ready: ReadyVertex, result: Result, unpacked: bool = True) -> None:
        """Have the layer of a step made while others run, if it is `unpacked` and wanted."""
        if self._packer is not None and unpacked and ready.vertex.digest in self._plan.layered:
            self._packer.add(result[-1])

    def _save(
        self,
        ready: ReadyVertex,
        op: Exec | File,
        parts: Sequence[Part],
        more: set[Digest],
        record: Record,
        left: Outputs,
    ) -> None:
        """Remember a result by its canonical key and `more`, that there is one of its shape, and
        what the step left in its mounts."""
        from minibuild.solver.key_parts import explain_json  # a cached step has nothing to explain

        keys, base, name = {record.canonical, *more}, ready.base_key, ready.vertex.note.name
        if isinstance(op, File):
            keys.add(shape_key(op, base, self._lookup.version))
        state = revision_key(ready, self._build.revisions, self._lookup.version)
        if state is not None:
            keys.add(state)
        with self._build.worker.store.db.transaction():
            self._cache.save_parts_json(record.canonical, name, explain_json(op, base, parts))
            self._cache.save(keys, record, name)
            self._save_outputs(record.canonical, left, name)

    def _save_outputs(self, step: Digest, left: Outputs, name: str) -> None:
        for mount, result in left.items():
            key = mount_key(step, mount)
            self._cache.save({key}, Record(key, result), name)

    def _unkept(
        self,
        ready: ReadyVertex,
        result: Result,
        left: Outputs,
    ) -> VertexResult:
        """A result that is not recorded, under a key that no other step has; so nothing that
        depends on it is found again either."""
        self._build.progress(ready.vertex.digest).remark(_CHANGED)
        key = digest_strings(("changed", os.urandom(16).hex()))
        self._save_outputs(key, left, ready.vertex.note.name)
        return VertexResult(result, key, forced=ready.must_execute)

    # --- Copies that may be new ---

    def _copy_new(self, ready: ReadyVertex, op: File) -> VertexResult | None:
        """Do a copy of which nothing like it was done before; None if something was."""
        build, lookup, forced = self._build, self._lookup, ready.must_execute
        shape = shape_key(op, ready.base_key, lookup.version)
        with build.worker.store.lock(f"key-{shape[7:39]}", build.cancelled):
            if not forced and lookup.find(shape) is not None:
                return None
            since_ns = time.time_ns()
            result, done = self._files.run(ready, op, watched=True)
            if done.seen is not None:
                while fresh := done.seen.fresh:  # For 100,000 files they are 7 MiB.
                    build.worker.digests.remember(fresh.pop())
                names = part_names(ready.vertex, op)
                parts = [read_part(n, c) for n, c in zip(names, done.seen.contents, strict=True)]
            else:
                with self._copiers.here():
                    parts = read_fast_parts(build, ready, op).parts
                    as_before = inputs_unchanged(build, ready, op, parts, since_ns)
                if not as_before:
                    return self._unkept(ready, result, {})
            # With nothing but contexts to read, the fast key is the canonical one.
            canonical = step_key(op, ready.base_key, parts, lookup.version)
            self._save(ready, op, parts, set(), Record(canonical, result), {})
        return VertexResult(result, canonical, forced=forced)

    # --- Diffs ---

    def _diff(self, ready: ReadyVertex) -> VertexResult:
        from minibuild.solver.diff import run_diff

        result = run_diff(self._build, ready)
        key = diff_key(ready.inputs, self._lookup.version)
        # A record is for good, and what other machines have may be gone tomorrow.
        if not any(found.origin for found in ready.inputs if found):
            self._cache.save({key}, Record(key, result), ready.vertex.note.name)
        return VertexResult(result, key, forced=ready.on_forced)
