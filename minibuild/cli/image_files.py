"""`minibuild image save` and `load`: images as archives and OCI layouts.

Comes in: names, a path. Goes out: a file that `docker load`, `skopeo` and others read; or images
in the store. Read next: `minibuild.exporter.oci`, `minibuild.image.layout`.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import copyfileobj

from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.stores import find, new_name, open_images
from minibuild.errors import DefinitionError, ImageError, UsageError
from minibuild.exporter.bundle import Bundle
from minibuild.exporter.oci import export_oci
from minibuild.graph.reference import Reference, parse_reference
from minibuild.image.archive import open_layout
from minibuild.image.layout import Layout
from minibuild.image.store import ImageStore
from minibuild.oci.model import CONTAINERD_NAME, REF_NAME, Descriptor
from minibuild.oci.transfer import copy_image


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
    made.values("-t --tag NAME", "name to give, if it holds one image")
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


COMMANDS = {
    "image save": Command(_save_flags, _save),
    "image load": Command(_load_flags, _load),
}
