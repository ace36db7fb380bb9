"""A build, the whole story in one function: read, convert, solve, export.

    Dockerfile --frontend--> graph --solver--> results --exporter--> images, archives, directories

Comes in: a `BuildRequest`. Goes out: a `BuildResult`, or a typed error. Read next: `graph.op`,
`solver`, `exporter.export`.
"""

import threading
import time
from collections.abc import Mapping
from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING, cast

from minibuild.cache.blobs import LostLayer
from minibuild.cache.materialise import Materialiser
from minibuild.digest import Digest
from minibuild.errors import BuildError, SourceText
from minibuild.events import Report, Warned, serialised, silent
from minibuild.exporter.export import export, packing_for
from minibuild.exporter.options import check_outputs
from minibuild.exporter.result import Products
from minibuild.fileop.digest_cache import DigestMemo
from minibuild.frontend.definition import Definition, read_definition
from minibuild.graph.frontend import (
    Built,
    Finding,
    Frontend,
    FrontendRequest,
    FrontendResult,
    LocalContext,
    Warn,
    ignore_findings,
)
from minibuild.graph.op import ImageSource, Op
from minibuild.graph.platform import host_platform
from minibuild.session.request import BuildRequest, BuildResult
from minibuild.session.secrets import SecretReader, SshReader
from minibuild.snapshot.api import MergePolicy
from minibuild.solver.solver import Solver
from minibuild.solver.trees import Solved
from minibuild.solver.workbench import Workbench
from minibuild.source.image import ImageFinder
from minibuild.source.source import Sources
from minibuild.worker.worker import Worker, open_worker

if TYPE_CHECKING:
    from minibuild.attest.attestor import Witness
    from minibuild.registry.pull import Registry
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
        bench, sources, finder = collaborators(worker, request, definition, ssh, report, cancelled)
        known: Mapping[Digest, Solved] = {}
        if not isinstance(definition.context, LocalContext):
            from minibuild.frontend.remote_context import arrived

            asked = frontend_request(request, definition)
            definition, known, left_out = arrived(
                definition, asked, request.file, bench, worker.cache, sources
            )
            bench = bench._replace(left_out=left_out)
        if _may_name_a_time(request, definition):
            from minibuild.frontend.epoch import with_epoch

            asked = frontend_request(request, definition)
            request = with_epoch(request, asked, bench, worker.cache, sources)
        try:
            return _build_anyhow(worker, request, definition, bench, sources, finder, known)
        except BuildError as error:
            # Whoever shows the error can show the lines around it.
            if error.span is not None and error.span.file == definition.source.name:
                error.source = definition.source
            raise


def _build_anyhow(
    worker: Worker,
    request: BuildRequest,
    definition: Definition,
    bench: Workbench,
    sources: Sources,
    finder: ImageFinder,
    known: Mapping[Digest, Solved],
) -> BuildResult:
    """Build; and if a cache of another machine lacks what it names, once more without it."""
    try:
        return _build(worker, request, definition, bench, sources, finder, known)
    except LostLayer as error:
        # Rare enough to begin again; what was done meanwhile is in the cache.
        bench.report(Warned("CacheNotImported", f"{error.message}; building without it"))
        worker.layers.give_back()
        bench.cancelled.clear()  # the failure stopped all other steps
        request = request._replace(cache_from=())
        return _build(worker, request, definition, bench, sources, finder, known)


def _may_name_a_time(request: BuildRequest, definition: Definition) -> bool:
    """Whether SOURCE_DATE_EPOCH may be something else than a plain number in the request."""
    given = request.build_args.get("SOURCE_DATE_EPOCH", "")
    named = given != "" and not given.lstrip("-").isdecimal()
    return request.graph is None and (named or "SOURCE_DATE_EPOCH" in definition.source.text)


def collaborators(
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
        connect=lambda: registry_client(request, cancelled),
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


def _build(
    worker: Worker,
    request: BuildRequest,
    definition: Definition,
    bench: Workbench,
    sources: Sources,
    finder: ImageFinder,
    known: Mapping[Digest, Solved],
) -> BuildResult:
    started = time.time()
    findings = Findings(bench.report, definition.source)
    converted = convert(request, definition, finder, findings.add)
    caches = _caches(worker, request, bench)
    if caches is not None:
        bench = bench._replace(elsewhere=caches.imports)
    solver = Solver(
        bench,
        worker.cache,
        sources,
        jobs=request.jobs,
        salt=request.lab,
        packing=packing_for(worker, request),
        known=known,
    )
    solved = solver.solve([image.vertex for image in converted.images])
    results = [solved[i.vertex.digest].result if i.vertex else () for i in converted.images]
    products = Products(converted.images, results, sources.base, request.multi_platform)
    if caches is not None:
        products = products._replace(inline=caches.inline(solver.steps))
    if request.attestations.mode or request.attestations.sbom:
        products = products._replace(witness=_witness(request, definition, solved, started))
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


def _witness(
    request: BuildRequest,
    definition: Definition,
    solved: Mapping[Digest, Solved],
    started: float,
) -> "Witness":
    """Who can say how the images came about, now that they did."""
    from minibuild.attest.attestor import Witness

    pins = {vertex: one.pin for vertex, one in solved.items() if one.pin}
    return Witness(request, definition.source, pins, started)


def _policy(request: BuildRequest) -> MergePolicy:
    """How the build merges: as always, unless it is to show an old defect (docs/lab.md)."""
    if not request.lab:
        return MergePolicy()
    from minibuild.snapshot.defects import policy_for

    return policy_for(request.lab)


def _marked(request: BuildRequest) -> BuildRequest:
    """The request, with an annotation that says with which defect its images were built."""
    return request._replace(annotations=(*request.annotations, f"{LAB_MARK}={request.lab}"))


def registry_client(request: BuildRequest, cancelled: threading.Event) -> "Registry":
    """The client of registries, made when the first of them is asked."""
    from minibuild.registry.pull import Registry
    from minibuild.registry.transport import patient

    return Registry(request.registries, patient(cancelled))


def convert(
    request: BuildRequest,
    definition: Definition,
    finder: ImageFinder,
    warn: Warn = ignore_findings,
) -> FrontendResult:
    """The graph that the definition means, or the one that came in its place."""
    if request.graph is not None:
        from minibuild.graph.flat import rebuilt

        vertex = rebuilt(request.graph, lambda op: _pinned(op, finder))
        platform = request.graph.config.platform
        return FrontendResult((Built(platform, vertex, request.graph.config),))
    # By name and on demand: the engine knows no frontend, and a frontend knows no engine.
    frontend = cast(Frontend, import_module("minibuild_dockerfile.convert"))
    return frontend.convert(frontend_request(request, definition), finder, warn)


def _pinned(op: Op, finder: ImageFinder) -> Op:
    """An image that a graph names without a digest is the one that is found now."""
    if isinstance(op, ImageSource) and not op.digest:
        return finder.resolve(op.ref, op.platform).source
    return op


def frontend_request(request: BuildRequest, definition: Definition) -> FrontendRequest:
    """What the frontend is asked."""
    host = host_platform()
    return FrontendRequest(
        source=definition.source,
        platforms=request.platforms or (host,),
        build_platform=host,
        target=request.target,
        build_args=request.build_args,
        labels=request.labels,
        context=definition.context,
        contexts=definition.contexts,
        no_cache_all=request.no_cache,
        no_cache=request.no_cache_filter,
        network=request.network,
        add_hosts=request.add_hosts,
        shm_size_bytes=request.shm_size_bytes,
        ulimits=request.ulimits,
        allow=request.allow,
        multi_platform=request.multi_platform,
        implicit_platform=not request.platforms,
    )


class Findings:
    """What the checks found so far, each reported with the lines that it is about."""

    def __init__(self, report: Report, source: SourceText) -> None:
        self.found: list[Finding] = []
        self._report = report
        self._source = source

    def add(self, finding: Finding) -> None:
        """Take a finding in and report it: see `graph.frontend.Warn`."""
        self.found.append(finding)
        rule, message, span, description, url = finding
        excerpt = ""
        if span is not None:
            excerpt = "\n".join(self._source.text.splitlines()[span.first - 1 : span.last])
        self._report(Warned(rule, message, span, description, url, excerpt))
