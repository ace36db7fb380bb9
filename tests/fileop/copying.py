"""One source that is copied again and again, each time with what came of the last copy.

A test edits the source, and compares such a copy with one of everything: the same tree, the same
layer.
"""

import os
import random
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from minibuild.fileop import digest_cache, inventory, layer
from minibuild.fileop.api import Entry, Hooks, SourceTree
from minibuild.fileop.checksum import content_digests
from minibuild.fileop.copy import CopyJob, CopyTrees, Form
from minibuild.fileop.copy import copy as do
from minibuild.fileop.digest_cache import DigestCache
from minibuild.fileop.hasher import SourceLook
from minibuild.fileop.update import EarlierCopy, Update
from minibuild.fileop.walk import FoundFile
from minibuild.graph.op import Copy
from minibuild.layer.layer import Layer
from minibuild.layer.patch import LayerPatch, read_patch
from minibuild.oci.content import ContentStore
from tests.fileop.trees import ME, make, opened, paths

OLD_NS = 1_600_000_000_000_000_000
_NAMES = (
    "a",
    "b",
    "d",
    "d-1",
    "d/x",
    "d/y",
    "d/e/f",
    "d/e/g",
    "é",
    "many/03",
    "many/new",
    "z/1",
    "z/2",
    "s",
    "s/t",
)

_BASE = {"b": "of the base", "in/b": "b", "in/z/": "0750", "in/z/9": "9"}
CASES: dict[str, tuple[Copy, dict[str, str]]] = {
    "all": (Copy(0, (".",), "/", chown=ME), {}),
    "mode": (Copy(0, (".",), "/made/here/", chown=ME, chmod="0750"), {}),
    "wildcard": (Copy(0, ("many/*",), "/to/", chown=ME), {}),
    "parents": (Copy(0, ("d",), "/p/", chown=ME, parents=True), {}),
    "less some": (Copy(0, (".",), "/in", chown=ME, exclude=("d/x",)), {}),
    "onto a base": (Copy(0, (".",), "/in", chown=ME), _BASE),
    "beside others": (Copy(0, (".",), "/in/of/", chown=ME), _BASE),
    "a directory": (Copy(0, ("many",), "/made/here", chown=ME), {}),
    "a directory onto a base": (Copy(0, ("many",), "/in/z", chown=ME), _BASE),
}


@dataclass
class Copied:
    """What came of a copy."""

    layer: Layer | LayerPatch | None
    root: str
    table: str
    newest_ns: int | None


class Copying:
    """One source, copied again and again, each time with what came of the last time."""

    def __init__(self, top: Path, content: ContentStore, form: Form, ignore: tuple[str, ...] = ()):
        self.source = make(str(top / "source"), {})
        self.base = ""
        self.content = content
        self.made = self.kept = self.looked = 0
        self.changed: list[str] = []
        self.seen = SourceLook()
        self.after_look: Callable[[], object] = lambda: None
        self.told: list[tuple[int, int]] = []
        self._top = top
        self._form: Form = form
        self._ignore = ignore

    def ignore(self, *patterns: str) -> None:
        self._ignore = patterns

    def remember(self, copy: Copy) -> None:
        """Look at the source, so that the digests of its files are known."""
        with opened(self.source) as (source_fd,):
            self.look(copy, SourceTree(source_fd, self._ignore, local=True))

    def run(
        self,
        copy: Copy,
        last: Copied | None = None,
        *,
        looked: bool = False,
        then: tuple[Copy, ...] = (),
    ) -> Copied:
        """Copy onto the tree of the last copy, or onto that of the base, and `then` more. `looked`:
        by what a look at the source finds, which is counted if it was of use. `changed` has what
        was put."""
        self.made += 1
        root, table = str(self._top / f"tree{self.made}"), str(self._top / f"table{self.made}")
        start = last.root if last else self.base
        if start:
            subprocess.run(["cp", "-a", start, root], check=True)
        else:
            os.mkdir(root)
        patch = str(self._top / f"patch{self.made}")
        with opened(self.source, root, self.base or root) as (source_fd, root_fd, base_fd):
            source = SourceTree(source_fd, self._ignore, local=True)
            base = base_fd if self.base else None
            places = CopyTrees(-1 if self._form == "layer" else root_fd, base, {0: source})
            earlier = EarlierCopy(last.table, last.layer, patch) if last else None
            if last and earlier and looked:
                self.seen = self.look(copy, source)
                earlier = earlier._replace(look=self.seen)
                self.looked += self.seen.top is not None
                self.after_look()
            form: Form = "tree" if last and last.layer is None else self._form
            job = CopyJob((copy, *then), form, "uncompressed", inventory=table, earlier=earlier)
            hooks = Hooks(lambda *counts: self.told.append(counts))
            with self._noting_changes():
                done = do(job, places, self.content, hooks)
        self.kept = done.kept
        layer = read_patch(patch, self.content) if done.patched else done.layer
        return Copied(layer, root, table, done.newest_ns)

    @contextmanager
    def _noting_changes(self) -> Iterator[None]:
        self.changed, change = [], Update._change

        def noted(update: Update, entry: Entry, found: FoundFile | None) -> None:
            self.changed.append(entry.path)
            change(update, entry, found)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Update, "_change", noted)
            yield

    def look(self, copy: Copy, source: SourceTree) -> SourceLook:
        look = SourceLook()
        content_digests(copy, source, DigestCache(self.content.store.db), look=look)
        return look

    def tar(self, copied: Copied) -> bytes | None:
        found = copied.layer
        if isinstance(found, LayerPatch):
            found = found.pack(self.content, "uncompressed")
        return None if found is None else Path(self.content.path(found.digest)).read_bytes()


def stop_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were made a moment ago are known, and made directories have one time."""
    for module in (inventory, digest_cache):
        monkeypatch.setattr(module, "RACY_NS", 0)
    monkeypatch.setattr(inventory, "_FEW_ENTRIES", 1)
    monkeypatch.setattr(layer, "time", SimpleNamespace(time_ns=lambda: OLD_NS))


def tree(top: str, copy: Copy) -> list[tuple[object, ...]]:
    """All that can be seen of a tree; times not of what the copy made itself."""
    found, first_names = list[tuple[object, ...]](), dict[int, str]()
    # A directory gives its time to the destination.
    without = os.path.dirname(copy.dest) if copy.paths == ("many",) else copy.dest
    for path in paths(top):
        full = os.path.join(top, path)
        status = os.lstat(full)
        what: object = None
        if stat.S_ISLNK(status.st_mode):
            what = os.readlink(full)
        elif stat.S_ISREG(status.st_mode):
            what = Path(full).read_bytes()
        first = "" if stat.S_ISDIR(status.st_mode) else first_names.setdefault(status.st_ino, path)
        made = without.startswith(f"/{path}")
        times = None if made else status.st_mtime_ns
        found.append((path, status.st_mode, status.st_uid, status.st_gid, first, times, what))
    return found


def _remove(path: str) -> None:
    is_dir = os.path.isdir(path) and not os.path.islink(path)
    shutil.rmtree(path) if is_dir else os.unlink(path)


def _make_room(top: str, name: str) -> None:
    """Nothing at a name, and directories above it."""
    parts = name.split("/")
    for count in range(1, len(parts)):
        above = os.path.join(top, *parts[:count])
        if os.path.lexists(above) and (os.path.islink(above) or not os.path.isdir(above)):
            os.unlink(above)
        os.makedirs(above, exist_ok=True)
    if os.path.lexists(os.path.join(top, name)):
        _remove(os.path.join(top, name))


def edit(rng: random.Random, top: str) -> None:
    """One edit, in a tree of few names: so names come again as something else."""
    name = rng.choice(_NAMES)
    path = os.path.join(top, name)
    kind = rng.choice(("write", "write", "append", "mode", "remove", "link", "hard", "dir", "time"))
    if kind in ("link", "hard", "dir") or (kind == "write" and not os.path.isfile(path)):
        _make_room(top, name)
    there = os.path.lexists(path)
    match kind:
        case "write":
            with open(path, "wb") as file:
                file.write(rng.randbytes(rng.choice((0, 3, 700, 5000, 70_000))))
        case "append" if os.path.isfile(path):
            with open(path, "ab") as file:
                file.write(b"more")
        case "mode" if there and not os.path.islink(path):
            os.chmod(path, rng.choice((0o600, 0o644, 0o755)) | (os.path.isdir(path) and 0o700))
        case "remove" if there:
            _remove(path)
        case "link":
            os.symlink(rng.choice(_NAMES), path)
        case "hard":
            others = [p for p in paths(top) if os.path.isfile(os.path.join(top, p))]
            if others:
                os.link(os.path.join(top, rng.choice(others)), path, follow_symlinks=False)
        case "dir":
            os.mkdir(path)
        case "time" if there:
            os.utime(path, ns=(OLD_NS, OLD_NS + rng.randrange(3)), follow_symlinks=False)


def change(rng: random.Random, top: str) -> None:
    """One edit that leaves all names and types as they are."""
    name = rng.choice([path for path in ("", *paths(top)) if not path.startswith("h/")])
    path = os.path.join(top, name)
    match rng.choice(("write", "write", "replace", "mode", "time")):
        case "write" | "replace" as how if os.path.isfile(path):
            if how == "replace":
                os.unlink(path)
            Path(path).write_bytes(rng.randbytes(rng.choice((0, 3, 700, 5000, 70_000))))
        case "mode":
            os.chmod(path, rng.choice((0o600, 0o644, 0o755)) | (os.path.isdir(path) and 0o700))
        case _:
            os.utime(path, ns=(OLD_NS, OLD_NS + rng.randrange(3)))
