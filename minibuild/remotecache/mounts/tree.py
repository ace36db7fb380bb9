"""The contents of one cache mount: as a tar and back, a fingerprint that changes, and a sum.

Comes in: an open directory that no process writes to. Goes out: a layer, or files. It is the tar of
image layers, with three differences, since a cache mount is not part of an image: names such as
`.wh.x` are just names, attributes of users (`user.*`, and `trusted.*` where they can be seen) are
kept, and the directory itself has an entry, which brings its owner and mode. Equal contents give
equal bytes. Sockets are left out. Read next: `artifact`.
"""

import hashlib
import os
import stat
import threading
from collections.abc import Mapping

from minibuild.errors import raise_if_cancelled
from minibuild.fileop.walk import walk
from minibuild.layer.apply import EntryWriter
from minibuild.layer.pack import LayerPacker
from minibuild.layer.stream import LayerStream
from minibuild.layer.tar_reader import TarReader
from minibuild.layer.writer import LayerWriter
from minibuild.linux import device, xattr
from minibuild.linux.beneath import clean
from minibuild.linux.recorded import Records
from minibuild.oci.content import BlobSource, ContentStore
from minibuild.oci.meter import Meter, unmetered
from minibuild.oci.model import Compression, Descriptor
from minibuild.startup.tuples import NamedTuple

_KEPT = ("user.", "trusted.")
_OURS = (device.PLACEHOLDER, device.MARK, *xattr.RECORDS)


def is_empty(path: str) -> bool:
    """Whether a cache directory has nothing in it, or is not there."""
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is None
    except FileNotFoundError:
        return True


def fingerprint(fd: int) -> str:
    """A value that is another one after any change to the tree: contents, modes, owners, times.

    Made of what stat(2) says: the kernel sets the change time of a file whenever it or its
    metadata change, and cannot be set back.
    """
    sha = hashlib.sha256()
    top = os.fstat(fd)
    # The directory itself gets a new change time by the rename that puts it in its place.
    sha.update(f"{top.st_mode} {top.st_uid} {top.st_gid} {top.st_mtime_ns}\n".encode())
    for path, _, _, found, _ in walk(fd):
        sha.update(os.fsencode(path))
        sha.update(
            f"\0{found.st_mode} {found.st_uid} {found.st_gid} {found.st_size} {found.st_ino}"
            f" {found.st_mtime_ns} {found.st_ctime_ns}\n".encode()
        )
    return sha.hexdigest()


def pack_tree(
    fd: int,
    content: ContentStore,
    compression: Compression,
    level: int | None,
    cancelled: threading.Event,
    owners: Records | None = None,
) -> Descriptor:
    """The tree as a layer in `content`; `owners` where owners are recorded. Raises `ImageError`
    if a file changes meanwhile."""
    with LayerWriter(content, compression, level, cancelled=cancelled) as writer:
        packer = LayerPacker(writer, lambda mtime_ns: mtime_ns, _xattrs, owners)
        packer.add(".", f"/proc/self/fd/{fd}/.")
        for found in walk(fd, owners=owners):
            raise_if_cancelled(cancelled, "packing a cache mount")
            packer.add(found.path, found.place, found.stat)
        return writer.commit().descriptor


def unpack_tree(
    source: BlobSource,
    layer: Descriptor,
    fd: int,
    cancelled: threading.Event,
    owners: Records | None = None,
    meter: Meter = unmetered,
) -> list[str]:
    """Put the files of a layer into an empty directory; returns a sentence for each that this host
    did not permit to make. Raises `ImageError` for a layer that is not what it should be."""
    what = f"cache mount {layer.digest}"
    with (
        EntryWriter(fd, what, owners=owners) as writer,
        LayerStream(source, layer, None, cancelled, meter) as stream,
    ):
        reader = TarReader(stream.chunks(), what)
        for entry in reader:
            raise_if_cancelled(cancelled, "unpacking a cache mount")
            entry = entry._replace(name=clean(entry.name))
            if entry.name:
                writer.put(entry, reader)
            else:
                writer.write_root(entry)
        reader.drain()
    return writer.skipped


def _xattrs(target: int | str) -> Mapping[str, bytes]:
    """The attributes that go along. Labels of security modules stay: they are this machine's."""
    names = [
        name
        for name in xattr.names(target)
        if name == "security.capability" or (name.startswith(_KEPT) and name not in _OURS)
    ]
    found = {name: xattr.get(target, name) for name in sorted(names)}
    return {name: value for name, value in found.items() if value is not None}


# --- In sum ---


class PathSize(NamedTuple):
    """A path, and what it and all below it come to; `newest` is the latest time of a file."""

    path: str
    files: int
    size_bytes: int
    newest: float


def contents(fd: int, depth: int) -> list[PathSize]:
    """The paths of at most `depth` components, the largest first. An inode counts once, under the
    first of its names."""
    found: dict[str, PathSize] = {}
    seen: set[int] = set()
    for path, _, _, status, _ in walk(fd):
        is_directory = stat.S_ISDIR(status.st_mode)
        size = 0 if status.st_ino in seen else status.st_blocks * 512
        if status.st_nlink > 1 and not is_directory:
            seen.add(status.st_ino)
        parts = path.split("/")
        for count in range(1, min(depth, len(parts)) + 1):
            above = "/".join(parts[:count])
            old = found.get(above, PathSize(above, 0, 0, 0.0))
            found[above] = PathSize(
                above,
                old.files + (not is_directory),
                old.size_bytes + size,
                max(old.newest, 0.0 if is_directory else status.st_mtime),
            )
    return sorted(found.values(), key=lambda entry: (-entry.size_bytes, entry.path))
