"""`minibuild run --step STEP`: the tree of any step, cached or not.

Comes in: a line or words of a step; an image or a folder to build from, or neither: then it is a
step of the last build here. Goes out: a view of its tree. In a folder the build is done up to that
step, which costs nothing where it is cached; of a build that is over the tree is the one it left.
Read next: `run`, `minibuild.record.records`.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from minibuild.cache.results import DiffKey, Result, VertexResult
from minibuild.cli.command import Session
from minibuild.cli.stores import find
from minibuild.cli.view import OpenedImage, tree_view
from minibuild.cli.why import steps_of
from minibuild.digest import Digest
from minibuild.errors import BuildError, SourceText, UsageError
from minibuild.graph.vertex import Vertex, topological
from minibuild.record.image_builds import build_of
from minibuild.record.lookup import known_parts
from minibuild.record.records import BuildRecord, BuildRecords, RecordedStep
from minibuild.record.running_build import RunningBuild
from minibuild.session.request import BuildRequest, Output, RegistryAccess
from minibuild.solver.keys import ReadyVertex
from minibuild.solver.lookup import Answer
from minibuild.worker.context import BuildContext
from minibuild.worker.worker import Worker

GetOp = Callable[[RecordedStep], Mapping[str, Any] | None]
"""The operation of a step, if it is known."""


def is_context(word: str) -> bool:
    """Whether a word is a folder to build from: one that is named with a slash, or `.`."""
    return (os.sep in word or word in (".", "..")) and os.path.isdir(word)


# --- Of a build that is over ---


def build_of_image(worker: Worker, word: str) -> BuildRecord | None:
    """The build that made an image, if the word is one and its record is kept."""
    try:
        digest = find(worker.images, word).descriptor.digest
    except BuildError:
        return None
    made = build_of(BuildRecords(worker.store.root), {digest})
    return None if made is None else made[0]


@contextmanager
def step_view(
    worker: Worker, build: BuildRecord | None, word: str, session: Session
) -> Iterator[OpenedImage]:
    """A view of what a step left, in a build or else in the last one here."""
    if build is None:
        builds = BuildRecords(worker.store.root).here(os.getcwd())
        if not builds:
            raise UsageError(
                "there is no record of a build",
                hint=f"name the folder to build: minibuild run --step {word!r} . sh",
            )
        build = builds[0]
    step = steps_of(build, word)[-1]
    result, like = stage_of(build, step, _recorded_ops(worker, build))
    if not worker.diffs.all_present(result):
        raise UsageError(
            "its files are no longer in the store",
            hint=f"name the folder to build it again: minibuild run --step {word!r} . sh",
        )
    where = f"line {step.line}: " if step.line else ""
    if step.key is None:
        session.tell(f"it did not end well, and this is what it stood on: {where}{step.text}")
    else:
        session.tell(f"in what it left: {where}{step.text}")
    with tree_view(worker, result, like, session.tell, session.cancelled) as view:
        yield view


def _recorded_ops(worker: Worker, build: BuildRecord) -> GetOp:
    parts = known_parts(worker.cache, build)

    def op(step: RecordedStep) -> Mapping[str, Any] | None:
        known = parts(step.key) if step.key else None
        return step.op if known is None else known["op"]

    return op


def stage_of(
    build: BuildRecord, step: RecordedStep, get_op: GetOp
) -> tuple[Result, Mapping[str, Any]]:
    """The tree of a step's stage: what it left, on what that is laid over; and the operation of the
    step, or of the nearest RUN below it, whose variables, folder and user a shell has there."""
    below = _below(build, step)
    result: Result = tuple(DiffKey(key) for at in (*below, step) for key in at.result)
    run = (*below, step)[0]
    while True:
        op = get_op(run) if run.kind == "exec" else None
        if op is not None:
            return result, op
        if not run.inputs or run.inputs[0] is None:
            return result, {}
        run = build.steps[run.inputs[0]]


def _below(build: BuildRecord, step: RecordedStep) -> list[RecordedStep]:
    """What a linked copy is laid over: the inputs of its merge that come before it."""
    for merge in build.steps if step.inputs[:1] == (None,) else ():
        if merge.kind == "merge" and step.number in merge.inputs:
            numbers = [n for n in merge.inputs[: merge.inputs.index(step.number)] if n is not None]
            return [build.steps[number] for number in numbers]
    return []


# --- Of a build that is done for it ---


class StepReached(Exception):
    """The step was reached, and the command has run: there is nothing more to build."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Entering:
    """The stepper that waits for one step, see `solver.stepper`."""

    def __init__(
        self, request: BuildRequest, word: str, enter: Callable[[BuildContext, OpenedImage], int]
    ) -> None:
        self._request = request
        self._word = word
        self._enter = enter

    def begin(
        self, build: BuildContext, source: SourceText, targets: Sequence[Vertex | None]
    ) -> None:
        build.executor()  # It is to be there before there are threads.
        self._build = build
        self._running = RunningBuild(build.worker, self._request, source, topological(targets))
        self._results: dict[Digest, VertexResult] = {}
        self._wanted = steps_of(self._running.record(), self._word)[-1].digest

    def before(self, ready: ReadyVertex, answer: Answer) -> None:
        """See `Stepper`."""

    def after(self, vertex: Vertex, found: VertexResult) -> None:
        self._results[vertex.digest] = found
        if vertex.digest != self._wanted:
            return
        build, tell = self._build, self._build.progress(vertex.digest).remark
        with running_view(build, self._running, vertex, self._results, tell) as view:
            raise StepReached(self._enter(build, view))


@contextmanager
def running_view(
    build: BuildContext,
    running: RunningBuild,
    vertex: Vertex,
    results: Mapping[Digest, VertexResult],
    tell: Callable[[str], None],
) -> Iterator[OpenedImage]:
    """A view of a step's stage in a build that is on its way, with these results so far."""
    record = running.record(results)
    result, like = stage_of(record, record.steps[running.step(vertex).number], running.op)
    with tree_view(build.worker, result, like, tell, build.cancelled) as view:
        yield view


def in_context(
    context: str,
    word: str,
    access: RegistryAccess,
    session: Session,
    enter: Callable[[BuildContext, OpenedImage], int],
) -> int:
    """Build up to a step, and enter its tree. Returns what `enter` does."""
    from minibuild.builder import run_build

    request = BuildRequest(
        os.path.abspath(context), outputs=(Output("cacheonly"),), registries=access, no_record=True
    )
    entering = _Entering(request, word, enter)
    root, cancelled = session.root, session.cancelled
    with closing(session.renderer("plain")) as report:
        try:
            run_build(request, root=root, report=report, cancelled=cancelled, stepper=entering)
        except StepReached as entered:
            return entered.code
    raise AssertionError("the build has the step, and did not come to it")
