"""Where cache mounts are kept between builds: a repository of a registry, or a folder.

Comes in: a `CacheMountPlace` of the request. Goes out: a `Place`, which can be read and written.
Writing replaces the layers of the mounts that are written, and keeps those of all others, so that
several builds can share one name.
Read next: `folder` and `repository`, the two kinds; `importer` and `exporter`, which use them.
"""

import threading
from typing import Protocol

from minibuild.oci.content import BlobSource
from minibuild.oci.meter import Meter
from minibuild.remotecache.mounts.artifact import Kept, Layers
from minibuild.session.request import CacheMountPlace, RegistryAccess


class Place(Protocol):
    """A name under which cache mounts are kept."""

    name: str

    def read(self) -> Kept | None:
        """What is there; None if nothing is. Raises `ImageError` if it is something else, and
        `RegistryError` if it cannot be known."""
        ...

    def write(self, layers: Layers, source: BlobSource, meter: Meter) -> bool:
        """Have these layers there beside those of other ids; says whether anything changed."""
        ...


def open_place(asked: CacheMountPlace, access: RegistryAccess, cancelled: threading.Event) -> Place:
    """The place that a request names."""
    if asked.type == "local":
        from minibuild.remotecache.mounts.folder import FolderPlace

        return FolderPlace(asked.path, asked.tag)
    from minibuild.oci.reference import parse_reference
    from minibuild.remotecache.mounts.repository import RepositoryPlace

    reference = parse_reference(asked.ref)
    if asked.insecure:
        access = access._replace(insecure=(*access.insecure, reference.domain))
    return RepositoryPlace(reference, access, cancelled)
