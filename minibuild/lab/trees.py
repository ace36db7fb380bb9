"""Trees as a line of text, for `lab try`: words, each of which is one edit.

    x            an empty file        x=hello      one with contents
    d/           a directory          d/:1777      with a mode; so has a file: x:600=hello
    l->target    a symlink            h=>x         one more name for x, a hardlink
    -x           x is removed, with all that is in it

Directories on the way are made; what is in the way is replaced. Comes in: a line. Goes out: edits,
and the tree of the model that they make. Read next: `disk`, which does the same to a real tree.
"""

import shlex
from collections.abc import Sequence
from typing import Literal

from minibuild.errors import UsageError
from minibuild.lab.model import ModelFile, ModelTree, without
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

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
