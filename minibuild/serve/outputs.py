"""The outputs of a client's build: which there are, and how they get to the client.

Comes in: what the client asked for, and what it says of its result. Goes out: outputs in folders of
ours, and their files through the session. A client may also name exporters when the result is there
already: then it is asked for them, and hears what was made.
Rules: moby/buildkit `session/exporter/exporter.proto`, `exporter/containerimage/exptypes`.
Read next: `filesync`, `layouts`.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minibuild.buildkit.rpc import UNAVAILABLE, Failure, api_type
from minibuild.serve.attributes import output_attributes
from minibuild.serve.filesync import send_file, send_folder
from minibuild.serve.layouts import send_layout
from minibuild.serve.session import is_absent
from minibuild.session.request import Output

if TYPE_CHECKING:
    from minibuild.serve.build import Build

_KINDS = ("oci", "docker", "image", "local", "tar")
_NAME = "image.name"
_ANNOTATION = "annotation"
_FIND = "/moby.exporter.v1.Exporter/FindExporters"
_FINALIZE = "/moby.exporter.v1.Exporter/FinalizeExport"


def asked_exporters(build: "Build") -> Sequence[Any]:
    """The outputs that a build began with; old clients have one, in another field."""
    asked = build.asked
    if asked.Exporters or not asked.ExporterDeprecated:
        return list(asked.Exporters)
    old = api_type("Exporter")(Type=asked.ExporterDeprecated, Attrs=asked.ExporterAttrsDeprecated)
    return [old]


def session_exporters(build: "Build", result: Any) -> Sequence[Any]:
    """The outputs that a client names when it sees the result. Raises `Failure`."""
    if not build.asked.EnableSessionExporter:
        return ()
    refs = [ref.id for ref in (result.ref, *result.refs.refs.values()) if ref.id]
    asked = api_type("FindExportersRequest")(metadata=result.metadata, refs=refs)
    try:
        return list(build.session.call(_FIND, asked, "FindExportersResponse").exporters)
    except Failure as failure:
        if _has_none(failure):
            return ()
        raise


def end_session_exporters(build: "Build", answer: Mapping[str, str]) -> None:
    """Tell a client that named exporters what they made. Raises `Failure`."""
    if not build.asked.EnableSessionExporter:
        return
    made = api_type("FinalizeExportRequest")(exporter_response=answer)
    try:
        build.session.call(_FINALIZE, made, "FinalizeExportResponse")
    except Failure as failure:
        if not _has_none(failure):
            raise


def _has_none(failure: Failure) -> bool:
    """Whether a client says that it has no exporters to name, or nothing to do at their end."""
    return failure.code == UNAVAILABLE or is_absent(failure)


def output_of(
    build: "Build", number: int, exporter: Any, metadata: Mapping[str, bytes], *, dated: bool
) -> Output:
    """An output; what the client says of its result goes before what it says of the output. A
    definition of its own is `dated` by no frontend. Raises `Failure`."""
    kind = exporter.Type
    if kind not in _KINDS:
        raise Failure(f"exporter {kind!r} could not be found")
    dest = "" if kind == "image" else os.path.join(build.folder, f"output-{number}")
    attributes = output_attributes(kind, exporter.Attrs, dated=dated)
    if kind == "image" and not build.builder.config.keeps_images:
        attributes["store"] = "false"
    name = metadata.get(_NAME, b"").decode()
    if name and kind in ("docker", "image") and attributes.get("name") in (None, "", "*"):
        attributes["name"] = name
    said = {k: v.decode() for k, v in metadata.items() if k.startswith(_ANNOTATION)}
    return Output(kind, dest, {**output_attributes(kind, said), **attributes})


def send_output(
    build: "Build", number: int, kind: str, output: Output, answer: Mapping[str, str]
) -> None:
    """Send what was written for output `number` of the client. Raises `Failure`."""
    if kind == "image":
        return
    if kind == "local":
        send_folder(build.session, number, os.fspath(output.dest))
        return
    if output.attributes.get("tar") == "false":
        send_layout(build.session, "export", os.fspath(output.dest))
        return
    with open(output.dest, "rb") as file:
        send_file(build.session, number, file, {} if kind == "tar" else answer)
