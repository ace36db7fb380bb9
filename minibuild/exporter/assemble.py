"""Results become images: layers packed as the options want them, a config, a manifest.

Comes in: what the solver made, and the options of an output. Goes out: images whose documents and
layers are in the content store, and the bundle that an archive or a registry gets.
Read next: `oci.config`, `bundle`.
"""

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

from minibuild.cache.results import DiffKey, Result
from minibuild.errors import UsageError
from minibuild.exporter.options import NO_ATTESTATIONS, NO_PLACE, ImageOptions, image_options
from minibuild.exporter.result import ImageView, OutputContext
from minibuild.graph.image import History, ImageConfig
from minibuild.graph.reference import Reference
from minibuild.layer.layer import Layer
from minibuild.oci.config import (
    AssembledImage,
    ImageLayer,
    assemble,
    complete_history,
    store_documents,
)
from minibuild.oci.model import Descriptor
from minibuild.oci.parallel import in_parallel
from minibuild.session.request import Output

if TYPE_CHECKING:
    from minibuild.exporter.bundle import Bundle

PACKERS = 4
"""Layers packed at once: small ones wait for the disk more than for a processor."""


def assemble_all(
    target: OutputContext, options: ImageOptions, *, remote: bool = False
) -> tuple[AssembledImage, ...]:
    """The image of each platform, with its documents and layers in the content store; with
    `remote`, layers that came from a registry may still be there alone."""
    from minibuild.exporter.annotations import annotations_for

    images = []
    for built, result in zip(target.solved.images, target.solved.results, strict=True):
        layers = _layers(target, result, options, remote)
        dated = [
            _dated(target, options, key, layer) for key, layer in zip(result, layers, strict=True)
        ]
        config, epoch = built.config, options.epoch
        if target.solved.inline is not None:
            cache = target.solved.inline(result, layers, epoch)
            config = config._replace(extra={**config.extra, **cache})
        if target.squash:
            dated, history = _squashed(target, result, layers, dated, config, options)
            config = config._replace(history=history)
        image = assemble(
            config,
            dated,
            made=target.epoch,
            epoch=epoch,
            annotations=annotations_for(options.annotations, "manifest", built.platform),
            oci_mediatypes=options.oci_mediatypes,
        )
        store_documents(target.build.worker.content, image)
        images.append(image)
    return tuple(images)


def _dated(target: OutputContext, options: ImageOptions, key: DiffKey, layer: Layer) -> ImageLayer:
    """A layer with the time of its diff, and with what BuildKit says of one whose times were
    clamped."""
    descriptor = layer.descriptor
    if options.rewrite_timestamp and options.epoch is not None and key not in target.solved.base:
        mark = {"buildkit/rewritten-timestamp": str(options.epoch)}
        descriptor = descriptor._replace(annotations=mark)
    return ImageLayer(layer.diff_id, descriptor, target.build.worker.diffs.get(key).created)


def _squashed(
    target: OutputContext,
    result: Result,
    layers: list[Layer],
    dated: list[ImageLayer],
    config: ImageConfig,
    options: ImageOptions,
) -> tuple[list[ImageLayer], tuple[History, ...]]:
    """The layers of the base, which stay shared, and one for all that is above them: what one step
    wrote and a later one removed is gone then."""
    from minibuild.imagetools.squash import squashed

    keep = 0
    while keep < len(result) and result[keep] in target.solved.base:
        keep += 1
    if len(layers) - keep < 2:
        return dated, config.history
    content, kind = target.build.worker.content, options.compression or "gzip"
    entries = complete_history(config.history, dated, target.epoch, options.epoch)
    entry = {"created_by": "minibuild build --squash"}
    made, history = squashed(content, layers, entries, keep, kind, entry)
    descriptor = made.descriptor._replace(annotations=dated[-1].descriptor.annotations)
    top = ImageLayer(made.diff_id, descriptor, dated[-1].created)
    return [*dated[:keep], top], tuple(cast(list[History], history))


def _layers(
    target: OutputContext, result: Result, options: ImageOptions, remote: bool
) -> list[Layer]:
    """The layers of a result, as the options want them."""
    started, worker, wanted = time.time(), target.build.worker, options.compression or "gzip"
    converts = options.compression or options.force_compression or options.rewrite_timestamp

    def pack(key: DiffKey) -> Layer:
        layer = target.build.materialiser.layer(key, wanted, options.level)
        if not remote:
            worker.layers.fetch(layer)
        return _converted(target, key, layer, options) if converts else layer

    known = [layer for key in result if (layer := worker.diffs.get(key).layer) is not None]
    if not remote:
        worker.layers.prefetch(known)
    # Where all are packed, looking them up takes less than starting a thread.
    layers = in_parallel(pack, result, 1 if len(known) == len(result) else PACKERS)
    size = sum(layer.size for layer in layers)
    target.progress.status("exporting layers", size, size, "B", started, done=True)
    return layers


def _converted(target: OutputContext, key: DiffKey, layer: Layer, options: ImageOptions) -> Layer:
    """The layer as the options want it: compressed otherwise, or with times that do not pass the
    epoch. Those of a base image change only if that is forced. It is fetched if its bytes are
    needed for that, and not otherwise."""
    from minibuild.layer.compress import compression_of
    from minibuild.layer.convert import clamp_times, recompress

    worker, cancelled, is_base = (
        target.build.worker,
        target.build.cancelled,
        key in target.solved.base,
    )
    if options.rewrite_timestamp and options.epoch is not None and not is_base:
        worker.layers.fetch(layer)
        kind, level = options.compression or "gzip", options.level
        return clamp_times(worker.content, layer, options.epoch, kind, level, cancelled=cancelled)
    wanted = options.compression or ("gzip" if options.force_compression else None)
    if wanted is None or (is_base and not options.force_compression):
        return layer
    # A level is about how, and does not show in the type: only by force is it done again.
    level = options.level if options.force_compression else None
    if level is None and compression_of(layer.media_type) == wanted:
        return layer
    worker.layers.fetch(layer)
    return recompress(worker.content, layer, wanted, level, cancelled=cancelled)


def bundle_of(
    target: OutputContext, options: ImageOptions, images: tuple[AssembledImage, ...]
) -> "Bundle":
    """The images with their names, and with what is said of them."""
    from minibuild.exporter.bundle import make_bundle

    names = tuple(dict.fromkeys((*target.names, *options.names)))
    said = _attestations(target, options, images, names)
    return make_bundle(
        target.build.worker.content,
        [*(image.manifest for image in images), *said],
        names,
        options.annotations,
        oci_mediatypes=options.oci_mediatypes,
        index=target.solved.several,
    )


def _attestations(
    target: OutputContext,
    options: ImageOptions,
    images: tuple[AssembledImage, ...],
    names: tuple[Reference, ...],
) -> list[Descriptor]:
    attestor, content = target.solved.attestor, target.build.worker.content
    if attestor is None:
        return []
    from minibuild.exporter.trees import trees_of

    with ExitStack() as stack:
        trees = [-1] * len(images)
        if attestor.looks_inside:
            trees = [tree.fd for tree in stack.enter_context(trees_of(target, None))]
        found = [
            attestor.attest(
                content,
                built,
                image.manifest,
                names,
                ImageView(
                    number,
                    fd,
                    _by_diff(target.solved.results[number], image),
                    options.epoch,
                    target.progress.remark,
                ),
                artifact=options.oci_artifact,
            )
            for number, (built, image, fd) in enumerate(
                zip(target.solved.images, images, trees, strict=True)
            )
        ]
        return [said for said in found if said is not None]


def _by_diff(result: Result, image: AssembledImage) -> dict[DiffKey, Descriptor]:
    """The layers of an image by the diffs that they are, unless some were put together."""
    descriptors = [layer.descriptor for layer in image.layers]
    return dict(zip(result, descriptors, strict=True)) if len(result) == len(descriptors) else {}


def image_options_of(target: OutputContext, output: Output) -> ImageOptions:
    """The options of an output; its own annotations win over those for all outputs."""
    options = image_options(output, target.epoch)
    if target.solved.attestor is not None and not options.oci_mediatypes:
        raise UsageError(NO_ATTESTATIONS, hint=NO_PLACE)
    return options._replace(annotations=(*target.annotations, *options.annotations))
