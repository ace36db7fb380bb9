"""Why a step runs, told while the build is on its way.

Comes in: the graph of a build, what came of its vertices so far, and the step that is next. Goes
out: its causes, or where its result was found, in the words of `why`.
Read next: `story`.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from minibuild.cache.results import VertexResult
from minibuild.digest import Digest
from minibuild.errors import SourceText
from minibuild.graph.op import Exec, File
from minibuild.graph.vertex import Vertex
from minibuild.record.lookup import known_parts, where_ran
from minibuild.record.recorder import place_of
from minibuild.record.records import BuildRecord, BuildRecords, RecordedStep, unwritten
from minibuild.record.secrecy import mask_of
from minibuild.record.story import ExplainedStep, newest_before, story
from minibuild.session.request import BuildRequest
from minibuild.solver.key_parts import explain
from minibuild.solver.keys import ReadyVertex
from minibuild.solver.lookup import Answer
from minibuild.worker.worker import Worker


class RunningBuild:
    """A build that is on its way, compared with the last one of the same place."""

    def __init__(
        self, worker: Worker, request: BuildRequest, source: SourceText, vertices: Sequence[Vertex]
    ) -> None:
        self._worker = worker
        self._request = request
        self._source = source
        self._vertices = vertices
        self._mask = mask_of(request, source.text, vertices)
        self._numbers = {vertex.digest: n for n, vertex in enumerate(vertices)}
        self._records = BuildRecords(worker.store.root)
        self.steps = self.record().steps

    @cached_property
    def _earlier(self) -> Sequence[BuildRecord]:
        return self._records.of_place(place_of(self._request))

    def why(
        self, ready: ReadyVertex, answer: Answer, done: Mapping[Digest, VertexResult]
    ) -> ExplainedStep | None:
        """Why the next step would run; None if there is nothing to compare it with."""
        vertex, early = ready.vertex, answer.precomputed
        key = early.key if early is not None else None
        results = {**done, vertex.digest: VertexResult((), key, forced=ready.must_execute)}
        parts = {}
        if early is not None and isinstance(vertex.op, Exec | File):
            parts[early.key] = explain(vertex.op, ready.base_key, early.read.parts)
        build = self.record(results, parts)
        against = newest_before(self._earlier, build)
        if against is None:
            return None
        told = story(build, against, known_parts(self._worker.cache, build)).told
        number = self._numbers[vertex.digest]
        return next((one for one in told if one.step.number == number), None)

    def found(
        self, vertex: Vertex, result: VertexResult, done: Mapping[Digest, VertexResult]
    ) -> tuple[BuildRecord, RecordedStep] | None:
        """The build in which a step ran whose result was found."""
        build = self.record({**done, vertex.digest: result})
        return where_ran(self._records, build).get(result.key or "")

    def step(self, vertex: Vertex) -> RecordedStep:
        """A vertex as a record has it."""
        return self.steps[self._numbers[vertex.digest]]

    def op(self, step: RecordedStep) -> Mapping[str, Any]:
        """The operation of a step, with its secrets."""
        return self._vertices[step.number].op._asdict()

    def record(
        self,
        results: Mapping[Digest, VertexResult] = {},
        parts: Mapping[Digest, object] = {},
    ) -> BuildRecord:
        """What is known, in the form of a record."""
        return unwritten(self._request, self._source, self._vertices, results, self._mask, parts)
