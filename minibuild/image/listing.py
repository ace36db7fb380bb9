"""What layers add up to, as names: the files of an image without unpacking it.

Comes in: layer blobs. Goes out: for each path what is there, which layer it comes from, and, if
asked for, the digest of its data. Rules: image-spec layer.md: whiteouts are about the layers
below, never about their own; what is no directory replaces all that was below its name.
Read next: `imagetools.squash`, `imagetools.compare`.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from minibuild.errors import ImageError
from minibuild.layer.layer import Layer
from minibuild.layer.tar_format import TarEntry, whiteout
from minibuild.layer.tar_reader import TarReader
from minibuild.linux.beneath import clean
from minibuild.startup.tuples import NamedTuple


class TreeEntry(NamedTuple):
    """What is at a path. Names of one file (hardlinks) have the same `layer` and `ordinal`: where
    its data is, as the number of a layer and of an entry in it. `sha` is empty unless asked for."""

    entry: TarEntry
    layer: int
    ordinal: int
    sha: str = ""


Tree = Mapping[str, TreeEntry]


class Numbered(NamedTuple):
    """An entry of a layer, with a clean name, its number, and the reader that stands at it."""

    ordinal: int
    entry: TarEntry
    reader: TarReader


def entries_of(layer: Layer) -> Iterator[Numbered]:
    """The entries of a layer as they come, whiteouts among them; the root is passed over.

    Raises `ImageError` if the blob is not what it claims to be, at the latest at its end.
    """
    with layer.tar() as tar:
        for ordinal, entry in enumerate(tar):
            if name := clean(entry.name):
                yield Numbered(ordinal, entry._replace(name=name), tar)


def tree_of(layers: Sequence[Layer], *, hashed: bool = False) -> Tree:
    """The files that all layers add up to."""
    tree: Tree = {}
    for number, layer in enumerate(layers):
        tree = add_layer(tree, number, layer, hashed=hashed)
    return tree


def add_layer(below: Tree, number: int, layer: Layer, *, hashed: bool = False) -> Tree:
    """The files with one more layer on top."""
    fresh: dict[str, TreeEntry] = {}
    gone: set[str] = set()
    emptied: set[str] = set()
    for ordinal, entry, reader in entries_of(layer):
        if deleted := whiteout(entry.name):
            (emptied if deleted.opaque else gone).add(deleted.path)
        elif entry.kind == "link":
            fresh[entry.name] = _linked(entry, fresh, below)
        else:
            sha = sha_of(reader) if hashed and entry.kind == "file" else ""
            fresh[entry.name] = TreeEntry(entry, number, ordinal, sha)
    gone.update(name for name, item in fresh.items() if item.entry.kind != "dir")
    kept = {path: item for path, item in below.items() if not _is_hidden(path, gone, emptied)}
    kept.update(fresh)
    return kept


def sha_of(reader: TarReader) -> str:
    """The digest of the data of the current entry."""
    sha = hashlib.sha256()
    for piece in reader.data():
        sha.update(piece)
    return sha.hexdigest()


def _linked(entry: TarEntry, fresh: Tree, below: Tree) -> TreeEntry:
    target = clean(entry.linkname)
    found = fresh.get(target) or below.get(target)
    if found is None:
        raise ImageError(f"a layer has {entry.name} as a link to {target}, which is not there")
    return found._replace(entry=found.entry._replace(name=entry.name))


def _is_hidden(path: str, gone: set[str], emptied: set[str]) -> bool:
    if path in gone:
        return True
    while path:
        path = path.rpartition("/")[0]
        if path in emptied or path in gone:
            return True
    return False
