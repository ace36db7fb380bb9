"""A tree on disk in the form of the model, and the edits of a tree done to it.

Comes in: the root of a tree. Goes out: entries; or the tree changed. What is edited may have links
to anywhere, so the way to each name is opened without following any. Read next: `trial`.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from minibuild.lab.model import ModelFile, Tree
from minibuild.lab.trees import Edit
from minibuild.linux import beneath, device, xattr
from minibuild.linux.owner import seen

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

TYPES = {
    stat.S_IFDIR: "dir",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "sock",
    stat.S_IFCHR: "chr",
    stat.S_IFBLK: "blk",
}


def read_tree(root: str, owners: "Records | None" = None) -> Tree:
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
    for edit in edits:
        with _parent(root_fd, edit.path) as (folder, name):
            _edit(root_fd, folder, name, edit)


def _edit(root_fd: int, folder: int, name: str, edit: Edit) -> None:
    if edit.verb == "dir" and _is_directory(folder, name):
        if edit.mode is not None:
            os.chmod(name, edit.mode, dir_fd=folder)
        return
    beneath.remove_tree(folder, name)
    match edit.verb:
        case "dir":
            os.mkdir(name, 0o700, dir_fd=folder)
            os.chmod(name, 0o755 if edit.mode is None else edit.mode, dir_fd=folder)
        case "symlink":
            os.symlink(edit.text, name, dir_fd=folder)
        case "link":
            with _parent(root_fd, edit.text) as (other, source):
                os.link(source, name, src_dir_fd=other, dst_dir_fd=folder, follow_symlinks=False)
        case "file":
            fd = os.open(name, _NEW, 0o600, dir_fd=folder)
            with open(fd, "wb") as file:
                file.write(edit.text.encode("utf-8", "surrogateescape"))
                os.fchmod(fd, 0o644 if edit.mode is None else edit.mode)
    if edit.verb in ("symlink", "file"):
        os.utime(name, ns=(0, 0), dir_fd=folder, follow_symlinks=False)


@contextmanager
def _parent(root_fd: int, path: str) -> Iterator[tuple[int, str]]:
    """The directory that holds the last name of a path, made if need be, and that name."""
    *above, name = path.split("/")
    folder = os.dup(root_fd)
    try:
        for inner in above:
            if not _is_directory(folder, inner):
                beneath.remove_tree(folder, inner)
                os.mkdir(inner, 0o700, dir_fd=folder)
                os.chmod(inner, 0o755, dir_fd=folder)
            opened = os.open(inner, _DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = opened
        yield folder, name
    finally:
        os.close(folder)


def _is_directory(folder: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
