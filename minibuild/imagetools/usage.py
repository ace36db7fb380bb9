"""Where the bytes of an image are: what each layer brings, and what later layers hide of it.

Comes in: the layers of an image. Goes out: sizes by layer, the files that are hidden, and by whom,
and the tree that is left. Hidden bytes are in the image all the same: they are sent and kept.
Names of one file (hardlinks) count once, and the file is hidden when the last of them is.
Read next: `image.listing`.
"""

from collections.abc import Sequence
from typing import Literal

from minibuild.image.listing import Tree, add_layer
from minibuild.layer.layer import Layer
from minibuild.startup.tuples import NamedTuple

WhyHidden = Literal["deleted", "replaced", "alike"]
"""Why a file is not seen: it is gone, another is there, or one of the same size, of which perhaps
only the mode or the owner differs."""


class Hidden(NamedTuple):
    """A file of `layer` that is not seen, because layer number `by` deleted or replaced it."""

    path: str
    size_bytes: int
    layer: int
    by: int
    how: WhyHidden


class LayerUsage(NamedTuple):
    """What a layer brings: its size as packed, and its files: their bytes, those of them that
    later layers hide, and their number, directories included."""

    packed_bytes: int
    file_bytes: int
    hidden_bytes: int
    entries: int


class ImageUsage(NamedTuple):
    """The bytes of an image. `hidden` begins with the largest file; `tree` is what is seen."""

    layers: tuple[LayerUsage, ...]
    hidden: tuple[Hidden, ...]
    tree: Tree

    @property
    def file_bytes(self) -> int:
        """The bytes of all files in all layers."""
        return sum(layer.file_bytes for layer in self.layers)

    @property
    def hidden_bytes(self) -> int:
        """Those of them that are not seen."""
        return sum(layer.hidden_bytes for layer in self.layers)


def usage(layers: Sequence[Layer]) -> ImageUsage:
    """Read the layers, and add up."""
    tree: Tree = {}
    hidden: list[Hidden] = []
    before: dict[tuple[int, int], str] = {}
    brought: list[tuple[int, int]] = []
    for number, layer in enumerate(layers):
        above = add_layer(tree, number, layer)
        after = _files(above)
        hidden += [
            Hidden(path, tree[path].entry.size, file[0], number, _how(path, tree, above))
            for file, path in before.items()
            if file not in after
        ]
        own = {file: path for file, path in after.items() if file[0] == number}
        size = sum(above[path].entry.size for path in own.values())
        brought.append((size, sum(item.layer == number for item in above.values())))
        tree, before = above, after
    hidden.sort(key=lambda one: (-one.size_bytes, one.path))
    lost = [0] * len(layers)
    for one in hidden:
        lost[one.layer] += one.size_bytes
    rows = (
        LayerUsage(layer.size, size, lost[number], entries)
        for number, (layer, (size, entries)) in enumerate(zip(layers, brought, strict=True))
    )
    return ImageUsage(tuple(rows), tuple(hidden), tree)


def _how(path: str, before: Tree, after: Tree) -> WhyHidden:
    if path not in after:
        return "deleted"
    old, new = before[path].entry, after[path].entry
    return "alike" if (old.kind, old.size) == (new.kind, new.size) else "replaced"


def _files(tree: Tree) -> dict[tuple[int, int], str]:
    """The files of a tree that have bytes, each with one of its names."""
    found: dict[tuple[int, int], str] = {}
    for path, item in tree.items():
        if item.entry.kind == "file":
            found.setdefault((item.layer, item.ordinal), path)
    return found
