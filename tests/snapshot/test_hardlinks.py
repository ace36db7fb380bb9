"""Hardlinks in merges: rules 35 to 44 of the table in `docs/merge.md`, by number."""

import os
import stat
from pathlib import Path

import pytest

from minibuild.errors import StoreError
from minibuild.lab.model import link_groups
from minibuild.snapshot.api import (
    Applied,
    Change,
    Defect,
    Diff,
    Kind,
    MergePolicy,
    SnapshotID,
    Strategy,
)
from minibuild.snapshot.apply import Applier
from minibuild.snapshot.view import View
from tests.snapshot.world import World, chmod, link, mkdir, remove, symlink, write


def inode(world: World, snapshot: SnapshotID, path: str) -> os.stat_result:
    """The metadata of a file in the layer directory of a snapshot."""
    return os.lstat(f"{world.snapshots.layer_dir(snapshot)}/{path}")


def test_c3_35_links_inside_a_diff_are_kept(world: World) -> None:
    one = world.layer(
        None, write("a", "text"), link("z", "a"), mkdir("d"), link("d/b", "a"), write("alone")
    )
    merged = world.merge(world.layer(None, write("x")), one)
    assert link_groups(world.read(merged)) == {frozenset({"a", "z", "d/b"})}


def test_c3_35_also_of_symlinks_and_of_what_is_copied(world: World) -> None:
    one = world.layer(None, symlink("a", "x"), link("b", "a"))
    fifo = world.layer(None, lambda root: os.mkfifo(f"{root}/f"), link("g", "f"))
    merged = world.merge(world.layer(None, write("x")), one, fifo)
    assert link_groups(world.read(merged)) == {frozenset("ab"), frozenset("fg")}


def test_c3_36_files_are_linked_across_snapshots(hardlink: World) -> None:
    base, one = hardlink.layer(None, write("x")), hardlink.layer(None, write("f"))
    merged = hardlink.merged(base, one)
    assert merged.report.linked == 1 and merged.report.copied == 0
    assert inode(hardlink, merged.snapshot, "f").st_ino == inode(hardlink, one, "f").st_ino


@pytest.mark.parametrize("code", ["EXDEV", "EMLINK"])
def test_c3_36_where_linking_is_impossible_it_copies(
    hardlink: World, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    import errno

    real = os.link

    def refuse(source: str, name: str, **where: object) -> None:
        if f"/{one}/fs/" in source:
            raise OSError(getattr(errno, code), "no")
        real(source, name, **where)  # type: ignore[arg-type]

    base = hardlink.layer(None, write("x"))
    one = hardlink.layer(None, write("f", "text"), link("g", "f"), symlink("l", "t"))
    monkeypatch.setattr(os, "link", refuse)
    merged = hardlink.merged(base, one)
    assert merged.report.copied == 2  # f and l; g is a link to the copy
    tree = hardlink.read(merged.snapshot)
    assert (tree["f"].data, tree["l"].data) == (b"text", "t")
    assert link_groups(tree) == {frozenset({"f", "g"})}


def test_c3_36_an_inode_that_may_have_no_more_names_is_copied_once(
    hardlink: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    one = hardlink.layer(None, write("a", "text"), *[link(name, "a") for name in "bcdef"])
    full, real = inode(hardlink, one, "a").st_ino, os.link

    def refuse(source: str, name: str, **where: object) -> None:
        if (found := os.lstat(source)).st_ino == full and found.st_nlink >= 8:
            raise OSError(errno.EMLINK, "Too many links")
        real(source, name, **where)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", refuse)
    merged = hardlink.merged(hardlink.layer(None, write("x")), one)
    assert (merged.report.linked, merged.report.copied) == (1, 1)
    groups = link_groups(hardlink.read(merged.snapshot))
    assert groups == {frozenset("ab"), frozenset("cdef")}


def test_c3_36_any_other_refusal_is_an_error_and_leaves_nothing(
    hardlink: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    base, one = hardlink.layer(None, write("x")), hardlink.layer(None, write("f"))
    before = sorted(os.listdir(hardlink.snapshots.folder))
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(
        StoreError, match=r"failed to hardlink during apply: link .*: operation not"
    ):
        hardlink.merge(base, one)
    assert sorted(os.listdir(hardlink.snapshots.folder)) == before
    assert hardlink.snapshots.table.committed() == [base, one]


def test_c3_37_overwritten_name_leaves_the_other_alone(world: World) -> None:
    c = world.layer(None, write("bar/A", "c"), link("hardlink", "bar/A"))
    a = world.layer(None, write("bar/A", "a"))
    merged = world.merge(c, a)
    assert world.text(merged, "hardlink") == "c"
    assert world.text(merged, "bar/A") == "a"
    assert link_groups(world.read(merged)) == set()


def test_c3_38_writing_in_a_child_changes_nobody_else(world: World) -> None:
    base, one = world.layer(None, write("x")), world.layer(None, write("f", "text"))
    merged = world.merge(base, one)

    def overwrite(root: str) -> None:
        with open(f"{root}/f", "r+") as file:
            file.write("TEXT")

    child = world.layer(merged, overwrite, chmod("f", 0o600))
    assert (world.text(child, "f"), world.read(child)["f"].mode) == ("TEXT", 0o600)
    for snapshot in (one, merged):
        assert world.text(snapshot, "f") == "text"
        assert world.read(snapshot)["f"].mode == 0o644


def test_c3_39_link_counts(store_worlds: dict[str, World]) -> None:
    for name, expected in (("overlay-hardlink", 1), ("native", 2)):
        world = store_worlds[name]
        base, one = world.layer(None, write("base")), world.layer(None, write("f"))
        world.merge(base, one)
        assert inode(world, base, "base").st_nlink == expected
        assert inode(world, one, "f").st_nlink == 2


def test_c3_40_two_mounts_of_a_linked_file_are_apart(world: World) -> None:
    if world.snapshots.name == "stacked":
        pytest.skip("its steps write to trees of their executor alone")
    base, one = world.layer(None, write("x")), world.layer(None, write("f"))
    merged = world.merge(base, one)
    first, second = world.snapshots.prepare(merged), world.snapshots.prepare(merged)
    with (
        world.snapshots.tree(first, readonly=False) as one_fd,
        world.snapshots.tree(second, readonly=False) as other_fd,
    ):
        os.chmod("f", 0o600, dir_fd=one_fd)
        assert stat.S_IMODE(os.stat("f", dir_fd=other_fd).st_mode) == 0o644


def test_c3_41_the_source_is_the_file_below_the_mount(overlay: World) -> None:
    low = overlay.layer(None, write("d/low"))
    up = overlay.layer(overlay.layer(low, write("d/middle")), write("d/up"))
    sources = {p: c.source for p, c in overlay.changed(None, up).items()}
    folder = overlay.snapshots.folder
    assert sources["d/low"] == f"{folder}/{low}/fs/d/low"
    assert sources["d/up"] == f"{folder}/{up}/fs/d/up"
    assert all(os.path.lexists(source) for source in sources.values())


def test_c3_42_copying_up_breaks_hardlinks_and_a_merge_shows_it(overlay: World) -> None:
    low = overlay.layer(None, write("a", "old"), link("b", "a"))

    def append(root: str) -> None:
        with open(f"{root}/a", "a") as file:
            file.write(", new")

    up = overlay.layer(low, append)  # The index of inodes, which would keep them, is off.
    assert overlay.changes(low, up) == ["modify .", "modify a"]
    merged = overlay.merge(overlay.layer(None, write("x")), low, Diff(low, up))
    assert (overlay.text(merged, "a"), overlay.text(merged, "b")) == ("old, new", "old")
    assert link_groups(overlay.read(merged)) == set()


# Whiteouts: moby/buildkit pull request 4516 ------------------------------------------------------


class Reproduction:
    """The five conditions of rule 44, each of which can be left out."""

    def __init__(
        self,
        world: World,
        *,
        chain: str = "file2",
        linked: str = "file1",
        second_link: bool = True,
        two_runs: bool = False,
    ) -> None:
        self.world = world
        base = world.layer(world.layer(None, write("bin/sh")), write(chain))
        first = world.layer(None, write(linked))
        root = world.merge(base, first)
        if two_runs:
            middle = world.layer(root, remove("file1"))
            self.run = world.layer(middle, remove("file2"))
            removals = [Diff(root, middle), Diff(middle, self.run)]
        else:
            self.run = world.layer(root, remove("file1"), remove("file2"))
            removals = [Diff(root, self.run)]
        second = world.layer(None, write("other"))
        # The base has the files of the RUN; the merge of the second link drops the first link.
        self.diffs = [Diff(None, world.snapshots.layers(base)[0])]
        self.diffs += [Diff(world.snapshots.layers(base)[0], base), *removals]
        if second_link:
            self.diffs.append(Diff(None, second))

    def merge(self, defect: Defect = "") -> list[str]:
        """Merge with the old behaviour or the new."""
        policy = MergePolicy(Strategy.HARDLINK, defect)
        merged = self.world.snapshots.merge(self.diffs, policy)
        return self.world.paths(merged.snapshot)


def test_c3_43_all_whiteouts_of_an_upperdir_may_be_one_inode(hardlink: World) -> None:
    run = Reproduction(hardlink).run
    one, two = inode(hardlink, run, "file1"), inode(hardlink, run, "file2")
    for found in (one, two):
        assert stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
    if one.st_ino != two.st_ino:
        pytest.skip("this kernel does not share the inode of whiteouts")
    assert one.st_nlink >= 2


def test_c3_44_without_the_fix_the_merge_fails_as_in_the_pull_request(hardlink: World) -> None:
    case = Reproduction(hardlink)
    if inode(hardlink, case.run, "file1").st_ino != inode(hardlink, case.run, "file2").st_ino:
        pytest.skip("this kernel does not share the inode of whiteouts")
    before = hardlink.snapshots.table.committed()
    message = r"^failed to hardlink during apply: link \S+/file1 \S+/file2: no such file or dir"
    with pytest.raises(StoreError, match=message):
        case.merge("whiteout-hardlink")
    assert hardlink.snapshots.table.committed() == before


def test_c3_44_with_the_fix_it_passes_and_both_are_gone(hardlink: World) -> None:
    assert Reproduction(hardlink).merge() == ["bin", "bin/sh", "other"]


@pytest.mark.parametrize("leave_out", ["order", "two_runs", "in_prefix"])
def test_c3_44_each_condition_is_needed(hardlink: World, leave_out: str) -> None:
    match leave_out:
        case "order":  # The file that is found below comes first, so its whiteout is there.
            case = Reproduction(hardlink, chain="file1", linked="file2")
        case "two_runs":  # Two upperdirs, two inodes.
            case = Reproduction(hardlink, two_runs=True)
        case _:  # The base has both files, so both whiteouts are needed.
            case = Reproduction(hardlink)
            low = hardlink.layer(None, write("file1"), write("file2"), write("bin/sh"))
            case.diffs[:2] = [Diff(None, low)]
    assert case.merge("whiteout-hardlink") == ["bin", "bin/sh", "other"]
    assert case.merge() == ["bin", "bin/sh", "other"]


def test_c3_44_the_fate_of_each_path_is_told(hardlink: World) -> None:
    case, fates = Reproduction(hardlink), list[Applied]()
    policy = MergePolicy(Strategy.HARDLINK, trace=fates.append)
    hardlink.snapshots.merge(case.diffs, policy)
    assert [(fate.path, fate.action) for fate in fates] == [
        ("file1", "skipped"),
        ("file2", "whiteout"),
        ("other", "linked"),
    ]


def test_c3_44_as_a_unit(world: World) -> None:
    base = world.layer(None, write("d/keep"))
    extra = world.layer(None, write("d/file1"), write("d/file2"))
    merged = world.merge(base, extra)
    gone = world.layer(merged, remove("d/file1"), remove("d/file2"))
    assert world.changes(base, gone) == []
    assert world.paths(world.merge(base, extra, Diff(merged, gone))) == ["d", "d/keep"]


def test_whiteouts_of_one_merge_do_not_need_an_inode_each(hardlink: World) -> None:
    base = hardlink.layer(None, write("x"))
    named = hardlink.layer(base, *[write(f"f{n}") for n in range(20)])
    gone = hardlink.layer(named, *[remove(f"f{n}") for n in range(20)])
    other = hardlink.layer(None, write("y"))
    merged = hardlink.merge(base, Diff(base, named), other, Diff(named, gone))
    assert hardlink.paths(merged) == ["x", "y"]
    shared = len({inode(hardlink, gone, f"f{n}").st_ino for n in range(20)})
    assert len({inode(hardlink, merged, f"f{n}").st_ino for n in range(20)}) == shared


def test_c3_35_the_memory_of_inodes_ends_with_the_diff(tmp_path: Path) -> None:
    for name in ("f", "g"):
        (tmp_path / name).write_text(name)
    (tmp_path / "layer").mkdir()

    def add(path: str, source: str) -> Change:
        found = os.lstat(tmp_path / source)
        where = str(tmp_path / source)
        return Change(Kind.ADD, path, where, found.st_ino, stat.S_IFMT(found.st_mode))

    applier = Applier(str(tmp_path / "layer"), View((), "plain"), MergePolicy())
    applier.apply([add("a", "f")])
    # Another diff replaces what the first one made, and brings the same inode again.
    applier.apply([add("a", "g"), add("b", "f")])
    assert (tmp_path / "layer" / "b").read_text() == "f"
