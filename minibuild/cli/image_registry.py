"""`minibuild image pull`, `push` and `copy`: images between registries and the store.

Comes in: names. Goes out: blobs and names in the store or in registries; on standard output a line
for each name. Nothing is unpacked.
Read next: `minibuild.registry.fetch`, `minibuild.registry.push`.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.registry_flags import access_of, add_registry_flags
from minibuild.cli.stores import find, new_name, open_images, reference
from minibuild.cli.table import short_id
from minibuild.errors import UsageError
from minibuild.events import Report
from minibuild.graph.reference import Reference
from minibuild.imagetools.index import for_platform
from minibuild.oci.meter import metered
from minibuild.registry.fetch import fetch_image
from minibuild.registry.pull import Registry, connect
from minibuild.registry.push import push_image


@contextmanager
def _connected(
    options: argparse.Namespace, session: Session, *names: Reference
) -> Iterator[tuple[Registry, Report]]:
    """The registries as this session reaches them; progress is shown until the block ends."""
    access = access_of(options, session.environment, {name.domain for name in names})
    with session.progress(options) as report:
        yield connect(access, session.cancelled, report), report


def _add_common(made: Parser) -> None:
    add_registry_flags(made)
    made.switch("--insecure", "short for --tls-verify=false")
    made.progress("show no progress, and print digests only")


def _pull_flags(made: Parser) -> None:
    made.word("NAME...", "name, with a tag or a digest")
    made.platform("default: this machine's")
    made.switch("--all-platforms", "the images for all platforms")
    _add_common(made)


def _pull(options: argparse.Namespace, session: Session) -> None:
    if options.platform and options.all_platforms:
        raise UsageError("--platform and --all-platforms contradict each other")
    names = [reference(word) for word in options.name]
    platform = None if options.all_platforms else session.platform(options.platform)
    with (
        open_images(session.root) as images,
        _connected(options, session, *names) as (registry, report),
    ):
        done = []
        for name in names:
            with metered(report, f"pulling {name.familiar}") as meter:
                top, blobs = registry.find(name)
                if platform is not None:
                    top = for_platform(blobs, top, platform, str(name))
                fetch_image(images.content, blobs, top, meter=meter, cancelled=session.cancelled)
            # The store knows images by names: one that was named by its digest alone gets a tag.
            tag = name.tag or short_id(str(name.digest))
            images.tag(name._replace(tag=tag), top)
            done.append((name, top))
    for name, top in done:
        session.say_image("pulled", name, top.digest, quiet=options.quiet)


def _push_flags(made: Parser) -> None:
    made.word("IMAGE", "name, digest or id")
    made.word("[NAME...]", "names to push it under")
    _add_common(made)


def _push(options: argparse.Namespace, session: Session) -> None:
    names = [new_name(word) for word in options.name]
    with open_images(session.root) as images:
        found = find(images, options.image)
        if not names and (found.name is None or not found.name.tag):
            raise UsageError(f"{options.image} is no name", hint="say where to: add a NAME")
        names = names or [found.name]  # type: ignore[list-item]
        with (
            _connected(options, session, *names) as (registry, report),
            metered(report, f"pushing {names[0].familiar}") as meter,
        ):
            push_image(registry, images.content, found.descriptor, names, meter=meter)
    for name in names:
        session.say_image("pushed", name, found.descriptor.digest, quiet=options.quiet)


def _copy_flags(made: Parser) -> None:
    made.description = "Copy an image from registry to registry, without the store."
    made.word("FROM", "name, with a tag or a digest", dest="source")
    made.word("TO...", "the new names", dest="name")
    made.platform("default: all")
    _add_common(made)


def _copy(options: argparse.Namespace, session: Session) -> None:
    source = reference(options.source)
    names = [new_name(word) for word in options.name]
    platform = session.platform(options.platform) if options.platform else None
    with (
        _connected(options, session, source, *names) as (registry, report),
        metered(report, f"copying {source.familiar}") as meter,
    ):
        top, blobs = registry.find(source)
        if platform is not None:
            top = for_platform(blobs, top, platform, str(source))
        push_image(registry, blobs, top, names, meter=meter)
    for name in names:
        session.say_image("copied to", name, top.digest, quiet=options.quiet)


COMMANDS = {
    "image pull": Command(_pull_flags, _pull),
    "image push": Command(_push_flags, _push),
    "image copy": Command(_copy_flags, _copy),
}
