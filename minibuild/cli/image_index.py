"""`minibuild image index`: one name for images of several platforms that were made apart.

Comes in: names. Goes out: an index of them, in the store; or, with `--push`, in a registry, where
the images stay what they are and blobs are mounted. Read next: `minibuild.imagetools.index`.
"""

import argparse
import threading

from minibuild.buildflags.attributes import assignment
from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.registry_flags import access_of, add_registry_flags, insist_on_push
from minibuild.cli.stores import find, new_name, open_images, reference
from minibuild.graph.reference import Reference
from minibuild.imagetools.index import IndexBuilder
from minibuild.linux.signals import stopping
from minibuild.oci.model import Descriptor


def _parser() -> Parser:
    made = Parser(
        "minibuild image index",
        description="Make an index of images for several platforms that were built apart. Of two "
        "for the same platform the later one counts.",
    )
    made.add_argument("name", metavar="NAME", help="name of the index")
    made.add_argument("image", nargs="+", metavar="IMAGE", help="an image, or an index to extend")
    made.repeated("--annotation", metavar="K=V", help="annotation of the index")
    made.switch("--push", help="all names are of registries: read there, and push there")
    made.switch("--insecure", help="short for --tls-verify=false")
    add_registry_flags(made)
    made.switch("-q", "--quiet", help="print the digest only")
    return made


def _run(options: argparse.Namespace, session: Session) -> int:
    if not options.push:
        insist_on_push(options)
    name = new_name(options.name)
    pairs = (assignment(text, "annotation") for text in options.annotation)
    annotations = {key: value or "" for key, value in pairs}
    make = _in_registries if options.push else _in_the_store
    top = make(options, session, name, annotations)
    session.say(top.digest if options.quiet else f"made {name.familiar}  {top.digest}")
    return 0


def _in_the_store(
    options: argparse.Namespace, session: Session, name: Reference, annotations: dict[str, str]
) -> Descriptor:
    with open_images(session.root) as images:
        builder = IndexBuilder()
        for word in options.image:
            builder.add(images.content, find(images, word).descriptor)
        top = builder.finish(annotations)
        builder.blobs.keep(images.content)
        images.names.tag(name, top)
    return top


def _in_registries(
    options: argparse.Namespace, session: Session, name: Reference, annotations: dict[str, str]
) -> Descriptor:
    from minibuild.registry.patience import patient
    from minibuild.registry.pull import Registry
    from minibuild.registry.push import push_image

    names = [reference(word) for word in options.image]
    access = access_of(options, session.environment, {one.domain for one in (name, *names)})
    cancelled = threading.Event()
    registry, builder = Registry(access, patient(cancelled, access.stall_s)), IndexBuilder()
    with stopping(cancelled):
        for one in names:
            top, blobs = registry.find(one)
            builder.add(blobs, top)
        top = builder.finish(annotations)
        push_image(registry, builder.blobs, top, [name])
    return top


COMMANDS = {"image index": Command(_parser, _run)}
