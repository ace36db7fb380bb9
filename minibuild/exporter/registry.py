"""The output `registry`: an image pushed under each of its names.

Comes in: a bundle, and a source of layers that knows where those of the base image are. Goes out:
manifests and tags in registries. A layer that is in a registry already is mounted there or left
alone; one of a base from another registry goes from there to here and past the store.
Read next: `minibuild.registry.push`.
"""

import threading

from minibuild.errors import UsageError
from minibuild.events import Report
from minibuild.exporter.bundle import Bundle
from minibuild.exporter.options import NAMELESS, NAMELESS_HINT, PushOptions
from minibuild.oci.content import BlobSource
from minibuild.oci.meter import Meter
from minibuild.session.request import RegistryAccess


def push_bundle(
    bundle: Bundle,
    source: BlobSource,
    access: RegistryAccess,
    options: PushOptions,
    cancelled: threading.Event,
    meter: Meter,
    report: Report,
) -> list[str]:
    """Push an image or index from `source`; returns what was pushed, as people name it.

    Raises `RegistryError`.
    """
    from minibuild.registry.patience import patient
    from minibuild.registry.pull import Registry
    from minibuild.registry.push import push_image

    if not bundle.names:
        raise UsageError(NAMELESS, hint=NAMELESS_HINT)
    if options.insecure:
        domains = tuple(name.domain for name in bundle.names)
        access = access._replace(insecure=(*access.insecure, *domains))
    push_image(
        Registry(access, patient(cancelled, access.stall_s, report)),
        source,
        bundle.top,
        bundle.names,
        by_digest=options.by_digest,
        meter=meter,
    )
    if options.by_digest:
        return [f"{name.name}@{bundle.top.digest}" for name in bundle.names]
    return [str(name) for name in bundle.names]
