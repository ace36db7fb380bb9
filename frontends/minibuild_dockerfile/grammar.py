"""The instructions: one function for each, from its pieces to its type.

Comes in: a `Clause`. Goes out: one of the types of `instructions`, or a `DockerfileError`. The
rules are those of the Dockerfile reference; where it is silent, BuildKit's.
Read next: `parse`, which calls these, and `inline` for COPY, ADD and RUN.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from minibuild.graph.literals import duration_ns
from minibuild.startup.regex import regex
from minibuild_dockerfile.clause import Clause
from minibuild_dockerfile.history import quoted
from minibuild_dockerfile.inline import add, copy, run
from minibuild_dockerfile.instructions import (
    Arg,
    ArgName,
    Cmd,
    Command,
    Entrypoint,
    Env,
    ExecForm,
    Expose,
    From,
    Head,
    Healthcheck,
    Instruction,
    KeyValue,
    Label,
    Maintainer,
    Onbuild,
    Shell,
    ShellForm,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from minibuild_dockerfile.words import SEPARATOR, Piece, stripped

_STAGE_NAME = regex(r"[a-z][a-z0-9-_.]*")
_ONBUILD = regex(r"\s*ONBUILD\s*", re.IGNORECASE)
_MILLISECOND_NS = 1_000_000
Read = Callable[[Clause], Instruction]
"""Reads one instruction."""


def from_(clause: Clause) -> From:
    words = [word.text for word in clause.separated()]
    if not (len(words) == 1 or (len(words) == 3 and words[1].lower() == "as")):
        dashed = words and words[0].startswith("-")
        hint = "flags begin with two dashes" if dashed else "write FROM image or FROM image AS name"
        raise clause.error("FROM requires either one or three arguments", hint)
    head = clause.head()
    if len(words) == 1:
        return From(head, words[0], head.text("platform"))
    image, as_keyword, written = words
    name = written.lower()
    if not _STAGE_NAME.fullmatch(name):
        raise clause.error(
            f'invalid name for build stage: "{written}", '
            "name can't start with a number or contain symbols",
            "begin with a letter, go on with letters, digits, '-', '_' or '.'",
        )
    platform, comment = head.text("platform"), clause.comment_about(name)
    return From(head, image, platform, name, written, as_keyword, comment)


def arg(clause: Clause) -> Arg:
    words = clause.words()
    if not words:
        raise _at_least_one(clause, "ARG NAME or ARG NAME=default")
    head = clause.head()
    names: list[ArgName] = []
    for word in words:
        name, equals, default = word.text.partition("=")
        if not name:
            raise _blank_name(clause, word)
        span, comment = clause.span_of(word), clause.comment_about(name)
        names.append(ArgName(name, default if equals else None, span, comment))
    return Arg(head, tuple(names))


def _of_pairs(make: Callable[[Head, tuple[KeyValue, ...], bool], Instruction]) -> Read:
    """Reads ENV or LABEL."""

    def read(clause: Clause) -> Instruction:
        return make(clause.head(), *_key_values(clause))

    return read


def _key_values(clause: Clause) -> tuple[tuple[KeyValue, ...], bool]:
    """The pairs of ENV or LABEL, and whether they are in the old form without `=`."""
    words = clause.words()
    if not words:
        raise _at_least_one(clause, f"{clause.instruction} name=value")
    if "=" not in words[0].text:
        key, *values = SEPARATOR.split(clause.rest.text, maxsplit=1)
        if not values:
            raise clause.error(
                f"{clause.instruction} must have two arguments",
                f"write {clause.instruction} {key}=value",
            )
        return (KeyValue(key, values[0], clause.span_of(clause.rest)),), True
    pairs: list[KeyValue] = []
    for word in words:
        key, equals, value = word.text.partition("=")
        if not equals:
            raise clause.error(
                f"Syntax error - can't find = in {quoted(word.text)}. "
                "Must be of the form: name=value",
                "if it belongs to the value before, put that value in quotes",
                clause.span_of(word),
            )
        if not key:
            raise _blank_name(clause, word)
        pairs.append(KeyValue(key, value, clause.span_of(word)))
    return tuple(pairs), False


def _of_text(make: Callable[[Head, str], Instruction]) -> Read:
    """Reads an instruction that takes all of its line for one value."""

    def read(clause: Clause) -> Instruction:
        if not clause.rest.text:
            raise clause.error(
                f"{clause.instruction} requires exactly one argument",
                f"write {clause.instruction} and a value",
            )
        return make(clause.head(), clause.rest.text)

    return read


def _of_command(make: Callable[[Head, Command], Instruction]) -> Read:
    """Reads CMD or ENTRYPOINT."""

    def read(clause: Clause) -> Instruction:
        return make(clause.head(), _command(clause))

    return read


def _command(clause: Clause) -> Command:
    argv = clause.json()
    return ShellForm(clause.rest.text) if argv is None else ExecForm(argv)


def expose(clause: Clause) -> Expose:
    ports = tuple(word.text for word in clause.separated())
    if not ports:
        raise _at_least_one(clause, "EXPOSE 8080 or EXPOSE 53/udp")
    return Expose(clause.head(), ports)


def volume(clause: Clause) -> Volume:
    array = clause.json()
    written = array or tuple(word.text for word in clause.separated())
    if not written or array == ():
        raise _at_least_one(clause, "VOLUME /path")
    head = clause.head()
    paths = tuple(stripped(path).text for path in written)
    if "" in paths:
        raise clause.error("VOLUME specified can not be an empty string", "remove the empty string")
    return Volume(head, paths)


def shell(clause: Clause) -> Shell:
    head = clause.head()
    argv = clause.json()
    if argv is None and clause.rest.text:
        raise clause.error(
            "SHELL requires the arguments to be in JSON form", 'write SHELL ["/bin/sh", "-c"]'
        )
    if not argv:
        raise _at_least_one(clause, 'SHELL ["/bin/sh", "-c"]')
    return Shell(head, argv)


def healthcheck(clause: Clause) -> Healthcheck:
    words = clause.separated()
    if not words:
        raise _at_least_one(clause, "HEALTHCHECK CMD command, or HEALTHCHECK NONE")
    if words[0].text.upper() == "NONE":
        clause.pieces.clear()  # Its flags are not looked at.
    head = clause.head()
    kind = words[0].text.upper()
    if kind not in ("CMD", "NONE"):
        raise clause.error(
            f'Unknown type "{kind}" in HEALTHCHECK (try CMD)',
            "write HEALTHCHECK CMD command, or HEALTHCHECK NONE",
        )
    if kind == "NONE" and len(words) > 1:
        raise clause.error("HEALTHCHECK NONE takes no arguments", "remove what follows NONE")
    command: Command | None = None
    if kind == "CMD":
        clause.rest = stripped(clause.rest.text[len(kind) :], clause.rest.offset + len(kind))
        command = _command(clause)
        if command in (ShellForm(""), ExecForm(())):
            raise clause.error(
                "Missing command after HEALTHCHECK CMD", "write HEALTHCHECK CMD command"
            )
    return Healthcheck(
        head,
        command,
        _interval_ns(clause, head, "interval"),
        _interval_ns(clause, head, "timeout"),
        _interval_ns(clause, head, "start-period"),
        _interval_ns(clause, head, "start-interval"),
        _retries(clause, head),
    )


def _interval_ns(clause: Clause, head: Head, name: str) -> int:
    """The duration in a flag, 0 if there is none."""
    text, span = head.text(name), head.flag_span(name)
    if not text:
        return 0
    try:
        duration = duration_ns(text)
    except ValueError as error:
        raise clause.error(
            str(error), "write a duration such as 30s, 1m30s or 500ms", span
        ) from None
    if duration and duration < _MILLISECOND_NS:
        raise clause.error(f'Interval "{name}" cannot be less than 1ms', "write 1ms or more", span)
    return duration


def _retries(clause: Clause, head: Head) -> int:
    text, span = head.text("retries") or "0", head.flag_span("retries")
    number = re.fullmatch("[+-]?[0-9]+", text)
    if number is None or len(text.lstrip("+-0")) > 10 or int(text) >= 2**31:
        why = "invalid syntax" if number is None else "value out of range"
        raise clause.error(
            f'--retries: strconv.ParseInt: parsing "{text}": {why}', "write a number", span
        )
    if int(text) < 0:
        raise clause.error(f"--retries cannot be negative ({text})", "write 0 or more", span)
    return int(text)


def onbuild(clause: Clause) -> Onbuild:
    """Only the trigger's first word is looked at here; `parse` reads the whole of it."""
    if not clause.rest.text:
        raise _at_least_one(clause, "ONBUILD RUN command")
    head = clause.head()
    trigger = SEPARATOR.split(clause.rest.text, maxsplit=1)[0].upper()
    if trigger == "ONBUILD":
        raise clause.error(
            "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", "write ONBUILD once"
        )
    if trigger in ("FROM", "MAINTAINER"):
        raise clause.error(
            f"{trigger} isn't allowed as an ONBUILD trigger",
            "a trigger is a step such as RUN or COPY",
        )
    text = _ONBUILD.sub("", clause.logical.text, count=1)
    bodies = "".join(f"\n{doc.content}{doc.name}" for doc in clause.logical.heredocs)
    return Onbuild(head, text + bodies)


def _at_least_one(clause: Clause, example: str) -> Exception:
    return clause.error(f"{clause.instruction} requires at least one argument", f"write {example}")


def _blank_name(clause: Clause, word: Piece) -> Exception:
    return clause.error(
        f"{clause.instruction} names can not be blank",
        "write a name before '='",
        clause.span_of(word),
    )


GRAMMAR: Mapping[str, Read] = MappingProxyType(
    {
        "ADD": add,
        "ARG": arg,
        "CMD": _of_command(Cmd),
        "COPY": copy,
        "ENTRYPOINT": _of_command(Entrypoint),
        "ENV": _of_pairs(Env),
        "EXPOSE": expose,
        "FROM": from_,
        "HEALTHCHECK": healthcheck,
        "LABEL": _of_pairs(Label),
        "MAINTAINER": _of_text(Maintainer),
        "ONBUILD": onbuild,
        "RUN": run,
        "SHELL": shell,
        "STOPSIGNAL": _of_text(Stopsignal),
        "USER": _of_text(User),
        "VOLUME": volume,
        "WORKDIR": _of_text(Workdir),
    }
)
"""The function that reads each instruction."""
