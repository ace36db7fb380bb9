"""A build, shown again: a record becomes events.

Comes in: a build, and a function that finds where a cached step ran. Goes out: events that any
renderer of `progress` takes, vertex by vertex in the order in which they began. A step that was
cached shows the log of the build in which it ran.
"""

from collections.abc import Callable, Iterator, Sequence

from minibuild.digest import Digest
from minibuild.errors import Span
from minibuild.events import Completed, Event, Log, Planned, Remark, Started, VertexInfo
from minibuild.record.records import BuildRecord, RecordedStep

RanIn = Callable[[RecordedStep], tuple[BuildRecord, RecordedStep] | None]
"""Finds the build in which a cached step ran, and the step there."""


def events(build: BuildRecord, steps: Sequence[RecordedStep], ran_in: RanIn) -> Iterator[Event]:
    """The events of some steps of a build."""
    name = str(build.data.get("source", {}).get("name", ""))
    yield Planned(
        tuple(
            VertexInfo(
                Digest(step.digest),
                step.name,
                tuple(Digest(build.steps[i].digest) for i in step.inputs if i is not None),
                Span(name, step.lines[0], step.lines[-1]) if step.lines else None,
            )
            for step in steps
        )
    )
    begun = [step for step in steps if step.started is not None]
    for step in sorted(begun, key=lambda step: step.started or 0):
        yield from _of(build, step, ran_in)


def _of(build: BuildRecord, step: RecordedStep, ran_in: RanIn) -> Iterator[Event]:
    vertex, began = Digest(step.digest), build.started + (step.started or 0) / 1000
    yield Started(vertex, began)
    for text in step.remarks:
        yield Remark(vertex, text, began)
    source = (build, step) if step.state != "cached" else ran_in(step) if step.is_step else None
    if source is not None:
        there, ran = source
        if there is not build and _log(there, ran):
            yield Remark(vertex, f"it ran in build {there.id}:", began)
        for moment, stream, text in _log(there, ran):
            after = (moment - (ran.started or 0)) / 1000
            yield Log(vertex, stream, text.encode("utf-8", "surrogateescape"), began + after)
    if step.ended is not None:
        ended, stopped = build.started + step.ended / 1000, step.state == "stopped"
        error = step.error or ("stopped" if stopped else "")
        yield Completed(vertex, ended, step.state == "cached", error, stopped)


def _log(build: BuildRecord, step: RecordedStep) -> list[tuple[int, int, str]]:
    found = build.data.get("logs", {}).get(str(step.number), ())
    return [(int(moment), int(stream), str(text)) for moment, stream, text in found]
