"""A build, the whole story in one function: read, convert, solve, export.

    Dockerfile --frontend--> graph --solver--> results --exporter--> images, archives, directories

Comes in: a `BuildRequest`. Goes out: a `BuildResult`, or a typed error. Read next: `graph.op`,
`solver`, `exporter.export`.
"""

import threading
import time
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from minibuild.cache.blobs import LostLayer
from minibuild.cache.materialise import Materialiser
from minibuild.digest import Digest
from minibuild.errors import BuildError
from minibuild.events import Report, Warned, serialised, silent
from minibuild.exporter.export import export, packing_for
from minibuild.exporter.options import check_outputs
from minibuild.exporter.result import Products
from minibuild.fileop.digest_cache import DigestMemo
from minibuild.frontend.bridge import Findings, frontend_of, frontend_request, with_epoch
from minibuild.frontend.definition import Definition, read_definition
from minibuild.graph.frontend import (
    Frontend,
    FrontendResult,
    LocalContext,
    Warn,
    ignore_findings,
)
from minibuild.session.request import BuildRequest, BuildResult
from minibuild.session.secrets import SecretReader, SshReader
from minibuild.snapshot.api import MergePolicy
from minibuild.solver.solver import Solver
from minibuild.solver.trees import Solved
from minibuild.solver.workbench import Workbench
from minibuild.source.image import ImageFinder, registry_client
from minibuild.source.source import Sources
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.worker import Worker, open_worker

if TYPE_CHECKING:
    from minibuild.attest.attestor import Witness
    from minibuild.remotecache.caches import Caches

LAB_MARK = "minibuild.lab"
"""The annotation of an image, and the key of its metadata, that names an old defect."""


def run_build(
    request: BuildRequest,
    *,
    root: str,
    report: Report = silent,
    cancelled: threading.Event | None = None,
) -> BuildResult:
    """Do one build on the store in `root`. Needs root, or a user namespace around it."""
    report, cancelled = serialised(report), cancelled or threading.Event()
    check_outputs(request.outputs, request.tags)
    if request.lab:
        request = _marked(request)
    definition = read_definition(request)
    with open_worker(root) as worker, closing(SshReader(request.ssh)) as ssh:
        build = _dated(prepare(worker, request, definition, ssh, report, cancelled))
        source = build.definition.source
        try:
            try:
                return _build(build)
            except LostLayer as error:
                return _build(_without_caches(build, error))
        except BuildError as error:
            # What shows the error can show the lines around it.
            if error.span is not None and error.span.file == source.name:
                error.source = source
            raise


class Prepared(NamedTuple):
    """A build before its first step: what is asked, the frontend that reads it, and what works on
    it. `known` are vertices that were solved to get the definition."""

    worker: Worker
    request: BuildRequest
    definition: Definition
    frontend: Frontend
    bench: Workbench
    sources: Sources
    finder: ImageFinder
    known: Mapping[Digest, Solved] = {}

    def convert(self, warn: Warn = ignore_findings) -> FrontendResult:
        """The graph that the definition means."""
        asked = frontend_request(self.request, self.definition)
        return self.frontend.convert(asked, self.finder, warn)


def prepare(
    worker: Worker,
    request: BuildRequest,
    definition: Definition,
    ssh: SshReader,
    report: Report,
    cancelled: threading.Event,
) -> Prepared:
    """Get the definition, if it has to be fetched, and find its frontend."""
    bench, sources, finder = _collaborators(worker, request, definition, ssh, report, cancelled)
    known: Mapping[Digest, Solved] = {}
    if not isinstance(definition.context, LocalContext):
        from minibuild.frontend.remote_context import arrived

        definition, known, left_out = arrived(definition, request, bench, worker.cache, sources)
        bench = bench._replace(left_out=left_out)
    frontend = frontend_of(request, definition)
    return Prepared(worker, request, definition, frontend, bench, sources, finder, known)


def _dated(build: Prepared) -> Prepared:
    """The build with seconds in SOURCE_DATE_EPOCH, where it may name a source instead."""
    epoch = build.frontend.epoch(frontend_request(build.request, build.definition))
    seconds = epoch.seconds
    if epoch.source is not None:
        from minibuild.frontend.epoch import time_of

        seconds = time_of(epoch.source, build.bench, build.worker.cache, build.sources)
    return build._replace(request=with_epoch(build.request, seconds))


def _without_caches(build: Prepared, error: LostLayer) -> Prepared:
    """The build once more, if a cache of another machine lacks what it names. That is rare enough
    to begin again; what was done meanwhile is in the cache."""
    build.bench.report(Warned("CacheNotImported", f"{error.message}; building without it"))
    build.worker.layers.give_back()
    build.bench.cancelled.clear()  # the failure stopped all other steps
    return build._replace(request=build.request._replace(cache_from=()))


def _collaborators(
    worker: Worker,
    request: BuildRequest,
    definition: Definition,
    ssh: SshReader,
    report: Report,
    cancelled: threading.Event,
) -> tuple[Workbench, Sources, ImageFinder]:
    """What the steps of a build work with."""
    finder = ImageFinder(
        worker.content,
        worker.images,
        pull=request.pull,
        connect=lambda: registry_client(request.registries, cancelled),
    )
    worker.layers.attend(report, cancelled)
    materialiser = Materialiser(
        worker.store,
        worker.snapshots,
        worker.diffs,
        worker.layers,
        policy=_policy(request),
        cancelled=cancelled,
    )
    bench = Workbench(
        store=worker.store,
        content=worker.content,
        snapshots=worker.snapshots,
        diffs=worker.diffs,
        materialiser=materialiser,
        executor=worker.executor,
        memo=DigestMemo(worker.store.db),
        locals=definition.locals,
        secret=SecretReader(request.secrets),
        ssh=ssh,
        report=report,
        cancelled=cancelled,
        access=request.registries,
    )
    bench = _with_requests(bench, worker, request)
    return bench, Sources(bench, worker.cache, worker.layers, finder), finder


def _with_requests(bench: Workbench, worker: Worker, request: BuildRequest) -> Workbench:
    """The workbench with what only some requests ask for."""
    if request.keep_failed:
        from minibuild.solver.failed import FailedSteps

        failed = FailedSteps(worker.cache, worker.diffs, worker.snapshots)
        bench = bench._replace(keep=failed.keep)
    if request.cache_mount_from:
        from minibuild.remotecache.mounts.importer import Arrivals
        from minibuild.remotecache.transfer import Scene

        scene = Scene(worker.store, request.registries, bench.report, bench.cancelled)
        bench = bench._replace(fill=Arrivals(scene, request.cache_mount_from).fill)
    return bench


def _build(build: Prepared) -> BuildResult:
    worker, request, definition, bench = build.worker, build.request, build.definition, build.bench
    started = time.time()
    findings = Findings(bench.report, definition.source)
    converted = build.convert(findings.add)
    caches = _caches(worker, request, bench)
    if caches is not None:
        bench = bench._replace(elsewhere=caches.imports)
    solver = Solver(
        bench,
        worker.cache,
        build.sources,
        jobs=request.jobs,
        salt=request.lab,
        packing=packing_for(worker, request),
        known=build.known,
    )
    solved = solver.solve([image.vertex for image in converted.images])
    results = [solved[i.vertex.digest].result if i.vertex else () for i in converted.images]
    products = Products(converted.images, results, build.sources.base, request.multi_platform)
    if caches is not None:
        products = products._replace(inline=caches.inline(solver.steps))
    if request.attestations.mode or request.attestations.sbom:
        products = products._replace(witness=_witness(build, solved, started))
    made = export(worker, bench, request, products)
    if caches is not None:
        caches.send(solver.steps, results, made.tags)
    if request.cache_mount_to:
        from minibuild.remotecache.mounts.exporter import mounts_of, send
        from minibuild.remotecache.transfer import Scene

        scene = Scene(bench.store, request.registries, bench.report, bench.cancelled)
        ids = mounts_of([image.vertex for image in converted.images], solved)
        send(scene, request.cache_mount_to, ids, request.cache_mount_from)
    if request.lab:
        made = made._replace(metadata={**made.metadata, LAB_MARK: request.lab})
    return made._replace(
        findings=tuple(findings.found),
        source=definition.source,
        cached=solver.cached,
        executed=solver.executed,
    )


def _caches(worker: Worker, request: BuildRequest, bench: Workbench) -> "Caches | None":
    """The caches of other machines, if this build has anything to do with them."""
    if not request.cache_from and not request.cache_to:
        return None
    from minibuild.remotecache.caches import Caches
    from minibuild.remotecache.transfer import Scene

    scene = Scene(bench.store, request.registries, bench.report, bench.cancelled)
    return Caches(worker, bench.materialiser, scene, request)


def _witness(build: Prepared, solved: Mapping[Digest, Solved], started: float) -> "Witness":
    """Who can say how the images came about, now that they did."""
    from minibuild.attest.attestor import Witness

    pins = {vertex: one.pin for vertex, one in solved.items() if one.pin}
    return Witness(build.request, build.definition.source, build.frontend, pins, started)


def _policy(request: BuildRequest) -> MergePolicy:
    """How the build merges: as always, unless it is to show an old defect (docs/lab.md)."""
    if not request.lab:
        return MergePolicy()
    from minibuild.snapshot.defects import policy_for

    return policy_for(request.lab)


def _marked(request: BuildRequest) -> BuildRequest:
    """The request, with an annotation that says with which defect its images were built."""
    return request._replace(annotations=(*request.annotations, f"{LAB_MARK}={request.lab}"))
