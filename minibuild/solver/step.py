"""Doing one Exec or File: by its keys from the cache, or by work that is remembered under them.

Comes in: a vertex whose inputs are solved. Goes out: its `VertexResult`. The key is locked
first: of two builds that want the same step at the same time, in one process or in two, one does
it and the other finds it done.

A key is made of contents, so files are read before it is known whether they have to be copied.
Where nothing of a copy's *shape* is recorded (the same op on the same base, whatever it reads), no
contents can have a record either. Then it is copied at once, and its key is made of what a
`Witness` saw meanwhile: each file is read one time and not two.
Read next: `run_exec` and `run_file`, which do the work.
"""

import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from minibuild.cache.records import Record
from minibuild.cache.results import Result, VertexResult
from minibuild.digest import Digest, digest_strings
from minibuild.fileop.job import Done
from minibuild.graph.op import Copy, Exec, File
from minibuild.graph.vertex import Vertex
from minibuild.progress.writer import ProgressWriter
from minibuild.solver.cachekey import Part, explain, read_part
from minibuild.solver.copiers import Copiers
from minibuild.solver.copying import Copying
from minibuild.solver.keyring import Keyring
from minibuild.solver.keys import (
    PrecomputedKey,
    base_key,
    canonical_parts,
    fast_parts,
    inputs_unchanged,
    must_execute,
    names_of,
    only_contexts,
)
from minibuild.solver.pack_file import pack_file
from minibuild.solver.packing import Packing, layered, unread
from minibuild.solver.run_file import run_file
from minibuild.worker.context import BuildContext

if TYPE_CHECKING:
    from minibuild.solver.packer import Packer

_CHANGED = "files of the context changed meanwhile, so the result is not kept in the cache"


class Steps:
    """Does the Execs and Files of one build. With `packing`, what no step reads becomes a layer
    at once; without, all are trees."""

    def __init__(
        self,
        build: BuildContext,
        keys: Keyring,
        packing: Packing | None,
        vertices: Sequence[Vertex],
        targets: Sequence[Vertex | None],
        copiers: Copiers,
    ) -> None:
        """`vertices`, inputs first, are what may be asked for, for the sake of the targets."""
        self._build = build
        self._cache = build.worker.cache
        self._keys = keys
        self._packing = packing
        self._unread = unread(vertices) if packing is not None else frozenset()
        wanted = packing is not None and packing.wanted
        self._layered = layered(targets) if wanted else frozenset()
        self._copiers = copiers
        self._packer: Packer | None = None
        self._packers = threading.Lock()

    def stop(self) -> None:
        """Wait for the layer in the making."""
        if self._packer is not None:
            self._packer.stop()

    def do(
        self,
        vertex: Vertex,
        op: Exec | File,
        inputs: Sequence[VertexResult | None],
        progress: ProgressWriter,
        early: PrecomputedKey | None = None,
    ) -> VertexResult:
        """The result of a vertex; `early` is what was read of its inputs before. Raises what its
        work raises."""
        if early is None and isinstance(op, File) and self._may_be_new(op, inputs):
            done = self._do_at_once(vertex, op, inputs, progress)
            if done is not None:
                return done
        build, base, since_ns = self._build, base_key(inputs), time.time_ns()
        if early is not None:
            parts, since_ns, fast = early
        else:
            with self._copiers.here():
                parts = fast_parts(build, vertex, inputs, progress)
            fast = self._keys.fast(vertex, op, base, parts)
        forced = must_execute(vertex, inputs)
        # An input that was made anew may have kept its key and changed its contents.
        if early is None and not forced and not any(i and i.forced for i in inputs):
            found = self._keys.find(fast)
            if found is not None:
                return found
        before, parts = parts, canonical_parts(build, vertex, inputs, parts, progress)
        canonical = fast if parts == before else self._keys.canonical(op, base, parts)
        with build.worker.store.lock(f"key-{canonical[7:39]}", build.cancelled):
            found = None if forced else self._keys.find(canonical)
            if found is None:
                result = self._execute(vertex, op, inputs, progress)
                with self._copiers.here():
                    as_before = inputs_unchanged(build, vertex, inputs, parts, since_ns, progress)
                if not as_before:
                    progress.remark(_CHANGED)
                    return VertexResult(result, _nobodys_key(), forced=forced)
                self._save(vertex, op, base, parts, {fast}, Record(canonical, result))
                return VertexResult(result, canonical, forced=forced)
        if fast != canonical and not found.origin:
            self._cache.save({fast}, Record(canonical, found.result), vertex.note.name)
        return found

    # --- at once ---

    def _may_be_new(self, op: File, inputs: Sequence[VertexResult | None]) -> bool:
        """Whether a copy may turn out to be new before its files are read. What other machines
        have cannot be told by its shape."""
        copies = all(isinstance(action, Copy) and not action.unpack for action in op.actions)
        return copies and only_contexts(op, inputs) and not self._keys.remote

    def _do_at_once(
        self,
        vertex: Vertex,
        op: File,
        inputs: Sequence[VertexResult | None],
        progress: ProgressWriter,
    ) -> VertexResult | None:
        """Do a copy of which nothing like it was done before; None if something was."""
        build, base, forced = self._build, base_key(inputs), must_execute(vertex, inputs)
        shape = self._keys.shape(op, base)
        with build.worker.store.lock(f"key-{shape[7:39]}", build.cancelled):
            if not forced and self._keys.find(shape) is not None:
                return None
            since_ns = time.time_ns()
            result, done = self._copy(vertex, op, inputs, progress, watched=True)
            if done.seen is not None:
                build.worker.digests.remember(done.seen.rows)
                names, seen = names_of(vertex, op), done.seen.contents
                parts = [read_part(n, c) for n, c in zip(names, seen, strict=True)]
            else:
                with self._copiers.here():
                    parts = fast_parts(build, vertex, inputs, progress)
                    as_before = inputs_unchanged(build, vertex, inputs, parts, since_ns, progress)
                if not as_before:
                    progress.remark(_CHANGED)
                    return VertexResult(result, _nobodys_key(), forced=forced)
            # With nothing but contexts to read, the fast key is the canonical one.
            canonical = self._keys.fast(vertex, op, base, parts)
            self._save(vertex, op, base, parts, set(), Record(canonical, result))
        return VertexResult(result, canonical, forced=forced)

    # --- small things ---

    def _save(
        self,
        vertex: Vertex,
        op: Exec | File,
        base: Digest | None,
        parts: Sequence[Part],
        more: set[Digest],
        record: Record,
    ) -> None:
        """Remember a result by its canonical key and `more`, and that there is one of its shape."""
        keys = {record.canonical, *more}
        if isinstance(op, File):
            keys.add(self._keys.shape(op, base))
        with self._build.worker.store.db.transaction():
            self._cache.save_parts(record.canonical, vertex.note.name, explain(op, base, parts))
            self._cache.save(keys, record, vertex.note.name)

    def _execute(
        self,
        vertex: Vertex,
        op: Exec | File,
        inputs: Sequence[VertexResult | None],
        progress: ProgressWriter,
    ) -> Result:
        if isinstance(op, File):
            return self._copy(vertex, op, inputs, progress)[0]
        from minibuild.solver.run_exec import run_exec  # a build may only copy

        result = run_exec(self._build, vertex, op, inputs, progress)
        if vertex.digest in self._layered:
            self._pack_meanwhile(result)
        return result

    def _copy(
        self,
        vertex: Vertex,
        op: File,
        inputs: Sequence[VertexResult | None],
        progress: ProgressWriter,
        *,
        watched: bool = False,
    ) -> tuple[Result, Done]:
        how = Copying(self._copiers, self._build.worker.content, self._packing, watched)
        if self._packing is not None and vertex.digest in self._unread:
            packed = pack_file(self._build, vertex, op, inputs, progress, how)
            if packed is not None:
                return packed
        if vertex.digest not in self._layered:
            how = how._replace(packing=None)
        return run_file(self._build, vertex, op, inputs, progress, how)

    def _pack_meanwhile(self, result: Result) -> None:
        """Have the layer that a step made packed while later steps run."""
        from minibuild.solver.packer import Packer

        with self._packers:
            if self._packer is None and self._packing is not None:
                self._packer = Packer(self._build, self._packing)
        if self._packer is not None:
            self._packer.add(result[-1])


def _nobodys_key() -> Digest:
    """A key that no other step has, and so nothing that depends on it either."""
    return digest_strings(("changed", os.urandom(16).hex()))
