"""`minibuild image ls`, `inspect`, `tag` and `rm`: the images of the store and their names.

Comes in: names, digests, or the first digits of an id. Goes out: tables, or JSON with
`--format json`. Read next: `stores`, `image_files`.
"""

import argparse
import json
from typing import Any

from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.stores import Version, find, new_name, open_images, versions
from minibuild.cli.table import one_line, short_id, table
from minibuild.errors import BuildError
from minibuild.graph.reference import Reference, parse_reference
from minibuild.image.store import ImageStore, StoredImage
from minibuild.imagetools.edit import with_layers
from minibuild.progress.quantity import bytes_text


def _ls_flags(made: Parser) -> None:
    made.add_argument("name", nargs="?", default="", help="only images of this name")
    made.switch("-q --quiet", "print names only")
    made.switch("--digests", "print whole digests")
    # Docker's habits: they ask for what is done anyway.
    for habit in ("-a", "--all"):
        made.habit(habit)
    made.format()


def _ls(options: argparse.Namespace, session: Session) -> None:
    with open_images(session.root) as images:
        stored = [image for image in images.list() if options.name in ("", *_words(image.name))]
        if options.quiet:
            return session.say_lines(image.name.familiar for image in stored)
        listed = [(image, versions(images, image.descriptor)) for image in stored]
    data = [_listed(image, found) for image, found in listed]
    rows = [
        [
            image.name.familiar,
            image.descriptor.digest if options.digests else short_id(image.descriptor.digest),
            ",".join(version.platform for version in found),
            bytes_text(sum(version.size_bytes for version in found)),
        ]
        for image, found in listed
    ]
    lines = table(["IMAGE", "DIGEST", "PLATFORMS", "SIZE"], rows, right="SIZE")
    session.say_result(options, data, lines)


def _words(name: Reference) -> tuple[str, ...]:
    """What an image of this name may be called."""
    return name.familiar, name._replace(tag="").familiar, str(name)


def _listed(image: StoredImage, found: list[Version]) -> dict[str, Any]:
    return {
        "name": str(image.name),
        "digest": image.descriptor.digest,
        "mediaType": image.descriptor.media_type,
        "platforms": [version.platform for version in found],
        "size": sum(version.size_bytes for version in found),
    }


def _inspect_flags(made: Parser) -> None:
    made.description = "Show manifest and config of images."
    made.word("IMAGE...", "name, digest or id")
    made.format()


def _inspect(options: argparse.Namespace, session: Session) -> None:
    with open_images(session.root) as images:
        found = [_inspected(images, word) for word in options.image]
    lines = [line for data in found for line in ("", *_told(data))]
    session.say_result(options, found, lines[1:])


def _inspected(images: ImageStore, word: str) -> dict[str, Any]:
    """Everything that is known about an image, as plain data."""
    from minibuild.attest.statement import attestations_of

    name, descriptor = find(images, word)
    names = [str(i.name) for i in images.list() if i.descriptor.digest == descriptor.digest]
    return {
        "names": names or ([str(name)] if name else []),
        "digest": descriptor.digest,
        "mediaType": descriptor.media_type,
        "images": [
            {
                "platform": version.platform,
                "digest": version.descriptor.digest,
                "id": version.manifest.config.digest,
                "size": version.size_bytes,
                "annotations": dict(version.manifest.annotations),
                "layers": [
                    {"digest": layer.digest, "mediaType": layer.media_type, "size": layer.size}
                    for layer in version.manifest.layers
                ],
                "config": version.config,
                **({"fault": version.fault} if version.fault else {}),
            }
            for version in versions(images, descriptor)
        ],
        "attestations": [
            {"of": said.image, "predicateType": said.type, "digest": said.blob.digest}
            for said in attestations_of(images.content, descriptor)
        ],
    }


def _told(data: dict[str, Any]) -> list[str]:
    lines = [f"image     {parse_reference(name).familiar}" for name in data["names"]]
    lines.append(f"digest    {data['digest']}")
    for image in data["images"]:
        config = image["config"].get("config") or {}
        lines += ["", f"platform  {image['platform']}"]
        lines.append(f"id        {image['id']}")
        if fault := image.get("fault"):
            lines.append(f"fault     {fault}")
        if created := image["config"].get("created"):
            lines.append(f"created   {created}")
        count = len(image["layers"])
        lines.append(f"size      {bytes_text(image['size'])} in {count} layers")
        lines += [
            f"{key:<16}  {json.dumps(value, ensure_ascii=False)}"
            for key, value in config.items()
            if value not in (None, "", [], {})
        ]
        lines += [
            f"says      {said['predicateType']}"
            for said in data["attestations"]
            if said["of"] == image["digest"]
        ]
        lines += _layer_lines(image)
    return lines


def _layer_lines(image: dict[str, Any]) -> list[str]:
    """The history, each entry with the layer that it made."""
    rows = []
    for entry, layer in with_layers(image["config"].get("history") or (), image["layers"]):
        words = one_line(str(entry.get("created_by") or entry.get("comment") or ""), 68)
        digest, size = (short_id(layer["digest"]), bytes_text(layer["size"])) if layer else ("", "")
        rows.append([digest, size, words])
    return ["", *table(["LAYER", "SIZE", "INSTRUCTION"], rows, right="SIZE")] if rows else []


def _tag_flags(made: Parser) -> None:
    made.word("IMAGE", "name, digest or id")
    made.word("NAME...", "the new name")


def _tag(options: argparse.Namespace, session: Session) -> None:
    names = [new_name(word) for word in options.name]
    with open_images(session.root) as images:
        descriptor = find(images, options.image).descriptor
        for name in names:
            images.tag(name, descriptor)


def _rm_flags(made: Parser) -> None:
    made.description = "Remove names of images. `minibuild prune` then frees the space."
    made.word("IMAGE...", "name, digest or id")
    made.switch("-f --force", "no error if an image is missing")
    made.habit("--no-prune", "what no name needs goes with `minibuild prune`")


def _rm(options: argparse.Namespace, session: Session) -> None:
    failed: BuildError | None = None
    with open_images(session.root) as images:
        for word in options.image:
            try:
                for name in _names_of(images, word):
                    if images.remove(name):
                        session.say(f"removed {name.familiar}")
            except BuildError as error:
                failed = failed or error
    if failed is not None and not options.force:
        raise failed


def _names_of(images: ImageStore, word: str) -> list[Reference]:
    """The names to take away: the one given, or all of the image whose id was given."""
    name, descriptor = find(images, word)
    stored = images.list()
    if name is not None and (name.digest is None or name in [image.name for image in stored]):
        return [name]
    return [image.name for image in stored if image.descriptor.digest == descriptor.digest]


COMMANDS = {
    "image ls": Command(_ls_flags, _ls),
    "image inspect": Command(_inspect_flags, _inspect),
    "image tag": Command(_tag_flags, _tag),
    "image rm": Command(_rm_flags, _rm),
}
