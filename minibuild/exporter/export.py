"""The last part of a build: results leave the solver as images, archives and directories.

Comes in: results and image configs. Goes out: what `--output` asked for, and a `BuildResult`.
Layers are packed here if they never were, several at a time; nothing is put on disk as a tree
unless an output is one (`local`, `tar`).
Read next: `result` for the result, `export`, where each type of output has a module of its own.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from minibuild.cache.results import DiffKey, Result
from minibuild.errors import UsageError
from minibuild.exporter.options import (
    ImageOptions,
    PushOptions,
    full_names,
    image_options,
    tree_options,
)
from minibuild.exporter.result import SolveResult, describe_build
from minibuild.graph.image import History, ImageConfig
from minibuild.oci.config import (
    INLINE_CACHE,
    AssembledImage,
    ImageLayer,
    assemble,
    store_documents,
)
from minibuild.oci.layers import PackedLayer
from minibuild.oci.model import Descriptor
from minibuild.oci.parallel import in_parallel
from minibuild.oci.reference import Reference, parse_reference
from minibuild.progress.writer import ProgressWriter, task
from minibuild.session.request import BuildRequest, BuildResult, Output
from minibuild.solver.packing import Packing
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext
from minibuild.worker.worker import Worker

if TYPE_CHECKING:
    from minibuild.exporter.annotations import Annotation
    from minibuild.exporter.bundle import Bundle
    from minibuild.exporter.converted import Converter

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


class Job(NamedTuple):
    """What an exporter needs besides its `Output`."""

    build: BuildContext
    solved: SolveResult
    names: tuple[Reference, ...]
    epoch: int | None
    progress: ProgressWriter
    annotations: "tuple[Annotation, ...]" = ()
    squash: bool = False


class Exported(NamedTuple):
    """What one output wrote: the top document, its names, and the images below it."""

    top: Descriptor | None = None
    images: tuple[AssembledImage, ...] = ()
    names: tuple[Reference, ...] = ()


def export(build: BuildContext, request: BuildRequest, solved: SolveResult) -> BuildResult:
    """Do all outputs of a request. Each is written whole or not at all."""
    names = tuple(dict.fromkeys(parse_reference(tag) for tag in request.tags))
    epoch, annotations = _epoch(request.build_args), _annotations(request)
    first = Exported()
    for output in request.outputs or (Output("image"),):
        with task(build.report, _NAMES[output.type], output.type, output.dest) as progress:
            job = Job(build, solved, names, epoch, progress, annotations, request.squash)
            if solved.attestor is not None and output.type not in ("image", "registry", "oci"):
                job = job._replace(solved=solved._replace(attestor=None))
                progress.remark(
                    f"no attestations: type={output.type} has no index to put them into"
                )
            exported = _EXPORTERS[output.type](job, output)
        first = first if first.images else exported
    return describe_build(build, solved, first.images, first.top, first.names or names)


def packing_for(worker: Worker, request: BuildRequest) -> Packing | None:
    """How layers may be packed before the export asks for them; None if it will ask for trees."""
    outputs = request.outputs or (Output("image"),)
    if any(output.type in ("local", "tar") for output in outputs):
        return None
    if outputs[0].type == "cacheonly":
        return Packing(worker.layers, wanted=False)
    options = image_options(outputs[0])
    return Packing(worker.layers, options.compression or "gzip", options.level)


def _annotations(request: BuildRequest) -> "tuple[Annotation, ...]":
    """Those of `--annotation`, which are for every output that is an image."""
    if not request.annotations:
        return ()
    from minibuild.exporter.annotations import parse_flag

    return tuple(made for text in request.annotations for made in parse_flag(text))


def _epoch(build_args: Mapping[str, str]) -> int | None:
    text = build_args.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not text.lstrip("-").isdigit():
        raise UsageError(
            f"invalid SOURCE_DATE_EPOCH: {text}", hint="give seconds since 1970, as `date +%s` does"
        )
    return int(text)


# --- Images ---


def _assemble_all(
    job: Job, options: ImageOptions, *, remote: bool = False
) -> tuple[AssembledImage, ...]:
    from minibuild.exporter.annotations import annotations_for

    images = []
    for built, result in zip(job.solved.images, job.solved.results, strict=True):
        layers = _layers(job, result, options, remote)
        created = [job.build.worker.diffs.get(key).created for key in result]
        dated = [ImageLayer(layer, at) for layer, at in zip(layers, created, strict=True)]
        config, epoch = built.config, options.epoch
        if job.solved.inline is not None:
            cache = {INLINE_CACHE: job.solved.inline(result, layers, epoch)}
            config = config._replace(extra={**config.extra, **cache})
        if job.squash:
            dated, history = _squashed(job, result, dated, config, options)
            config = config._replace(history=history)
        image = assemble(
            config,
            dated,
            epoch=epoch,
            annotations=annotations_for(options.annotations, "manifest", built.platform),
            oci_mediatypes=options.oci_mediatypes,
        )
        store_documents(job.build.worker.content, image)
        images.append(image)
    return tuple(images)


def _squashed(
    job: Job,
    result: Result,
    layers: list[ImageLayer],
    config: ImageConfig,
    options: ImageOptions,
) -> tuple[list[ImageLayer], tuple[History, ...]]:
    """The layers of the base, and one for all that is above them."""
    from minibuild.exporter.squash import squashed

    keep = 0
    while keep < len(result) and result[keep] in job.solved.base:
        keep += 1
    worker, kind = job.build.worker, options.compression or "gzip"
    parts = (worker.content, worker.layers, layers, keep, config.history, kind)
    return squashed(*parts, options.epoch)


def _layers(job: Job, result: Result, options: ImageOptions, remote: bool) -> list[PackedLayer]:
    """The layers of a result as blobs, as the options want them; with `remote`, those that came
    from a registry may still be there alone."""
    started, wanted = time.time(), options.compression or "gzip"
    make, tell, convert = job.build.materialiser.blob, job.progress.remark, _converter(job, options)

    def pack(key: DiffKey) -> PackedLayer:
        blob = make(key, tell, wanted, options.level, remote=remote)
        return convert(blob, is_base=key in job.solved.base) if convert else blob

    known = [blob for key in result if (blob := job.build.worker.diffs.get(key).blob) is not None]
    if not remote:
        job.build.worker.layers.prefetch(known)
    # Where all are packed, looking them up takes less than starting a thread.
    layers = in_parallel(pack, result, 1 if len(known) == len(result) else PACKERS)
    size = sum(layer.size_bytes for layer in layers)
    job.progress.status("exporting layers", size, size, "B", started, done=True)
    return layers


def _converter(job: Job, options: ImageOptions) -> "Converter | None":
    """What compresses or dates layers otherwise, where the options ask for it."""
    if not (options.compression or options.force_compression or options.rewrite_timestamp):
        return None
    from minibuild.exporter.converted import Converter

    worker = job.build.worker
    return Converter(worker.content, worker.store.db, worker.layers.fetch, options)


def _to_store(job: Job, output: Output) -> Exported:
    """The default: the image in the store, under its names; and in registries, if asked for."""
    options = _image_options(job, output)
    # What is only pushed leaves the layers of its base where they are.
    stored = output.type == "image" and options.store
    images = _assemble_all(job, options, remote=not stored)
    bundle = _bundle(job, options, images)
    for name in full_names(bundle.names, bundle.top.digest, options) if stored else ():
        job.build.worker.images.tag(name, bundle.top)
        job.progress.remark(f"naming to {name}")
    if options.unpack:
        for result in job.solved.results:
            job.build.materialiser.snapshot(result, job.progress.remark)
    if options.push is not None:
        _push(job, bundle, options.push)
    return Exported(bundle.top, images, bundle.names)


def _bundle(job: Job, options: ImageOptions, images: tuple[AssembledImage, ...]) -> "Bundle":
    """The images with their names, and with what is said of them."""
    from minibuild.exporter.bundle import make_bundle

    names = tuple(dict.fromkeys((*job.names, *options.names)))
    said = _attestations(job, options, images, names)
    return make_bundle(
        job.build.worker.content,
        [*(image.manifest for image in images), *said],
        names,
        options.annotations,
        oci_mediatypes=options.oci_mediatypes,
        index=job.solved.several,
    )


def _attestations(
    job: Job,
    options: ImageOptions,
    images: tuple[AssembledImage, ...],
    names: tuple[Reference, ...],
) -> list[Descriptor]:
    attestor, content = job.solved.attestor, job.build.worker.content
    if attestor is None:
        return []
    from minibuild.attest.attestor import View

    with ExitStack() as stack:
        trees = [-1] * len(images)
        if attestor.looks_inside:
            trees = [fd for _, fd in stack.enter_context(_trees(job, None))]
        return [
            attestor.attest(
                content, built, image.manifest, names, View(fd, options.epoch, job.progress.remark)
            )
            for built, image, fd in zip(job.solved.images, images, trees, strict=True)
        ]


def _image_options(job: Job, output: Output) -> ImageOptions:
    """The options of an output; its own annotations win over those for all outputs."""
    options = image_options(output, job.epoch)
    if job.solved.attestor is not None:
        options = options._replace(oci_mediatypes=True)  # Docker's types know no attestations.
    return options._replace(annotations=(*job.annotations, *options.annotations))


def _push(job: Job, bundle: "Bundle", options: PushOptions) -> None:
    from minibuild.exporter.registry import push_bundle
    from minibuild.oci.meter import VertexMeter

    meter = VertexMeter(job.build.report, job.progress.vertex)
    source, cancelled = job.build.worker.layers, job.build.cancelled
    for name in push_bundle(
        bundle, source, job.build.registries, options, cancelled, meter, job.build.report
    ):
        job.progress.remark(f"pushed {name}")


def _to_archive(job: Job, output: Output) -> Exported:
    """`oci` and `docker`: a file, or a directory in the form of an OCI layout."""
    from minibuild.exporter.docker import export_docker
    from minibuild.exporter.oci import export_oci

    options = _image_options(job, output)
    if not output.dest:
        raise UsageError(
            f"output type={output.type} needs a destination",
            hint=f"write type={output.type},dest=FILE, or dest=- for standard output",
        )
    images = _assemble_all(job, options)
    bundle = _bundle(job, options, images)
    write = export_oci if output.type == "oci" else export_docker
    write(bundle, output.dest, tar=options.tar)
    return Exported(bundle.top, images, bundle.names)


# --- Trees ---


@contextmanager
def _trees(job: Job, split: bool | None) -> Iterator[list[tuple[str, int]]]:
    """The tree of each platform as (folder, descriptor); the folder is "" for a single one."""
    several = job.solved.several if split is None else split
    with ExitStack() as stack:
        trees = []
        for built, result in zip(job.solved.images, job.solved.results, strict=True):
            snapshot = job.build.materialiser.snapshot(result, job.progress.remark)
            if snapshot is None:
                snapshot = job.build.worker.snapshots.prepare(None)
                stack.callback(job.build.worker.snapshots.remove, snapshot)
            fd = stack.enter_context(job.build.worker.snapshots.tree(snapshot))
            folder = str(built.platform).replace("/", "_") if several else ""
            trees.append((folder, fd))
        yield trees


def _to_directory(job: Job, output: Output) -> Exported:
    import os

    from minibuild.exporter.local import export_local

    options = tree_options(output, job.epoch)
    dest = output.dest or "."
    with _trees(job, options.platform_split) as trees:
        for folder, fd in trees:
            done = export_local(
                fd,
                os.path.join(dest, folder) if folder else dest,
                clamp_epoch=options.epoch,
                delete=options.delete,
            )
            for left_out in done.skipped:
                job.progress.remark(left_out)
    return Exported()


def _to_tar(job: Job, output: Output) -> Exported:
    from minibuild.exporter.tar import export_tar

    options = tree_options(output, job.epoch)
    with _trees(job, options.platform_split) as trees:
        export_tar(trees, output.dest or "-", clamp_epoch=options.epoch)
    return Exported()


def _keep_cache(job: Job, output: Output) -> Exported:
    """Nothing leaves the store; what was solved stays in the cache."""
    return Exported()


_EXPORTERS: dict[str, Callable[[Job, Output], Exported]] = {
    "image": _to_store,
    "registry": _to_store,
    "oci": _to_archive,
    "docker": _to_archive,
    "local": _to_directory,
    "tar": _to_tar,
    "cacheonly": _keep_cache,
}
