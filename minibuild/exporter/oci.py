"""`type=oci` and `type=docker`: an OCI image layout, as a tar or as a directory.

Comes in: bundles. Goes out: a layout with the images in it; for `docker load` and `podman load`
with a `manifest.json`, for they need know no OCI layouts. Rules: image-spec image-layout.md. Blobs
are checked while they are copied, so what is exported is what the manifest says.
"""

import os
import threading
from collections.abc import Sequence
from typing import BinaryIO

from minibuild.errors import UsageError
from minibuild.exporter.bundle import (
    Bundle,
    blob_name,
    blobs_in_order,
    docker_manifest,
    layout_index,
)
from minibuild.exporter.destination import open_destination, write_error
from minibuild.image.layout import DirectoryLayout
from minibuild.image.layout_folder import alone_with
from minibuild.image.store import LAYOUT_FILE
from minibuild.layer.tar_format import END, TarEntry, header, padding, small_file
from minibuild.oci.content import read_chunks
from minibuild.oci.model import CONTAINERD_NAME, REF_NAME, Descriptor

_UNNAMED = "latest"


def export_oci(
    bundles: Sequence[Bundle],
    dest: str,
    *,
    tar: bool = True,
    docker: bool = False,
    cancelled: threading.Event | None = None,
) -> None:
    """Write the layout to the file `dest` (`-`: standard output), or into the directory `dest`.

    For `docker` each has to be one image.
    """
    if docker and any(bundle.top.is_index for bundle in bundles):
        raise UsageError(
            "docker exporter does not currently support exporting manifest lists",
            hint="build for one platform, or use type=oci",
        )
    if not tar:
        if dest == "-":
            raise UsageError("a directory cannot be written to standard output", hint="dest=DIR")
        for bundle in bundles:
            _write_directory(bundle, dest, cancelled)
        return
    with open_destination(dest, cancelled) as file:
        _write_archive(bundles, file, docker=docker)


def _write_archive(bundles: Sequence[Bundle], file: BinaryIO, *, docker: bool) -> None:
    """Write the layout as a tar, with Docker's `manifest.json` if asked; files sorted by name."""
    file.write(header(TarEntry("blobs", "dir", 0o755)))
    file.write(header(TarEntry("blobs/sha256", "dir", 0o755)))
    for descriptor, blobs in blobs_in_order(bundles):
        file.write(header(TarEntry(blob_name(descriptor), "file", 0o444, size=descriptor.size)))
        file.writelines(read_chunks(blobs, descriptor))
        file.write(bytes(padding(descriptor.size)))
    _write_file(file, "index.json", layout_index(bundles))
    if docker:
        _write_file(file, "manifest.json", docker_manifest(bundles))
    _write_file(file, "oci-layout", LAYOUT_FILE)
    file.write(END)


def _write_file(file: BinaryIO, name: str, data: bytes) -> None:
    file.write(small_file(TarEntry(name, "file", 0o444), data))


# --- As a directory -------------------------------------------------------------------------------


def _write_directory(bundle: Bundle, dest: str, cancelled: threading.Event | None) -> None:
    """Add the image to the layout in `dest`, which may exist; images of other names stay. One
    without a name is its `latest`, by which tools find it."""
    if not bundle.names:
        annotations = {**bundle.top.annotations, REF_NAME: _UNNAMED}
        bundle = bundle._replace(top=bundle.top._replace(annotations=annotations))
    try:
        os.makedirs(os.path.join(dest, "blobs", "sha256"), exist_ok=True)
        _others(
            bundle, dest
        )  # An index that cannot be read is an error before anything is written.
        for descriptor, blobs in blobs_in_order([bundle]):
            path = os.path.join(dest, blob_name(descriptor))
            if not os.path.exists(path) or os.path.getsize(path) != descriptor.size:
                with open_destination(path, cancelled) as file:
                    file.writelines(read_chunks(blobs, descriptor))
        with open_destination(os.path.join(dest, "oci-layout")) as file:
            file.write(LAYOUT_FILE)
        with alone_with(dest):
            data = layout_index([bundle], _others(bundle, dest))
            with open_destination(os.path.join(dest, "index.json")) as file:
                file.write(data)
    except OSError as error:
        raise write_error(error, dest) from error


def _others(bundle: Bundle, dest: str) -> list[Descriptor]:
    """The images of an existing layout that have other names than the new one."""
    if not os.path.exists(os.path.join(dest, "index.json")):
        return []
    taken = {str(name._replace(digest=None)) for name in bundle.names}
    tags = {name.tag for name in bundle.names} or {_UNNAMED}
    kept: list[Descriptor] = []
    for descriptor in DirectoryLayout(dest).index.manifests:
        full = descriptor.annotations.get(CONTAINERD_NAME)
        replaced = full in taken if full else descriptor.annotations.get(REF_NAME) in tags
        if not replaced and descriptor.digest != bundle.top.digest:
            kept.append(descriptor)
    return kept
