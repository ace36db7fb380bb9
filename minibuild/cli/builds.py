"""`minibuild builds`: what was built, shown again.

Comes in: words for builds: `^1`, an id, a file. Goes out: tables, logs as a build writes them, the
differences of two builds, a record as a file. Read next: `minibuild.record.records`.
"""

import argparse
import json
import os
from collections.abc import Iterator
from typing import Any

from minibuild.cli import why_text
from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.stores import open_store
from minibuild.cli.table import ago, table
from minibuild.cli.why import steps_of
from minibuild.cli.why_text import short
from minibuild.errors import UsageError, os_errors_as
from minibuild.progress.plain import Plain
from minibuild.progress.rawjson import RawJson
from minibuild.record.lookup import known_parts, portable, where_ran
from minibuild.record.records import BuildRecord, BuildRecords
from minibuild.record.replay import events
from minibuild.record.story import pairs, story
from minibuild.rootless.enter import enter_if_possible

_EPILOG = "BUILD is ^1 for the one before the last, an id, or a file of `builds export`."


def _records(session: Session) -> BuildRecords:
    root = session.root
    enter_if_possible()
    return BuildRecords(root)


def _ls_flags(made: Parser) -> None:
    made.description = "List the builds of which there is a record, newest first."
    made.epilog = _EPILOG
    made.format()
    made.switch("--here", "only builds of what was built last in this folder")


def _ls(options: argparse.Namespace, session: Session) -> None:
    records, folder = _records(session), os.getcwd()
    here = records.here(folder)
    back = {build.id: number for number, build in enumerate(here)}
    builds = here if options.here else list(records.all())
    data = [{**_about(b), "back": back.get(b.id)} for b in builds]
    rows = [
        [
            f"^{back[b.id]}" if b.id in back else "",
            b.id,
            ago(b.started),
            f"{b.seconds:.1f} s",
            _steps(b),
            ", ".join(b.tags) or "-",
            why_text.place_of(b),
        ]
        for b in builds
    ]
    header = ["", "BUILD", "WHEN", "TIME", "STEPS", "IMAGE", "PLACE"]
    session.say_result(options, data, table(header, rows, right="TIME"))


def _steps(build: BuildRecord) -> str:
    for step in build.steps:
        if step.state == "failed":
            return f"failed in line {step.line}" if step.line else "failed"
    if build.error:
        return "failed"
    return f"{len(build.ran)} ran of {sum(step.is_step for step in build.steps)}"


def _about(build: BuildRecord) -> dict[str, Any]:
    """A build in a few members."""
    return {
        "id": build.id,
        "started": build.started,
        "used": build.used,
        "seconds": build.seconds,
        "steps": sum(step.is_step for step in build.steps),
        "ran": len(build.ran),
        "error": build.error,
        "tags": build.tags,
        "digests": [digest for output in build.outputs for digest in output.get("digests", ())],
        "context": build.context,
        "file": build.data.get("file", ""),
        "target": build.data.get("target", ""),
    }


def _show_flags(made: Parser) -> None:
    made.description = "Show one build: its steps, times, outcomes and images."
    made.epilog = _EPILOG
    made.format()
    made.word("[BUILD]", "which (default: ^0)", default="^0")
    made.value("-o --output FILE", "write a page about it to FILE, or to - for stdout")


def _show(options: argparse.Namespace, session: Session) -> None:
    records = _records(session)
    build = records.find(options.build, os.getcwd())
    if options.output:
        from minibuild.page.document import page_of, write_page

        with open_store(session) as worker:
            if options.output == "-":
                return session.say(page_of(worker, build).rstrip("\n"))
            return write_page(worker, build, options.output)
    session.say_result(options, build.data, _shown(build))


def _shown(build: BuildRecord) -> Iterator[str]:
    yield f"build {build.id}, {ago(build.started)}, {build.seconds:.1f} s: {_steps(build)}"
    yield f"of {why_text.place_of(build)}"
    for name, value in build.data.get("build_args", {}).items():
        yield short(f"--build-arg {name}={value}")
    if build.error:
        yield short(f"error: {build.error}")
    yield ""
    rows = [
        [
            str(step.line or ""),
            step.stage,
            step.state or "-",
            f"{step.seconds:.1f} s",
            short(step.text),
        ]
        for step in build.steps
        if step.is_step
    ]
    yield from table(["LINE", "STAGE", "STATE", "TIME", "STEP"], rows, right="LINE TIME")
    for output in build.outputs:
        layers = output.get("layers", ())
        size = sum(layer[1] for layer in layers)
        yield ""
        yield f"{output.get('platform', '')}  {next(iter(output.get('digests', ())), '')}"
        yield f"{len(layers)} layers, {size:,} bytes as packed   {', '.join(build.tags)}".rstrip()


def _logs_flags(made: Parser) -> None:
    made.description = "Show the log of a build again, as --progress=plain did."
    made.epilog = _EPILOG
    made.word("[BUILD]", "which (default: ^0)", default="^0")
    made.word("[STEP]", "a line, or words of a step")
    made.format("text, or json as rawjson has it")


def _logs(options: argparse.Namespace, session: Session) -> None:
    records = _records(session)
    build = records.find(options.build, os.getcwd())
    steps = steps_of(build, options.step) if options.step else build.steps
    report: Any
    if options.format == "json":
        report = RawJson(session.stdout)
    else:
        report = Plain(session.stdout, colours=session.coloured(session.stdout), ticker=False)
    known = where_ran(records, build)
    for event in events(build, steps, lambda step: known.get(step.key or "")):
        report(event)
    report.close()


def _diff_flags(made: Parser) -> None:
    made.epilog = _EPILOG
    made.format()
    made.word("[BUILD]", "old (default: ^1)", dest="old", default="^1")
    made.word("[BUILD]", "new (default: ^0)", dest="new", default="^0")


def _diff(options: argparse.Namespace, session: Session) -> None:
    with open_store(session) as worker:
        records, folder = BuildRecords(worker.store.root), os.getcwd()
        old, new = records.find(options.old, folder), records.find(options.new, folder)
        told = story(new, old, known_parts(worker.cache, new, old))
    found = pairs(old, new)
    fresh = [step for step in new.steps if step.is_step and step.number not in found]
    kept = set(found.values())
    gone = [step for step in old.steps if step.is_step and step.number not in kept]
    images = [_about(build)["digests"][:1] for build in (old, new)]
    if options.format == "json":
        data = why_text.as_data(told)
        data["new"] = [why_text.step_data(told, step, None) for step in fresh]
        data["gone"] = [{"line": step.line, "instruction": step.text} for step in gone]
        return session.say_json({**data, "images": images})
    session.say_lines(why_text.whole(told, 10))
    for word, steps in (("new", fresh), ("gone", gone)):
        for step in steps:
            session.say(f"{word}: {why_text.place(step)}  {why_text.short(step.text)}")
    if all(images):
        verb = "the same image" if images[0] == images[1] else "another image"
        session.say(f"{verb}: {images[0][0]} -> {images[1][0]}")


def _export_flags(made: Parser) -> None:
    made.description = "Write the record of a build, with the parts of its keys, as JSON."
    made.epilog = _EPILOG
    made.word("[BUILD]", "which (default: ^0)", default="^0")
    made.value("-o --output FILE", "where to (default: -)", default="-")


def _export(options: argparse.Namespace, session: Session) -> None:
    with open_store(session) as worker:
        build = BuildRecords(worker.store.root).find(options.build, os.getcwd())
        text = json.dumps(portable(build, known_parts(worker.cache, build)), indent=1)
    if options.output == "-":
        return session.say(text)
    problem = os_errors_as(UsageError, f"cannot write {options.output}")
    with problem, open(options.output, "w", encoding="utf-8") as file:
        file.write(text + "\n")


COMMANDS = {
    "builds ls": Command(_ls_flags, _ls),
    "builds show": Command(_show_flags, _show),
    "builds logs": Command(_logs_flags, _logs),
    "builds diff": Command(_diff_flags, _diff),
    "builds export": Command(_export_flags, _export),
}
