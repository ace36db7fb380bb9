"""`minibuild image save`, `load` and `import`: images as archives and OCI layouts, and of tars.

Comes in: names, a path. Goes out: a file that `docker load`, `skopeo` and others read; or images in
the store. A root filesystem in a tar is written again on the way, entry by entry, so that what is
not sound never gets into a layer and the same files always give the same layer.
Read next: `minibuild.layer.tar_reader`, `minibuild.exporter.oci`, `minibuild.image.layout`.
"""

import argparse
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.stores import find, new_name, open_images
from minibuild.errors import DefinitionError, ImageError, UsageError, os_errors_as
from minibuild.events import rfc3339
from minibuild.exporter.bundle import Bundle
from minibuild.exporter.oci import export_oci
from minibuild.graph.image import History, ImageConfig
from minibuild.graph.reference import Reference, parse_reference
from minibuild.image.archive import open_layout
from minibuild.image.layout import Layout
from minibuild.image.store import ImageStore
from minibuild.layer.compress import decompressed, detect_compression, stream_errors, unsound
from minibuild.layer.layer import Layer, remember
from minibuild.layer.tar_reader import TarReader, file_chunks
from minibuild.layer.writer import LayerWriter
from minibuild.linux.beneath import clean
from minibuild.oci.config import ImageLayer, assemble, store_documents
from minibuild.oci.model import CONTAINERD_NAME, REF_NAME, Descriptor
from minibuild.oci.transfer import copy_image
from minibuild.progress.quantity import bytes_text


def _save_flags(made: Parser) -> None:
    made.description = "Write images to an archive or a layout."
    made.word("IMAGE...", "name, digest or id")
    made.value("-o --output PATH", "file (default: stdout)", default="-")
    made.add_argument(
        "--format",
        choices=("oci", "docker", "dir"),
        default="docker",
        help="docker: an archive that docker load and OCI tools read (default); oci: one without "
        "Docker's manifest; dir: add it to the OCI layout in the directory PATH",
    )


def _save(options: argparse.Namespace, session: Session) -> None:
    if options.output == "-" and session.stdout.isatty():
        raise UsageError("not writing an archive to the terminal", hint="name a file with -o FILE")
    with open_images(session.root) as images:
        bundles = []
        for word in options.image:
            name, descriptor = find(images, word)
            names = (name,) if name is not None and name.tag else ()
            bundles.append(Bundle(descriptor, names, images.content))
        kind = options.format
        export_oci(bundles, options.output, tar=kind != "dir", docker=kind == "docker")


def _load_flags(made: Parser) -> None:
    made.word("[PATH]", "archive, directory, or - for stdin")
    made.value("-i --input PATH", "the same, as for docker")
    made.values("-t --tag NAME", "name of the image, if there is only one")
    made.switch("-q --quiet", "print nothing")


def _load(options: argparse.Namespace, session: Session) -> None:
    if options.path and options.input:
        raise UsageError("the path is given twice: as an argument and with -i")
    path = options.path or options.input or "-"
    if path == "-" and sys.stdin.isatty():
        raise UsageError("no archive on standard input", hint="name the archive, or pipe it in")
    tags = [new_name(word) for word in options.tag]
    with open_images(session.root) as images, _readable(images, path) as readable:
        for name, descriptor in _wanted(open_layout(readable), path, tags):
            copy_image(images.content, open_layout(readable), descriptor)
            images.tag(name, descriptor)
            if not options.quiet:
                session.say(f"loaded {name.familiar}  {descriptor.digest}")


@contextmanager
def _readable(images: ImageStore, path: str) -> Iterator[str]:
    """A path for the archive: standard input is kept in a file as long as it takes."""
    if path != "-":
        yield path
        return
    from shutil import copyfileobj

    spooled = images.content.store.ingest_path()
    try:
        with open(spooled, "xb") as file:
            copyfileobj(sys.stdin.buffer, file, 1 << 20)
        yield spooled
    finally:
        if os.path.exists(spooled):
            os.unlink(spooled)


def _wanted(layout: Layout, path: str, tags: list[Reference]) -> list[tuple[Reference, Descriptor]]:
    """The images to take, each with the name it gets."""
    found = [(_name(descriptor), descriptor) for descriptor in layout.index.manifests]
    if tags:
        digests = {descriptor.digest for _, descriptor in found}
        if len(digests) != 1:
            raise UsageError(
                f"{path} holds {len(digests)} images, and --tag is for one",
                hint="leave --tag out: they keep the names they have",
            )
        return [(tag, found[0][1]) for tag in tags]
    named = [(name, descriptor) for name, descriptor in found if name is not None]
    if not named:
        raise ImageError(f"the images in {path} have no names", hint="give one with --tag NAME")
    return named


def _name(descriptor: Descriptor) -> Reference | None:
    """The name that a layout has for an image. A tag alone is not enough of a name."""
    for key in (CONTAINERD_NAME, REF_NAME):
        text = descriptor.annotations.get(key, "")
        if key == REF_NAME and ":" not in text and "/" not in text:
            continue
        try:
            return parse_reference(text)._replace(digest=None)
        except DefinitionError:
            continue
    return None


# --- A tar as an image ---


def _import_flags(made: Parser) -> None:
    made.word("TAR", "a tar, plain or compressed; - for stdin", dest="source")
    made.word("NAME", "name of the image")
    made.add_argument("-m", "--message", default="", help="comment in the history")
    made.platform("default: this machine's")
    made.switch("-q --quiet", "print only the image id")


def _import(options: argparse.Namespace, session: Session) -> None:
    name = new_name(options.name)
    platform = session.platform(options.platform)
    if options.source == "-" and sys.stdin.isatty():
        raise UsageError("no tar on standard input", hint="name the file, or pipe it in")
    with open_images(session.root) as images, _opened(options.source) as file:
        layer, newest = _layer(images, file, options.source)
        origin = os.path.basename(options.source) if options.source != "-" else "standard input"
        history: History = {"created_by": f"minibuild image import {origin}"}
        if options.message:
            history["comment"] = options.message
        # Not the time of the import: the same tar is to give the same image.
        image = assemble(
            ImageConfig(platform, {}, (history,)),
            [ImageLayer(layer.diff_id, layer.descriptor, newest)],
        )
        store_documents(images.content, image)
        images.tag(name, image.manifest)
    if options.quiet:
        session.say(image.config.digest)
    else:
        size = bytes_text(layer.size)
        session.say(f"imported {name.familiar}  {image.manifest.digest}  {size}")


@contextmanager
def _opened(path: str) -> Iterator[io.BufferedReader]:
    if path == "-":
        yield cast(io.BufferedReader, sys.stdin.buffer)
        return
    packed = f"pack it: tar -C {path} -c . | minibuild image import -"
    with os_errors_as(UsageError, f"cannot read {path}", packed if os.path.isdir(path) else ""):
        file = open(path, "rb")  # noqa: SIM115
    with file:
        yield file


def layer_of_tar(images: ImageStore, path: str) -> tuple[Layer, str]:
    """A tar as a layer in the store, and the time of its newest file as documents have it."""
    with _opened(path) as file:
        layer, newest = _layer(images, file, path)
    return layer, rfc3339(newest)


def _layer(images: ImageStore, file: io.BufferedReader, what: str) -> tuple[Layer, float]:
    """The tar as a layer in the store, and the time of its newest file."""
    compression = detect_compression(file.peek(16)[:16])
    stream = decompressed(cast(BinaryIO, file), compression)
    with LayerWriter(images.content) as writer:
        try:
            newest = _rewrite(TarReader(file_chunks(stream), what), writer, what)
        except stream_errors(compression) as error:
            raise unsound(what, f"sound {compression} data", error) from None
        layer = writer.commit()
    remember(images.content, layer)
    return layer, newest


def _rewrite(reader: TarReader, writer: LayerWriter, what: str) -> float:
    count = newest_ns = 0
    for entry in reader:
        name = clean(entry.name)
        if not name:
            continue  # the root itself: every image has one
        if entry.kind == "link":
            entry = entry._replace(linkname=clean(entry.linkname))
        writer.write_entry(entry._replace(name=name), reader.data())
        count, newest_ns = count + 1, max(newest_ns, entry.mtime_ns)
    if not count:
        raise ImageError(f"{what} holds no files", hint="is it a tar of a root filesystem?")
    return newest_ns / 1e9


COMMANDS = {
    "image save": Command(_save_flags, _save),
    "image load": Command(_load_flags, _load),
    "image import": Command(_import_flags, _import),
}
