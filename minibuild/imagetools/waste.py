"""What to do about the bytes of an image that nothing shows.

Comes in: the usage of an image, and where its layers come from. Goes out: the hidden files in
groups, the largest first, each with the instruction to mend and how; and where the other bytes are.
Read next: `usage`.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from minibuild.imagetools.usage import ImageUsage, WhyHidden
from minibuild.startup.tuples import NamedTuple

LayerKind = Literal["base", "run", "copy", ""]


class LayerOrigin(NamedTuple):
    """Where a layer comes from: the kind of its instruction, empty if that is not known, the words
    of it, and its line in the Dockerfile, 0 if that is not known."""

    kind: LayerKind
    words: str
    line: int = 0


class Waste(NamedTuple):
    """Files of one layer that another hides. `paths` are some of them, the largest first."""

    layer: int
    by: int
    how: WhyHidden
    size_bytes: int
    files: int
    paths: tuple[str, ...]


class PathUsage(NamedTuple):
    """A directory, or a file, of what is seen: its bytes in all, and by the layer that has them."""

    path: str
    is_directory: bool
    size_bytes: int
    by_layer: Mapping[int, int]


_SHOWN_PATHS = 3


def kind_of(words: str) -> LayerKind:
    """The kind of an instruction as a history has it, of BuildKit and of builders before it."""
    plain = words.removeprefix("/bin/sh -c #(nop) ").strip()
    if plain.startswith(("COPY ", "ADD ")):
        return "copy"
    return "run" if plain.startswith(("RUN ", "/bin/sh -c ", "|")) else ""


def wasted(usage: ImageUsage) -> list[Waste]:
    """The hidden files by layer, by what hides them, and how."""
    groups: dict[tuple[int, int, WhyHidden], Waste] = {}
    for hidden in usage.hidden:  # the largest first
        key = (hidden.layer, hidden.by, hidden.how)
        known = groups.get(key) or Waste(*key, 0, 0, ())
        groups[key] = known._replace(
            size_bytes=known.size_bytes + hidden.size_bytes,
            files=known.files + 1,
            paths=(*known.paths, hidden.path)[:_SHOWN_PATHS],
        )
    return sorted((g for g in groups.values() if g.size_bytes), key=lambda g: -g.size_bytes)


def advice(waste: Waste, known: Sequence[LayerOrigin]) -> str:
    """How to have these bytes no more."""
    made, by = known[waste.layer], _where(known[waste.by], waste.by)
    where = _where(made, waste.layer)
    if made.kind == "base":
        base = f"the base in {where}" if made.line else "the base"
        return f"{base} has it, and keeps it: take a smaller base, or `minibuild image flatten`"
    if waste.how == "alike":
        way = "with --chmod or --chown" if made.kind == "copy" else "there"
        return f"perhaps only its mode or owner changed: set them in {where}, {way}"
    if waste.how == "replaced":
        return f"do not write in {where} what {by} replaces"
    if made.kind == "copy":
        return f"leave it out of {where}, or have it in {by} by RUN --mount=type=bind"
    return f"remove it in {where} itself, or write it to a RUN --mount=type=cache or tmpfs there"


def _where(origin: LayerOrigin, number: int) -> str:
    return f"line {origin.line}" if origin.line else f"layer {number}"


def places(usage: ImageUsage, depth: int) -> list[PathUsage]:
    """Where the bytes are that are seen, by path down to a depth, the largest first."""
    found: dict[str, dict[int, int]] = {}
    directories: set[str] = set()
    counted: set[tuple[int, int]] = set()
    for path, item in sorted(usage.tree.items()):
        file = (item.layer, item.ordinal)
        if item.entry.kind != "file" or file in counted:
            continue
        counted.add(file)
        names = path.split("/")
        top = "/".join(names[:depth])
        if len(names) > depth:
            directories.add(top)
        layers = found.setdefault(top, {})
        layers[item.layer] = layers.get(item.layer, 0) + item.entry.size
    made = [
        PathUsage(path, path in directories, sum(layers.values()), layers)
        for path, layers in found.items()
    ]
    return sorted(made, key=lambda place: (-place.size_bytes, place.path))
