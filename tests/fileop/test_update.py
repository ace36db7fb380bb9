"""A copy that begins with the last one comes to what a copy of everything comes to: the same tree,
the same layer. Random edits say so; a few cases say when the last copy is of no use."""

import os
import random
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from minibuild.errors import DefinitionError
from minibuild.fileop import changes, digest_cache, inventory, layer
from minibuild.fileop import copy as copying_module
from minibuild.fileop.api import Entry, SourceTree
from minibuild.fileop.changes import SourceChanges, find_changes
from minibuild.fileop.checksum import content_digests
from minibuild.fileop.copy import CopyJob, Form, Hooks, Places
from minibuild.fileop.copy import copy as do
from minibuild.fileop.dest import Unplannable
from minibuild.fileop.digest_cache import DigestCache, is_since
from minibuild.fileop.hasher import SourceLook, touched
from minibuild.fileop.inventory import Inventory
from minibuild.fileop.update import Earlier, Update
from minibuild.fileop.walk import FoundFile
from minibuild.graph.op import Copy
from minibuild.layer.layer import Layer
from minibuild.layer.patch import LayerPatch, read_patch
from minibuild.oci.content import ContentStore
from minibuild.solver.copy_server import CopyServer
from minibuild.solver.last_copy import LastCopy, begin
from minibuild.solver.layers import Packing
from minibuild.solver.pack_ahead import PackingAhead
from minibuild.store.layout import Store
from tests.fileop.trees import ME, make, opened, paths

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
_OLD_NS = 1_600_000_000_000_000_000


class Copying:
    """One source, copied again and again, each time with what came of the last time."""

    def __init__(self, top: Path, content: ContentStore, form: Form, ignore: tuple[str, ...] = ()):
        self.source = make(str(top / "source"), {})
        self.base = ""
        self.content = content
        self.made = self.packed = self.found = 0
        self.server: CopyServer | None = None
        self.after_look: Callable[[], object] = lambda: None
        self._top = top
        self._form: Form = form
        self._ignore = ignore

    def ignore(self, *patterns: str) -> None:
        self._ignore = patterns

    def changes(self, copy: Copy, source: SourceTree, last: "Copied") -> SourceChanges | None:
        """What a look finds changed since a copy."""
        return find_changes(Earlier(last.table, look=self.look(copy, source)), (copy,))

    def remember(self, copy: Copy) -> None:
        """Look at the source, so that the digests of its files are known."""
        with opened(self.source) as (source_fd,):
            self.look(copy, SourceTree(source_fd, self._ignore, local=True))

    def run(self, copy: Copy, last: "Copied | None" = None, *, looked: bool = False) -> "Copied":
        """Copy onto the tree of the last copy, or onto that of the base. `looked`: by what a look
        at the source finds, which is counted if it is enough."""
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
            places = Places(-1 if self._form == "layer" else root_fd, base, {0: source})
            with self._ahead(last) as ahead:
                earlier = Earlier(last.table, last.layer, patch, ahead) if last else None
                if last and earlier and looked:
                    earlier = earlier._replace(look=self.look(copy, source))
                    self.found += self.changes(copy, source, last) is not None
                    self.after_look()
                job = CopyJob((copy,), self._form, "uncompressed", inventory=table, earlier=earlier)
                done = do(job, places, self.content, Hooks())
        layer = read_patch(patch, self.content) if done.patched else done.layer
        copied = Copied(layer, root, table, done.newest_ns)
        if ahead is not None and done.patched:
            packed = ahead.layer()
            assert packed is not None
            assert Path(self.content.path(packed.digest)).read_bytes() == self.tar(copied)
            self.packed += 1
        return copied

    def look(self, copy: Copy, source: SourceTree) -> SourceLook:
        look = SourceLook()
        content_digests(copy, source, DigestCache(self.content.store.db), look=look)
        return look

    def _ahead(self, last: "Copied | None") -> AbstractContextManager[PackingAhead | None]:
        """What packs a patch of the last layer meanwhile, if there is a server for it."""
        if self.server is None or last is None or last.layer is None:
            return nullcontext()
        layer = last.layer.layer if isinstance(last.layer, LayerPatch) else last.layer
        packing = Packing("uncompressed")
        return PackingAhead(self.server, layer, packing, self.content, lambda _: None)

    def tar(self, copied: "Copied") -> bytes | None:
        found = copied.layer
        if isinstance(found, LayerPatch):
            found = found.pack(self.content, "uncompressed")
        return None if found is None else Path(self.content.path(found.digest)).read_bytes()


class Copied(SimpleNamespace):
    layer: Layer | LayerPatch | None
    root: str
    table: str
    newest_ns: int | None

    def __init__(
        self, layer: Layer | LayerPatch | None, root: str, table: str, newest_ns: int | None
    ) -> None:
        super().__init__(layer=layer, root=root, table=table, newest_ns=newest_ns)


@pytest.fixture
def content(store: Store) -> ContentStore:
    return ContentStore(store)


@pytest.fixture
def server() -> Iterator[CopyServer]:
    started = CopyServer.start()
    yield started
    started.close()


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were made a moment ago are known, and made directories have one time."""
    for module in (inventory, changes, digest_cache):
        monkeypatch.setattr(module, "RACY_NS", 0)
    monkeypatch.setattr(inventory, "_FEW_ENTRIES", 1)
    monkeypatch.setattr(layer, "time", SimpleNamespace(time_ns=lambda: _OLD_NS))


def _tree(top: str, without: str) -> list[tuple[object, ...]]:
    """All that can be seen of a tree; times not of what the copy made itself."""
    found, first_names = list[tuple[object, ...]](), dict[int, str]()
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


def _edit(rng: random.Random, top: str) -> None:
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
            os.utime(path, ns=(_OLD_NS, _OLD_NS + rng.randrange(3)), follow_symlinks=False)


_BASE = {"b": "of the base", "in/b": "b", "in/z/9": "9"}
_CASES: dict[str, tuple[Copy, dict[str, str]]] = {
    "all": (Copy(0, (".",), "/", chown=ME), {}),
    "mode": (Copy(0, (".",), "/made/here/", chown=ME, chmod="0750"), {}),
    "wildcard": (Copy(0, ("many/*",), "/to/", chown=ME), {}),
    "parents": (Copy(0, ("d",), "/p/", chown=ME, parents=True), {}),
    "less some": (Copy(0, (".",), "/in", chown=ME, exclude=("d/x",)), {}),
    "onto a base": (Copy(0, (".",), "/in", chown=ME), _BASE),
    "beside others": (Copy(0, (".",), "/in/of/", chown=ME), _BASE),
}


@pytest.mark.parametrize("form", ["tree", "layer", "both"])
@pytest.mark.parametrize("case", _CASES)
def test_an_update_is_the_copy(
    tmp_path: Path, content: ContentStore, server: CopyServer, form: Form, case: str
) -> None:
    """Also if its layer is packed meanwhile, by another process."""
    rng = random.Random(case + form)
    copy, base = _CASES[case]
    copying, updates, tried = Copying(tmp_path, content, form), 0, 0
    copying.server = server
    why: list[str] = []
    many = {f"many/{n:02}": "m" * rng.randrange(900) for n in range(12)}
    make(copying.source, {**many, "d/x": "x", "d/e/f": "f", "z/1": "1"})
    if base:
        copying.base = make(str(tmp_path / "base"), base)
    last = copying.run(copy)
    for _ in range(7):
        time.sleep(0.01)  # Longer than the clock of files takes to tick.
        for _ in range(rng.choice((0, 1, 1, 3))):
            _edit(rng, copying.source)
        if rng.random() < 0.2:
            copying.ignore(*rng.sample(("d/x", "many/0*", "z", "!z/2", "**/f", "d/*", "!d/e"), 2))
        if not os.path.lexists(os.path.join(copying.source, "d")):
            make(copying.source, {"d/x": "again"})
        try:
            whole = copying.run(copy)
        except (Unplannable, DefinitionError):
            continue  # Only as a tree, or a wildcard met a symlink to nothing.
        tried += 1
        try:
            last = copying.run(copy, last, looked=rng.random() < 0.5)
            updates += 1
        except Unplannable as reason:
            why.append(str(reason))
            last = whole
            continue
        assert copying.tar(last) == copying.tar(whole)
        if isinstance(last.layer, LayerPatch) and rng.random() < 0.4:
            last.layer = last.layer.pack(content)  # The next patch is one of this layer.
        if form != "layer":
            assert _tree(last.root, copy.dest) == _tree(whole.root, copy.dest)
    assert updates > tried // 2, f"{updates} of {tried}: {why}"
    assert copying.packed == (updates if form != "tree" else 0)
    assert server.alive and not os.listdir(content.store.path("ingest"))


def _change(rng: random.Random, top: str) -> None:
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
            os.utime(path, ns=(_OLD_NS, _OLD_NS + rng.randrange(3)))


@pytest.mark.parametrize("form", ["tree", "layer", "both"])
@pytest.mark.parametrize("case", ["all", "mode", "less some", "onto a base", "beside others"])
def test_what_a_look_finds_is_put_and_nothing_else(
    tmp_path: Path,
    content: ContentStore,
    form: Form,
    case: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The result is that of a copy of everything, also after some such copies."""
    rng = random.Random(case + form)
    copy, base = _CASES[case]
    copying = Copying(tmp_path, content, form)
    make(copying.source, {f"many/{n:02}": "m" * rng.randrange(900) for n in range(12)})
    make(copying.source, {"d/x": "x", "d/e/f": "f", "é": "e", "z/1": "1"})
    os.symlink("z", f"{copying.source}/s")
    make(copying.source, {"h/1": "1"})
    os.link(f"{copying.source}/h/1", f"{copying.source}/h/2")
    if base:
        copying.base = make(str(tmp_path / "base"), {"in/q/9": "9", "in/z/9": "9"})
    copying.remember(copy)
    last = copying.run(copy)
    for round_number in range(6):
        time.sleep(0.01)
        for _ in range(rng.choice((0, 1, 2))):
            _change(rng, copying.source)
        whole = copying.run(copy)
        with monkeypatch.context() as patched:
            patched.setattr(copying_module, "put_copy", None)
            last = copying.run(copy, last, looked=True)
        assert copying.found == round_number + 1
        assert copying.tar(last) == copying.tar(whole)
        if form != "layer":
            assert _tree(last.root, copy.dest) == _tree(whole.root, copy.dest)
    with opened(copying.source) as (source_fd,):
        found = copying.changes(copy, SourceTree(source_fd, local=True), last)
    assert found is not None and found.changed == ()  # The new table knows what was put.


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("")
    other.rename(path)


MEANWHILE: dict[str, tuple[str, Callable[[Path], object] | None]] = {
    "nothing": ("b", None),
    "a file that comes next is written": ("b", lambda top: (top / "d/x").write_text("later")),
    "a file is written that was just read": ("b", lambda top: (top / "b").write_text("later")),
    "one before is replaced": ("z/1", lambda top: _replace(top / "d/x")),
    "one that was listed goes": ("d", lambda top: (top / "d/x").unlink()),
    "one before goes": ("z/1", lambda top: (top / "d/x").unlink()),
    "one comes at the top": ("z/1", lambda top: (top / "new").touch()),
    "a directory goes": ("z/1", lambda top: shutil.rmtree(top / "d")),
}


@pytest.mark.parametrize("form", ["tree", "layer", "both"])
@pytest.mark.parametrize("case", MEANWHILE)
def test_what_happens_to_the_source_meanwhile_is_noticed(
    tmp_path: Path, content: ContentStore, form: Form, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, act = MEANWHILE[case]
    copying = Copying(tmp_path, content, form)
    make(copying.source, {"b": "b", "d/x": "x", "d/y": "y", "z/1": "1"})
    last = copying.run(_CASES["all"][0])
    (tmp_path / "source/b").write_text("changed")
    time.sleep(0.05)
    since_ns = time.time_ns()
    time.sleep(0.05)

    def put(self: Update, entry: Entry, found: FoundFile | None) -> None:
        change(self, entry, found)
        if entry.path == at and act is not None:
            act(tmp_path / "source")

    def same(self: Inventory, entry: Entry, found: FoundFile | None) -> object:
        if entry.path == at != "b" and act is not None:
            act(tmp_path / "source")
        return kept(self, entry, found)

    change, kept = Update._change, Inventory.same
    monkeypatch.setattr(Update, "_change", put)
    monkeypatch.setattr(Inventory, "same", same)
    newest_ns = copying.run(_CASES["all"][0], last).newest_ns
    assert newest_ns is not None
    assert is_since(newest_ns, since_ns) == (act is not None)


_AFTER_LOOK: dict[str, tuple[bool, Callable[[Path], object]]] = {
    "nothing": (False, lambda top: None),
    "what changed is written again": (True, lambda top: (top / "d/x").write_text("later")),
    "another takes its place": (True, lambda top: (top / "d/y").rename(top / "d/x")),
    "a directory takes the place of that above it": (
        True,
        lambda top: ((top / "d").rename(top / "old"), (top / "other").rename(top / "d")),
    ),
    "something comes beside it": (True, lambda top: (top / "d/new").touch()),
    "what had not changed is written": (False, lambda top: (top / "z/1").write_text("later")),
    "something comes elsewhere": (False, lambda top: (top / "z/2").touch()),
}


@pytest.mark.parametrize("form", ["tree", "layer", "both"])
@pytest.mark.parametrize("case", _AFTER_LOOK)
def test_what_happens_to_the_source_after_the_look(
    tmp_path: Path, content: ContentStore, form: Form, case: str
) -> None:
    """Either it is noticed, or the result is what the look saw."""
    noticed, act = _AFTER_LOOK[case]
    copying = Copying(tmp_path, content, form)
    copy = _CASES["all"][0]
    make(copying.source, {"b": "b", "d/x": "x", "d/y": "y", "other/x": "o", "z/1": "1"})
    copying.remember(copy)
    last = copying.run(copy)
    (tmp_path / "source/d/x").write_text("changed")
    time.sleep(0.05)
    whole, since_ns = copying.run(copy), time.time_ns()
    time.sleep(0.05)
    copying.after_look = lambda: act(tmp_path / "source")
    last = copying.run(copy, last, looked=True)
    assert copying.found == 1 and last.newest_ns is not None
    assert is_since(last.newest_ns, since_ns) == noticed
    assert noticed or copying.tar(last) == copying.tar(whole)
    assert noticed or _tree(last.root, "") == _tree(whole.root, "")


@pytest.mark.parametrize("act", [Path.unlink, lambda path: (path.unlink(), path.mkdir())])
def test_what_goes_after_the_look_is_met_by_a_whole_copy(
    tmp_path: Path, content: ContentStore, act: Callable[[Path], object]
) -> None:
    copying, copy = Copying(tmp_path, content, "both"), _CASES["all"][0]
    make(copying.source, {"b": "b", "d/x": "x"})
    last = copying.run(copy)
    (tmp_path / "source/d/x").write_text("changed")
    copying.after_look = lambda: act(tmp_path / "source/d/x")
    with pytest.raises(Unplannable):
        copying.run(copy, last, looked=True)


def test_what_is_written_while_it_is_copied_is_noticed(
    tmp_path: Path, content: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying, copy = Copying(tmp_path, content, "layer"), _CASES["all"][0]
    make(copying.source, {"b": "b", "d/x": "x"})
    last = copying.run(copy)
    (tmp_path / "source/d/x").write_text("changed")
    time.sleep(0.05)
    since_ns = time.time_ns()
    time.sleep(0.05)

    def written(found: FoundFile) -> bool:
        (tmp_path / "source" / found.path).write_text("later")
        return touched(found)

    monkeypatch.setattr(changes, "touched", written)
    newest_ns = copying.run(copy, last, looked=True).newest_ns
    assert newest_ns is not None and is_since(newest_ns, since_ns)


def test_what_was_read_by_the_look_is_put_again(tmp_path: Path, content: ContentStore) -> None:
    """It may have been written between its stamp and its digest, and also if the last copy did not
    trust its stamp."""
    copying, copy = Copying(tmp_path, content, "layer"), _CASES["all"][0]
    make(copying.source, {"b": "b", "d/x": "x"})
    with pytest.MonkeyPatch.context() as clock:
        clock.setattr(inventory, "RACY_NS", 10**12)
        last = copying.run(copy)
    with opened(copying.source) as (source_fd,):
        source = SourceTree(source_fd, local=True)
        for _ in range(2):
            found = copying.changes(copy, source, last)
            assert found is not None and [one.path for one in found.changed] == ["b", "d", "d/x"]
        last = copying.run(copy)
        found = copying.changes(copy, source, last)
        assert found is not None and found.changed == () and found.kept == 3
        with content.store.db.transaction() as tx:
            tx.execute("DELETE FROM digests_of_files")
        found = copying.changes(copy, source, last)
    assert found is not None and [one.path for one in found.changed] == ["b", "d/x"]


@pytest.mark.parametrize(
    ("before", "now"),
    [(("d", "!d/x"), ()), ((), ("d", "!d/x"))],
    ids=["no more", "now"],
)
def test_a_directory_that_is_only_the_way_is_another(
    tmp_path: Path, content: ContentStore, before: tuple[str, ...], now: tuple[str, ...]
) -> None:
    """Nothing else tells that --chown means it, or does not; such a change is left to the walk."""
    copying = Copying(tmp_path, content, "layer")
    copying.base = make(str(tmp_path / "base"), {"d/of": ""})
    make(copying.source, {"b": "b", "d/x": "x"})
    copy = Copy(0, (".",), "/", chown="7:7")
    last = copying.run(copy._replace(exclude=before))
    whole = copying.run(copy._replace(exclude=now))
    updated = copying.run(copy._replace(exclude=now), last, looked=True)
    assert copying.tar(updated) == copying.tar(whole) != copying.tar(last)
    assert copying.found == 0


def test_a_file_of_the_base_is_left_to_a_whole_copy(tmp_path: Path, content: ContentStore) -> None:
    copying, copy = Copying(tmp_path, content, "tree"), _CASES["all"][0]
    copying.base = make(str(tmp_path / "base"), {"b": "of the base"})
    make(copying.source, {"b": "b"})
    last = copying.run(copy)
    (tmp_path / "source/b").write_text("of the base")
    with pytest.raises(Unplannable, match="takes the place"):
        copying.run(copy, last, looked=True)


def test_what_changed_is_not_asked_on_another_base(tmp_path: Path, content: ContentStore) -> None:
    """Of equal key, but with other times, which a layer repeats."""
    copying, copy = Copying(tmp_path, content, "layer"), _CASES["all"][0]
    make(copying.source, {"b": "b"})
    last = copying.run(copy)
    with opened(copying.source) as (source_fd,):
        look = copying.look(copy, SourceTree(source_fd, local=True))
    for same in (False, True):
        known = LastCopy(last.table, last.layer, None, same_base=same)
        assert begin(known, look, "patch", packed=False).look is (look if same else None)


def _link(top: Path) -> None:
    (top / "z/1").unlink()
    (top / "z/1").hardlink_to(top / "d/x")


_LEFT: dict[str, Callable[[Path], object]] = {
    "a new name": lambda top: (top / "d/new").touch(),
    "a new name at the end": lambda top: (top / "zz").touch(),
    "a name is gone": lambda top: (top / "d/x").unlink(),
    "another name": lambda top: (top / "d").rename(top / "e"),
    "a symlink": lambda top: ((top / "s").unlink(), (top / "s").symlink_to("b")),
    "another type": lambda top: ((top / "d/x").unlink(), (top / "d/x").mkdir()),
    "a name of another file": _link,
    "a file with two names": lambda top: (top / "b").write_text("changed"),
}


@pytest.mark.parametrize("case", _LEFT)
def test_what_is_left_to_the_walk(tmp_path: Path, content: ContentStore, case: str) -> None:
    copying, copy = Copying(tmp_path, content, "layer"), _CASES["all"][0]
    make(copying.source, {"b": "b", "d/x": "x", "z/1": "1"})
    os.link(f"{copying.source}/b", f"{copying.source}/c")
    os.symlink("z", f"{copying.source}/s")
    copying.remember(copy)
    last = copying.run(copy)
    time.sleep(0.01)
    _LEFT[case](tmp_path / "source")
    with opened(copying.source) as (source_fd,):
        assert copying.changes(copy, SourceTree(source_fd, local=True), last) is None


def test_what_was_written_just_before_is_put_again(
    tmp_path: Path, content: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be written once more without another stamp."""
    copying, copy = Copying(tmp_path, content, "layer"), _CASES["all"][0]
    make(copying.source, {"b": "b", "d/x": "x"})
    copying.remember(copy)
    last = copying.run(copy)
    (tmp_path / "source/d/x").write_text("changed")
    monkeypatch.setattr(changes, "RACY_NS", 10**12)
    last = copying.run(copy, last, looked=True)
    with opened(copying.source) as (source_fd,):
        found = copying.changes(copy, SourceTree(source_fd, local=True), last)
    assert found is not None and [one.path for one in found.changed] == ["d/x"]
