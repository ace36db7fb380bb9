"""`minibuild image import`: a root filesystem in a tar becomes an image of one layer.

Comes in: a tar, plain or compressed. Goes out: an image in the store. The tar is written again on
the way, entry by entry, so that what is not sound never gets into a layer and the same files
always give the same layer. Read next: `minibuild.layer.tar_reader`.
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
from minibuild.cli.stores import new_name, open_images
from minibuild.errors import ImageError, UsageError, os_errors_as
from minibuild.events import rfc3339
from minibuild.graph.image import History, ImageConfig
from minibuild.image.store import ImageStore
from minibuild.layer.compress import decompressed, detect_compression, stream_errors, unsound
from minibuild.layer.layer import Layer, remember
from minibuild.layer.tar_reader import TarReader, file_chunks
from minibuild.layer.writer import LayerWriter
from minibuild.linux.beneath import clean
from minibuild.oci.config import ImageLayer, assemble, store_documents
from minibuild.progress.quantity import bytes_text


def _flags(made: Parser) -> None:
    made.word("TAR", "a tar, plain or compressed; - for stdin", dest="source")
    made.word("NAME", "name of the image")
    made.add_argument("-m", "--message", default="", help="comment in the history")
    made.platform("default: this machine's")
    made.switch("-q --quiet", "print only the image id")


def _run(options: argparse.Namespace, session: Session) -> None:
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


COMMANDS = {"image import": Command(_flags, _run)}
