"""The words of `minibuild why`: a story, one step of it, the way of a path; and the same as data.

Comes in: what `minibuild.record` found out. Goes out: lines, and plain data for JSON.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from minibuild.cli.table import ago, length, one_line
from minibuild.progress.console import visible
from minibuild.record.blame import Origin
from minibuild.record.causes import Cause
from minibuild.record.records import BuildRecord, RecordedStep
from minibuild.record.story import ExplainedStep, StoppedChange, Story

_PATHS = 3
_PIN = 19
"""Digits of a commit or digest, with the name of its algorithm."""


def short(text: str) -> str:
    """An instruction in one line of a terminal."""
    return one_line(text, 72)


def seconds(step: RecordedStep) -> str:
    """How long a step took."""
    return f"{step.seconds:.1f} s"


def name_of(build: BuildRecord) -> str:
    """What people know a build by: its image, or else its definition."""
    return short(next(iter(build.tags), "") or place_of(build))


def place_of(build: BuildRecord) -> str:
    """The path of its definition, and the stage."""
    target = str(build.data.get("target", ""))
    file = os.path.basename(str(build.data.get("file", ""))) or "Dockerfile"
    graph = not build.data.get("file") and build.data.get("source", {}).get("name") == "graph"
    place = f"{build.context} (graph)" if graph else os.path.join(build.context, file)
    return f"{place} ({target})" if target else place


# --- A story ---


def whole(story: Story, most: int, working: BuildRecord | None = None) -> Iterator[str]:
    """All steps that ran, and why. `working` is the last build of the same that ran any."""
    build, against = story.build, story.against
    if build.again:
        yield f"built again {ago(build.used)}: everything was cached"
    total = sum(step.is_step for step in build.steps)
    head = f"{len(story.told)} of {total} steps ran"
    if total and not story.told and not build.error:
        head = "everything was cached"
    failed = " failed" if build.error else ","
    head = f"build {build.id} of {name_of(build)}{failed} {ago(build.started)}: {head}"
    if against is not None:
        head += (
            f", compared with build {against.id} ({length(build.started - against.started)} before)"
        )
    yield head
    if working is not None and working is not build:
        yield f"the last that ran steps, {ago(working.started)}: minibuild why --build {working.id}"
    if against is None:
        yield "there is no earlier build of it to compare with"
        return
    followers = _followers(story.told)
    for told in story.told:
        if not told.causes:
            continue
        yield ""
        yield _head(told.step)
        yield from _causes(told.causes, most, " (--all)")
        for step in told.follows:
            yield f"      follows from {place(step)} as well"
        yield from _counted(followers.get(told.step.number, []))
    alone = followers.get(-1, [])
    if alone:
        yield ""
        yield from _counted(alone)
    if story.stops:
        yield ""
    for stop in story.stops:
        yield _stopped(stop)


def _followers(told: Sequence[ExplainedStep]) -> dict[int, list[RecordedStep]]:
    """The steps that only follow, by the step with a cause that they follow from first."""
    roots: dict[int, int] = {}
    found: dict[int, list[RecordedStep]] = {}
    for one in told:
        if one.causes:
            roots[one.step.number] = one.step.number
            continue
        known = [roots[step.number] for step in one.follows if step.number in roots]
        root = roots[one.step.number] = known[0] if known else -1
        found.setdefault(root, []).append(one.step)
    return found


def _counted(steps: Sequence[RecordedStep]) -> Iterator[str]:
    if steps:
        took = sum(step.seconds for step in steps)
        verb = "step follows" if len(steps) == 1 else "steps follow"
        yield f"      {len(steps)} {verb} ({took:.1f} s): {', '.join(map(place, steps))}"


def _head(step: RecordedStep) -> str:
    return head(step, seconds(step), "" if step.state == "ran" else f"{step.state}  ")


def head(step: RecordedStep, took: str, state: str) -> str:
    """The line above the causes of a step."""
    where = f"line {step.line}" if step.line else ""
    return f"{where:<9} {took:>7}  {state}{short(step.text)}"


def _causes(causes: Sequence[Cause], most: int, more: str) -> Iterator[str]:
    for cause in causes[:most]:
        yield f"      {visible(str(cause))}"
    if len(causes) > most:
        yield f"      and {len(causes) - most} more{more}"


def place(step: RecordedStep) -> str:
    """What people call a step: its line, or else its words."""
    return f"line {step.line}" if step.line else short(step.text)


def _stopped(stop: StoppedChange) -> str:
    paths = ", ".join(visible(path) for path in stop.paths[:_PATHS])
    if len(stop.paths) > _PATHS:
        paths += f" and {len(stop.paths) - _PATHS} more"
    here = place(stop.step)
    return f"the change of {here} stopped there: {paths} came out the same for {place(stop.reader)}"


# --- One step ---


def one(
    story: Story, step: RecordedStep, earlier: tuple[BuildRecord, RecordedStep] | None, most: int
) -> Iterator[str]:
    """Why a step ran, or where its result was found."""
    told = _told(story, step)
    if told is None:
        yield _head(step)
        yield f"      {_found(step, earlier)}"
        for stop in story.stops:
            if stop.reader is step:
                yield f"      {_stopped(stop)}"
        return
    yield _head(step)
    yield from reasons(story, step, most)
    if step.error:
        yield f"      {visible(step.error)}"


def reasons(story: Story, step: RecordedStep, most: int) -> Iterator[str]:
    """The causes of a step that ran, and what it follows from."""
    told = _told(story, step)
    if told is not None:
        yield from told_of(told, most, " (--all)")


def told_of(told: ExplainedStep, most: int, more: str = "") -> Iterator[str]:
    """The same for one step; `more` says how to see causes that are left out."""
    yield from _causes(told.causes, most, more)
    for other in told.follows:
        yield f"      follows from {place(other)}: {short(other.text)}"


def _told(story: Story, step: RecordedStep) -> ExplainedStep | None:
    return next((told for told in story.told if told.step.number == step.number), None)


def _found(step: RecordedStep, earlier: tuple[BuildRecord, RecordedStep] | None) -> str:
    if not step.state:
        return "not needed, or not reached"
    if step.origin:
        return f"cached: found in {step.origin}"
    if earlier is None:
        return "cached: it ran in a build of which no record is kept"
    return f"cached: {ran_in(*earlier)}"


def ran_in(build: BuildRecord, step: RecordedStep) -> str:
    """Where a step ran whose result was found."""
    return f"it ran in build {build.id}, {ago(build.started)}, and took {seconds(step)}"


# --- A path ---


def way(origins: Sequence[Origin]) -> Iterator[str]:
    """The steps of the way, each one further in."""
    for depth, origin in enumerate(origins):
        yield "  " * depth + _origin(origin)


def _origin(origin: Origin) -> str:
    path = visible(origin.path)
    if origin.where == "lost":
        return f"{path}  its files are no longer in the store, perhaps pruned"
    if origin.where == "context":
        assert origin.step is not None
        return f"from {origin.step.context}: {path.lstrip('/')}  ({origin.words})"
    if origin.where == "web":
        assert origin.step is not None
        source = origin.step.source
        ref = f"#{source['ref']}" if source.get("ref") else ""
        pin = f"  ({origin.words[:_PIN]})" if origin.words else ""
        return f"from {visible(str(source.get('url', '')) + ref)}: {path.lstrip('/')}{pin}"
    touched = "  (only its owner, mode or time)" if origin.touched else ""
    gone = "  (deleted)" if origin.gone else touched
    if origin.where == "base":
        name = "" if origin.step is None else str(origin.step.source.get("ref", ""))
        return f"{path}  in the base image {name}".rstrip() + gone
    assert origin.step is not None
    line = f"{place(origin.step)}  " if origin.step.line else ""
    return f"{path}  {line}{short(origin.step.text)}{gone}"


# --- Data ---


def as_data(story: Story) -> Any:
    """The whole story."""
    return {
        "build": story.build.id,
        "started": story.build.started,
        "used": story.build.used,
        "against": story.against.id if story.against else None,
        "error": story.build.error,
        "steps": sum(step.is_step for step in story.build.steps),
        "ran": [step_data(story, told.step, None) for told in story.told],
        "stopped": [
            {"line": s.step.line, "reader": s.reader.line, "paths": list(s.paths)}
            for s in story.stops
        ],
    }


def step_data(
    story: Story, step: RecordedStep, earlier: tuple[BuildRecord, RecordedStep] | None
) -> Any:
    """One step."""
    told = _told(story, step)
    found: dict[str, Any] = {
        "line": step.line,
        "stage": step.stage,
        "instruction": step.text,
        "state": step.state,
        "seconds": step.seconds,
        "causes": [] if told is None else [cause_data(cause) for cause in told.causes],
        "follows": [] if told is None else [other.line for other in told.follows],
    }
    if earlier is not None:
        build, ran = earlier
        found["ran_in"] = {"build": build.id, "started": build.started, "seconds": ran.seconds}
    return found


def cause_data(cause: Cause) -> dict[str, Any]:
    """A cause."""
    return {
        "kind": cause.kind,
        "text": cause.text,
        "note": cause.note,
        "path": cause.path,
        "line": cause.line,
        "perhaps": cause.perhaps,
    }


def origin_data(origin: Origin) -> Any:
    """One step of the way of a path."""
    step = origin.step
    return {
        "path": origin.path,
        "from": origin.where,
        "line": step.line if step else 0,
        "instruction": step.text if step else "",
        "fingerprint": origin.words,
        "deleted": origin.gone,
        "contents": not (origin.gone or origin.touched),
    }
