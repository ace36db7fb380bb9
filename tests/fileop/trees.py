"""Trees for the tests of this package: made from a table, and told as one.

Comes in: `{"dir/": "0750", "file": "text", "link": "-> target"}`. Goes out: real files, and the
same kind of table for what a copy made of them.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from minibuild.fileop.api import SourceTree
from minibuild.fileop.apply import apply
from minibuild.graph.op import Copy, FileAction

DIR = {"dir/one": "1", "dir/sub/two": "2", "dir/sub/deep/three": "3"}
PASSWD = "root:x:0:0::/root:/bin/sh\napp:x:1500:1600::/:/bin/sh\nweb:x:1501:1601::/:\nbad:x:1:x::\n"
GROUP = "root:x:0:\nappgrp:x:1600:\nwebgrp:x:1601:\nextra:x:1700:app\n"
USERS = {"etc/passwd": PASSWD, "etc/group": GROUP}

Spec = Mapping[str, str]

ME = f"{os.getuid()}:{os.getgid()}"
"""Whoever runs the tests may give files at least to himself."""

ALL_KINDS = {
    "a": "a" * 5000,
    "b": "",
    "big": "b" * 200_000,
    "sub/": "0700",
    "sub/c": "c",
    "sub/same": "= a",
    "sub/up": "-> ../a",
    "sub/pipe": "|",
}
"""A tree with a file of each kind that a layer keeps and anybody may make."""


def make(top: str, spec: Spec) -> str:
    """Fill the directory `top`: names that end in `/` are directories, with their mode."""
    os.makedirs(top, exist_ok=True)
    for name, value in spec.items():
        path = os.path.join(top, name)
        os.makedirs(os.path.dirname(path.rstrip("/")), exist_ok=True)
        if name.endswith("/"):
            os.makedirs(path, exist_ok=True)
            os.chmod(path, int(value or "0755", 8))
        elif value.startswith("-> "):
            os.symlink(value[3:], path)
        elif value.startswith("= "):
            os.link(os.path.join(top, value[2:]), path)
        elif value == "|":
            os.mkfifo(path)
        else:
            with open(path, "w") as file:
                file.write(value)
            os.chmod(path, 0o644)
    return top


def paths(top: str) -> Iterator[str]:
    """All paths below `top`, relative, sorted within each directory."""
    for folder, directories, files in os.walk(top):
        directories.sort()
        for name in sorted([*directories, *files]):
            yield os.path.relpath(os.path.join(folder, name), top)


def tell(top: str) -> dict[str, str]:
    """What is below `top`: contents of files, `-> target`, `/` for directories, `|` for fifos."""
    found = {}
    for path in paths(top):
        full = os.path.join(top, path)
        status = os.lstat(full)
        if stat.S_ISLNK(status.st_mode):
            found[path] = "-> " + os.readlink(full)
        elif stat.S_ISDIR(status.st_mode):
            found[path] = "/"
        elif stat.S_ISREG(status.st_mode):
            with open(full, errors="surrogateescape") as file:
                found[path] = file.read()
        else:
            found[path] = "|" if stat.S_ISFIFO(status.st_mode) else "?"
    return found


def modes(top: str, *names: str) -> dict[str, str]:
    """The permission bits of some paths (default: all), in octal."""
    return {
        name: f"{stat.S_IMODE(os.lstat(os.path.join(top, name)).st_mode):o}"
        for name in names or paths(top)
    }


def owners(top: str, *names: str) -> dict[str, str]:
    """`uid:gid` of some paths (default: all)."""
    found = {}
    for name in names or paths(top):
        status = os.lstat(os.path.join(top, name))
        found[name] = f"{status.st_uid}:{status.st_gid}"
    return found


@contextmanager
def opened(*tops: str) -> Iterator[list[int]]:
    """The directories, open."""
    with ExitStack() as stack:
        fds = []
        for top in tops:
            fds.append(os.open(top, os.O_RDONLY | os.O_DIRECTORY))
            stack.callback(os.close, fds[-1])
        yield fds


class Bench:
    """A source and a destination, and copies from one to the other."""

    def __init__(self, top: str) -> None:
        self.source = os.path.join(top, "source")
        self.dest = os.path.join(top, "dest")
        self.local = False
        os.mkdir(self.source)
        os.mkdir(self.dest)

    def run(self, *actions: FileAction, ignore: Sequence[str] = (), **tree: object) -> list[str]:
        """Apply actions; the source is input 0."""
        with opened(self.source, self.dest) as (source_fd, dest_fd):
            source = SourceTree(source_fd, tuple(ignore), **tree)  # type: ignore[arg-type]
            return apply(actions, dest_fd, {0: source})

    def copy(self, *words: str, ignore: Sequence[str] = (), **flags: object) -> dict[str, str]:
        """`COPY` with the words of the instruction; what the destination then holds."""
        copy = Copy(0, words[:-1], words[-1], **flags)  # type: ignore[arg-type]
        self.run(copy, ignore=ignore, local=self.local)
        return tell(self.dest)
