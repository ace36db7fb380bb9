"""`minibuild why`: why steps ran again, and where a file of an image comes from.

Comes in: nothing, a line or words of a step, a path, or IMAGE:/path. Goes out: causes, or the way
of the path, as text or JSON. Read next: `minibuild.record.story`, `minibuild.record.blame`.
"""

import argparse
import os
from collections.abc import Sequence
from typing import Any

from minibuild.cli import why_text
from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.stores import chosen, find, open_store
from minibuild.errors import ImageError, UsageError
from minibuild.graph.literals import parse_uint
from minibuild.graph.platform import host_platform
from minibuild.image.listing import tree_of
from minibuild.record.blame import Blame
from minibuild.record.image_builds import build_of
from minibuild.record.lookup import known_parts, where_ran
from minibuild.record.records import BuildRecord, BuildRecords, RecordedStep
from minibuild.record.story import GetParts, newest_before, story
from minibuild.worker.worker import Worker

_MOST = 10


def _flags(made: Parser) -> None:
    made.description = "Say why the steps of the last build ran, or where a file comes from."
    made.epilog = (
        "WHAT is a step (a line of the Dockerfile, or words of the instruction), a path in\n"
        "the image, or IMAGE:/path. Without it: all steps that ran. BUILD is ^1 for the one\n"
        "before the last, an id of `minibuild builds`, or a file of `minibuild builds export`."
    )
    made.word("[WHAT]", "a step, or a path")
    made.value("--build BUILD", "explain this one (default: ^0)", default="^0")
    made.value("--against BUILD", "compare with it (default: the one before)")
    made.switch("--all", "all causes, not only the first of many")
    made.format()


def _run(options: argparse.Namespace, session: Session) -> None:
    what = options.what
    with open_store(session) as worker:
        records = BuildRecords(worker.store.root)
        image, _, path = what.rpartition(":/")
        if image:
            lines, data = _of_image(worker, records, image, f"/{path}")
        else:
            build = records.find(options.build, os.getcwd())
            parts = known_parts(worker.cache, build)
            if what.startswith("/"):
                lines, data = _of_path(worker, build, parts, what)
            else:
                against = _against(records, build, options.against)
                parts = known_parts(worker.cache, *filter(None, (build, against)))
                most = 1 << 30 if options.all else _MOST
                lines, data = _of_steps(records, build, against, parts, what, most)
    session.say_result(options, data, lines)


Explanation = tuple[Sequence[str], Any]
"""Lines for people, and the same as data."""


# --- Builds ---


def _against(records: BuildRecords, build: BuildRecord, word: str) -> BuildRecord | None:
    """The build to compare with; by default the one before it of the same place."""
    if word:
        return records.find(word, os.getcwd())
    return newest_before(records.of_place(build.place), build) if build.place else None


# --- Steps ---


def _of_steps(
    records: BuildRecords,
    build: BuildRecord,
    against: BuildRecord | None,
    parts: GetParts,
    what: str,
    most: int,
) -> Explanation:
    told = story(build, against, parts)
    if not what:
        older = () if build.ran or not build.place else records.of_place(build.place)
        working = next((b for b in older if b.ran and b.started < build.started), None)
        return list(why_text.whole(told, most, working)), why_text.as_data(told)
    steps = steps_of(build, what, "; a path in the image begins with /")
    known = where_ran(records, build)
    lines: list[str] = []
    data = []
    for step in steps:
        earlier = None if step.ran else known.get(step.key or "")
        lines += why_text.one(told, step, earlier, most)
        data.append(why_text.step_data(told, step, earlier))
    return lines, {"build": build.id, "against": against and against.id, "steps": data}


def steps_of(build: BuildRecord, what: str, hint: str = "") -> list[RecordedStep]:
    """The steps that a line or words mean. Raises `UsageError` if there are none, whose hint ends
    with `hint`."""
    steps = [step for step in build.steps if step.is_step]
    if what.isdecimal():
        found = [step for step in steps if step.has_line(parse_uint(what))]
    else:
        words = " ".join(what.split())
        found = [step for step in steps if words in " ".join(step.name.split())]
    if not found:
        lines = ", ".join(map(str, sorted({step.line for step in steps if step.line})))
        there = f"its steps are in lines {lines}" if lines else "it has no steps but its base image"
        raise UsageError(f"the build has no step {what!r}", hint=f"{there}{hint}")
    return found


# --- Paths ---


def _of_path(worker: Worker, build: BuildRecord, parts: GetParts, path: str) -> Explanation:
    numbers = [output.get("vertex") for output in build.outputs]
    last = next((n for n in numbers if n is not None), None)
    if last is None and build.steps:
        last = next((s.number for s in reversed(build.steps) if s.result), None)
    if last is None:
        raise UsageError("the build made no files", hint="see `minibuild builds`")
    return _way(worker, build, parts, build.steps[last], path)


def _way(
    worker: Worker, build: BuildRecord, parts: GetParts, step: RecordedStep, path: str
) -> Explanation:
    way = list(Blame(worker, build, parts).way(step, path))
    if not way:
        raise UsageError(f"the image has no {path}", hint="paths begin at the root of the image")
    return list(why_text.way(way)), [why_text.origin_data(origin) for origin in way]


def _of_image(worker: Worker, records: BuildRecords, word: str, path: str) -> Explanation:
    made = build_of(records, {find(worker.images, word).descriptor.digest})
    if made is None:
        return _from_elsewhere(worker, word, path)
    build, step = made
    return _way(worker, build, known_parts(worker.cache, build), step, path)


def _from_elsewhere(worker: Worker, word: str, path: str) -> Explanation:
    """Of an image that was not built here: the layer, and the instruction of its history."""
    top = find(worker.images, word).descriptor
    image = chosen(worker.content, top, host_platform(), word)
    item = tree_of(image.layers).get(path.strip("/"))
    if item is None:
        raise ImageError(f"{word} has no {path}", hint="paths begin at the root of the image")
    made_by = image.instructions[item.layer]
    data = {"path": path, "layer": item.layer, "digest": image.layers[item.layer].digest}
    line = f"{path}  layer {item.layer}  {why_text.short(made_by) or 'its history does not say'}"
    return [line], [{**data, "instruction": made_by}]


COMMANDS = {"why": Command(_flags, _run)}
