"""`type=image` and `type=registry`: the image in the store, under its names, and in registries.

Read next: `assemble`, `registry`.
"""

from minibuild.exporter.assemble import assemble_all, bundle_of, image_options_of
from minibuild.exporter.options import full_names
from minibuild.exporter.output import Exported, OutputContext
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
        from minibuild.exporter.registry import push_bundle

        push_bundle(target, bundle, options.push)
    return Exported(bundle.top, images, bundle.names)
