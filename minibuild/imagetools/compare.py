"""Two images, and what differs: files, layers, members of their configs.

Comes in: two images, taken apart. Goes out: differences as data, in the order of a reader's
interest. Files are compared as a container would see them, whatever the layers are; `first_in`
compares two layers entry by entry, for who looks for the cause of a difference.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from minibuild.image.listing import Tree, TreeEntry, entries_of, sha_of, tree_of
from minibuild.imagetools.edit import Image
from minibuild.layer.layer import Layer
from minibuild.layer.tar_format import TarEntry
from minibuild.startup.tuples import NamedTuple

_MAX_READ_BYTES = 16 << 20
_CONTEXT_BYTES = 24

FileKind = Literal["added", "removed", "changed"]


class FileChange(NamedTuple):
    """A path that differs; `what` are the sides of it that do: `data`, `mode`, `time`, ..."""

    kind: FileKind
    path: str
    what: tuple[str, ...] = ()


class ValueChange(NamedTuple):
    """A member of the config that differs, as `config.Env`; None stands for one that is missing."""

    name: str
    old: Any
    new: Any


def file_changes(old: Image, new: Image, *, times: bool = True) -> list[FileChange]:
    """How the files of two images differ, by path."""
    if old.diff_ids == new.diff_ids:
        return []
    before, after = (tree_of(image.layers, hashed=True) for image in (old, new))
    return list(_changes(before, after, times))


def _changes(before: Tree, after: Tree, times: bool) -> Iterator[FileChange]:
    for path in sorted(before.keys() | after.keys()):
        if path not in before:
            yield FileChange("added", path)
        elif path not in after:
            yield FileChange("removed", path)
        elif what := sides_that_differ(before[path], after[path], times=times):
            yield FileChange("changed", path, what)


def sides_that_differ(old: TreeEntry, new: TreeEntry, *, times: bool = True) -> tuple[str, ...]:
    """In what two items of the same path differ."""
    one, two = old.entry, new.entry
    sides = {
        "kind": one.kind != two.kind,
        "data": old.sha != new.sha or one.linkname != two.linkname,
        "mode": one.mode != two.mode,
        "owner": (one.uid, one.gid) != (two.uid, two.gid),
        "device": one.device != two.device,
        "attributes": dict(one.xattrs) != dict(two.xattrs),
        "time": times and one.mtime_ns != two.mtime_ns,
    }
    return tuple(name for name, differs in sides.items() if differs)


def document_changes(old: Image, new: Image) -> list[ValueChange]:
    """How two images differ in what they say: in their configs and annotations."""
    sides = [{"annotations": dict(image.manifest.annotations)} for image in (old, new)]
    return [*config_changes(old.config, new.config), *config_changes(*sides)]


def config_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[ValueChange]:
    """How two configs differ, less their layers and history."""
    skipped = ("rootfs", "history")
    return list(_value_changes("", _without(old, skipped), _without(new, skipped)))


def _without(value: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: member for key, member in value.items() if key not in names}


def _value_changes(prefix: str, old: Any, new: Any) -> Iterator[ValueChange]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _value_changes(
                f"{prefix}.{key}" if prefix else key, old.get(key), new.get(key)
            )
    elif old != new:
        yield ValueChange(prefix, old, new)


# --- One layer against another --------------------------------------------------------------------


class EntryDifference(NamedTuple):
    """The first entry in which two layers differ. `detail` shows the bytes at which the data of a
    file parts, on both sides; it is empty where there is nothing to show."""

    change: FileChange
    old: TarEntry | None
    new: TarEntry | None
    detail: tuple[str, str] | None = None


def first_in(old: Layer, new: Layer) -> EntryDifference | None:
    """The first path (by name) in which two layers differ, whiteouts among them."""
    before, after = _raw(old), _raw(new)
    changes = list(_changes(before, after, times=True))
    if not changes:
        return None
    # What was written differs for a reason; a directory's time only because of what is in it.
    change = min(changes, key=lambda change: (_is_echo(change, before), change.path))
    one, two = before.get(change.path), after.get(change.path)
    detail = None
    if one and two and "data" in change.what and one.entry.kind == two.entry.kind == "file":
        detail = _parting(_data(old, one.ordinal), _data(new, two.ordinal))
    return EntryDifference(change, one and one.entry, two and two.entry, detail)


def _is_echo(change: FileChange, tree: Tree) -> bool:
    return change.what == ("time",) and tree[change.path].entry.kind == "dir"


def _raw(layer: Layer) -> Tree:
    """The entries of one layer by name, as they stand in it."""
    found = {}
    for ordinal, entry, reader in entries_of(layer):
        sha = sha_of(reader) if entry.kind == "file" else ""
        found[entry.name] = TreeEntry(entry, 0, ordinal, sha)
    return found


def _data(layer: Layer, wanted: int) -> bytes:
    """The beginning of a file in a layer."""
    data = bytearray()
    for ordinal, _, reader in entries_of(layer):
        if ordinal == wanted:
            for piece in reader.data():
                data += piece[: max(0, _MAX_READ_BYTES - len(data))]
    return bytes(data)


def _parting(old: bytes, new: bytes) -> tuple[str, str] | None:
    """The surroundings of the first byte that differs; None if it is too far in."""
    if old == new:
        return None
    shorter = min(len(old), len(new))
    at = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    start = max(0, at - _CONTEXT_BYTES, old.rfind(b"\n", 0, at) + 1)
    return tuple(  # type: ignore[return-value]
        f"byte {at}: {repr(side[start : at + _CONTEXT_BYTES])[1:]}" for side in (old, new)
    )
