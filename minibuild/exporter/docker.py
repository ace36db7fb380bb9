"""`type=docker`: an archive for `docker load` and `podman load`.

Comes in: a `Bundle` of one image. Goes out: an OCI layout in a tar, with a `manifest.json` for
programs that know no OCI layouts.
"""

import threading

from minibuild.errors import UsageError
from minibuild.exporter.bundle import Bundle
from minibuild.exporter.destination import open_destination
from minibuild.exporter.oci import export_oci, write_archive
from minibuild.oci.model import INDEXES


def export_docker(
    bundle: Bundle,
    dest: str,
    *,
    tar: bool = True,
    stdout_fd: int = 1,
    cancelled: threading.Event | None = None,
) -> None:
    """Write the archive to the file `dest` (`-`: standard output); not `tar`: a layout."""
    if bundle.top.media_type in INDEXES:
        raise UsageError(
            "docker exporter does not currently support exporting manifest lists",
            hint="build for one platform, or use type=oci",
        )
    if not tar:
        export_oci(bundle, dest, tar=False, cancelled=cancelled)
        return
    with open_destination(dest, stdout_fd, cancelled) as file:
        write_archive(bundle, file, docker=True)
