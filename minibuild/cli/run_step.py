"""`minibuild run --step STEP`: the tree of any step, cached or not.

Comes in: a line or words of a step; an image or a folder to build from, or neither: then it is a
step of the last build here. Goes out: a view of its tree. In a folder the build is done up to that
step, which costs nothing where it is cached; of a build that is over the tree is the one it left.
Read next: `run`, `minibuild.record.records`.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, NoReturn

from minibuild.cache.results import DiffKey, Result, VertexResult
from minibuild.cli.command import Session
from minibuild.cli.stores import find
from minibuild.cli.view import OpenedImage, tree_view
from minibuild.cli.why import steps_of
from minibuild.digest import Digest
from minibuild.errors import BuildError, SourceText, UsageError
from minibuild.graph.op import Exec, Merge, StepOp
from minibuild.graph.vertex import Vertex, topological
from minibuild.record.lookup import known_parts
from minibuild.record.made import build_of
from minibuild.record.records import BuildRecord, BuildRecords, RecordedStep
from minibuild.session.request import BuildRequest, Output, RegistryAccess
from minibuild.solver.keys import ReadyVertex
from minibuild.solver.lookup import Answer
from minibuild.worker.context import BuildContext
from minibuild.worker.worker import Worker


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
    below = _below(build, step)
    result: Result = tuple(DiffKey(key) for at in (*below, step) for key in at.result)
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
    like = _like(worker, build, (*below, step)[0])
    with tree_view(worker, result, like, session.tell, session.cancelled) as view:
        yield view


def _below(build: BuildRecord, step: RecordedStep) -> list[RecordedStep]:
    """What a linked copy is laid over: the inputs of its merge that come before it."""
    for merge in build.steps if step.inputs[:1] == (None,) else ():
        if merge.kind == "merge" and step.number in merge.inputs:
            numbers = [n for n in merge.inputs[: merge.inputs.index(step.number)] if n is not None]
            return [build.steps[number] for number in numbers]
    return []


def _like(worker: Worker, build: BuildRecord, at: RecordedStep) -> Mapping[str, Any]:
    """The operation of the step, or of the nearest RUN below it: its variables, folder and user."""
    parts = known_parts(worker.cache, build)
    while True:
        known = parts(at.key) if at.key else None
        op = at.op if known is None else known["op"]
        if at.kind == "exec" and op is not None:
            return op
        if not at.inputs or at.inputs[0] is None:
            return {}
        at = build.steps[at.inputs[0]]


# --- Of a build that is done for it ---


class Entered(Exception):
    """The step was reached, and the command has run: there is nothing more to build."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Entering:
    """The stepper that waits for one step, see `solver.stepper`."""

    def __init__(self, word: str, enter: Callable[[BuildContext, OpenedImage], int]) -> None:
        self._word = word
        self._enter = enter

    def begin(
        self, build: BuildContext, source: SourceText, targets: Sequence[Vertex | None]
    ) -> None:
        build.executor()  # It is to be there before there are threads.
        self._build = build
        self._vertices = topological(targets)
        self._results: dict[Digest, VertexResult] = {}
        steps = [v for v in self._vertices if isinstance(v.op, StepOp)]
        self._wanted = [vertex.digest for vertex in steps if _is_meant(vertex, self._word)][-1:]
        if not self._wanted:
            self._refuse(steps)

    def _refuse(self, steps: Sequence[Vertex]) -> NoReturn:
        lines = sorted({vertex.note.span.first for vertex in steps if vertex.note.span})
        raise UsageError(
            f"the build has no step {self._word!r}",
            hint=f"its steps are in lines {', '.join(map(str, lines))}",
        )

    def before(self, ready: ReadyVertex, answer: Answer) -> None:
        """See `Stepper`."""

    def after(self, vertex: Vertex, found: VertexResult) -> None:
        self._results[vertex.digest] = found
        if vertex.digest not in self._wanted:
            return
        build = self._build
        tell = build.progress(vertex.digest).remark
        with stage_view(build, self._vertices, vertex, found.result, self._results, tell) as view:
            raise Entered(self._enter(build, view))


@contextmanager
def stage_view(
    build: BuildContext,
    vertices: Sequence[Vertex],
    vertex: Vertex,
    own: Result,
    results: Mapping[Digest, VertexResult],
    tell: Callable[[str], None],
) -> Iterator[OpenedImage]:
    """A view of a step's stage: its `own` diffs, on those that it is laid over."""
    below = _laid_over(vertices, vertex)
    known = [results[one.digest].result for one in below if one.digest in results]
    result = tuple(key for part in (*known, own) for key in part)
    run = _nearest_run((*below, vertex)[0])
    like = {} if run is None else run._asdict()
    with tree_view(build.worker, result, like, tell, build.cancelled) as view:
        yield view


def _laid_over(vertices: Sequence[Vertex], vertex: Vertex) -> list[Vertex]:
    """What a linked copy is laid over: the inputs of its merge that come before it."""
    for merge in vertices if vertex.inputs[:1] == (None,) else ():
        if isinstance(merge.op, Merge) and vertex in merge.inputs:
            return [v for v in merge.inputs[: merge.inputs.index(vertex)] if v is not None]
    return []


def _nearest_run(vertex: Vertex | None) -> Exec | None:
    """The step, or the nearest RUN below it: whose variables, folder and user a shell has."""
    while vertex is not None:
        if isinstance(vertex.op, Exec):
            return vertex.op
        vertex = vertex.inputs[0] if vertex.inputs else None
    return None


def _is_meant(vertex: Vertex, word: str) -> bool:
    if word.isdigit():
        return is_in_line(vertex, int(word))
    return " ".join(word.split()) in " ".join(vertex.note.name.split())


def is_in_line(vertex: Vertex, line: int) -> bool:
    """Whether a line of the definition is one of a step."""
    span = vertex.note.span
    return span is not None and span.first <= line <= span.last


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
    entering = _Entering(word, enter)
    root, cancelled = session.root, session.cancelled
    with closing(session.renderer("plain")) as report:
        try:
            run_build(request, root=root, report=report, cancelled=cancelled, stepper=entering)
        except Entered as entered:
            return entered.code
    raise AssertionError("the build has the step, and did not come to it")
