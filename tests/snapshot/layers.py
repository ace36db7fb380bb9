"""Layer directories made from a table, with nothing mounted: fast, and for any account."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from minibuild.linux import xattr
from minibuild.snapshot.view import WHITEOUT, View

Spec = Mapping[str, str]
"""Paths with what is there: text, or `/` a directory, `opaque` one that hides, `gone` a whiteout,
`-> x` a symlink, `= x` another name of a file, `|` a fifo. Directories come before their contents;
those that are missing are made."""


def make(root: Path, spec: Spec) -> str:
    """A layer of user.* attributes."""
    root.mkdir(parents=True, exist_ok=True)
    for path, value in spec.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if value in ("/", "opaque"):
            target.mkdir(exist_ok=True)
            if value == "opaque":
                xattr.set(str(target), "user.overlay.opaque", b"y")
        elif value == "gone":
            whiteout(target)
        elif value == "|":
            os.mkfifo(target)
        elif value.startswith("-> "):
            target.symlink_to(value[3:])
        elif value.startswith("= "):
            os.link(root / value[2:], target)
        else:
            target.write_text(value)
    return str(root)


def whiteout(path: Path) -> None:
    """How overlayfs marks what is gone. Any account may make this device, and no other."""
    os.mknod(path, stat.S_IFCHR, 0)


def shown(view: View) -> dict[str, str]:
    """What layers add up to, as such a table."""
    found: dict[str, str] = {}
    pending = [("", view.dirs)]
    while pending:
        above, dirs = pending.pop()
        for name, node in view.names_in(dirs, len(dirs)).items():
            path = f"{above}/{name}" if above else name
            if node.type == stat.S_IFDIR:
                found[path] = "/"
                pending.append((path, node.dirs))
            elif node.type == stat.S_IFLNK:
                found[path] = "-> " + os.readlink(node.path)
            elif node.type == stat.S_IFIFO:
                found[path] = "|"
            elif node.type != WHITEOUT:
                found[path] = Path(node.path).read_text()
    return found
