"""The outputs that are images: in the store, in registries, in archives and OCI layouts.

A layer that is in a registry already is mounted there or left alone; one of a base from another
registry goes from there to here and past the store.
Read next: `assemble`, `oci`, `minibuild.registry.push`.
"""

import os

from minibuild.errors import UsageError
from minibuild.exporter.assemble import assemble_all, bundle_of, image_options_of
from minibuild.exporter.bundle import Bundle
from minibuild.exporter.options import NAMELESS, NAMELESS_HINT, PushOptions, full_names
from minibuild.exporter.result import Exported, OutputContext
from minibuild.session.request import Output


def export_image(target: OutputContext, output: Output) -> Exported:
    """The default: the image in the store, under its names; and in registries, if asked for."""
    options = image_options_of(target, output)
    # What is only pushed leaves the layers of its base where they are.
    stored = output.type == "image" and options.store
    images = assemble_all(target, options, remote=not stored)
    bundle = bundle_of(target, options, images)
    for name in full_names(bundle.names, bundle.top.digest, options) if stored else ():
        target.build.worker.images.tag(name, bundle.top)
        target.progress.remark(f"naming to {name}")
    if options.unpack:
        for result in target.solved.results:
            target.build.materialiser.snapshot(result, target.progress.remark)
    if options.push is not None:
        _push(target, bundle, options.push)
    return Exported(bundle.top, images, bundle.names)


def export_archive(target: OutputContext, output: Output) -> Exported:
    """`oci` and `docker`: a file, or a directory in the form of an OCI layout."""
    from minibuild.exporter.oci import export_oci

    options = image_options_of(target, output)
    if not output.dest:
        raise UsageError(
            f"output type={output.type} needs a destination",
            hint=f"write type={output.type},dest=FILE, or dest=- for standard output",
        )
    images = assemble_all(target, options)
    bundle = bundle_of(target, options, images)
    export_oci(
        [bundle],
        os.fspath(output.dest),
        tar=options.tar,
        docker=output.type == "docker",
        cancelled=target.build.cancelled,
    )
    return Exported(bundle.top, images, bundle.names)


def _push(target: OutputContext, bundle: Bundle, options: PushOptions) -> None:
    """Push an image or index. Raises `RegistryError`."""
    from minibuild.oci.meter import VertexMeter
    from minibuild.registry.pull import connect
    from minibuild.registry.push import push_image

    if not bundle.names:
        raise UsageError(NAMELESS, hint=NAMELESS_HINT)
    build = target.build
    insecure = [name.domain for name in bundle.names if options.insecure]
    push_image(
        connect(build.registries, build.cancelled, build.report, insecure),
        build.worker.layers,
        bundle.top,
        bundle.names,
        by_digest=options.by_digest,
        meter=VertexMeter(build.report, target.progress.vertex),
    )
    for name in bundle.names:
        pushed = f"{name.name}@{bundle.top.digest}" if options.by_digest else str(name)
        target.progress.remark(f"pushed {pushed}")
