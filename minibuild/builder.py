"""A build, the whole story in one function: read, convert, solve, export.

    Dockerfile --frontend--> graph --solver--> results --exporter--> images, archives, directories

Comes in: a `BuildRequest`. Goes out: a `BuildResult`, or a typed error. Read next: `graph.op`,
`solver`, `exporter.export`.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from minibuild.cache.layers import LostLayer
from minibuild.cache.results import VertexResult
from minibuild.digest import Digest
from minibuild.errors import BuildError, quoting
from minibuild.events import Report, Warned, serialised, silent
from minibuild.exporter.export import export, packing_for
from minibuild.exporter.options import check_outputs
from minibuild.exporter.result import SolveResult
from minibuild.frontend.bridge import (
    Findings,
    convert,
    frontend_of,
    frontend_request,
    guarded_sources,
    with_epoch,
)
from minibuild.frontend.definition import Definition, read_definition
from minibuild.graph.frontend import Frontend, FrontendResult, LocalContext, Warn, ignore_findings
from minibuild.graph.vertex import Vertex
from minibuild.session.request import BuildRequest, BuildResult
from minibuild.solver.solver import Solution, Solver
from minibuild.source.source import Sources
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext, open_context
from minibuild.worker.worker import open_worker

if TYPE_CHECKING:
    from minibuild.attest.attestor import ImageAttestor
    from minibuild.frontend.conversions import Conversions
    from minibuild.record.recorder import Recorder
    from minibuild.remotecache.caches import RemoteCaches
    from minibuild.solver.stepper import Stepper

LAB_MARK = "minibuild.lab"
"""The annotation of an image, and the key of its metadata, that names an old defect."""


def run_build(
    request: BuildRequest,
    *,
    root: str,
    report: Report = silent,
    cancelled: threading.Event | None = None,
    stepper: "Stepper | None" = None,
    answer: Callable[[BuildResult], None] = lambda made: None,
    conversions: "Conversions | None" = None,
) -> BuildResult:
    """Do one build on the store in `root`. Needs root, or a user namespace around it. `answer` gets
    the result as soon as the outputs are there: without the provenance, before there is a record of
    the build."""
    recorder = _recorder(request, root)
    if recorder is not None:
        report = recorder.listening(report)
    report, cancelled = serialised(report), cancelled or threading.Event()
    check_outputs(request, report)
    if request.lab:
        mark = f"{LAB_MARK}={request.lab}"
        request = request._replace(annotations=(*request.annotations, mark))
    definition = read_definition(request)
    caches = _remote_caches(request)
    importer = None if caches is None else caches.mount_importer
    with (
        open_worker(root, isolation=request.isolation) as worker,
        open_context(
            worker, request, definition.directories, report, cancelled, importer
        ) as context,
    ):
        prepared = _dated(prepare(context, request, definition, conversions))
        prepared = prepared._replace(caches=caches, recorder=recorder, stepper=stepper)
        try:
            with quoting(prepared.definition.source):
                try:
                    return _build(prepared, answer)
                except LostLayer as error:
                    return _build(_without_caches(prepared, error), answer)
        except BuildError as error:
            _record(prepared, error=error)
            raise


class PreparedBuild(NamedTuple):
    """A build before its first step: what is asked, and the frontend that reads it. `known` are
    vertices that were solved to get the definition; `caches` are those of other machines. The
    `recorder` hears what happens, the `stepper` sees it step by step."""

    context: BuildContext
    request: BuildRequest
    definition: Definition
    frontend: Frontend
    sources: Sources
    known: Mapping[Digest, VertexResult] = {}
    caches: "RemoteCaches | None" = None
    recorder: "Recorder | None" = None
    stepper: "Stepper | None" = None

    def convert(self, warn: Warn = ignore_findings) -> FrontendResult:
        """The graph that the definition means."""
        db, finder = self.context.worker.store.db, self.sources.finder
        return convert(self.frontend, self.request, self.definition, finder, warn, db)


def prepare(
    context: BuildContext,
    request: BuildRequest,
    definition: Definition,
    conversions: "Conversions | None" = None,
) -> PreparedBuild:
    """Get the definition, if it has to be fetched, and find its frontend."""
    sources = Sources(context)
    known: Mapping[Digest, VertexResult] = {}
    if not isinstance(definition.context, LocalContext):
        from minibuild.frontend.remote_context import fetch_context

        definition, known = fetch_context(definition, request, context, sources)
    frontend = frontend_of(request, definition, conversions)
    return PreparedBuild(context, request, definition, frontend, sources, known)


def _dated(build: PreparedBuild) -> PreparedBuild:
    """The build with seconds in SOURCE_DATE_EPOCH, where it may name a source instead."""
    epoch = build.frontend.epoch(frontend_request(build.request, build.definition))
    seconds = epoch.seconds
    if epoch.source is not None:
        from minibuild.frontend.epoch import time_of

        guarded = guarded_sources(build.request, build.definition, build.sources.finder)
        source = epoch.source if guarded is None else guarded.tree(epoch.source)
        seconds = time_of(source, build.context, build.sources)
    return build._replace(request=with_epoch(build.request, seconds))


def _without_caches(build: PreparedBuild, error: LostLayer) -> PreparedBuild:
    """The build once more, if a cache of another machine lacks what it names. That is rare enough
    to begin again; what was done meanwhile is in the cache."""
    context = build.context
    context.report(Warned("CacheNotImported", f"{error.message}; building without it"))
    context.worker.layers.drop_caches()
    context.cancelled.clear()  # the failure stopped all other steps
    request = build.request._replace(cache_from=())
    return build._replace(request=request, caches=_remote_caches(request))


def _build(build: PreparedBuild, answer: Callable[[BuildResult], None]) -> BuildResult:
    """The story from the definition on: convert, solve, export."""
    context, request, caches = build.context, build.request, build.caches
    started, source = time.time(), build.definition.source
    findings = Findings(context.report, source)
    converted = _scanned(build, build.convert(findings.add))
    targets = [image.vertex for image in converted.images]
    said = [one.vertex for image in converted.images for one in image.attestations]
    solution = _solve(build, [*targets, *said])
    attestor = _attestor(build, solution.results, started, bool(said))
    solved = SolveResult(
        converted.images,
        [solution.results[one.digest].result if one else () for one in targets],
        build.sources.base,
        request.multi_platform,
        None if caches is None else caches.inline(context, solution, targets),
        attestor if request.attestations.attached or said else None,
    )
    made = export(context, request, solved)._replace(
        findings=tuple(findings.found),
        source=source,
        cached=solution.cached,
        executed=solution.executed,
    )
    if caches is not None:
        caches.send(context, solution, targets, made.tags)
    if request.lab:
        made = made._replace(metadata={**made.metadata, LAB_MARK: request.lab})
    answer(made)
    if attestor is not None:
        made = attestor.recorded(made, context.worker, solved)
    _record(build, made)
    return made


def _solve(build: PreparedBuild, targets: Sequence[Vertex | None]) -> Solution:
    """The results of all targets. What records or watches the build sees how they come about."""
    context, request, caches = build.context, build.request, build.caches
    solver = Solver(
        context,
        build.sources,
        jobs=request.jobs,
        salt=request.lab,
        packing=packing_for(request),
        remote_cache=None if caches is None else caches.results(context),
        known=build.known,
    )
    if build.recorder is not None:
        build.recorder.watch(build.definition.source, targets, solver.reached)
    if build.stepper is not None:
        build.stepper.begin(context, build.definition.source, targets)
    return solver.solve(targets, build.stepper)


def _remote_caches(request: BuildRequest) -> "RemoteCaches | None":
    """The caches of other machines, if this build has anything to do with them."""
    steps = request.cache_from or request.cache_to
    if not (steps or request.cache_mount_from or request.cache_mount_to):
        return None
    from minibuild.remotecache.caches import RemoteCaches

    return RemoteCaches(request)


def _recorder(request: BuildRequest, root: str) -> "Recorder | None":
    """What keeps a record of the build, unless that is not wanted or left out of the program."""
    if request.no_record:
        return None
    try:
        from minibuild.record.recorder import Recorder
    except ModuleNotFoundError:
        return None
    return Recorder(root, request)


def _record(
    build: PreparedBuild, made: BuildResult | None = None, error: BuildError | None = None
) -> None:
    """Keep what there is to say of a build that is over, and write the page about it."""
    recorder, path = build.recorder, os.fspath(build.request.report_file)
    if recorder is None:
        return
    recorder.keep(made, error)
    if path:
        from minibuild.page.document import write_newest

        with suppress(BuildError) if error is not None else nullcontext():
            write_newest(build.context.worker, recorder.request, recorder.began, path)


def _scanned(build: PreparedBuild, converted: FrontendResult) -> FrontendResult:
    """The images with the steps that scan them, if an image is to do that. Raises `UsageError`."""
    request, asked = build.request, build.request.attestations
    if not (asked.generator or asked.complete):
        return converted
    from minibuild.attest.attestor import ready

    return ready(converted, request, build.definition, build.frontend, build.sources.finder)


def _attestor(
    build: PreparedBuild, done: Mapping[Digest, VertexResult], started: float, said: bool
) -> "ImageAttestor | None":
    """What can say how the images came about, now that they did, if that is asked for."""
    request = build.request
    asked = request.attestations
    if not (asked.attached or asked.recorded or said):
        return None
    from minibuild.attest.attestor import ImageAttestor

    done = {**build.known, **done}
    return ImageAttestor(build.sources, request, build.definition, build.frontend, done, started)
