"""Where the result of a build goes: `type=oci,dest=image.tar`, a directory, or `-`.

Comes in: the text of `--output`. Goes out: an `Output`, or a `UsageError` that says how to write
it. Read next: `exporter.options`, for the attributes of each type.
"""

import os
from typing import cast, get_args

from minibuild.buildflags.attributes import attributes
from minibuild.errors import UsageError
from minibuild.exporter.options import written_as
from minibuild.graph.spelling import one_of
from minibuild.session.request import Output, OutputType

OUTPUT_TYPES: tuple[str, ...] = get_args(OutputType)


def output(text: str) -> Output:
    """`-o DIR`, `-o -`, or `-o type=...,dest=...,...`."""
    if "=" not in text and "," not in text and text:
        return Output("tar", "-") if text == "-" else Output("local", text)
    given = attributes(text, "output")
    dest = given.pop("dest", "")
    kind = given.pop("type", "")
    if not kind:
        if not dest or given:
            raise UsageError(
                f"--output {text} names no type", hint="add type=" + "|".join(OUTPUT_TYPES)
            )
        kind = "tar" if dest == "-" else "local"
    if kind == "local" and dest in ("", "-"):
        raise UsageError(
            "an output of type local is a directory, and needs one: dest=DIR",
            hint="for one stream of all files use type=tar,dest=-",
        )
    if kind not in OUTPUT_TYPES:
        raise _unknown(kind)
    made = Output(cast(OutputType, kind), dest, given)
    # To buildx this means Docker's own store; the one that stands in its place is ours.
    return made._replace(type="image") if kind == "docker" and not dest else made


def _unknown(kind: str) -> UsageError:
    return UsageError(f"unknown output type {kind!r}", hint=one_of(kind, OUTPUT_TYPES))


def checked_output(output: Output) -> Output:
    """The output, if there is its type, and it can have this destination. Raises `UsageError`."""
    if output.type not in OUTPUT_TYPES:
        raise _unknown(output.type)
    if written_as(output) != "file":
        return output
    if not output.dest:
        raise UsageError(
            f"an output of type {output.type} is a file, and needs one: dest=FILE",
            hint="dest=- is standard output",
        )
    if os.path.isdir(output.dest):
        raise UsageError(
            f"the destination {output.dest} is a directory, and type={output.type} writes a file",
            hint=f"name a file: dest={os.path.join(output.dest, 'image.tar')}",
        )
    return output
