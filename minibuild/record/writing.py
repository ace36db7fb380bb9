"""A record, written: the form that `records` reads.

Comes in: what a recorder heard, the graph and its results. Goes out: one file of deflated JSON,
`builds/PLACE/TIME-SUM`. It appears whole or not at all; one that a power cut tore is passed over
by readers, so nothing waits for the disk. The newest of each place stay.
Read next: `records`.
"""

import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from minibuild import __version__
from minibuild.cache.results import VertexResult
from minibuild.digest import Digest, digest_strings
from minibuild.errors import BuildError, SourceText
from minibuild.events import Completed, Remark, Started
from minibuild.graph.op import LocalSource, Source, kind_of
from minibuild.graph.vertex import Vertex, plain
from minibuild.linux.descriptors import replacing
from minibuild.record.secrecy import Mask, all_can_be_read, mask_of
from minibuild.session.request import BuildRequest, BuildResult

if TYPE_CHECKING:
    from minibuild.record.recorder import Recorder

FORMAT = 1
MOST_OF_A_PLACE = 20
MOST = 500
_ALWAYS = ("started", "result")


def write(
    recorder: "Recorder",
    vertices: Sequence[Vertex],
    results: Mapping[Digest, VertexResult],
    folder: str,
    total: str,
    made: BuildResult | None,
    error: BuildError | None,
) -> None:
    """Write the record of a build that is over, and remove those that are too many."""
    request, source = recorder.request, recorder.source
    mask = mask_of(request, source.text, vertices)
    name = f"{time.time_ns():016x}-{total}"
    ended = time.time()
    made_here = {
        **document_of(request, source, recorder.context, recorder.began),
        "id": build_id(os.path.basename(folder), name),
        "seconds": round(ended - recorder.began, 3),
        "error": "" if error is None else str(error),
        "vertices": _rows(recorder, vertices, results),
        "outputs": [] if made is None else _outputs(recorder, vertices, made),
    }
    document = {**mask.data(made_here), "logs": _logs(recorder, vertices, mask)}
    data = zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 1)
    for needed in (recorder.folder, folder):
        os.makedirs(needed, mode=0o700, exist_ok=True)
    path = os.path.join(folder, name)
    with replacing(path, f"{path}.tmp", mode=0o600) as file:
        file.write(data)
    os.utime(path, (ended, ended))  # A later time says that a build came to the same.
    remove_surplus(recorder.folder, folder)


def document_of(
    request: BuildRequest, source: SourceText, context: str, began: float
) -> dict[str, Any]:
    """What a record says of a build when it begins."""
    return {
        "format": FORMAT,
        "minibuild": __version__,
        "started": began,
        "context": context,
        "file": request.file,
        "target": request.target,
        "build_args": dict(request.build_args),
        "tags": list(request.tags),
        "no_cache": request.no_cache,
        "lab": request.lab,
        "source": {"name": source.name, "text": source.text},
    }


def build_id(place: str, name: str) -> str:
    """What people call a record."""
    return digest_strings((place, name))[7:15]


# --- Vertices ---


def _rows(
    recorder: "Recorder", vertices: Sequence[Vertex], results: Mapping[Digest, VertexResult]
) -> list[dict[str, Any]]:
    numbers = {vertex.digest: n for n, vertex in enumerate(vertices)}
    times: dict[Digest, dict[str, Any]] = {}
    for event in recorder.events:
        heard = times.setdefault(event.vertex, {})
        match event:
            case Started():
                heard["started"] = _ms(event.time, recorder.began)
            case Completed():
                heard["ended"] = _ms(event.time, recorder.began)
                heard["error"] = "" if event.cancelled else event.error
                heard["stopped"] = event.cancelled
            case Remark():
                heard.setdefault("remarks", []).append(event.text)
    return [row_of(v, numbers, results, times.get(v.digest, {})) for v in vertices]


def row_of(
    vertex: Vertex,
    numbers: Mapping[Digest, int],
    results: Mapping[Digest, VertexResult],
    heard: dict[str, Any],
) -> dict[str, Any]:
    """A vertex as the record has it, with the numbers of its inputs; what is empty is left out."""
    note, found = vertex.note, results.get(vertex.digest)
    stopped, error = heard.pop("stopped", False), heard.get("error", "")
    row: dict[str, Any] = {
        "kind": kind_of(vertex.op),
        "name": note.name,
        "stage": note.stage,
        "lines": [note.span.first, note.span.last] if note.span else [],
        "inputs": [None if i is None else numbers[i.digest] for i in vertex.inputs],
        "digest": vertex.digest,
        "asked": note.ignore_cache,
        **heard,
    }
    if found is not None:
        row["state"] = "cached" if found.cached else "ran"
        row.update(key=found.key, forced=found.forced, origin=found.origin)
        row["pin"] = found.resolved_digest
        below = results.get(vertex.inputs[0].digest) if vertex.inputs and vertex.inputs[0] else None
        if found.result[:-1] == (() if below is None else below.result):
            row["adds"] = list(found.result[-1:])
        else:
            row["result"] = list(found.result)
    else:
        row["state"] = "failed" if error else "stopped" if stopped or heard else ""
        # Nothing was kept of its key, and this is what there is to compare.
        row["op"] = plain(vertex.op)
    if isinstance(vertex.op, Source):
        # The patterns of an ignore file may be many, and what they hide shows in the files.
        shown = vertex.op._replace(ignore=()) if isinstance(vertex.op, LocalSource) else vertex.op
        row["source"] = plain(shown)
    return {name: value for name, value in row.items() if value or name in _ALWAYS}


def _ms(moment: float, began: float) -> int:
    return max(0, round((moment - began) * 1000))


# --- Outputs, logs ---


def _outputs(
    recorder: "Recorder", vertices: Sequence[Vertex], made: BuildResult
) -> list[dict[str, Any]]:
    """The images: their digests, and the layers with the sizes they have."""
    numbers = {vertex.digest: n for n, vertex in enumerate(vertices)}
    found = []
    for target, image in zip(recorder.targets, made.images, strict=False):
        found.append(
            {
                "platform": str(image.platform),
                "digests": [d for d in (image.digest, image.config_digest, made.digest) if d],
                "vertex": None if target is None else numbers[target.digest],
                "layers": [[layer.digest, layer.size_bytes] for layer in image.layers],
            }
        )
    return found


def _logs(
    recorder: "Recorder", vertices: Sequence[Vertex], mask: Mask
) -> dict[str, list[tuple[int, int, str]]]:
    """The end of each step's log by the number of its vertex: milliseconds, stream, text. None
    is kept where a secret in it could not be found."""
    found: dict[str, list[tuple[int, int, str]]] = {}
    if not all_can_be_read(recorder.request):
        return found
    for number, vertex in enumerate(vertices):
        tail = recorder.logs.get(vertex.digest)
        if tail is not None:
            tail.cut()
            found[str(number)] = [
                (_ms(p.time, recorder.began), p.stream,
                 mask.text(p.data.decode("utf-8", "surrogateescape")))
                for p in tail.pieces
            ]  # fmt: skip
    return found


# --- How many stay ---


def remove_surplus(top: str, folder: str) -> None:
    """Remove the oldest records of a place that has too many, and of all places."""
    names = sorted(os.listdir(folder))
    for name in names[:-MOST_OF_A_PLACE]:
        with suppress(OSError):
            os.unlink(os.path.join(folder, name))
    every = sorted(
        (name, place) for place in os.listdir(top) for name in os.listdir(os.path.join(top, place))
    )
    for name, place in every[:-MOST]:
        with suppress(OSError):
            os.unlink(os.path.join(top, place, name))
        with suppress(OSError):
            os.rmdir(os.path.join(top, place))
