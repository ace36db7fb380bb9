"""A tree on disk in the form of the model, and the edits of a tree done to it.

Comes in: the root of a tree. Goes out: entries; or the tree changed, by what makes the entries of
all trees (`linux.tree_writer`). Read next: `trial`.
"""

import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING

from minibuild.lab.model import ModelFile, ModelTree
from minibuild.lab.trees import Edit
from minibuild.linux import beneath, device, xattr
from minibuild.linux.cursor import Cursor
from minibuild.linux.owner import seen
from minibuild.linux.tree_writer import Metadata, TreeWriter

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records

TYPES = {
    stat.S_IFDIR: "dir",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "sock",
    stat.S_IFCHR: "chr",
    stat.S_IFBLK: "blk",
}


def read_tree(root: str, owners: "Records | None" = None) -> ModelTree:
    """A directory in the form of the model; `owners` are its records, where these are kept."""
    tree = {"": read_entry(root + "/.", owners)}
    pending = [""]
    while pending:
        parent = pending.pop()
        with os.scandir(f"{root}/{parent}") as entries:
            for found in entries:
                path = f"{parent}/{found.name}" if parent else found.name
                tree[path] = read_entry(f"{root}/{path}", owners)
                if tree[path].type == "dir":
                    pending.append(path)
    return tree


def read_entry(path: str, owners: "Records | None" = None) -> ModelFile:
    """One entry in the form of the model."""
    found = seen(os.lstat(path), path, owners)
    kind = TYPES[stat.S_IFMT(found.st_mode)]
    data: bytes | str | int = b""
    match kind:
        case "file":
            with open(path, "rb") as file:
                data = file.read()
        case "symlink":
            data = os.readlink(path)
        case "chr" | "blk":
            data = found.st_rdev
    # What overlayfs notes for itself shows where a layer is looked at without a mount.
    own = ("trusted.overlay.", "user.overlay.", device.PLACEHOLDER, *xattr.RECORDS)  # and MARK
    names = [n for n in xattr.names(path) if not n.startswith(own)]
    attributes = tuple(sorted((n, xattr.get(path, n) or b"") for n in names))
    return ModelFile(
        kind,
        0 if kind == "symlink" else stat.S_IMODE(found.st_mode),
        (found.st_uid, found.st_gid),
        data,
        attributes,
        0 if kind == "dir" else found.st_mtime_ns,
        found.st_ino,
    )


def edit_tree(root_fd: int, edits: Sequence[Edit]) -> None:
    """Do what `trees.edited` does, to a directory that is open. All files get the time 0."""
    with TreeWriter(root_fd) as writer:
        for edit in edits:
            writer.enter("")
            *above, name = edit.path.split("/")
            for inner in above:
                writer.directory(inner, _metadata(stat.S_IFDIR, 0o755), keep=True)
            _edit(writer, name, edit)
        writer.finish()


def _edit(writer: TreeWriter, name: str, edit: Edit) -> None:
    """Do an edit to the directory where the writer stands."""
    match edit.verb:
        case "remove":
            beneath.remove_tree(writer.fd, name)
        case "dir":
            metadata = _metadata(stat.S_IFDIR, 0o755 if edit.mode is None else edit.mode)
            writer.directory(name, metadata, keep=edit.mode is None)
        case "symlink":
            writer.special(name, _metadata(stat.S_IFLNK, 0), edit.text)
        case "link":
            folder, _, source = edit.text.rpartition("/")
            with Cursor(writer.root_fd) as other:
                writer.link(name, source, other.enter(folder))
        case "file":
            data = edit.text.encode("utf-8", "surrogateescape")
            metadata = _metadata(stat.S_IFREG, 0o644 if edit.mode is None else edit.mode)
            writer.file(name, metadata, lambda fd: os.write(fd, data))


def _metadata(kind: int, mode: int) -> Metadata:
    return Metadata(kind | mode, 0, 0, None if kind == stat.S_IFDIR else (0, 0))
