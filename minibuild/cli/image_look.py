"""`minibuild image history`, `diff`, `validate` and `attestations`: what is in images, what is said
of them, and whether they are sound.

Comes in: names. Goes out: tables, or JSON with `--format json`. The exit code of `diff` is that of
diff(1): 0 if there is no difference, else 1. Read next: `minibuild.imagetools.compare`,
`minibuild.attest.statement`.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

from minibuild.attest.statement import attestations_of
from minibuild.cli.command import NO, Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.stores import chosen, find, open_images
from minibuild.cli.table import one_line, short_id, table
from minibuild.errors import ImageError, UsageError
from minibuild.graph.platform import Platform
from minibuild.image.archive import open_layout
from minibuild.image.store import ImageStore
from minibuild.image.validate import validate
from minibuild.imagetools.compare import FileChange, ValueChange, document_changes, file_changes
from minibuild.imagetools.edit import Image, with_layers
from minibuild.oci.content import BlobSource, read_document
from minibuild.oci.document import parse_document
from minibuild.oci.model import Descriptor
from minibuild.progress.quantity import bytes_text

_SHOWN_FILES = 200
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def add_options(made: Parser) -> None:
    """The flags of all that look into an image."""
    made.platform("which image of an index")
    made.format()


def _history_flags(made: Parser) -> None:
    made.word("IMAGE", "name, digest, id, or path")
    made.switch("--no-trunc", "show whole instructions and digests")
    add_options(made)


def _history(options: argparse.Namespace, session: Session) -> None:
    platform = session.platform(options.platform)
    with open_images(session.root) as images:
        image = image_of(images, options.image, platform)
    entries, rows = list(_entries(image)), []
    for entry in reversed(entries):
        words, digest = " ".join(entry["created_by"].split()), entry["layer"]
        if not options.no_trunc:
            words, digest = one_line(words, 68), short_id(digest)
        size = bytes_text(entry["size"]) if entry["layer"] else ""
        rows.append([entry["created"][:19].replace("T", " "), digest, size, words])
    lines = table(["CREATED", "LAYER", "SIZE", "CREATED BY"], rows, right="SIZE")
    session.say_result(options, entries, lines)


def _entries(image: Image) -> Iterator[dict[str, Any]]:
    """The history, the oldest first, each entry with the layer that it made."""
    for known, layer in with_layers(image.history, image.layers):
        yield {
            "created": str(known.get("created") or ""),
            "created_by": str(known.get("created_by") or known.get("comment") or ""),
            "comment": str(known.get("comment") or ""),
            "layer": layer.digest if layer else "",
            "size": layer.size if layer else 0,
        }


def _diff_flags(made: Parser) -> None:
    made.description = "Compare two images: their files, their layers, their configs."
    made.epilog = (
        "OLD and NEW are of the store, or archives or OCI layouts: paths with a slash.\n"
        "The exit code is 0 if nothing differs, and 1 if something does."
    )
    made.word("OLD", "name, digest, id, or path")
    made.word("NEW", "name, digest, id, or path")
    made.switch("--no-times", "do not compare the times of files")
    made.switch("--all", f"show all files, not the first {_SHOWN_FILES}")
    add_options(made)


def _diff(options: argparse.Namespace, session: Session) -> int:
    platform = session.platform(options.platform)
    with open_images(session.root) as images:
        old, new = (image_of(images, word, platform) for word in (options.old, options.new))
        files = file_changes(old, new, times=not options.no_times)
    values = document_changes(old, new)
    common = _common_layers(old, new)
    differs = old.manifest.config.digest != new.manifest.config.digest or bool(values or files)
    layers_differ = common < max(len(old.layers), len(new.layers))
    most = len(files) if options.all else _SHOWN_FILES
    data = _as_data(old, new, common, files, values)
    session.say_result(options, data, _told(old, new, common, files, values, most))
    return NO if differs or layers_differ else 0


def image_of(images: ImageStore, word: str, platform: Platform) -> Image:
    """The one image that a word means."""
    found = _sources(images, word)
    if len(found) != 1:
        raise UsageError(f"{word} holds {len(found)} images, and one is to be looked at")
    source, top = found[0]
    return chosen(source, top, platform, word)


def _common_layers(old: Image, new: Image) -> int:
    """How many layers, from the lowest on, are the same."""
    pairs = zip(old.diff_ids, new.diff_ids, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _told(
    old: Image,
    new: Image,
    common: int,
    files: list[FileChange],
    values: list[ValueChange],
    most: int,
) -> Iterator[str]:
    counts = f"{len(old.layers)} and {len(new.layers)} layers, the lowest {common} the same"
    yield f"layers    {counts}"
    for sign, image in (("-", old), ("+", new)):
        for layer in image.layers[common:]:
            yield f"  {sign} {short_id(layer.digest)}  {bytes_text(layer.size):>9}"
    if values:
        yield "config"
        for name, before, after in values:
            yield f"  ~ {name}: {_json(before)} -> {_json(after)}"
    yield f"files     {len(files)} differ" if files else "files     none differs"
    for change in files[:most]:
        what = f"  ({', '.join(change.what)})" if change.what else ""
        yield f"  {_SIGNS[change.kind]} /{change.path}{what}"
    if len(files) > most:
        yield f"  ... and {len(files) - most} more: see them with --all"


def _json(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)


def _as_data(
    old: Image, new: Image, common: int, files: list[FileChange], values: list[ValueChange]
) -> dict[str, Any]:
    return {
        "layers": {
            "common": common,
            "old": [layer.digest for layer in old.layers],
            "new": [layer.digest for layer in new.layers],
        },
        "config": [value._asdict() for value in values],
        "files": [change._asdict() for change in files],
    }


def _validate_flags(made: Parser) -> None:
    made.description = "Read all of an image, and say what is wrong with it."
    made.epilog = "IMAGE is one of the store, or an archive or OCI layout: a path with a slash."
    made.word("IMAGE...", "name, digest, id, or path")


def _validate(options: argparse.Namespace, session: Session) -> None:
    problems: list[str] = []
    with open_images(session.root) as images:
        for word in options.image:
            for source, top in _sources(images, word):
                found = validate(source, top)
                for problem in found:
                    session.say(f"{word}: {problem}")
                if not found:
                    session.say(f"{word}: {top.digest} is sound")
                problems += found
    if problems:
        count = f"{len(problems)} things are" if len(problems) > 1 else "one thing is"
        raise ImageError(f"{count} wrong with what was validated")


def _sources(images: ImageStore, word: str) -> list[tuple[BlobSource, Descriptor]]:
    """What a word means: an image of the store, or all images in a file or folder."""
    if not word.startswith(("/", "./", "../")):
        return [(images.content, find(images, word).descriptor)]
    layout = open_layout(word)
    tops = {manifest.digest: manifest for manifest in layout.index.manifests}
    return [(layout, top) for top in tops.values()]


MAX_STATEMENT_BYTES = 64 << 20

_TYPES = {"provenance": "https://slsa.dev/provenance/", "sbom": "https://spdx.dev/"}


def _attestations_flags(made: Parser) -> None:
    made.description = "Show the attestations of an image: see `build --provenance` and `--sbom`."
    made.word("IMAGE", "name, digest or id")
    made.add_argument("--type", choices=tuple(_TYPES), help="print the statements of this type")


def _attestations(options: argparse.Namespace, session: Session) -> None:
    with open_images(session.root) as images:
        found = attestations_of(images.content, find(images, options.image).descriptor)
        if not found:
            raise ImageError(
                f"nothing is said of {options.image}",
                hint="build it with --provenance=mode=max or --sbom",
            )
        if options.type:
            wanted = [said for said in found if said.type.startswith(_TYPES[options.type])]
            values = [_statement(images, said.blob) for said in wanted]
            return session.say_json(values[0] if len(values) == 1 else values)
    rows = [[short_id(said.image), said.type, bytes_text(said.blob.size)] for said in found]
    session.say_lines(table(["IMAGE", "SAYS", "SIZE"], rows, right="SIZE"))


def _statement(images: ImageStore, blob: Descriptor) -> dict[str, Any]:
    data = read_document(images.content, blob, MAX_STATEMENT_BYTES)
    return parse_document(data, f"statement {blob.digest}", limit=MAX_STATEMENT_BYTES).object()


COMMANDS = {
    "image history": Command(_history_flags, _history),
    "image diff": Command(_diff_flags, _diff),
    "image validate": Command(_validate_flags, _validate),
    "image attestations": Command(_attestations_flags, _attestations),
}
