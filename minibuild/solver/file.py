"""Doing a File: its actions applied to the tree of its base, as a tree, as a layer, or as both.

Comes in: a vertex whose inputs are solved, and the plan that says which form is wanted. Goes out:
the base's result with one diff more. What only copies can be a layer without ever being a tree;
where the layer is only known once there is a tree (`Unplannable`), it is written after all.
Read next: `copiers`, for who copies; `fileop.copy`.
"""

from contextlib import ExitStack

from minibuild.cache.results import DiffKey, Result
from minibuild.errors import located
from minibuild.fileop.api import Hooks
from minibuild.fileop.apply import apply
from minibuild.fileop.copy import CopyJob, CopyResult, CopyTrees, Form
from minibuild.fileop.dest import Unplannable
from minibuild.fileop.hasher import SourceLook
from minibuild.fileop.inventory import discard
from minibuild.fileop.update import EarlierCopy
from minibuild.graph.op import Copy, File
from minibuild.layer.layer import remember
from minibuild.snapshot.api import SnapshotID
from minibuild.solver.copied import copied_before
from minibuild.solver.copiers import Copiers
from minibuild.solver.inputs import open_input
from minibuild.solver.keys import ReadyVertex, readers
from minibuild.solver.last_copy import LastCopy, begin, keep_table, last_copy
from minibuild.solver.layers import LayerPlan
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext


class FileRunner:
    """Does the Files of one build. Safe in threads."""

    def __init__(self, build: BuildContext, plan: LayerPlan, copiers: Copiers) -> None:
        self._build = build
        self._plan = plan
        self._copiers = copiers

    def run(
        self,
        ready: ReadyVertex,
        op: File,
        *,
        watched: bool = False,
        earlier: Result | None = None,
        look: SourceLook | None = None,
    ) -> tuple[Result, CopyResult]:
        """The base's result with one diff more, and what came of copying. `watched`: with the
        fingerprints of what was read. `earlier` is the result of the same copy of other files,
        `look` what was seen of these."""
        build, base = self._build, ready.base
        parent = build.materialiser.snapshot(base, build.progress(ready.vertex.digest).remark)
        with ExitStack() as stack, located(ready.vertex.note.span):
            sources = {
                index: stack.enter_context(open_input(build, ready, index))
                for index in {reader.input for reader in readers(op)}
            }
            base_fd = stack.enter_context(build.worker.snapshots.tree(parent)) if parent else None
            places = CopyTrees(-1, base_fd, sources, build.worker.snapshots.owners(parent))
            work = _FileTask(ready, op, places, parent, watched, look)
            if all(tree.local for tree in sources.values()):
                work = work._replace(inventory=build.worker.store.ingest_path())
                stack.callback(discard, work.inventory)
            last = earlier and last_copy(build.worker, earlier, base, parent)
            key, result = (last and self._again(work, last)) or self._make(work)
            keep_table(build.worker, work.inventory, key, result.layer, patched=result.patched)
            return (*base, key), result

    def _again(self, work: "_FileTask", last: LastCopy) -> tuple[DiffKey, CopyResult] | None:
        """The copy made of the last one; None if that is of no use."""
        try:
            packed = work.ready.vertex.digest in self._plan.layered  # An output waits for it.
            patch = self._build.worker.store.ingest_path()
            earlier = begin(last, work.look, patch, packed=packed)
            key, result = self._make(work._replace(last=last, earlier=earlier))
        except Unplannable:
            return None
        if result.kept:
            kept = f"{result.kept:,} file{'' if result.kept == 1 else 's'}"
            self._build.progress(work.ready.vertex.digest).remark(f"{kept} kept of the last copy")
        return key, result

    def _make(self, work: "_FileTask") -> tuple[DiffKey, CopyResult]:
        """A new diff. Raises `Unplannable` if the last copy is of no use."""
        vertex, last = work.ready.vertex, work.last
        if self._plan.packing is not None and vertex.digest in self._plan.unread:
            try:
                if work.earlier is not None and work.earlier.layer is None:
                    raise Unplannable("the layer is not made of the last one")
                done = self._do(work, "layer")
            except Unplannable:
                if last is not None:
                    raise
                # The tree is written below.
            else:
                return self._add(work, done), done
        try:
            return self._write_tree(work, shared=last is None)
        except Unplannable:
            if last is not None:
                raise
            return self._write_tree(work)

    def _write_tree(self, work: "_FileTask", *, shared: bool = False) -> tuple[DiffKey, CopyResult]:
        """The same as a new snapshot, and as a layer at once if an output wants that."""
        worker, parent = self._build.worker, work.parent
        patched = work.earlier is None or work.earlier.layer is not None
        layered = patched and work.ready.vertex.digest in self._plan.layered
        form: Form = "both" if layered else "tree"  # A tree of little news is packed afterwards.
        start = parent
        if work.last is not None:
            if work.last.tree is None:
                raise Unplannable("the last copy was no tree")
            start = work.last.tree
        active = worker.snapshots.prepare(start)
        with worker.snapshots.removed_if_failed(active):
            with worker.snapshots.tree(active, readonly=False) as root_fd:
                owners = worker.snapshots.owners(active)
                places = work.places._replace(root_fd=root_fd, owners=owners)
                done = self._do(work._replace(places=places), form, shared=shared)
            worker.snapshots.commit(active)
        return self._add(work, done, upper=active), done

    def _add(
        self, work: "_FileTask", done: CopyResult, *, upper: SnapshotID | None = None
    ) -> DiffKey:
        """The diff of what was made."""
        worker, lower = self._build.worker, None if upper is None else work.parent
        key = worker.diffs.add(work.ready.base, lower=lower, upper=upper, layer=done.layer)
        if done.patched:
            assert work.earlier is not None
            worker.layers.keep_patch(key, work.earlier.patch)
        return key

    def _do(self, work: "_FileTask", form: Form, *, shared: bool = False) -> CopyResult:
        """Carry out the actions. Raises `Unplannable` if the layer was all that was wanted, if the
        last copy is of no use, or if it cannot be `shared` by several processes."""
        build, (ready, op, places, *_) = self._build, work
        progress = build.progress(ready.vertex.digest)
        count = progress.counter("packing" if form == "layer" else "copying", "files")
        # On nothing, nothing can be there already.
        copied = copied_before(build, ready) if form != "layer" and ready.base else None
        hooks = Hooks(count, build.cancelled, copied)
        copies = tuple(action for action in op.actions if isinstance(action, Copy))
        if len(copies) == len(op.actions) and not any(copy.unpack for copy in copies):
            job = CopyJob(copies, form, "gzip", None, work.watched, work.inventory, work.earlier)
            if self._plan.packing is not None:
                compression, level, _ = self._plan.packing
                job = job._replace(compression=compression, level=level)
            done = self._copiers.do(job, places, build.worker.content, hooks, shared=shared)
            if done.layer is not None:
                remember(build.worker.content, done.layer)
            return done
        if form == "layer":
            raise Unplannable("only plain copies are known before they are a tree")
        with self._copiers.here():
            root_fd, _, sources, owners = places
            for skipped in apply(op.actions, root_fd, sources, hooks, owners=owners):
                progress.remark(skipped)
        return CopyResult()


class _FileTask(NamedTuple):
    """A File to do: its vertex, where it reads and writes, and the tree it stands on. `inventory`
    is where the table of what it puts goes, `last` what there is of the last copy, and `earlier`
    what of that it begins with."""

    ready: ReadyVertex
    op: File
    places: CopyTrees
    parent: SnapshotID | None
    watched: bool
    look: SourceLook | None
    inventory: str = ""
    last: LastCopy | None = None
    earlier: EarlierCopy | None = None
