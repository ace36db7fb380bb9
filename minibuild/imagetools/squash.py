"""Several layers become one: what is above some number of them, or all.

Comes in: the layers of an image. Goes out: one layer in the store, after which the image has the
same files. It is the difference of what the layers below add up to and of what all do: first
whiteouts, for what the layers below have and the image has not; then directories; then the rest,
in the order in which the layers have it, so that each is read once and nothing is kept aside.
Files that share an inode stay links to the first of them. Read next: `edit`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from minibuild.image.listing import Tree, TreeEntry, add_layer, entries_of
from minibuild.imagetools.edit import entries_below, without_layers
from minibuild.layer.layer import Layer, remember
from minibuild.layer.tar_format import WHITEOUT_PREFIX, TarEntry
from minibuild.layer.writer import LayerWriter
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Compression

_Names = dict[int, dict[int, list[str]]]


def squashed(
    content: ContentStore,
    layers: Sequence[Layer],
    history: Sequence[Mapping[str, Any]],
    keep: int,
    compression: Compression,
    entry: Mapping[str, str],
) -> tuple[Layer, list[Mapping[str, Any]]]:
    """One layer for all but the lowest `keep`; and the history with it, whose entries all stay.
    `entry` is the new one."""
    made = squash_layers(content, layers, keep, compression)
    seam = entries_below(history, keep)
    comment = f"{len(layers) - keep} layers in one"
    after = without_layers(history[seam:])
    return made, [*history[:seam], *after, {**entry, "comment": comment}]


def squash_layers(
    content: ContentStore, layers: Sequence[Layer], keep: int = 0, compression: Compression = "gzip"
) -> Layer:
    """One layer for all but the lowest `keep`."""
    base: Tree = {}
    tree: Tree = {}
    for number, layer in enumerate(layers):
        tree = add_layer(tree, number, layer)
        if number + 1 == keep:
            base = tree
    changed = {path: item for path, item in tree.items() if base.get(path) != item}
    with LayerWriter(content, compression, None) as writer:
        for path in _removed(base, tree):
            folder, slash, name = path.rpartition("/")
            writer.write_entry(TarEntry(folder + slash + WHITEOUT_PREFIX + name, "file", mode=0))
        for path in sorted(changed):
            if changed[path].entry.kind == "dir":
                writer.write_entry(changed[path].entry)
        for number, names in sorted(_by_place(changed).items()):
            _copy(writer, layers[number], names)
        made = writer.commit()
    remember(content, made)
    return made


def _removed(base: Tree, tree: Tree) -> list[str]:
    """The topmost paths that the base has and the image has not, and that nothing replaces."""
    found = []
    for path in sorted(base):
        if path in tree:
            continue
        parent = path.rpartition("/")[0]
        # Below something that is gone, or that is no directory any more, all is gone with it.
        above = tree.get(parent)
        if not parent or (above is not None and above.entry.kind == "dir"):
            found.append(path)
    return found


def _by_place(changed: dict[str, TreeEntry]) -> _Names:
    """For each layer, and each entry of it that is needed, the paths where it goes."""
    names: _Names = defaultdict(lambda: defaultdict(list))
    for path in sorted(changed):
        item = changed[path]
        if item.entry.kind != "dir":
            names[item.layer][item.ordinal].append(path)
    return names


def _copy(writer: LayerWriter, layer: Layer, names: dict[int, list[str]]) -> None:
    for ordinal, entry, reader in entries_of(layer):
        if ordinal not in names:
            continue
        first, *others = names[ordinal]
        writer.write_entry(entry._replace(name=first), reader.data())
        for other in others:
            writer.write_entry(entry._replace(name=other, kind="link", linkname=first, size=0))
