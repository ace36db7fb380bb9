"""Layouts in folders."""

import threading
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from minibuild.exporter.bundle import Bundle
from minibuild.exporter.oci import export_oci
from minibuild.graph.reference import parse_reference
from minibuild.image.layout import DirectoryLayout
from minibuild.oci.content import BlobSource
from minibuild.oci.model import (
    CONTAINERD_NAME,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    describe,
)
from minibuild.oci.model import manifest_bytes as bytes_of

CONFIG = b"{}"


class Image(BlobSource):
    """An image without layers."""

    def __init__(self, number: int) -> None:
        said = {"number": str(number)}
        self.manifest = bytes_of(Manifest(describe(OCI_CONFIG, CONFIG), (), annotations=said))

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        is_config = descriptor.media_type == OCI_CONFIG
        return BytesIO((CONFIG if is_config else self.manifest)[offset:])


def test_images_that_are_written_at_once_all_keep_their_names(tmp_path: Path) -> None:
    count, dest = 40, str(tmp_path / "layout")
    started = threading.Barrier(count)

    def write(number: int) -> None:
        image = Image(number)
        top = describe(OCI_MANIFEST, image.manifest)
        bundle = Bundle(top, (parse_reference(f"image{number}"),), image)
        started.wait()
        export_oci([bundle], dest, tar=False)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = DirectoryLayout(dest).index.manifests
    assert len({descriptor.annotations[CONTAINERD_NAME] for descriptor in written}) == count
