"""The output `registry`: an image pushed under each of its names.

Comes in: a bundle. Goes out: manifests and tags in registries. A layer that is in a registry
already is mounted there or left alone; one of a base from another registry goes from there to here
and past the store.
Read next: `minibuild.registry.push`.
"""

from minibuild.errors import UsageError
from minibuild.exporter.bundle import Bundle
from minibuild.exporter.options import NAMELESS, NAMELESS_HINT, PushOptions
from minibuild.exporter.output import OutputContext
from minibuild.oci.meter import VertexMeter


def push_bundle(target: OutputContext, bundle: Bundle, options: PushOptions) -> None:
    """Push an image or index. Raises `RegistryError`."""
    from minibuild.registry.patience import patient
    from minibuild.registry.pull import Registry
    from minibuild.registry.push import push_image

    if not bundle.names:
        raise UsageError(NAMELESS, hint=NAMELESS_HINT)
    build, access = target.build, target.build.registries
    if options.insecure:
        domains = tuple(name.domain for name in bundle.names)
        access = access._replace(insecure=(*access.insecure, *domains))
    push_image(
        Registry(access, patient(build.cancelled, access.stall_s, build.report)),
        build.worker.layers,
        bundle.top,
        bundle.names,
        by_digest=options.by_digest,
        meter=VertexMeter(build.report, target.progress.vertex),
    )
    for name in bundle.names:
        pushed = f"{name.name}@{bundle.top.digest}" if options.by_digest else str(name)
        target.progress.remark(f"pushed {pushed}")
