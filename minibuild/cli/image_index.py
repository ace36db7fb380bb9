"""`minibuild image index`: one name for images of several platforms that were made apart.

Comes in: names. Goes out: an index of them, in the store; or, with `--push`, in a registry, where
the images stay what they are and blobs are mounted. Read next: `minibuild.imagetools.index`.
"""

import argparse

from minibuild.buildflags.attributes import assignment
from minibuild.cli.command import Command, Session
from minibuild.cli.image_edit import access_flags, image_access
from minibuild.cli.parser import Parser
from minibuild.cli.stores import new_name
from minibuild.imagetools.index import IndexBuilder


def _flags(made: Parser) -> None:
    made.description = (
        "Make an index of images for several platforms that were built apart. Of two "
        "for the same platform the later one counts."
    )
    made.word("NAME", "name of the index")
    made.word("IMAGE...", "an image, or an index to extend")
    made.values("--annotation K=V", "annotation of the index")
    access_flags(made, remote=True)


def _run(options: argparse.Namespace, session: Session) -> None:
    name, builder = new_name(options.name), IndexBuilder()
    pairs = (assignment(text, "annotation") for text in options.annotation)
    annotations = {key: value or "" for key, value in pairs}
    with image_access(options, session, (options.name, *options.image)) as place:
        for word in options.image:
            _, top, blobs = place.find(word)
            builder.add(blobs, top)
        made = builder.finish(annotations)
        place.put(builder.blobs, made, name)
    session.say(made.digest if options.quiet else f"made {name.familiar}  {made.digest}")


COMMANDS = {"image index": Command(_flags, _run)}
