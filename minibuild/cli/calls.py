"""`--check` and `--call`: what a definition offers, shown instead of built.

Comes in: the value of the flag, and the answer of the frontend. Goes out: on standard output JSON
with BuildKit's field names, or text in the layout of `docker buildx build`; and the exit code,
which is 1 if checks found something. A graph is minibuild's own, and can be drawn as well.
Read next: `minibuild.frontend.subrequests`.
"""

import argparse
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from minibuild.buildflags.attributes import fields, truth
from minibuild.cli.command import Session, writing
from minibuild.cli.errors import excerpt
from minibuild.cli.table import table
from minibuild.errors import Span, UsageError
from minibuild.events import Report
from minibuild.frontend.subrequests import METHODS, Method
from minibuild.frontend.subrequests import call as asked
from minibuild.graph.draw import FORMATS, drawn
from minibuild.graph.graphdata import Json
from minibuild.graph.spelling import one_of
from minibuild.session.request import BuildRequest
from minibuild.startup.tuples import NamedTuple

_HINT = "write --call=METHOD, or --call=METHOD,format=json"
_FORMS = ("text", "json")
_BINARY = "binary"
_DEFINITION_IS_WRONG = 6


class CallOption(NamedTuple):
    """What is asked, and how the answer is to look."""

    method: Method | Literal["plan"]
    form: str = "text"
    ignore_status: bool = False


def parse_call(text: str) -> CallOption | None:
    """`METHOD[,format=json|text][,ignorestatus=BOOL]`; None if it is a build.

    A graph can be drawn, too: `format=dot`, `mermaid` or `svg`.
    """
    name, form, ignore = "", "", False
    for field in fields(text):
        key, equals, value = field.partition("=")
        if not equals:
            if name:
                raise UsageError(f"invalid value {text!r} for --call", hint=_HINT)
            name = key
        elif key == "format" and value in FORMATS:
            form = value
        elif key == "ignorestatus":
            ignore = truth(value, "call ignorestatus")
        else:
            raise UsageError(f"invalid field {field!r} in --call {text}", hint=_HINT)
    if name in ("", "build"):
        return None
    if name == "plan" and form in ("", *_FORMS):
        return CallOption("plan", form or "text")
    known: dict[str, Method] = {"check": "lint", **{method: method for method in METHODS}}
    if name not in (*known, "plan"):
        methods = ("build", "check", "plan", *METHODS[1:])
        raise UsageError(f"unknown method {name!r} for --call", hint=one_of(name, methods))
    if form and form not in _FORMS and name != "graph":
        raise UsageError(f"--call={name} cannot be drawn", hint="format= is text or json")
    return CallOption(known[name], form or (_BINARY if name == "llb" else "text"), ignore)


def _write_definition(answer: Json, session: Session) -> None:
    """Write a definition of LLB, which is bytes for a program."""
    if session.stdout.isatty():
        raise UsageError(
            "a definition of LLB is not written to a terminal",
            hint="pipe it to `buildctl build`, or read it with --call=llb,format=text",
        )
    with writing(), open(session.stdout.fileno(), "wb", closefd=False) as file:
        file.write(answer["definition"])


def call_of(options: argparse.Namespace) -> CallOption | None:
    """What the options of a build ask instead of it. Raises `UsageError`."""
    asked = "check" if options.check else options.call
    call = parse_call(asked) if asked else CallOption("plan") if options.plan else None
    if call is not None and options.step:
        raise UsageError("--step is of a build, and this is none", hint="leave one out")
    of_plan = {"--plan": options.plan, "--if": options.changed, "--links": options.links}
    if call is None or call.method != "plan":
        for name in (name for name, value in of_plan.items() if value):
            other = f"--call={asked}" if asked else "a build"
            raise UsageError(
                f"{name} belongs to --plan, and not to {other}" if name != "--plan"
                else f"--plan and {other} contradict each other",
                hint="write --plan with it" if name != "--plan" else "leave one out",
            )  # fmt: skip
        return call
    return call._replace(form=options.format) if options.format else call


def check_format(options: argparse.Namespace) -> None:
    """Raise `UsageError` for a --format that is not of what is asked. To podman and buildah it is
    that of the image."""
    asked = options.plan or options.call or options.step
    if options.format and not (options.format in _FORMS and asked):
        raise UsageError(
            f"--format {options.format}: it is that of --plan and --step, text or json",
            hint="of the image, leave it out for oci; `-o type=image,oci-mediatypes=false` for "
            "docker",
        )


def answer(
    request: BuildRequest,
    call: CallOption,
    options: argparse.Namespace,
    root: str,
    report: Report,
    cancelled: threading.Event,
) -> Any:
    """The answer: a `Plan`, or else what the frontend says."""
    if call.method == "plan":
        from minibuild.record.planning import plan

        return plan(
            request, root=root, changed=options.changed, links=options.links,
            report=report, cancelled=cancelled,
        )  # fmt: skip
    return asked(request, call.method, root=root, report=report, cancelled=cancelled)


def write_answer(call: CallOption, found: Any, session: Session, place: str) -> int:
    """Write an answer. Returns the exit code. `place` is the Dockerfile as the reader opens it."""
    if call.method == "plan":
        from minibuild.cli.plan import lines_of

        session.say_lines(lines_of(found, call.form))
        return 0
    if call.form == _BINARY:
        _write_definition(found, session)
        return 0
    lines, code = shown(call, found, place)
    session.say_lines(lines)
    for line in () if call.form == "json" else failure(found, place):
        session.tell(line)
    return code


def shown(call: CallOption, answer: Json, place: str) -> tuple[list[str], int]:
    """The lines to print, and the exit code. `place` is the Dockerfile as the reader opens it."""
    failed = "buildError" in answer
    code = _DEFINITION_IS_WRONG if failed else 1 if answer.get("warnings") else 0
    code = 0 if call.ignore_status else code
    if call.method == "graph":
        return [drawn(answer, call.form)], code
    if call.method == "llb":
        from minibuild.buildkit.show import as_json, as_text

        definition = answer["definition"]
        if call.form == "json":
            return [json.dumps(as_json(definition), indent=2, ensure_ascii=False)], code
        return list(as_text(definition)), code
    if call.form == "json":
        return [json.dumps(answer, indent=2)], code
    if call.method == "targets":
        return _targets(answer), code
    if call.method == "outline":
        return list(_outline(answer)), code
    return list(_lint(answer, place)), code


def _targets(answer: Json) -> list[str]:
    rows = []
    for target in answer["targets"]:
        name, default = target.get("name", ""), target.get("default", False)
        mark = "(default)" if default else ""
        rows.append([f"{name} {mark}".strip(), target.get("description", "")])
    return table(["TARGET", "DESCRIPTION"], rows)


def _outline(answer: Json) -> Iterator[str]:
    if "name" in answer or "description" in answer:
        yield f"TARGET:       {answer.get('name', '(default)')}"
        if "description" in answer:
            yield f"DESCRIPTION:  {answer['description']}"
        yield ""
    if rows := [_row(arg, "name", "value", "description") for arg in answer.get("args", ())]:
        yield from (*table(["BUILD ARG", "VALUE", "DESCRIPTION"], rows), "")
    for key, title in (("secrets", "SECRET"), ("ssh", "SSH")):
        if rows := [_row(wanted, "name", "required") for wanted in answer.get(key, ())]:
            yield from (*table([title, "REQUIRED"], rows), "")
    if rows := [_row(cache, "ID") for cache in answer.get("cache", ())]:
        yield from (*table(["CACHE"], rows), "")


def _row(item: Json, *keys: str) -> Sequence[str]:
    return ["true" if item.get(key) is True else str(item.get(key, "")) for key in keys]


def _lint(answer: Json, place: str) -> Iterator[str]:
    warnings = answer["warnings"]
    if warnings:
        many = "s have" if len(warnings) > 1 else " has"
        yield f"Check complete, {len(warnings)} warning{many} been found!"
    elif "buildError" not in answer:
        yield "Check complete, no warnings found."
    for warning in warnings:
        url = f" - {warning['url']}" if "url" in warning else ""
        yield ""
        yield f"WARNING: {warning['ruleName']}{url}"
        yield warning["detail"]
        yield from _excerpt(warning, answer, place)


def failure(answer: Json, place: str) -> list[str]:
    """The lines about the error that ended the checks, if there was one."""
    error = answer.get("buildError")
    if error is None:
        return []
    hint = [f"hint: {error['hint']}"] if "hint" in error else []
    return [*_excerpt(error, answer, place), f"error: {error['message']}", *hint]


def _excerpt(found: Json, answer: Json, place: str) -> list[str]:
    from base64 import b64decode

    ranges = found.get("location", {}).get("ranges")
    if not ranges:
        return []
    text = b64decode(answer["sources"][0]["data"]).decode("utf-8", "surrogateescape")
    span = Span(place, ranges[0]["start"]["line"], ranges[-1]["end"]["line"])
    return excerpt(text, span, place)
