"""Archives that a Dockerfile's ADD unpacks: recognised by their contents, and unpacked literally.

Comes in: an open file. Goes out: whether it is an archive, and its entries in a directory. Here a
name such as `.wh.x` is just a name: whiteouts are a matter of layers. Rules: the Dockerfile
reference on ADD, and what Docker does: the archive is unpacked as if the destination were the
root directory, so symlinks in it or in the archive lead nowhere else.
"""

import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from minibuild.errors import ImageError, raise_if_cancelled
from minibuild.layer.apply import EntryWriter
from minibuild.layer.compress import decompressed, detect_compression, stream_errors, unsound
from minibuild.layer.tar_reader import TarReader, UnusableEntry, file_chunks
from minibuild.linux.beneath import clean

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records

_OWN_MODE = 0o700


def detect(fd: int) -> str | None:
    """How the archive in an open file is compressed: `uncompressed`, `gzip`, `bzip2`, `xz`, `zstd`.

    None if it is no tar archive; a compressed file that holds something else is none. An archive
    without any entry is not recognised as one, as with Docker.
    """
    start = os.pread(fd, 8, 0)
    if not start:
        return None
    compression = detect_compression(start)
    try:
        with _open(fd) as file:
            # Little at a time: what is wrong behind the first entry is found when it is unpacked.
            reader = TarReader(_chunks(file, "the file", compression, 512), "the file")
            return next((compression for _ in reader), None)
    except UnusableEntry:
        return compression  # It is an archive, and unpacking it says what is wrong with it.
    except ImageError:
        return None


def is_archive(fd: int) -> bool:
    """Whether ADD unpacks the open file."""
    return detect(fd) is not None


def extract(
    fd: int,
    dest_fd: int,
    what: str = "the archive",
    *,
    owner: tuple[int, int] | None = None,
    contents_only: bool = False,
    owners: "Records | None" = None,
    cancelled: threading.Event | None = None,
) -> list[str]:
    """Unpack the archive `what` into the directory `dest_fd`; existing files are replaced.

    Owners and modes are those of the archive, unless `owner` (uid, gid) is given for everything in
    it. A directory that it does not list belongs to root either way, as with Docker. With
    `contents_only` all belongs to the caller, who need not be root, and has no attributes.
    `owners` are the records of the tree, where owners are recorded.
    Returns a sentence for each entry that this host did not permit to make (device nodes).
    Raises `ImageError` for a broken or hostile archive, `StoreError` if the disk is full.
    """
    compression = detect_compression(os.pread(fd, 8, 0))
    if contents_only:
        owner = os.geteuid(), os.getegid()
    parents = owner if contents_only and owner is not None else (0, 0)
    with (
        EntryWriter(dest_fd, what, owner=owner, parents=parents, owners=owners) as writer,
        _open(fd) as file,
    ):
        reader = TarReader(_chunks(file, what, compression, 256 << 10, cancelled), what)
        for entry in reader:
            if not (name := clean(entry.name)):
                continue
            # A time before 1970 means none, as with Docker.
            entry = entry._replace(name=name, mtime_ns=max(entry.mtime_ns, 0))
            if contents_only:
                entry = entry._replace(mode=_OWN_MODE, xattrs={})
            writer.put(entry, reader)
    return writer.skipped


def _open(fd: int) -> BinaryIO:
    """The file from its start, with an offset of its own."""
    return cast(BinaryIO, open(f"/proc/self/fd/{fd}", "rb", buffering=0))


def _chunks(
    file: BinaryIO,
    what: str,
    compression: str,
    size: int,
    cancelled: threading.Event | None = None,
) -> Iterator[bytes]:
    try:
        for chunk in file_chunks(decompressed(file, compression), size):
            raise_if_cancelled(cancelled, "unpacking an archive")
            yield chunk
    except stream_errors(compression) as error:
        raise unsound(what, f"sound {compression} data", error) from None
