"""A copy that begins with the last one comes to what a copy of everything comes to: the same tree,
the same layer. Random edits say so. What is changed meanwhile is noticed."""

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minibuild.errors import DefinitionError
from minibuild.fileop.api import Entry
from minibuild.fileop.copy import Form
from minibuild.fileop.dest import Unplannable
from minibuild.fileop.digest_cache import is_since
from minibuild.fileop.inventory import Inventory
from minibuild.fileop.update import Update
from minibuild.fileop.walk import FoundFile
from minibuild.graph.op import Copy
from minibuild.layer.patch import LayerPatch
from minibuild.oci.content import ContentStore
from tests.fileop.copying import CASES, Copying, edit, stop_clocks, tree
from tests.fileop.trees import ME, make


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clocks(monkeypatch)


@pytest.mark.parametrize("form", ["tree", "layer", "both"])
@pytest.mark.parametrize("case", CASES)
def test_an_update_is_the_copy(
    tmp_path: Path, content: ContentStore, form: Form, case: str
) -> None:
    rng = random.Random(case + form)
    copy, base = CASES[case]
    copying, updates, tried = Copying(tmp_path, content, form), 0, 0
    why: list[str] = []
    many = {f"many/{n:02}": "m" * rng.randrange(900) for n in range(12)}
    make(copying.source, {**many, "d/x": "x", "d/e/f": "f", "z/1": "1"})
    if base:
        copying.base = make(str(tmp_path / "base"), base)
    last = copying.run(copy)
    for _ in range(7):
        time.sleep(0.01)  # Longer than the clock of files takes to tick.
        for _ in range(rng.choice((0, 1, 1, 3))):
            edit(rng, copying.source)
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
            last = copying.run(copy, last, looked=rng.random() < 0.7)
            updates += 1
        except Unplannable as reason:
            why.append(str(reason))
            last = whole
            continue
        assert copying.tar(last) == copying.tar(whole)
        if isinstance(last.layer, LayerPatch) and rng.random() < 0.4:
            last.layer = last.layer.pack(content)  # The next patch is one of this layer.
        if form != "layer":
            assert tree(last.root, copy) == tree(whole.root, copy)
    assert updates > tried // 2, f"{updates} of {tried}: {why}"
    assert not os.listdir(content.store.path("ingest"))


@pytest.mark.parametrize("form", ["tree", "layer", "both"])
def test_a_directory_that_no_source_has_any_more(
    tmp_path: Path, content: ContentStore, form: Form
) -> None:
    """Another copy makes it on its way: it is there from the last copy, and looks otherwise."""
    copying = Copying(tmp_path, content, form)
    make(copying.source, {"a/y/": "0700", "a/x": "x", "b/f": "f"})
    first, then = Copy(0, ("a",), "/x", chown=ME), Copy(0, ("b",), "/x/y/z/", chown=ME)
    last = copying.run(first, then=(then,))
    (tmp_path / "source/a/y").rmdir()
    whole = copying.run(first, then=(then,))
    again = copying.run(first, last, then=(then,))
    assert copying.kept == 3  # x/x, and x/y/z with its file
    assert copying.tar(again) == copying.tar(whole)
    if form != "layer":
        assert os.stat(f"{again.root}/x/y").st_mode & 0o777 == 0o755
        assert tree(again.root, then) == tree(whole.root, then)


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
    last = copying.run(CASES["all"][0])
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
    newest_ns = copying.run(CASES["all"][0], last).newest_ns
    assert newest_ns is not None
    assert is_since(newest_ns, since_ns) == (act is not None)
