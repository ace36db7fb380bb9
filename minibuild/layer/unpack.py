"""A layer becomes a tree: a layer blob applied to a new snapshot.

Comes in: a layer, the snapshot's own directory, and the tree of its parent. Goes out: files, and
deletions in the way of the snapshotter. The rules are those of image-spec layer.md ("Applying
Changesets") as containerd reads them:

- whiteouts hide what lower layers have, never what the same layer brings, in whatever order;
- a parent directory without an entry takes its metadata from the lower tree;
- a lower symlink on the way to an entry is replaced by a real directory; only symlinks of this
  layer itself are followed (inside the root);
- a link to a file of a lower layer brings a copy of that file into this one.

Both digests are checked while reading. The caller removes the snapshot if an error comes out.
Read next: `oci.config`, `image.store`.
"""

import os
import stat
import threading
from typing import TYPE_CHECKING

from minibuild.errors import ImageError
from minibuild.layer.apply import EntryWriter
from minibuild.layer.layer import Layer
from minibuild.layer.tar_format import OPAQUE_WHITEOUT, WHITEOUT_PREFIX, TarEntry
from minibuild.layer.tar_reader import TarReader
from minibuild.linux import xattr
from minibuild.linux.beneath import clean, lstat, open_real, parents, real_path, remove_tree
from minibuild.linux.contents import Copier
from minibuild.linux.descriptors import closing_fd
from minibuild.snapshot import whiteout
from minibuild.snapshot.api import Whiteouts
from minibuild.snapshot.entry import copy, metadata_of

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records

_AUFS_PREFIX = ".wh..wh."


def unpack(
    layer: Layer,
    layer_fd: int,
    whiteouts: Whiteouts,
    lower_fd: int | None = None,
    *,
    owners: "Records | None" = None,
    cancelled: threading.Event | None = None,
) -> tuple[str, ...]:
    """Apply a layer to `layer_fd`, the layer_dir of a new snapshot.

    `whiteouts` says how that directory marks deletions. `lower_fd` is the tree of the parent; a
    `plain` layer_dir begins as a copy of it. `owners` are the records of the new snapshot, and of
    those below it, where owners are recorded. Returns a sentence for each entry that was left out.
    Raises `ImageError` or `StoreError`.
    """
    target = LayerTarget(layer_fd, whiteouts, lower_fd, f"layer {layer.digest}", owners, cancelled)
    with target.writer as writer, layer.tar(cancelled) as tar:
        for entry in tar:
            writer.name = entry.name
            target.apply(entry, tar)
    return tuple(writer.skipped)


class LayerTarget:
    """The directory that a layer is applied to."""

    def __init__(
        self,
        layer_fd: int,
        whiteouts: Whiteouts,
        lower_fd: int | None,
        what: str,
        owners: "Records | None" = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.writer = EntryWriter(layer_fd, what, self._make_parent, owners=owners)
        self._owners = owners
        self._fd = layer_fd
        self._whiteouts = whiteouts
        self._lower_fd = lower_fd
        self._what = what
        self._cancelled = cancelled
        self._written: set[str] = set()
        self._ancestors: set[str] = set()  # of what was written

    def apply(self, entry: TarEntry, reader: TarReader) -> None:
        """Apply one entry of the layer."""
        name = clean(entry.name)
        if not name:
            self.writer.write_root(entry)
            return
        folder, slash, base = name.rpartition("/")
        if base.startswith(WHITEOUT_PREFIX):
            self._whiteout(folder, slash, base)
            return
        if name != entry.name or entry.xattrs:
            entry = entry._replace(name=name, xattrs=_image_xattrs(entry))
        if entry.kind == "link":
            self._bring_up(clean(entry.linkname))
        if entry.kind == "dir":
            self._directory(entry)
        else:
            self.writer.put(entry, reader)
        self._note(name)

    def _note(self, name: str) -> None:
        self._written.add(name)
        while (name := name.rpartition("/")[0]) and name not in self._ancestors:
            self._ancestors.add(name)

    # --- Directories ------------------------------------------------------------------------------

    def _directory(self, entry: TarEntry) -> None:
        marks = self._whiteouts
        hidden = marks != "plain" and whiteout.is_one(self._fd, entry.name, marks)
        self.writer.write(entry, ())
        if hidden:
            # A whiteout of this layer stood here. It hid a directory below; the new one must too.
            self._set_opaque(entry.name)

    def _make_parent(self, path: str) -> str:
        """Make every component of `path` a directory, and return where that really is: called where
        one is not, or is a symlink. One that this layer brought is followed, inside the root."""
        real = real_path(self._fd, path, self._written.__contains__)
        for here in parents(real):
            found = lstat(self._fd, here)
            if found is not None and stat.S_ISDIR(found.st_mode):
                continue
            if found is not None and here in self._written:
                raise ImageError(f"{path} of {self._what} is below {here}, which is no directory")
            self._directory(self._parent_entry(here))
        return real

    def _parent_entry(self, path: str) -> TarEntry:
        """The entry that a parent directory would have: like the lower one, if there is one."""
        lower_fd = self._lower_fd
        found = None if lower_fd is None else lstat(lower_fd, path)
        if lower_fd is None or found is None or not stat.S_ISDIR(found.st_mode):
            return TarEntry(path, "dir", 0o755)
        mode, uid, gid, _, xattrs = metadata_of(xattr.at(lower_fd, path), found, self._owners)
        mode, time_ns = stat.S_IMODE(mode), found.st_mtime_ns
        return TarEntry(path, "dir", mode, uid, gid, mtime_ns=time_ns, xattrs=xattrs)

    # --- Whiteouts --------------------------------------------------------------------------------

    def _whiteout(self, folder: str, slash: str, base: str) -> None:
        if base == OPAQUE_WHITEOUT:
            if folder:
                self._hide_contents(folder)
            elif self._lower_fd is not None:
                self._hide_contents("")
            return
        if base.startswith(_AUFS_PREFIX):
            return  # What AUFS noted for itself, such as .wh..wh.plnk, is no deletion.
        name = base.removeprefix(WHITEOUT_PREFIX)
        if name in ("", ".", ".."):
            raise ImageError(f"{self._what} deletes {name!r}, which is no name")
        path = folder + slash + name
        if path in self._written or path in self._ancestors:
            # The entry of this layer stays; if a directory, what is below it comes to light.
            found = lstat(self._fd, path)
            if found is not None and stat.S_ISDIR(found.st_mode):
                self._hide_contents(path)
            return
        dir_fd = self.writer.parent(folder)
        remove_tree(dir_fd, name)
        if self._whiteouts == "plain" or self._lower_fd is None:
            return
        if lstat(self._lower_fd, path) is not None:
            whiteout.make(dir_fd, name, self._whiteouts)

    def _hide_contents(self, path: str) -> None:
        """Hide what lower layers have in a directory; what this layer wrote there stays."""
        self.writer.parent(path)
        if self._whiteouts == "plain":
            self._remove_lower(path)
        else:
            self._set_opaque(path)

    def _set_opaque(self, path: str) -> None:
        if self._lower_fd is None:
            return
        if not path:
            self._whiteout_all()
            return
        whiteout.set_opaque(self.writer.parent(path), self._whiteouts)

    def _whiteout_all(self) -> None:
        """Hide each name of the lower root: overlayfs knows no opaque root."""
        for name in os.listdir(f"/proc/self/fd/{self._lower_fd}"):
            self._whiteout("", "", WHITEOUT_PREFIX + name)

    def _remove_lower(self, path: str) -> None:
        """Remove from a full copy what this layer did not write."""
        pending = [path]
        while pending:
            path = pending.pop()
            with closing_fd(open_real(self._fd, path, os.O_RDONLY | os.O_DIRECTORY)) as fd:
                for name in os.listdir(fd):
                    child = f"{path}/{name}" if path else name
                    if child not in self._written and child not in self._ancestors:
                        remove_tree(fd, name)
                    elif stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                        pending.append(child)

    # --- Links ------------------------------------------------------------------------------------

    def _bring_up(self, target: str) -> None:
        """Copy the file that a link needs out of the lower tree, if only that has it."""
        lower_fd = self._lower_fd
        if lower_fd is None or target in self._written or self._whiteouts == "plain":
            return
        if lstat(self._fd, target) is not None:
            return
        found = lstat(lower_fd, target)
        if found is None or stat.S_ISDIR(found.st_mode):
            return
        folder, _, name = target.rpartition("/")
        self.writer.parent(folder)
        source, copier = xattr.at(lower_fd, target), Copier(self._cancelled)
        copy(source, self.writer.tree, name, copier, self._owners)
        self._note(target)


def _image_xattrs(entry: TarEntry) -> dict[str, bytes]:
    """The attributes of an entry less those by which overlayfs would misread it."""
    return {key: value for key, value in entry.xattrs.items() if not key.startswith(xattr.OVERLAY)}
