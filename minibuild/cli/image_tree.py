"""`minibuild image tree`: where the bytes of an image are, and which of them nothing shows.

Comes in: an image, of the store or a path. Goes out: its layers, what is hidden by later ones,
with the line to mend, and the directories; as text or JSON. With `--max-waste` the exit code is 1
if more is hidden. Lines are those of the record of the build that made it; of other images the
history tells. Read next: `minibuild.imagetools.waste`.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from minibuild.buildflags.attributes import size_bytes
from minibuild.cli.command import NO, Command, Session
from minibuild.cli.image_look import add_options, image_of
from minibuild.cli.parser import Parser
from minibuild.cli.stores import open_images
from minibuild.cli.table import one_line, table
from minibuild.errors import UsageError
from minibuild.imagetools.edit import Image
from minibuild.imagetools.usage import ImageUsage, usage
from minibuild.imagetools.waste import LayerOrigin, PathUsage, Waste, advice, places, wasted
from minibuild.progress.console import visible
from minibuild.progress.quantity import bytes_text
from minibuild.record.image_builds import build_of, layers_of
from minibuild.record.records import BuildRecords

_SHOWN = 10
_CELLS = 60


def _flags(made: Parser) -> None:
    made.description = "Show where the bytes of an image are, and which are hidden."
    made.epilog = (
        "IMAGE is one of the store, or an archive or OCI layout: a path with a slash.\n"
        "Hidden bytes are those of files that a later layer deletes or replaces: they are still\n"
        "transferred and stored. With --max-waste the exit code is 1 if there are more."
    )
    made.word("IMAGE", "name, digest, id, or path")
    made.value("-L --depth N", "how many levels of directories to show (1)", type=int, default=1)
    made.switch("--wasted", "show all that is hidden, and nothing else")
    made.value("--max-waste LIMIT", "how much may be hidden: 5%%, or 10m")
    add_options(made)


def _run(options: argparse.Namespace, session: Session) -> int:
    allowed = _limit(options.max_waste)
    if options.depth < 1:
        raise UsageError("-L takes a depth from 1 on")
    platform = session.platform(options.platform)
    with open_images(session.root) as images:
        image = image_of(images, options.image, platform)
        used = usage(image.layers)
    known = layer_origins(session.root, image)
    lines = _told(used, known, options.depth, all_hidden=options.wasted)
    session.say_result(options, _as_data(image, used, known, options.depth), lines)
    if allowed(used):
        return 0
    hidden = f"{bytes_text(used.hidden_bytes)} ({percent(used):.1f} %)"
    session.tell(f"{hidden} are hidden, more than --max-waste={options.max_waste} allows")
    return NO


def _limit(text: str) -> Callable[[ImageUsage], bool]:
    """Whether an image hides no more than that: so many bytes, or such a part of those of all
    files."""
    if not text:
        return lambda used: True
    if not text.endswith("%"):
        most = size_bytes(text, "max-waste")
        return lambda used: used.hidden_bytes <= most
    try:
        share = float(text[:-1])
    except ValueError:
        share = -1
    if not 0 <= share <= 100:
        raise UsageError(f"invalid share {text!r} for --max-waste", hint="write it like 5% or 10m")
    return lambda used: percent(used) <= share


def percent(used: ImageUsage) -> float:
    """The part of all files that nothing shows, in hundredths."""
    return 100 * used.hidden_bytes / used.file_bytes if used.file_bytes else 0.0


def layer_origins(root: str, image: Image) -> list[LayerOrigin]:
    """Where each layer comes from: by the record of the build that made it, else by its history."""
    digests = {str(image.descriptor.digest), str(image.manifest.config.digest)}
    found = build_of(BuildRecords(root), digests)
    return [origin for _, origin in layers_of(image, found)]


# --- As text ---


def _told(
    used: ImageUsage, known: Sequence[LayerOrigin], depth: int, *, all_hidden: bool
) -> Iterator[str]:
    packed = sum(layer.packed_bytes for layer in used.layers)
    groups = wasted(used)
    yield (
        f"{bytes_text(packed)} packed, {bytes_text(used.file_bytes)} of files, "
        f"{bytes_text(used.hidden_bytes)} hidden by later layers ({percent(used):.1f} %)"
    )
    if not all_hidden and known:
        yield from ("", *_layers(used, known))
    if groups:
        yield from ("", "hidden")
        for group in groups if all_hidden else groups[:_SHOWN]:
            yield from _hidden(group, known)
        if len(groups) > _SHOWN and not all_hidden:
            yield f"  ... and {len(groups) - _SHOWN} more: see them with --wasted"
    if not all_hidden and used.tree:
        yield ""
        yield from _places(used, known, depth)


def _layers(used: ImageUsage, known: Sequence[LayerOrigin]) -> list[str]:
    rows = [
        [
            str(number),
            bytes_text(layer.packed_bytes),
            bytes_text(layer.file_bytes),
            bytes_text(layer.hidden_bytes) if layer.hidden_bytes else "",
            str(layer.entries),
            str(origin.line or ""),
            one_line(origin.words, _CELLS),
        ]
        for number, (layer, origin) in enumerate(zip(used.layers, known, strict=True))
    ]
    header = ["LAYER", "PACKED", "FILES", "HIDDEN", "ENTRIES", "LINE", "INSTRUCTION"]
    return table(header, rows, right="LAYER PACKED FILES HIDDEN ENTRIES LINE")


def _hidden(group: Waste, known: Sequence[LayerOrigin]) -> Iterator[str]:
    verb = "deleted" if group.how == "deleted" else "replaced"
    more = f" and {group.files - len(group.paths)} more" if group.files > len(group.paths) else ""
    paths = ", ".join(visible(f"/{path}") for path in group.paths)
    yield f"  {bytes_text(group.size_bytes):>9}  {paths}{more}"
    sides = (_layer_words(n, known[n]) for n in (group.layer, group.by))
    yield f"             of {next(sides)}, {verb} by {next(sides)}"
    yield f"             {advice(group, known)}"


def _layer_words(number: int, origin: LayerOrigin) -> str:
    return f"layer {number} (line {origin.line})" if origin.line else f"layer {number}"


def _places(used: ImageUsage, known: Sequence[LayerOrigin], depth: int) -> list[str]:
    """The directories as a tree, the largest first, of each directory no more than a few."""
    seen = used.file_bytes - used.hidden_bytes
    inside: dict[str, list[PathUsage]] = {}
    for level in range(1, depth + 1):
        for place in places(used, level):
            if place.path.count("/") == level - 1:  # Else it is a file that was there before.
                inside.setdefault(place.path.rpartition("/")[0], []).append(place)

    def rows(parent: str, indent: str) -> Iterator[list[str]]:
        found = inside.get(parent, [])
        for place in found[:_SHOWN]:
            largest = max(place.by_layer, key=lambda n: (place.by_layer[n], -n))
            more = f" and {len(place.by_layer) - 1} more" if len(place.by_layer) > 1 else ""
            share = f"{100 * place.size_bytes / seen:.0f} %" if seen else ""
            name = place.path.rpartition("/")[2] + "/" * place.is_directory
            path = f"{indent}{name}" if indent else f"/{name}"
            source = _layer_words(largest, known[largest]) + more
            yield [bytes_text(place.size_bytes), share, path, source]
            yield from rows(place.path, f"{indent}  ")
        if (left := len(found) - _SHOWN) > 0:
            size = sum(place.size_bytes for place in found[_SHOWN:])
            yield [bytes_text(size), "", f"{indent}... {left} more", ""]

    return table(["SIZE", "SHARE", "PATH", "FROM"], list(rows("", "")), right="SIZE SHARE")


# --- As data ---


def _as_data(
    image: Image, used: ImageUsage, known: Sequence[LayerOrigin], depth: int
) -> dict[str, Any]:
    return {
        "digest": image.descriptor.digest,
        "packed": sum(layer.packed_bytes for layer in used.layers),
        "files": used.file_bytes,
        "hidden": used.hidden_bytes,
        "percent": round(percent(used), 2),
        "layers": [
            {
                "number": number,
                "digest": image.layers[number].digest,
                "packed": layer.packed_bytes,
                "files": layer.file_bytes,
                "hidden": layer.hidden_bytes,
                "entries": layer.entries,
                "line": origin.line or None,
                "kind": origin.kind or None,
                "instruction": origin.words,
            }
            for number, (layer, origin) in enumerate(zip(used.layers, known, strict=True))
        ],
        "wasted": [_waste_data(group, known) for group in wasted(used)],
        "places": [
            {
                "path": place.path,
                "directory": place.is_directory,
                "bytes": place.size_bytes,
                "layers": [
                    {"layer": n, "line": known[n].line or None, "bytes": size}
                    for n, size in sorted(place.by_layer.items())
                ],
            }
            for place in places(used, depth)
        ],
    }


def _waste_data(group: Waste, known: Sequence[LayerOrigin]) -> dict[str, Any]:
    return {
        "layer": group.layer,
        "line": known[group.layer].line or None,
        "by": group.by,
        "by_line": known[group.by].line or None,
        "how": "replaced" if group.how == "alike" else group.how,
        "same_size": group.how == "alike",
        "bytes": group.size_bytes,
        "files": group.files,
        "paths": group.paths,
        "advice": advice(group, known),
    }


COMMANDS = {"image tree": Command(_flags, _run)}
