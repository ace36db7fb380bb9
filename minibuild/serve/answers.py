"""What a client gets to hear: errors with the lines that they are about, and what outputs are.

Comes in: errors and results of builds. Goes out: failures with BuildKit's details, by which clients
show an excerpt of the Dockerfile or the log of a step; and the answer to `Control/Solve`.
Rules: moby/buildkit `solver/errdefs`, `exporter/containerimage/exptypes`.
Read next: `build`.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from minibuild.buildkit.definition import ops_in
from minibuild.buildkit.proto import messages
from minibuild.buildkit.rpc import CANCELLED, UNKNOWN, Failure
from minibuild.digest import Digest, InvalidDigest, digest_bytes
from minibuild.errors import BuildError, Cancelled, StepFailed
from minibuild.graph.reference import parse_reference
from minibuild.session.request import BuildResult, Output

_NAME = "image.name"


def failure_of(
    error: BuildError, failed: Digest | None = None, definition: Any = None, op: Any = None
) -> Failure:
    """A build's error as a client understands it. `failed` is the step that failed, of the client's
    own `definition` if it has one, and `op` is that step in LLB."""
    if isinstance(error, Cancelled):
        return Failure("context canceled", CANCELLED)
    details = [] if definition is None else list(_places(definition, failed))
    if not details and error.span is not None and error.source is not None:
        lines = range(error.span.first, error.span.last + 1)
        ranges = [{"start": {"line": line}, "end": {"line": line}} for line in lines]
        info = {
            "filename": error.source.name,
            "data": _base64(error.source.text.encode("utf-8", "surrogateescape")),
            "language": "Dockerfile",
            "definition": _local_definition(),
        }
        details.append(_detail("errdefs.Source", {"info": info, "ranges": ranges}))
    if failed is not None:
        details.append(_detail("errdefs.Vertex", {"digest": failed}))
    if op is not None:
        from google.protobuf.json_format import MessageToDict

        # Clients that debug stop at it.
        details.append(_detail("errdefs.Solve", {"op": MessageToDict(op)}))
    details.append(_detail("stack.Stack", _stack(error)))
    if isinstance(error, StepFailed):
        details.append(_detail("gatewayapi.ExitMessage", {"Code": error.code}))
        return Failure(error.message, UNKNOWN, details)
    hint = f" ({error.hint})" if error.hint else ""
    return Failure(f"{error.message}{hint}", UNKNOWN, details)


@contextmanager
def as_failures() -> Iterator[None]:
    """Raise a build's errors in the block as a client understands them; also what is no digest."""
    try:
        yield
    except BuildError as error:
        raise failure_of(error) from None
    except InvalidDigest as error:
        raise Failure(str(error)) from None


def op_of(definitions: Iterable[Any], step: Digest | None, name: str) -> Any:
    """The op of a step in definitions of LLB, as a message; None if it is in none of them. A step
    of a Dockerfile has another digest there, and the same name."""
    for definition in definitions:
        for digest, data in ops_in(definition):
            called = ""
            if digest in definition.metadata:
                called = definition.metadata[digest].description.get("llb.customname", "")
            if digest == step or (name and called == name):
                return messages("ops")["Op"].FromString(data)
    return None


def _local_definition() -> dict[str, list[str]]:
    """Where the text was read, as a definition in JSON: the client's folder of the Dockerfile."""
    kind = messages("ops")["Op"]
    source = kind(source={"identifier": "local://dockerfile"}).SerializeToString()
    result = kind(inputs=[{"digest": digest_bytes(source)}]).SerializeToString()
    return {"def": [_base64(source), _base64(result)]}


def _stack(error: BuildError) -> dict[str, Any]:
    """Where an error was met, innermost first, for clients that debug: `docker -D`."""
    from traceback import extract_tb

    from minibuild import __version__

    met = reversed(extract_tb(error.__traceback__))
    frames = [{"Name": one.name, "File": one.filename, "Line": one.lineno} for one in met]
    return {"frames": frames, "cmdline": ["minibuild"], "version": __version__}


def _places(definition: Any, failed: Digest | None) -> Iterator[tuple[str, bytes]]:
    """The places that a step of a definition comes from, in texts of the client."""
    from google.protobuf.json_format import MessageToDict

    source = definition.Source
    located = failed is not None and failed in source.locations
    known = source.locations[failed].locations if located else ()
    for location in reversed(known):  # The last one wraps those before it.
        if location.sourceIndex < len(source.infos):
            info, *ranges = (
                MessageToDict(message, preserving_proto_field_name=True)
                for message in (source.infos[location.sourceIndex], *location.ranges)
            )
            yield _detail("errdefs.Source", {"info": info, "ranges": ranges})


def _detail(kind: str, value: Mapping[str, Any]) -> tuple[str, bytes]:
    return f"{kind}+json", json.dumps(value, separators=(",", ":")).encode()


def answer_of(result: BuildResult, outputs: Sequence[Output]) -> dict[str, str]:
    """What the outputs are, by BuildKit's names. All values are text. Where several outputs say the
    same of themselves, the last one counts."""
    found = {}
    for key, value in result.metadata.items():
        if isinstance(value, str):
            found[key] = value
        elif key == "containerimage.descriptor":
            found[key] = _base64(json.dumps(value, separators=(",", ":")).encode())
    named = [output.attributes["name"] for output in outputs if output.attributes.get("name")]
    if len(named) > 1:
        found[_NAME] = ",".join(str(parse_reference(name)) for name in named[-1].split(","))
    return found


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
