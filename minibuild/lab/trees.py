"""Trees as a line of text, for `lab try`: words, each of which is one edit.

    x            an empty file        x=hello      one with contents
    d/           a directory          d/:1777      with a mode; so has a file: x:600=hello
    l->target    a symlink            h=>x         one more name for x, a hardlink
    -x           x is removed, with all that is in it

Directories on the way are made; what is in the way is replaced. Comes in: a line. Goes out: edits,
and the tree of the model that they make; or the same done to a real tree, by what makes the entries
of all trees (`linux.tree_writer`), and a real tree in the form of the model. Read next: `trial`.
"""

import os
import shlex
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from minibuild.errors import UsageError
from minibuild.lab.model import ModelFile, ModelTree, without
from minibuild.linux import beneath, device, xattr
from minibuild.linux.cursor import Cursor
from minibuild.linux.owner import seen
from minibuild.linux.tree_writer import Metadata, TreeWriter
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records

_MODE = regex(r":([0-7]{3,4})(?==|$)")
_MAX_NAME, _MAX_PATH = 255, 2000
_SEE = "see `minibuild lab try --help` for how trees are written"


class Edit(NamedTuple):
    """One word of a tree. `text` is the contents of a file, the target of a link; `mode` is None if
    the word does not say."""

    verb: Literal["file", "dir", "symlink", "link", "remove"]
    path: str
    text: str = ""
    mode: int | None = None


def parse_tree(line: str) -> list[Edit]:
    """The edits of a line. Raises `UsageError`."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"the tree {line!r} cannot be read: {error}", hint=_SEE) from None
    return [_edit(word) for word in words]


def _edit(word: str) -> Edit:
    if word.startswith("-") and "->" not in word:
        return Edit("remove", _path(word[1:], word))
    verb: Literal["symlink", "link"]
    for sign, verb in (("->", "symlink"), ("=>", "link")):
        path, found, target = word.partition(sign)
        if found and "=" not in path:
            if not target:
                raise UsageError(f"{word!r} names no target", hint=_SEE)
            return Edit(verb, _path(path, word), _path(target, word) if verb == "link" else target)
    head, _, text = word.partition("=")
    mode = _MODE.search(head)
    if mode:
        head = head[: mode.start()]
    bits = int(mode[1], 8) if mode else None
    if head.endswith("/"):
        return Edit("dir", _path(head, word), "", bits)
    return Edit("file", _path(head, word), text, bits)


def _path(text: str, word: str) -> str:
    names = [name for name in text.split("/") if name]
    if not names or any(name in (".", "..") or "\0" in name for name in names):
        raise UsageError(
            f"{word!r} names no path of a tree", hint="a path is names with slashes between them"
        )
    sizes = [len(name.encode("utf-8", "surrogateescape")) for name in names]
    if max(sizes) > _MAX_NAME or sum(sizes) > _MAX_PATH:
        raise UsageError(f"the path {word[:40]!r}... is longer than a filesystem takes")
    return "/".join(names)


def edited(tree: ModelTree, edits: Sequence[Edit], first_inode: int) -> ModelTree:
    """The tree with edits done in order; new files get inodes from `first_inode` on."""
    made = dict(tree)
    for number, edit in enumerate(edits):
        made = _one(made, edit, first_inode + number)
    return made


def _one(tree: dict[str, ModelFile], edit: Edit, inode: int) -> dict[str, ModelFile]:
    path, old = edit.path, tree.get(edit.path)
    if edit.verb == "remove":
        if old is None:
            raise UsageError(f"-{path} removes what is not there")
        return without(tree, path)
    other = tree.get(edit.text)
    inside = f"{path}/".startswith(f"{edit.text}/") or f"{edit.text}/".startswith(f"{path}/")
    if edit.verb == "link" and (other is None or other.type == "dir" or inside):
        raise UsageError(f"{path}=>{edit.text}: there is no file {edit.text} to link to")
    for end in (position for position, sign in enumerate(path) if sign == "/"):
        if (above := path[:end]) not in tree or tree[above].type != "dir":
            tree = {**without(tree, above), above: ModelFile("dir")}
    if edit.verb == "dir" and old is not None and old.type == "dir":
        return {**tree, path: old if edit.mode is None else old._replace(mode=edit.mode)}
    tree = without(tree, path)
    match edit.verb:
        case "dir":
            tree[path] = ModelFile("dir", 0o755 if edit.mode is None else edit.mode)
        case "symlink":
            tree[path] = ModelFile("symlink", 0, data=edit.text, inode=inode)
        case "link":
            assert other is not None
            tree[path] = other
        case "file":
            mode = 0o644 if edit.mode is None else edit.mode
            data = edit.text.encode("utf-8", "surrogateescape")
            tree[path] = ModelFile("file", mode, data=data, inode=inode)
    return tree


# --- On disk ---


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
            _do(writer, name, edit)
        writer.finish()


def _do(writer: TreeWriter, name: str, edit: Edit) -> None:
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
