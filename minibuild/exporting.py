"""The last part of a build: results leave the solver as images, archives and directories.

Comes in: results and image configs. Goes out: what `--output` asked for, and a `BuildResult`. Layers
are packed here if they never were, several at a time; nothing is put on disk as a tree unless an
output is one (`local`, `tar`).
Read next: `export`, where each type of output has a module of its own.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from minibuild.digest import Digest, digest_strings
from minibuild.engine import Engine
from minibuild.errors import UsageError
from minibuild.events import Completed, Planned, Started, VertexInfo
from minibuild.graph.frontend import Built, FrontendResult
from minibuild.oci.config import AssembledImage, ImageLayer, assemble, store_documents
from minibuild.request import BuildRequest, BuildResult, BuiltImage, LayerInfo, Output
from minibuild.solve.parallel import in_parallel
from minibuild.solve.results import DiffKey, Result
from minibuild.solve.workbench import Voice, Workbench

PACKERS = 4
"""Layers packed at once: small ones wait for the disk more than for a processor."""

_NAMES = {
    "image": "exporting to image",
    "registry": "exporting to image",
    "oci": "exporting to oci image format",
    "docker": "exporting to docker image format",
    "local": "exporting to client directory",
    "tar": "exporting to client tarball",
    "cacheonly": "keeping the cache",
}
_TREE_TYPES = ("local", "tar")
_IMAGE_TYPES = ("image", "registry", "oci", "docker")


class Exported(NamedTuple):
    """What an exporter needs: the images, their results, and the build's collaborators.

    `names` are the tags asked for. `epoch` is SOURCE_DATE_EPOCH, where one is set.
    """

    engine: Engine
    bench: Workbench
    images: tuple[AssembledImage, ...]
    results: tuple[Result, ...]
    names: tuple[str, ...]
    epoch: int | None
    voice: Voice


def export(
    engine: Engine,
    bench: Workbench,
    request: BuildRequest,
    converted: FrontendResult,
    results: Sequence[Result],
) -> BuildResult:
    """Do all outputs of a request. Each is written whole or not at all."""
    outputs = request.outputs or (Output("image"),)
    epoch = _epoch(request.build_args)
    images: tuple[AssembledImage, ...] = ()
    descriptor: Digest | None = None
    for output in outputs:
        with _vertex(bench, output) as voice:
            if output.type in _IMAGE_TYPES and not images:
                images = tuple(
                    _assemble(bench, built, result, epoch, voice)
                    for built, result in zip(converted.images, results, strict=True)
                )
            job = Exported(engine, bench, images, tuple(results), request.tags, epoch, voice)
            descriptor = _EXPORTERS[output.type](job, output) or descriptor
    tags = tuple(dict.fromkeys(request.tags))
    return BuildResult(
        images=tuple(
            _describe(bench, built, result, image)
            for built, result, image in zip(converted.images, results, images, strict=False)
        ),
        digest=descriptor or (images[0].digest if len(images) == 1 else None),
        tags=tags,
        metadata=_metadata(images, descriptor, tags),
    )


@contextmanager
def _vertex(bench: Workbench, output: Output) -> Iterator[Voice]:
    """An output as a vertex of its own, for progress."""
    digest = digest_strings(("export", output.type, output.dest))
    bench.report(Planned((VertexInfo(digest, _NAMES[output.type]),)))
    bench.report(Started(digest, time.time()))
    try:
        yield Voice(bench.report, digest)
    except BaseException as error:
        bench.report(Completed(digest, time.time(), error=str(error) or type(error).__name__))
        raise
    bench.report(Completed(digest, time.time()))


def _epoch(build_args: Mapping[str, str]) -> int | None:
    text = build_args.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not text.lstrip("-").isdigit():
        raise UsageError(
            f"invalid SOURCE_DATE_EPOCH: {text}", hint="give seconds since 1970, as `date +%s` does"
        )
    return int(text)


def _assemble(
    bench: Workbench, built: Built, result: Result, epoch: int | None, voice: Voice
) -> AssembledImage:
    """The documents of an image, its layers packed."""
    started = time.time()
    layers = in_parallel(lambda key: bench.materialiser.blob(key, voice.remark), result, PACKERS)
    created = [bench.diffs.get(key).created for key in result]
    image = assemble(
        built.config,
        [ImageLayer(layer, at) for layer, at in zip(layers, created, strict=True)],
        epoch=epoch,
    )
    size = sum(layer.size_bytes for layer in layers)
    voice.status("exporting layers", size, size, "B", started, done=True)
    return image


def _describe(bench: Workbench, built: Built, result: Result, image: AssembledImage) -> BuiltImage:
    """What a caller wants to know of an image: among others, which instruction made each layer."""
    made_by = [
        entry.get("created_by", "") for entry in image.image.history if not entry.get("empty_layer")
    ]
    layers = tuple(
        LayerInfo(
            layer.diff_id,
            layer.digest,
            layer.size_bytes,
            layer.media_type,
            instruction,
            link=number > 0 and _stands_alone(bench, key),
        )
        for number, (key, layer, instruction) in enumerate(
            zip(result, image.layers, made_by, strict=False)
        )
    )
    return BuiltImage(
        built.platform,
        image.digest,
        image.config.digest,
        image.manifest.media_type,
        image.size_bytes,
        image.image,
        layers,
    )


def _stands_alone(bench: Workbench, key: DiffKey) -> bool:
    """Whether a layer was made on nothing: so are those of `COPY --link`."""
    return not bench.diffs.get(key).base


def _metadata(
    images: Sequence[AssembledImage], digest: Digest | None, names: Sequence[str]
) -> dict[str, Any]:
    """What `--metadata-file` holds, under the names that buildx uses."""
    if not images:
        return {}
    image = images[0]
    data: dict[str, Any] = {
        "containerimage.config.digest": image.config.digest,
        "containerimage.descriptor": {
            "mediaType": image.manifest.media_type,
            "digest": image.manifest.digest,
            "size": image.manifest.size,
            "platform": image.image.platform._asdict(),
        },
        "containerimage.digest": digest or image.digest,
    }
    if len(images) > 1:
        del data["containerimage.config.digest"], data["containerimage.descriptor"]
    if names:
        data["image.name"] = ",".join(names)
    return data


# --- Outputs by type ---


def _to_store(job: Exported, output: Output) -> Digest:
    """The default: the image in the store, under its names."""
    from minibuild.oci.model import OCI_INDEX, Index, describe, index_bytes
    from minibuild.oci.reference import parse_reference

    names = [*job.names, *filter(None, output.attributes.get("name", "").split(","))]
    references = [parse_reference(name) for name in names]
    for image in job.images:
        store_documents(job.engine.content, image)
    top = job.images[0].manifest
    if len(job.images) > 1:
        data = index_bytes(Index(tuple(image.manifest for image in job.images)))
        job.engine.content.put(data)
        top = describe(OCI_INDEX, data)
    for reference in references:
        job.engine.images.tag(reference, top)
        job.voice.remark(f"naming to {reference}")
    return top.digest


def _nothing(job: Exported, output: Output) -> None:
    return None


_EXPORTERS: dict[str, Callable[[Exported, Output], Digest | None]] = {
    "image": _to_store,
    "cacheonly": _nothing,
}
