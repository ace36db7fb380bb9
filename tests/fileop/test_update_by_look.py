"""A copy of what a look at the source found changed takes no walk, and comes to what a copy of
everything comes to."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minibuild.fileop import inventory, update, walk
from minibuild.fileop.api import SourceTree
from minibuild.fileop.copy import Form
from minibuild.fileop.dest import Unplannable
from minibuild.fileop.digest_cache import STAMP, is_since
from minibuild.fileop.hasher import touched
from minibuild.fileop.walk import FoundFile
from minibuild.graph.op import Copy, CopyRules
from minibuild.linux.device import PLACEHOLDER
from minibuild.oci.content import ContentStore
from minibuild.solver.last_copy import LastCopy, begin
from tests.fileop.copying import CASES, Copying, change, stop_clocks, tree
from tests.fileop.trees import ME, make, opened


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clocks(monkeypatch)


@pytest.mark.parametrize("form", ["tree", "layer", "both"])
@pytest.mark.parametrize(
    "case", ["all", "mode", "less some", "onto a base", "beside others", "a directory"]
)
def test_one_such_copy_after_the_other(
    tmp_path: Path, content: ContentStore, form: Form, case: str
) -> None:
    """Each knows what the one before it put."""
    rng = random.Random(case + form)
    copy, base = CASES[case]
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
            change(rng, copying.source)
        whole = copying.run(copy)
        last = copying.run(copy, last, looked=True)
        assert copying.looked == round_number + 1
        assert copying.tar(last) == copying.tar(whole)
        if form != "layer":
            assert tree(last.root, copy) == tree(whole.root, copy)
    copying.run(copy, last, looked=True)
    assert copying.changed == []


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
    copy = CASES["all"][0]
    make(copying.source, {"b": "b", "d/x": "x", "d/y": "y", "other/x": "o", "z/1": "1"})
    copying.remember(copy)
    last = copying.run(copy)
    (tmp_path / "source/d/x").write_text("changed")
    time.sleep(0.05)
    whole, since_ns = copying.run(copy), time.time_ns()
    time.sleep(0.05)
    copying.after_look = lambda: act(tmp_path / "source")
    last = copying.run(copy, last, looked=True)
    assert copying.looked == 1 and last.newest_ns is not None
    assert is_since(last.newest_ns, since_ns) == noticed
    assert noticed or copying.tar(last) == copying.tar(whole)
    assert noticed or tree(last.root, copy) == tree(whole.root, copy)


def _mark(path: Path) -> None:
    try:
        os.setxattr(path, PLACEHOLDER, b"char 1:3")
    except OSError:
        pytest.skip("no user attributes here")


_GOES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "nothing": ("No such file", Path.unlink),
    "a directory": ("became something else", lambda path: (path.unlink(), path.mkdir())),
    "a symlink": ("became something else", lambda path: (path.unlink(), path.symlink_to("../b"))),
    "a placeholder": ("became something else", _mark),
}


@pytest.mark.parametrize("case", _GOES)
def test_what_goes_after_the_look_is_met_by_a_whole_copy(
    tmp_path: Path, content: ContentStore, case: str
) -> None:
    said, act = _GOES[case]
    copying, copy = Copying(tmp_path, content, "both"), CASES["all"][0]
    make(copying.source, {"b": "b", "d/x": "x"})
    last = copying.run(copy)
    (tmp_path / "source/d/x").write_text("")
    copying.after_look = lambda: act(tmp_path / "source/d/x")
    with pytest.raises(Unplannable, match=said):
        copying.run(copy, last, looked=True)


def test_what_is_put_is_told_and_has_its_owner(tmp_path: Path, content: ContentStore) -> None:
    copying, copy = Copying(tmp_path, content, "layer"), Copy(0, (".",), "/", chown="7:8")
    make(copying.source, {"b": "b", "d/x": "x", "z/1": "1"})
    copying.remember(copy)
    last = copying.run(copy)
    (tmp_path / "source/d/x").write_text("changed")
    (tmp_path / "source/z/1").write_text("too")
    whole = copying.run(copy)
    copying.told.clear()
    updated = copying.run(copy, last, looked=True)
    assert copying.looked == 1 and copying.told == [(2, len("changed") + len("too"))]
    assert copying.tar(updated) == copying.tar(whole)


def test_a_look_is_let_go_of(tmp_path: Path, content: ContentStore) -> None:
    """It is large."""
    copying, copy = Copying(tmp_path, content, "layer"), CASES["all"][0]
    make(copying.source, {"b": "b", "d/x": "x"})
    copying.run(copy, copying.run(copy), looked=True)
    assert copying.looked == 1
    assert (copying.seen.top, copying.seen.lines) == (None, []) and not copying.seen.stamps


def test_a_name_that_is_no_more_of_the_file_that_changed(
    tmp_path: Path, content: ContentStore
) -> None:
    """overlayfs copies one of two names up when a file of a lower layer is written; the other stays
    what it was, with its times."""
    copying, copy = Copying(tmp_path, content, "layer"), CASES["all"][0]
    make(copying.source, {"b": "b", "c": "= b"})
    copying.remember(copy)
    last = copying.run(copy)
    with opened(copying.source) as (source_fd,):
        before = copying.look(copy, SourceTree(source_fd, local=True))
    (tmp_path / "source/b").unlink()
    (tmp_path / "source/b").write_text("changed")
    whole = copying.run(copy)

    def stay() -> None:
        assert [one.partition("\0")[0] for one in copying.seen.lines] == ["/", "/b", "/c"]
        copying.seen.stamps[-STAMP.size :] = before.stamps[-STAMP.size :]

    copying.after_look = stay
    assert copying.tar(copying.run(copy, last, looked=True)) == copying.tar(whole)


def test_what_is_written_while_it_is_copied_is_noticed(
    tmp_path: Path, content: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying, copy = Copying(tmp_path, content, "layer"), CASES["all"][0]
    make(copying.source, {"b": "b", "d/x": "x"})
    last = copying.run(copy)
    (tmp_path / "source/d/x").write_text("changed")
    time.sleep(0.05)
    since_ns = time.time_ns()
    time.sleep(0.05)

    def written(found: FoundFile) -> bool:
        (tmp_path / "source" / found.path).write_text("later")
        return touched(found)

    monkeypatch.setattr(update, "touched", written)
    newest_ns = copying.run(copy, last, looked=True).newest_ns
    assert newest_ns is not None and is_since(newest_ns, since_ns)


def test_what_was_read_by_the_look_is_looked_at_again(
    tmp_path: Path, content: ContentStore
) -> None:
    """It may have been written between its stamp and its digest. What the last copy did not trust
    is put again."""
    copying, copy = Copying(tmp_path, content, "layer"), CASES["all"][0]
    make(copying.source, {"b": "b", "d/x": "x"})
    with pytest.MonkeyPatch.context() as clock:
        clock.setattr(inventory, "RACY_NS", 10**12)
        last = copying.run(copy)
    for _ in range(2):
        copying.run(copy, last, looked=True)
        assert copying.changed == ["b", "d", "d/x"]
    last = copying.run(copy)
    copying.run(copy, last, looked=True)
    assert copying.changed == [] and copying.kept == 3
    with content.store.db.transaction() as tx:
        tx.execute("DELETE FROM digests_of_files")
    copying.after_look = lambda: (tmp_path / "source/d/x").write_text("later")
    copying.run(copy, last, looked=True)
    assert copying.changed == ["d/x"]


@pytest.mark.parametrize(
    ("before", "now"),
    [(("d", "!d/x"), ()), ((), ("d", "!d/x"))],
    ids=["no more", "now"],
)
def test_a_directory_that_is_only_the_way_is_another(
    tmp_path: Path, content: ContentStore, before: tuple[str, ...], now: tuple[str, ...]
) -> None:
    """Nothing else tells that --chown means it, or does not."""
    copying = Copying(tmp_path, content, "layer")
    copying.base = make(str(tmp_path / "base"), {"d/of": ""})
    make(copying.source, {"b": "b", "d/x": "x"})
    copy = Copy(0, (".",), "/", chown="7:7")
    last = copying.run(copy._replace(exclude=before))
    whole = copying.run(copy._replace(exclude=now))
    updated = copying.run(copy._replace(exclude=now), last, looked=True)
    assert copying.tar(updated) == copying.tar(whole) != copying.tar(last)


def test_a_file_of_the_base_is_left_to_a_whole_copy(tmp_path: Path, content: ContentStore) -> None:
    copying, copy = Copying(tmp_path, content, "tree"), CASES["all"][0]
    copying.base = make(str(tmp_path / "base"), {"b": "of the base"})
    make(copying.source, {"b": "b"})
    last = copying.run(copy)
    (tmp_path / "source/b").write_text("of the base")
    with pytest.raises(Unplannable, match="takes the place"):
        copying.run(copy, last, looked=True)


@pytest.mark.parametrize("looked", [False, True])
def test_a_directory_of_the_base_comes_back_by_a_whole_copy(
    tmp_path: Path, content: ContentStore, looked: bool
) -> None:
    """A file took its place in the last copy, and took away what the base has in it."""
    copying = Copying(tmp_path, content, "tree")
    copy = Copy(0, (".",), "/", chown=ME, rules=CopyRules(replace=True))
    copying.base = make(str(tmp_path / "base"), {"d/of": "of the base"})
    make(copying.source, {"b": "b", "d": "a file"})
    copying.remember(copy)
    last = copying.run(copy)
    assert Path(last.root, "d").is_file()
    (tmp_path / "source/d").unlink()
    make(copying.source, {"d/x": "x"})
    with pytest.raises(Unplannable, match="the base has something at /d"):
        copying.run(copy, last, looked=looked)


def test_what_changed_is_not_asked_on_another_base(tmp_path: Path, content: ContentStore) -> None:
    """Of equal key, but with other times, which a layer repeats."""
    copying, copy = Copying(tmp_path, content, "layer"), CASES["all"][0]
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


_CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a new name": (lambda top: (top / "d/new").touch(), ["d", "d/new"]),
    "a new name at the end": (lambda top: (top / "zz").touch(), ["zz"]),
    "a name is gone": (lambda top: (top / "d/x").unlink(), ["d"]),
    "the first is gone": (lambda top: (top / "a").unlink(), []),
    "another name": (lambda top: (top / "d").rename(top / "e"), ["e", "e/x"]),
    "a symlink": (lambda top: ((top / "s").unlink(), (top / "s").symlink_to("b")), ["s"]),
    "another type": (
        lambda top: ((top / "d/x").unlink(), (top / "d/x").mkdir(), (top / "d/x/y").touch()),
        ["d", "d/x", "d/x/y"],
    ),
    "a name of another file": (_link, ["d/x", "z", "z/1"]),
    "a file with two names": (lambda top: (top / "b").write_text("changed"), ["b", "c"]),
    "another first name": (lambda top: (top / "b").unlink(), ["c"]),
}


@pytest.mark.parametrize("form", ["tree", "layer", "both"])
@pytest.mark.parametrize("case", _CHANGES)
def test_what_a_look_finds_is_put_and_nothing_else(
    tmp_path: Path, content: ContentStore, form: Form, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is not walked."""
    copying, copy = Copying(tmp_path, content, form), CASES["all"][0]
    make(copying.source, {"a": "a", "b": "b", "d/x": "x", "z/1": "1"})
    os.link(f"{copying.source}/b", f"{copying.source}/c")
    os.symlink("z", f"{copying.source}/s")
    copying.remember(copy)
    last = copying.run(copy)
    time.sleep(0.01)
    act, expected = _CHANGES[case]
    act(tmp_path / "source")
    whole = copying.run(copy)
    copying.after_look = lambda: monkeypatch.setattr(walk, "walk", None)
    updated = copying.run(copy, last, looked=True)
    assert copying.changed == expected
    assert copying.tar(updated) == copying.tar(whole)
    if form != "layer":
        assert tree(updated.root, copy) == tree(whole.root, copy)


@pytest.mark.parametrize("form", ["tree", "layer", "both"])
def test_a_first_name_that_is_ignored_now(
    tmp_path: Path, content: ContentStore, form: Form
) -> None:
    """Then the second one is the file, though nothing of it changed."""
    copying, copy = Copying(tmp_path, content, form), CASES["all"][0]
    make(copying.source, {"a": "a", "b": "b", "d/x": "= a"})
    last = copying.run(copy)
    copying.ignore("a")
    whole, updated = copying.run(copy), copying.run(copy, last, looked=True)
    assert copying.changed == ["d/x"]
    assert copying.tar(updated) == copying.tar(whole)
    if form != "layer":
        assert tree(updated.root, copy) == tree(whole.root, copy)


def test_a_table_stays_though_few_files_are_new(
    tmp_path: Path, content: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "_FEW_ENTRIES", 100)
    copying, copy = Copying(tmp_path, content, "layer"), CASES["all"][0]
    make(copying.source, {f"{number}": "" for number in range(600)})
    last = copying.run(copy)
    for number in range(2):
        make(copying.source, {f"new{number}": ""})
        last = copying.run(copy, last, looked=True)
        assert copying.changed == [f"new{number}"]


def test_a_table_of_many_copies_is_read(
    tmp_path: Path, content: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batches do not grow with what each copy keeps of the last one."""
    monkeypatch.setattr(inventory, "_BATCH", 5)
    monkeypatch.setattr(inventory, "_MOST", 10)
    copying, copy = Copying(tmp_path, content, "layer"), CASES["all"][0]
    make(copying.source, {f"{number:02}": "" for number in range(20)})
    copying.remember(copy)
    last = copying.run(copy)
    for gone in ("07", "02", "15"):
        (tmp_path / "source" / gone).unlink()
        last = copying.run(copy, last, looked=True)
    copying.run(copy, last, looked=True)
    assert (copying.changed, copying.kept) == ([], 17)


def test_what_was_written_just_before_is_put_again(
    tmp_path: Path, content: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be written once more without another stamp."""
    copying, copy = Copying(tmp_path, content, "layer"), CASES["all"][0]
    make(copying.source, {"b": "b", "d/x": "x"})
    copying.remember(copy)
    last = copying.run(copy)
    (tmp_path / "source/d/x").write_text("changed")
    with monkeypatch.context() as clock:
        clock.setattr(inventory, "RACY_NS", 10**12)
        last = copying.run(copy, last, looked=True)
    copying.run(copy, last, looked=True)
    assert copying.changed == ["d/x"]
