"""`minibuild image append`, `rebase`, `flatten`, `squash`, `index` and `config`: images made from
images, not built.

Comes in: names. Goes out: an image under another name, in the store; or, with `--push`, from
registry to registry, where nothing but documents is transferred (and the layers that `append`
adds).
Read next: `minibuild.imagetools.edit`, `minibuild.imagetools.rebase`,
`minibuild.imagetools.squash`, `minibuild.imagetools.index`, `minibuild.imagetools.reconfigure`.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from minibuild.buildflags.attributes import assignment, assignments
from minibuild.cli.command import Command, Session
from minibuild.cli.image_files import layer_of_tar
from minibuild.cli.parser import Parser
from minibuild.cli.registry_flags import access_of, add_registry_flags, insist_on_push
from minibuild.cli.stores import find, new_name, open_images, reference
from minibuild.errors import ImageError, UsageError
from minibuild.graph.literals import parse_uint
from minibuild.graph.reference import Reference
from minibuild.image.store import ImageStore
from minibuild.imagetools.edit import (
    Image,
    each_image,
    layer_for,
    read_image,
    write_image,
)
from minibuild.imagetools.index import IndexBuilder
from minibuild.imagetools.rebase import BASE_DIGEST, BASE_NAME, rebase
from minibuild.imagetools.reconfigure import Changes, reconfigured
from minibuild.imagetools.squash import squashed
from minibuild.layer.compress import compression_of
from minibuild.oci.content import BlobSource
from minibuild.oci.document import parse_value
from minibuild.oci.model import Descriptor
from minibuild.oci.multi import MultiSource
from minibuild.oci.transfer import manifests_of
from minibuild.registry.pull import Registry, connect
from minibuild.registry.push import push_image
from minibuild.startup.tuples import NamedTuple


class ImageAccess(NamedTuple):
    """Where images are looked up, and where the new one goes: the store, or registries."""

    images: ImageStore
    registry: Registry | None

    def find(self, word: str) -> tuple[str, Descriptor, BlobSource]:
        """The full name of an image, its top document, and its blobs."""
        if self.registry is None:
            found = find(self.images, word)
            return str(found.name or word), found.descriptor, self.images.content
        name = reference(word)
        top, blobs = self.registry.find(name)
        return str(name), top, blobs

    def put(self, blobs: MultiSource, top: Descriptor, name: Reference) -> None:
        """Have the new image under its name."""
        if self.registry is None:
            blobs.keep(self.images.content)
            self.images.tag(name, top)
            return
        push_image(self.registry, blobs, top, [name])


@contextmanager
def image_access(
    options: argparse.Namespace, session: Session, names: Iterable[str]
) -> Iterator[ImageAccess]:
    """The store; or with `--push` the registries of these names."""
    registry = None
    if getattr(options, "push", False):
        domains = {reference(name).domain for name in names if name}
        access = access_of(options, session.environment, domains)
        registry = connect(access, session.cancelled)
    else:
        insist_on_push(options)
    with open_images(session.root) as images:
        yield ImageAccess(images, registry)


def edit_flags(made: Parser, *, remote: bool) -> None:
    """What all take that make another image of one."""
    made.word("IMAGE", "name, digest or id")
    made.word("NAME", "name of the new image")
    access_flags(made, remote=remote)


def access_flags(made: Parser, *, remote: bool) -> None:
    """The flags of all that make an image of others; `remote`: also from registry to registry."""
    if remote:
        made.switch("--push", "all names are in registries: read from there, and push there")
        made.switch("--insecure", "short for --tls-verify=false")
        add_registry_flags(made)
    made.switch("-q --quiet", "print the digest only")


def edited(
    options: argparse.Namespace,
    session: Session,
    verb: str,
    edit: Callable[[ImageAccess, MultiSource, Image], Descriptor],
) -> None:
    """Do an edit on the image, or on each image of an index, and keep what comes out."""
    name = new_name(options.name)
    names = (options.image, options.name, getattr(options, "onto", ""))
    with image_access(options, session, names) as place:
        _, top, source = place.find(options.image)
        blobs = MultiSource()
        made = each_image(blobs, source, top, lambda image: edit(place, blobs, image))
        place.put(blobs, made._replace(annotations={}), name)
    session.say_image(verb, name, made.digest, quiet=options.quiet)


def _append_flags(made: Parser) -> None:
    made.description = "Put tars on top of an image, each as a layer of its own."
    edit_flags(made, remote=True)
    made.values("-f --file TAR", "a tar, plain or compressed; - for stdin")
    made.add_argument("-m", "--message", default="", help="comment in the history")


def _append(options: argparse.Namespace, session: Session) -> None:
    if not options.file:
        raise UsageError("there is nothing to append", hint="name a tar with -f TAR")

    def edit(place: ImageAccess, blobs: MultiSource, image: Image) -> Descriptor:
        layers, history = list(image.layers), list(image.history)
        for path in options.file:
            layer, created = layer_of_tar(place.images, path)
            layers.append(layer_for(image, layer))
            entry = {"created": created, "created_by": f"minibuild image append {path}"}
            history.append(entry | ({"comment": options.message} if options.message else {}))
        return write_image(blobs, image, layers, history)

    edited(options, session, "made", edit)


def _rebase_flags(made: Parser) -> None:
    made.description = "Put the layers of an image on another base, without building."
    made.epilog = (
        "The layers stay as they are: a RUN that read files of the old base is not run again."
    )
    edit_flags(made, remote=True)
    made.value(
        "--from OLD", "the base it was made on (default: what its annotations say)", dest="base"
    )
    made.value("--onto NEW", "the base it is to have", required=True, default=None)


def _rebase(options: argparse.Namespace, session: Session) -> None:
    def edit(place: ImageAccess, blobs: MultiSource, image: Image) -> Descriptor:
        old_name = options.base or _base_of(image)
        _, old_top, old_source = place.find(old_name)
        old = _for_image(old_source, old_top, image, old_name)
        name, new_top, new_source = place.find(options.onto)
        new = _for_image(new_source, new_top, image, options.onto)
        return rebase(blobs, image, old, new, name)

    edited(options, session, "rebased", edit)


def _base_of(image: Image) -> str:
    """What an image says of its base."""
    name = image.manifest.annotations.get(BASE_NAME, "")
    digest = image.manifest.annotations.get(BASE_DIGEST, "")
    if not name:
        raise UsageError(
            "the image does not say what it was made on", hint="name the old base: --from IMAGE"
        )
    return (
        str(reference(name)._replace(tag="")).partition("@")[0] + f"@{digest}" if digest else name
    )


def _for_image(source: BlobSource, top: Descriptor, image: Image, word: str) -> Image:
    """The base for the platform of an image."""
    found = [read_image(source, descriptor) for descriptor, _ in manifests_of(source, top)]
    for base in found:
        if base.platform == image.platform:
            return base
    raise ImageError(
        f"{word} has no image for {image.platform}",
        hint="it has " + ", ".join(sorted(str(base.platform) for base in found)),
    )


def _flatten_flags(made: Parser) -> None:
    made.description = "Make one layer of all layers of an image."
    edit_flags(made, remote=False)


def _flatten(options: argparse.Namespace, session: Session) -> None:
    def edit(place: ImageAccess, blobs: MultiSource, image: Image) -> Descriptor:
        return _squashed(place, blobs, image, 0, "minibuild image flatten")

    edited(options, session, "flattened", edit)


def _squash_flags(made: Parser) -> None:
    edit_flags(made, remote=False)
    made.value("--from BASE", "the image it was made on", dest="base")
    made.value("--keep N", "instead: how many layers stay as they are", type=int, default=-1)


def _squash(options: argparse.Namespace, session: Session) -> None:
    if options.base and options.keep >= 0:
        raise UsageError("--from and --keep contradict each other")

    def edit(place: ImageAccess, blobs: MultiSource, image: Image) -> Descriptor:
        keep = options.keep
        if keep < 0:
            name = options.base or _base_of(image)
            _, top, base_source = place.find(name)
            base = _for_image(base_source, top, image, name)
            keep = len(base.layers)
            if image.diff_ids[:keep] != base.diff_ids:
                raise ImageError(f"the image was not made on {name}: its lowest layers are others")
        if keep > len(image.layers):
            raise UsageError(f"the image has {len(image.layers)} layers, and {keep} are to stay")
        return _squashed(place, blobs, image, keep, "minibuild image squash")

    edited(options, session, "squashed", edit)


def _squashed(
    place: ImageAccess, blobs: MultiSource, image: Image, keep: int, created_by: str
) -> Descriptor:
    """The image with its layers from number `keep` on as one."""
    kind = compression_of(image.layers[-1].media_type) if image.layers else "gzip"
    entry = {"created": image.config.get("created", ""), "created_by": created_by}
    content = place.images.content
    made, history = squashed(content, image.layers, image.history, keep, kind, entry)
    return write_image(blobs, image, (*image.layers[:keep], layer_for(image, made)), history)


def _index_flags(made: Parser) -> None:
    made.description = (
        "Make an index of images for several platforms that were built separately. Of two "
        "for the same platform the last one counts."
    )
    made.word("NAME", "name of the index")
    made.word("IMAGE...", "an image, or an index to extend")
    made.values("--annotation K=V", "annotation of the index")
    access_flags(made, remote=True)


def _index(options: argparse.Namespace, session: Session) -> None:
    name, builder = new_name(options.name), IndexBuilder()
    pairs = (assignment(text, "annotation") for text in options.annotation)
    annotations = {key: value or "" for key, value in pairs}
    with image_access(options, session, (options.name, *options.image)) as place:
        for word in options.image:
            _, top, blobs = place.find(word)
            builder.add(blobs, top)
        made = builder.finish(annotations)
        place.put(builder.blobs, made, name)
    session.say_image("made", name, made.digest, quiet=options.quiet)


# --- How an image is to be run ---


_PROTOCOLS = ("tcp", "udp", "sctp")


def _config_flags(made: Parser) -> None:
    made.epilog = "An empty VALUE removes a setting. A new entrypoint removes the old command."
    edit_flags(made, remote=True)
    made.values("-e --env K=V", "a variable")
    made.values("--unset-env K", "remove a variable")
    made.values("--label K=V", "a label")
    made.values("--unset-label K", "remove a label")
    made.values("--annotation K=V", "an annotation of the manifest")
    made.value("-u --user VALUE", "who runs it: USER[:GROUP]", default=None)
    made.value("-w --workdir VALUE", "the working directory", default=None)
    made.value("--entrypoint VALUE", 'a program, or a JSON list: ["/app", "--serve"]', default=None)
    made.value("--cmd VALUE", "a word, or a JSON list", default=None)
    made.value("--stop-signal VALUE", "such as SIGINT", default=None)
    made.values("--expose PORT[/tcp|udp]", "a port that it listens on")
    made.values("--volume PATH", "a directory for a volume")


def _config(options: argparse.Namespace, session: Session) -> None:
    changes, annotations = _changes(options), assignments(options.annotation, "annotation")
    if changes == Changes() and not annotations:
        raise UsageError("there is nothing to change", hint="see `minibuild image config --help`")

    def edit(place: ImageAccess, blobs: MultiSource, image: Image) -> Descriptor:
        entry = {
            "created": image.config.get("created", ""),
            "created_by": "minibuild image config",
            "empty_layer": True,
        }
        return write_image(
            blobs,
            image,
            image.layers,
            [*image.history, entry] if image.history else [],
            config=reconfigured(image.config, changes),
            annotations={**image.manifest.annotations, **annotations},
        )

    edited(options, session, "made", edit)


def _changes(options: argparse.Namespace) -> Changes:
    return Changes(
        env=assignments(options.env, "env"),
        without_env=tuple(options.unset_env),
        labels=assignments(options.label, "label"),
        without_labels=tuple(options.unset_label),
        user=options.user,
        workdir=_absolute(options.workdir, "workdir") if options.workdir else options.workdir,
        entrypoint=_words(options.entrypoint, "entrypoint"),
        cmd=_words(options.cmd, "cmd"),
        stop_signal=options.stop_signal,
        ports=tuple(_port(text) for text in options.expose),
        volumes=tuple(_absolute(text, "volume") for text in options.volume),
    )


def _words(text: str | None, flag: str) -> tuple[str, ...] | None:
    """A JSON list of words, or one word; nothing for the empty text."""
    if text is None or not text.startswith("["):
        return text if text is None else (text,) if text else ()
    words = parse_value(text.encode("utf-8", "surrogateescape"), f"--{flag}", error=UsageError)
    return tuple(words.words())


def _port(text: str) -> str:
    number, _, protocol = text.partition("/")
    port = parse_uint(number, 0xFFFF)
    if (protocol or "tcp") not in _PROTOCOLS or port < 1:
        raise UsageError(f"--expose {text} is no port", hint="write it like 80 or 53/udp")
    return f"{port}/{protocol or 'tcp'}"


def _absolute(text: str, flag: str) -> str:
    if not text.startswith("/"):
        raise UsageError(f"--{flag} {text}: the path must begin with a slash")
    return text


COMMANDS = {
    "image append": Command(_append_flags, _append),
    "image rebase": Command(_rebase_flags, _rebase),
    "image flatten": Command(_flatten_flags, _flatten),
    "image squash": Command(_squash_flags, _squash),
    "image index": Command(_index_flags, _index),
    "image config": Command(_config_flags, _config),
}
