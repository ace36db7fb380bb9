"""One change after the other into a layer: what is done, why, and what comes of it."""

import errno
import os
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from minibuild.errors import Cancelled, HostError, StoreError
from minibuild.linux import xattr
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.recorded import Records
from minibuild.snapshot.api import Applied, Change, Defect, Kind, MergePolicy, Strategy
from minibuild.snapshot.apply import Applier, Counts
from minibuild.snapshot.diff import changes
from minibuild.snapshot.view import View
from tests.snapshot.layers import Spec, make, shown
from tests.support.descriptors import open_descriptors, opened_since

TIME_NS = 1_600_000_000_123_456_789


class Bench:
    """A layer to apply diffs to. `below` are the layers under it, lowest first."""

    def __init__(self, folder: Path, below: Sequence[Spec] = (), **policy: Any) -> None:
        self.folder = folder
        self.acts: list[Applied] = []
        dirs = [make(folder / f"below{n}", spec) for n, spec in enumerate(below)]
        self.below = View(dirs[::-1], "user")
        self.layer = make(folder / "layer", {})
        self.policy = MergePolicy(Strategy.HARDLINK, trace=self.acts.append, **policy)
        self.applier = Applier(self.layer, self.below, self.policy)
        self.diffs = 0

    def apply(self, *layers: Spec) -> list[tuple[str, ...]]:
        """Apply what the last layer is on the others; say what was done, but for the root."""
        self.diffs += 1
        self.acts.clear()
        dirs = [
            make(self.folder / f"diff{self.diffs}-{number}", spec)
            for number, spec in enumerate(layers)
        ][::-1]
        before = open_descriptors()
        news = changes(View(dirs[1:], "user"), View(dirs, "user"))
        self.applier.apply(news, at=self.diffs - 1)
        assert not opened_since(before)
        assert {act.diff for act in self.acts} <= {self.diffs - 1}
        return [
            (act.path, act.action, act.reason) if act.reason else (act.path, act.action)
            for act in self.acts
        ]

    def tree(self) -> dict[str, str]:
        """What it all adds up to."""
        return shown(View([self.layer, *self.below.dirs], "user"))

    def own(self) -> dict[str, int]:
        """The types of what the layer itself has."""
        top = Path(self.layer)
        return {
            str(path.relative_to(top)): stat.S_IFMT(path.lstat().st_mode) for path in top.rglob("*")
        }


NOTHING_BELOW = "nothing lies below"
NO_LINK = "another filesystem, or too many links"


def test_news(tmp_path: Path) -> None:
    """Files are linked from the layer that has them, and so are their further names."""
    bench = Bench(tmp_path)
    spec = {"d": "/", "d/f": "f", "d/g": "= d/f", "d/l": "-> f", "p": "|"}
    assert bench.apply(spec) == [
        ("d", "made"),
        ("d/f", "linked"),
        ("d/g", "linked", "to /d/f"),
        ("d/l", "linked"),
        ("p", "copied", "never shared: fifo, socket"),
    ]
    assert bench.tree() == {**spec, "d/g": "f"}
    assert bench.applier.counts == Counts(2, 1)
    assert os.lstat(f"{bench.layer}/d/f").st_nlink == 4
    assert {(a.path, a.kind, a.source) for a in bench.acts} >= {
        ("d/f", Kind.ADD, f"{tmp_path}/diff1-0/d/f")
    }


def test_directories_unite(tmp_path: Path) -> None:
    """The later one has the last word about the metadata, also of the root."""
    bench = Bench(tmp_path)
    bench.apply({"d": "/", "d/a": "a", "d/e/x": "x"})
    make(tmp_path / "diff2-0", {"d": "/"})
    (tmp_path / "diff2-0").chmod(0o750)
    (tmp_path / "diff2-0" / "d").chmod(0o711)
    os.utime(tmp_path / "diff2-0", ns=(TIME_NS, TIME_NS))
    assert bench.apply({"d/b": "b", "d/e/y": "y"}) == [
        ("d", "kept"),
        ("d/b", "linked"),
        ("d/e", "kept"),
        ("d/e/y", "linked"),
    ]
    assert bench.tree() == {
        **{"d": "/", "d/a": "a", "d/b": "b"},
        **{"d/e": "/", "d/e/x": "x", "d/e/y": "y"},
    }
    assert stat.S_IMODE(os.stat(f"{bench.layer}/d").st_mode) == 0o711
    assert stat.S_IMODE(os.stat(bench.layer).st_mode) == 0o750
    assert bench.applier.counts == Counts(4, 0)


def test_times_of_directories_outlast_what_is_done_in_them(tmp_path: Path) -> None:
    """Those of the root as well: it comes with the first change."""
    bench = Bench(tmp_path)
    make(tmp_path / "diff1-0", {"d/e/f": "f"})
    for path in ("d/e", "d", "."):
        os.utime(tmp_path / "diff1-0" / path, ns=(TIME_NS, TIME_NS))
    bench.apply({})
    for path in ("d", "d/e", "."):
        assert os.stat(f"{bench.layer}/{path}").st_mtime_ns == TIME_NS


REPLACED: dict[str, tuple[Spec, Spec, tuple[str, str]]] = {
    "file": ({"x": "old"}, {"x": "new"}, ("x", "linked")),
    "directory": ({"x/in": "old"}, {"x": "new"}, ("x", "linked")),
    "by a directory": ({"x": "old"}, {"x": "/"}, ("x", "made")),
    "symlink": ({"x": "-> /etc"}, {"x": "/"}, ("x", "made")),
    "fifo": ({"x": "|"}, {"x": "/"}, ("x", "made")),
}


@pytest.mark.parametrize("name", REPLACED)
def test_what_is_replaced(tmp_path: Path, name: str) -> None:
    """Only two directories unite."""
    first, second, act = REPLACED[name]
    bench = Bench(tmp_path)
    bench.apply(first)
    assert bench.apply(second) == [act]
    assert bench.tree() == dict(second)


# --- Deletions ---


def test_deletions(tmp_path: Path) -> None:
    """A whiteout only where there is something to hide, linked to that of the diff."""
    bench = Bench(tmp_path, [{"low": "l", "d/low": "l"}])
    bench.apply({"mine": "m", "d/mine": "m"})
    base = {"low": "l", "mine": "m", "none": "n", "d/low": "l", "d/mine": "m", "d/none": "n"}
    gone = dict.fromkeys(sorted(base, key=lambda path: (path.count("/"), path)), "gone")
    acts = bench.apply(base, gone)
    assert sorted(acts) == [
        ("d", "kept"),
        ("d/low", "whiteout", "linked to that of the diff"),
        ("d/mine", "removed", NOTHING_BELOW),
        ("d/none", "skipped", NOTHING_BELOW),
        ("low", "whiteout", "linked to that of the diff"),
        ("mine", "removed", NOTHING_BELOW),
        ("none", "skipped", NOTHING_BELOW),
    ]
    assert bench.tree() == {"d": "/"}
    assert set(bench.own()) == {"low", "d", "d/low"}
    assert bench.applier.counts == Counts(2, 0)


def unrelated(bench: Bench, lower: Spec, upper: Spec) -> list[Change]:
    """The changes between two trees that share no layer: no whiteout says what is gone."""
    one, other = make(bench.folder / "one", lower), make(bench.folder / "other", upper)
    return list(changes(View([one], "user"), View([other], "user")))


@pytest.mark.parametrize("defect", ["", "whiteout-hardlink"])
def test_deletions_without_a_whiteout_to_link(tmp_path: Path, defect: Defect) -> None:
    bench = Bench(tmp_path, [{"a": "a", "b": "b"}], defect=defect)
    bench.applier.apply(unrelated(bench, {"a": "a", "b": "b"}, {}))
    assert [(a.path, a.action, a.reason) for a in bench.acts if a.path] == [
        ("a", "whiteout", "created"),
        ("b", "whiteout", "created"),
    ]
    assert bench.tree() == {}
    assert all(os.lstat(f"{bench.layer}/{name}").st_rdev == 0 for name in "ab")


def test_a_whiteout_that_cannot_be_linked_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, [{"a": "a"}])
    monkeypatch.setattr(os, "link", refusing(errno.EXDEV))
    assert bench.apply({"a": "a"}, {"a": "gone"}) == [("a", "whiteout", "created")]
    assert bench.tree() == {}


# --- Opaque directories ---


def test_what_was_hidden_stays_hidden(tmp_path: Path) -> None:
    """A directory in place of a file hides what is below the file, and says so once."""
    bench = Bench(tmp_path, [{"d/low": "l", "e/low": "l"}])
    bench.apply({"d": "file"})
    assert bench.apply({"d/new": "n"}) == [("d", "opaque"), ("d/new", "linked")]
    assert bench.tree() == {"d": "/", "d/new": "n", "e": "/", "e/low": "l"}
    assert xattr.get(f"{bench.layer}/d", "user.overlay.opaque") == b"y"
    # What the next diff deletes there is hidden already: no whiteout is needed.
    assert bench.apply({"d/low": "l", "d/new": "n"}, {"d/low": "gone", "d/new": "gone"}) == [
        ("d", "kept"),
        ("d/low", "skipped", NOTHING_BELOW),
        ("d/new", "removed", NOTHING_BELOW),
    ]
    assert bench.tree() == {"d": "/", "e": "/", "e/low": "l"}


def test_nothing_hidden_is_no_reason_to_be_opaque(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [{"other": "o"}])
    bench.apply({"d": "file"})
    assert bench.apply({"d/new": "n"}) == [("d", "made"), ("d/new", "linked")]
    assert xattr.get(f"{bench.layer}/d", "user.overlay.opaque") is None


@pytest.mark.parametrize(
    ("defect", "action", "seen"), [("", "made", True), ("opaque-copied", "opaque", False)]
)
def test_opaqueness_is_not_copied(tmp_path: Path, defect: Defect, action: str, seen: bool) -> None:
    """It is true of the diff's own base."""
    bench = Bench(tmp_path, [{"d/low": "l"}], defect=defect)
    assert bench.apply({"d": "opaque", "d/new": "n"})[0] == ("d", action)
    assert ("d/low" in bench.tree()) == seen
    assert "d/new" in bench.tree()


def test_a_marked_directory_in_a_layer_with_nothing_below(tmp_path: Path) -> None:
    bench = Bench(tmp_path, defect="opaque-copied")
    assert bench.apply({"d": "opaque"}) == [("d", "made")]


# --- Links that cannot be made ---


def refusing(code: int, only: Callable[[str], bool] = lambda _: True) -> Callable[..., None]:
    link = os.link

    def refused(source: str, *names: Any, **named: Any) -> None:
        if only(str(source)):
            raise OSError(code, os.strerror(code))
        link(source, *names, **named)

    return refused


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EMLINK])
def test_files_that_cannot_be_linked_are_copied(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of one file in the diff are still names of one file, the copy."""
    bench = Bench(tmp_path)
    make(tmp_path / "diff1-0", {"a": "a", "b": "= a"})
    monkeypatch.setattr(os, "link", refusing(code, lambda source: "/diff" in source))
    assert bench.apply({"c": "c"}) == [
        ("a", "copied", NO_LINK),
        ("b", "linked", "to /a"),
        ("c", "copied", NO_LINK),
    ]
    assert bench.tree() == {"a": "a", "b": "a", "c": "c"}
    assert bench.applier.counts == Counts(0, 2)


def test_an_inode_with_all_its_names_goes_on_as_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy takes the names that follow."""
    bench = Bench(tmp_path)
    make(tmp_path / "diff1-0", {"a": "a", "b": "= a", "c": "= a", "d": "= a"})
    full = f"{bench.layer}/a"
    monkeypatch.setattr(os, "link", refusing(errno.EMLINK, lambda source: source == full))
    assert bench.apply({}) == [
        ("a", "linked"),
        ("b", "copied", NO_LINK),
        ("c", "linked", "to /b"),
        ("d", "linked", "to /b"),
    ]
    assert bench.applier.counts == Counts(1, 1)


def test_copies_are_asked_for(tmp_path: Path) -> None:
    """Of a tree that is to be written to. Names of one file stay that."""
    applier = Applier(make(tmp_path / "to", {}), View((), "user"), MergePolicy(), link=False)
    source = make(tmp_path / "from", {"a": "a", "b": "= a"})
    applier.apply(changes(View((), "user"), View([source], "user")))
    assert applier.counts == Counts(0, 1)
    assert os.lstat(tmp_path / "to/a").st_nlink == 2 and os.lstat(tmp_path / "from/a").st_nlink == 2


def test_what_is_linked_has_its_recorded_owner(tmp_path: Path) -> None:
    """That of a symlink is in the table of its snapshot, so each has a line of its own for the same
    inode. A file brings it along."""
    source = Path(make(tmp_path / "source", {"f": "text"}))
    os.symlink("nowhere", source / "s")
    os.link(source / "s", source / "t", follow_symlinks=False)
    os.symlink("alone", source / "u")
    before, after = (Records([str(tmp_path / name)]) for name in ("before", "after"))
    with closing_fd(os.open(source, os.O_RDONLY)) as fd:
        for name in ("f", "s", "u"):
            before.write(fd, name, 11, 22)
    layer, nothing = Path(make(tmp_path / "layer", {})), View((), "user")
    applier = Applier(str(layer), nothing, MergePolicy(), owners=after)
    applier.apply(changes(nothing, View([str(source)], "user", before)), before)
    for name in ("f", "s", "t", "u"):
        found = (layer / name).lstat()
        assert found.st_ino == (source / name).lstat().st_ino
        assert Records(after.tables).owner(found, str(layer / name)) == (11, 22)
    assert len((tmp_path / "after").read_text().splitlines()) == 2


def test_the_memory_of_inodes_is_of_one_diff(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    spec = {"a": "a", "b": "= a"}
    bench.apply(spec)
    bench.apply({"a": "gone it is", "c": "c"})
    assert bench.tree() == {"a": "gone it is", "b": "a", "c": "c"}


# --- Defects and errors ---


@pytest.mark.parametrize("second", ["directory", "fifo"])
def test_types_are_compared_whole(tmp_path: Path, second: str) -> None:
    """By one bit a socket is a directory as well, and stays where a directory is to come."""
    value = {"directory": "/", "fifo": "|"}[second]
    for defect in ("", "type-mask"):
        bench = Bench(tmp_path / (defect or "none"), defect=defect)
        os.mknod(f"{bench.layer}/x", stat.S_IFSOCK | 0o600)
        if defect and second == "directory":
            with pytest.raises(StoreError, match="failed to create directory during apply") as got:
                bench.apply({"x": value})
            assert "docs/lab.md" in got.value.hint
        else:
            bench.apply({"x": value})
            assert bench.tree() == {"x": value}


def test_what_stays_though_it_should_not(tmp_path: Path) -> None:
    """Two more outcomes of the defect, in the words of BuildKit."""
    bench = Bench(tmp_path, defect="type-mask")
    # A socket (0o14) and a directory (0o04) have the bit of a directory in common.
    bench.apply({"x/in": "i"})
    make(tmp_path / "diff2-0", {})
    os.mknod(tmp_path / "diff2-0/x", stat.S_IFSOCK | 0o600)
    with pytest.raises(StoreError, match=r"to create file during apply: create .*/layer/x: "):
        bench.apply({})


def test_a_link_that_leads_nowhere_and_is_followed(tmp_path: Path) -> None:
    """It is in the way like any other, with the defect as well."""
    bench = Bench(tmp_path, defect="link-followed")
    os.symlink("nowhere", f"{bench.layer}/x")
    bench.apply({"x/in": "i"})
    assert bench.tree() == {"x": "/", "x/in": "i"}


def test_a_link_that_cannot_be_made_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path)
    monkeypatch.setattr(os, "link", refusing(errno.ENOENT))
    with pytest.raises(StoreError) as got:
        bench.apply({"f": "f"})
    assert str(got.value) == (
        f"failed to hardlink during apply: link {tmp_path}/diff1-0/f {bench.layer}/f: "
        "no such file or directory"
    )
    assert bench.applier.counts == Counts(0, 0)


HINTS: dict[str, tuple[Defect, int, str]] = {
    "damaged": ("", errno.ENOENT, "the store may be damaged"),
    "full": ("", errno.ENOSPC, "free some space"),
    "an old defect": ("type-mask", errno.ENOENT, "docs/lab.md"),
}


@pytest.mark.parametrize("name", HINTS)
def test_hints(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    defect, code, hint = HINTS[name]
    layer = make(tmp_path / "layer", {})
    applier = Applier(layer, View((), "user"), MergePolicy(defect=defect))
    source = make(tmp_path / "from", {"f": "f"})
    monkeypatch.setattr(os, "link", refusing(code))
    with pytest.raises((StoreError, HostError)) as got:
        applier.apply(changes(View((), "user"), View([source], "user")))
    assert hint in got.value.hint
    assert os.strerror(code).lower() in str(got.value) and f"{layer}/f" in str(got.value)


def test_it_stops_between_two_changes(tmp_path: Path) -> None:
    cancelled = threading.Event()
    cancelled.set()
    source = make(tmp_path / "from", {"a": "a"})
    layer = make(tmp_path / "layer", {})
    applier = Applier(layer, View((), "user"), MergePolicy(), cancelled=cancelled)
    before = open_descriptors()
    with pytest.raises(Cancelled):
        applier.apply(changes(View((), "user"), View([source], "user")))
    assert os.listdir(layer) == [] and not opened_since(before)


def test_each_directory_is_merged_with_its_own_below(tmp_path: Path) -> None:
    """Back from one that has nothing below, the directory above still has."""
    bench = Bench(tmp_path, [{"d/low": "l", "z": "z"}])
    spec = {"d/new/sub/f": "f", "d/low": "l", "z": "z"}
    bench.apply(spec, {"d/new/sub/g": "g", "d/low": "gone", "z": "gone"})
    assert bench.tree() == {"d": "/", "d/new": "/", "d/new/sub": "/", "d/new/sub/g": "g"}


def test_attributes_of_an_earlier_diff_go(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    xattr.set(make(tmp_path / "diff1-0/d", {}), "user.old", b"1")
    bench.apply({"d": "/"})
    assert xattr.names(f"{bench.layer}/d") == ["user.old"]
    bench.apply({"d": "/"})
    assert xattr.names(f"{bench.layer}/d") == []


@pytest.mark.parametrize("defect", ["", "whiteout-hardlink"])
def test_whiteouts_are_no_names_of_one_file(tmp_path: Path, defect: Defect) -> None:
    """The kernel gives all of them one inode. The first was not needed here, and is not there."""
    bench = Bench(tmp_path, [{"z": "z"}], defect=defect)
    make(tmp_path / "diff1-1", {"a": "gone"})
    os.link(tmp_path / "diff1-1/a", tmp_path / "diff1-1/z")
    if defect:
        with pytest.raises(StoreError, match="failed to hardlink during apply"):
            bench.apply({"a": "a", "z": "z"}, {})
    else:
        assert bench.apply({"a": "a", "z": "z"}, {}) == [
            ("a", "skipped", NOTHING_BELOW),
            ("z", "whiteout", "linked to that of the diff"),
        ]
