"""What a change does to a path: rules 16 to 34 of the table in `docs/merge.md`, by number."""

import errno
import os
import resource
import stat
import struct

import pytest

from minibuild.lab.model import plain
from minibuild.lab.trees import TYPES, read_entry
from minibuild.linux import xattr
from minibuild.snapshot.api import Diff, Kind, SnapshotID
from tests.snapshot.world import (
    Edit,
    World,
    chmod,
    chown,
    device_node,
    link,
    mkdir,
    move,
    node,
    remove,
    set_xattr,
    symlink,
    utime,
    write,
)
from tests.support.descriptors import open_descriptors


def test_c2_16_later_files_win_and_directories_unite(world: World) -> None:
    low = world.layer(None, write("d/low"), write("f", "low"), chmod("d", 0o700))
    up = world.layer(None, write("d/up"), write("f", "up"), chmod("d", 0o751))
    merged = world.merge(low, up)
    assert world.paths(merged) == ["d", "d/low", "d/up", "f"]
    assert world.text(merged, "f") == "up"
    assert world.read(merged)["d"].mode == 0o751


def test_c2_16_an_attribute_that_later_input_lacks_is_gone(world: World) -> None:
    low = world.layer(None, mkdir("d"), set_xattr("d", "user.low", b"1"))
    up = world.layer(low, lambda root: xattr.remove(f"{root}/d", "user.low"), write("d/f"))
    other = world.layer(None, mkdir("d"), set_xattr("d", "user.low", b"1"), write("d/other"))
    assert world.read(world.merge(other, Diff(low, up)))["d"].xattrs == ()


def test_c2_17_file_over_directory_removes_it_all(world: World) -> None:
    low = world.layer(None, write("x/y/z"), write("keep"))
    merged = world.merge(low, world.layer(None, write("x", "file")))
    assert world.paths(merged) == ["keep", "x"]


def test_c2_17_directory_over_file_or_symlink(world: World) -> None:
    low = world.layer(None, write("f"), symlink("l", "elsewhere"), write("elsewhere/e"))
    merged = world.merge(low, world.layer(None, write("f/in"), write("l/in")))
    assert world.paths(merged) == ["elsewhere", "elsewhere/e", "f", "f/in", "l", "l/in"]


def test_c2_17_symlink_over_directory_and_over_symlink(world: World) -> None:
    low = world.layer(None, write("d/in"), symlink("l", "one"), write("one/in"))
    merged = world.merge(low, world.layer(None, symlink("d", "new"), symlink("l", "two")))
    assert world.paths(merged) == ["d", "l", "one", "one/in"]
    assert world.read(merged)["d"].data == "new"
    assert world.read(merged)["l"].data == "two"


def test_c2_18_the_last_component_is_never_followed(world: World) -> None:
    through = world.layer(None, mkdir("1"), symlink("a", "1"), write("1/b"))
    replaced = world.layer(None, mkdir("3"), symlink("a", "3"))
    merged = world.merge(through, replaced)
    assert world.paths(merged) == ["1", "1/b", "3", "a"]
    assert world.read(merged)["a"].data == "3"


def test_c2_19_deleting_a_symlink_leaves_its_target(world: World) -> None:
    low = world.layer(None, write("bar/file"), symlink("foo", "bar"))
    removed = world.layer(low, remove("foo"))
    assert world.paths(world.merge(low, Diff(low, removed))) == ["bar", "bar/file"]


def test_c2_20_deletion_below_what_is_now_a_symlink(world: World) -> None:
    before = world.layer(None, write("foo/file"))
    after = world.layer(before, remove("foo/file"))
    linked = world.layer(None, write("bar/file"), symlink("foo", "bar"))
    merged = world.merge(linked, Diff(before, after))
    assert world.paths(merged) == ["bar", "bar/file", "foo"]
    assert world.read(merged)["foo"].type == "dir"


def test_c2_21_circular_links_are_plain_objects(world: World) -> None:
    low = world.layer(
        None, symlink("1", "2"), symlink("2", "1"), mkdir("foo"), symlink("foo/link", "../foo")
    )
    up = world.layer(None, write("1", "file"), write("2/in"), write("foo/link/in"))
    merged = world.merge(low, up)
    assert world.paths(merged) == ["1", "2", "2/in", "foo", "foo/link", "foo/link/in"]


def test_c2_22_deletions_are_felt_not_seen(world: World) -> None:
    foo = world.layer(None, write("foo"))
    removed = world.layer(foo, remove("foo"))
    assert world.paths(world.merge(Diff(foo, removed))) == []
    bar = world.layer(None, write("bar"))
    assert world.paths(world.merge(bar, Diff(foo, removed))) == ["bar"]


def test_c2_23_a_deletion_can_be_left_out(world: World) -> None:
    foo = world.layer(None, write("foo"))
    removed = world.layer(foo, remove("foo"))
    bar = world.layer(removed, write("bar"))
    assert world.paths(world.merge(foo, Diff(removed, bar))) == ["bar", "foo"]


def test_c2_24_parents_of_an_unmatched_deletion_are_made(world: World) -> None:
    low = world.layer(None, write("dir/foo"))
    up = world.layer(low, remove("dir/foo"))
    assert world.changes(low, up) == ["modify .", "modify dir", "delete dir/foo"]
    other = world.layer(None, mkdir("otherdir"))
    assert world.paths(world.merge(other, Diff(low, up))) == ["dir", "otherdir"]


def test_c2_25_parents_come_with_their_metadata_and_without_siblings(world: World) -> None:
    low = world.layer(None, write("a/b/sibling"), chmod("a/b", 0o711), write("other/x"))
    up = world.layer(low, write("a/b/new"))
    assert world.changes(low, up) == ["modify .", "modify a", "modify a/b", "add a/b/new"]
    merged = world.merge(world.layer(None, mkdir("a/b", 0o777)), Diff(low, up))
    assert world.paths(merged) == ["a", "a/b", "a/b/new"]
    assert world.read(merged)["a/b"].mode == 0o711


def in_place_of(path: str, edit: Edit) -> Edit:
    """Another thing at a path."""

    def both(root: str) -> None:
        remove(path)(root)
        edit(root)

    return both


@pytest.mark.parametrize(
    "edit",
    [
        write("f", "other"),
        chmod("f", 0o600),
        set_xattr("f", "user.x", b"1"),
        utime("f", 5),
        in_place_of("f", mkdir("f")),
        in_place_of("f", symlink("f", "x")),
    ],
    ids=["content", "mode", "xattr", "mtime", "directory", "symlink"],
)
def test_c2_26_what_counts_as_a_change(world: World, edit: Edit) -> None:
    low = world.layer(None, write("f", "text"), write("g"), utime("f", 10**18))
    up = world.layer(low, edit)
    assert world.changes(low, up) == ["modify .", "modify f"]


def test_c2_26_content_counts_also_at_equal_size_and_time(world: World) -> None:
    low = world.layer(None, write("f", "text"), utime("f", 10**18))
    up = world.layer(low, write("f", "TEXT"), utime("f", 10**18))
    assert world.changes(low, up) == ["modify .", "modify f"]


def test_c2_26_link_target_and_symlink_time(world: World) -> None:
    low = world.layer(None, symlink("l", "one"), symlink("m", "one"), utime("m", 1), utime("l", 1))
    up = world.layer(low, remove("l"), symlink("l", "two"), utime("l", 1), utime("m", 2))
    assert world.changes(low, up) == ["modify .", "modify l", "modify m"]


def test_c2_26_owners_of_files_and_of_directories(world: World) -> None:
    low = world.layer(None, write("f"), write("g"), write("d/in"), write("h"))
    try:
        up = world.layer(low, chown("f", 7, 0), chown("g", 0, 7), chown("d", 7, 7))
    except OSError:
        pytest.skip("needs other user ids")
    assert world.changes(low, up) == ["modify .", "modify d", "modify f", "modify g"]
    merged = world.read(world.merge(world.layer(None, write("d/other")), Diff(low, up)))
    assert {p: merged[p].owner for p in "dfg"} == {"d": (7, 7), "f": (7, 0), "g": (0, 7)}


@pytest.mark.parametrize("kind", ["chr", "blk"])
def test_c2_26_numbers_of_devices(world: World, kind: str) -> None:
    def device(number: int) -> Edit:
        make = device_node("dev", kind, 1, number)
        return lambda root: (make(root), utime("dev", 10**18)(root))

    low = world.layer(None, device(3), write("f"))
    same = world.layer(low, remove("dev"), device(3))
    other = world.layer(low, remove("dev"), device(5))
    assert world.changes(low, same) == []
    assert world.changes(low, other) == ["modify .", "modify dev"]


def test_c2_26_mode_of_a_directory_alone(world: World) -> None:
    low = world.layer(None, write("d/f"))
    up = world.layer(low, chmod("d", 0o700))
    assert world.changes(low, up) == ["modify .", "modify d"]


def test_c2_26_access_time_and_directory_time_do_not_count(world: World) -> None:
    low = world.layer(None, write("d/f"))
    up = world.layer(
        low,
        utime("d", 7),
        lambda root: os.utime(f"{root}/d/f", ns=(1, os.lstat(f"{root}/d/f").st_mtime_ns)),
    )
    assert world.changes(low, up) == []


def test_c2_27_moving_a_file_away_and_back_is_no_change(world: World) -> None:
    low = world.layer(None, write("d/f", "text"), write("g"))
    up = world.layer(low, move("d/f", "elsewhere"), move("elsewhere", "d/f"))
    assert world.changes(low, up) == []
    other = world.layer(None, write("d/f", "of another"))
    assert world.text(world.merge(other, Diff(low, up)), "d/f") == "of another"
    beside = world.layer(up, write("g", "new"))
    merged = world.merge(other, Diff(low, up), Diff(up, beside))
    assert world.text(merged, "d/f") == "of another"


def test_c2_27_a_moved_file_beside_a_real_change(world: World) -> None:
    low = world.layer(None, write("d/f", "text"), write("d/g"))
    up = world.layer(low, move("d/f", "x"), move("x", "d/f"), write("d/g", "new"))
    assert world.changes(low, up) == ["modify .", "modify d", "modify d/g"]
    other = world.layer(None, write("d/f", "of another"))
    assert world.text(world.merge(other, Diff(low, up)), "d/f") == "of another"


def test_c2_27_directories_cannot_be_renamed_in_an_overlay(overlay: World) -> None:
    low = overlay.layer(None, write("d/f"))
    with pytest.raises(OSError) as caught:
        overlay.layer(low, move("d", "e"))
    assert caught.value.errno == errno.EXDEV


def test_c2_28_recreated_directory_spares_unrelated_files(world: World) -> None:
    base = world.layer(None, write("p/rebase"), write("p/old/deep/file"), write("p/gone"))
    again = world.layer(base, remove("p"), mkdir("p"), write("p/new"))
    assert world.changes(base, again) == [
        "modify .",
        "modify p",
        "delete p/gone",
        "add p/new",
        "delete p/old",
        "delete p/rebase",
    ]
    other = world.layer(None, write("p/kept"), write("p/old/deep/other"), write("p/gone"))
    merged = world.merge(other, Diff(base, again))
    assert world.paths(merged) == ["p", "p/kept", "p/new"]


def test_c2_29_opaque_is_never_copied(overlay: World) -> None:
    base = overlay.layer(None, write("p/old"))
    again = overlay.layer(base, remove("p"), mkdir("p"), write("p/new"))
    assert opaque(overlay, again, "p")
    merged = overlay.merged(Diff(base, again), overlay.layer(None, write("x"))).snapshot
    assert not opaque(overlay, merged, "p")


@pytest.mark.parametrize("middle", ["deleted", "file"])
def test_c2_29_directory_after_its_deletion_is_opaque(world: World, middle: str) -> None:
    base = world.layer(None, write("unrelated"))
    a = world.layer(None, write("dir/a"))
    edits = [remove("dir")] if middle == "deleted" else [remove("dir"), write("dir", "file")]
    gone = world.layer(a, *edits)
    b = world.layer(None, write("dir/b"))
    merged = world.merge(base, a, Diff(a, gone), b)
    assert world.paths(merged) == ["dir", "dir/b", "unrelated"]
    # The same with the first directory below, in the layers of the parent.
    assert world.paths(world.merge(a, Diff(a, gone), b)) == ["dir", "dir/b"]
    on_parent = world.merge(Diff(a, gone), b, parent=world.merge(base, a))
    assert world.paths(on_parent) == ["dir", "dir/b", "unrelated"]


def opaque(world: World, snapshot: SnapshotID, path: str) -> bool:
    """Whether a directory of the layer hides what is below it."""
    name = f"{world.snapshots.whiteouts}.overlay.opaque"
    layer = world.snapshots.layer_dir(snapshot)
    return xattr.get(f"{layer}/{path}", name) == b"y"


def test_c2_30_fifos_and_sockets_are_made_anew(world: World) -> None:
    base = world.layer(None, write("x"))
    special = world.layer(None, node("fifo", "fifo"), node("sock", "sock"), chmod("fifo", 0o640))
    merged = world.merge(base, special)
    tree, before = world.read(merged), world.read(special)
    assert (tree["fifo"].type, tree["sock"].type) == ("fifo", "sock")
    assert tree["fifo"].mode == 0o640
    assert tree["fifo"].mtime == before["fifo"].mtime
    if world.merged(base, special).report.linked:
        assert tree["fifo"].inode != before["fifo"].inode
        assert tree["sock"].inode != before["sock"].inode


@pytest.mark.parametrize("kind", ["chr", "blk"])
def test_c2_30_devices_are_carried(world: World, kind: str) -> None:
    special = world.layer(None, node("dev", kind))
    merged = world.read(world.merge(world.layer(None, write("x")), special))
    assert merged["dev"].type == kind
    assert merged["dev"].data == world.read(special)["dev"].data


def test_c2_31_owner_capabilities_and_special_bits_survive(world: World) -> None:
    # VFS_CAP_REVISION_2 with cap_net_bind_service=ep: see linux/capability.h.
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    try:
        one = world.layer(
            None,
            write("f"),
            chown("f", 1000, 1000),
            chmod("f", 0o6700),
            set_xattr("f", "security.capability", capability),
        )
    except OSError:
        pytest.skip("needs other user ids")
    for snapshot in (world.merge(world.layer(None, write("x")), one), world.layer(one)):
        entry = world.read(snapshot)["f"]
        assert (entry.owner, entry.mode) == ((1000, 1000), 0o6700)
        found = dict(entry.xattrs)["security.capability"]
        assert found[4:9] == capability[4:9]


def test_c2_32_attributes_that_cannot_be_set_are_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(root: str) -> None:
        os.mkdir(f"{root}/d")
        os.mkfifo(f"{root}/d/fifo")  # copied, never linked

    one = world.layer(None, make, set_xattr("d", "user.test", b"1"))
    library = pytest.importorskip("xattr")
    base, real = world.layer(None, write("x")), library.set

    def refuse(target: object, name: bytes, value: bytes, *rest: object, **more: object) -> None:
        if name == b"user.test":
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        real(target, name, value, *rest, **more)

    monkeypatch.setattr(library, "set", refuse)
    # Not by stacking, which has nothing to set.
    merged = world.merge(base, one, Diff(base, world.layer(base, remove("x"))))
    tree = world.read(merged)
    assert sorted(tree) == ["", "d", "d/fifo"] and tree["d"].xattrs == ()


def test_c2_31_a_copy_takes_no_access_list_from_its_directory(world: World) -> None:
    # POSIX_ACL_XATTR_VERSION 2 with user::rwx, user:0:rwx, group::r-x, mask::rwx, other::---:
    # see linux/posix_acl_xattr.h.
    entries = [(1, 7, -1), (2, 7, 0), (4, 5, -1), (16, 7, -1), (32, 0, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        one = world.layer(
            None,
            write("d/f"),
            lambda root: os.mkfifo(f"{root}/d/fifo"),
            mkdir("d/e"),
            set_xattr("d", "system.posix_acl_default", acl),
        )
    except OSError:
        pytest.skip("no access lists on this filesystem, or in this namespace")
    expected = plain(world.read(one))
    assert expected["d"].xattrs == (("system.posix_acl_default", acl),)
    # What native prepares is a copy; of a merge the fifo and the directory are.
    child = world.layer(one)
    merged = world.merge(world.layer(None, write("x")), one)
    for snapshot in (child, merged):
        found = plain(world.read(snapshot))
        assert {path: found[path] for path in expected if path} == {
            path: entry for path, entry in expected.items() if path
        }


def test_c2_33_times_in_nanoseconds_also_of_directories(world: World) -> None:
    when = 1_234_567_890_123_456_789
    one = world.layer(
        None,
        write("d/e/f"),
        symlink("d/l", "x"),
        utime("d/l", when),
        utime("d/e/f", when),
        utime("d/e", when + 1),
        utime("d", when + 2),
    )
    merged = world.merge(world.layer(None, write("x")), one)
    with world.snapshots.tree(merged) as fd:
        times = {
            path: os.stat(path, dir_fd=fd, follow_symlinks=False).st_mtime_ns
            for path in ("d", "d/e", "d/e/f", "d/l")
        }
    assert times == {"d": when + 2, "d/e": when + 1, "d/e/f": when, "d/l": when}


def test_c2_33_a_directory_replaced_by_a_link_is_not_touched(world: World) -> None:
    target = world.layer(None, mkdir("target"), utime("target", 5))
    directory = world.layer(None, write("x/in"), utime("x", 9))
    replaced = world.layer(None, symlink("x", "target"))
    merged = world.merge(target, directory, replaced)
    with world.snapshots.tree(merged) as fd:
        assert os.stat("target", dir_fd=fd).st_mtime_ns == 5


@pytest.mark.parametrize("above", list(TYPES.values()))
@pytest.mark.parametrize("below", list(TYPES.values()))
def test_c2_34_each_type_replaces_each(world: World, below: str, above: str) -> None:
    base = world.layer(None, write("base"))
    low, up = world.layer(None, node("x", below)), world.layer(None, node("x", above))
    after = world.layer(low, remove("x"), node("x", above))
    merged = world.read(world.merge(base, low, up))
    assert merged["x"].type == above
    insides = ["x/inside"] if above == "dir" else []
    assert sorted(merged) == ["", "base", "x", *insides]
    # In one chain, and as a diff on something else.
    assert plain(world.read(world.merge(low, Diff(low, after)))) == plain(world.read(after))
    assert world.read(world.merge(base, low, Diff(low, after)))["x"].type == above
    kinds = {c.path: c.kind for c in world.snapshots.changes(Diff(low, after))}
    if below != above:
        assert kinds["x"] is Kind.MODIFY


def test_names_that_are_no_text(world: World) -> None:
    def edit(root: str) -> None:
        for name in (b"\xff\xfe", "é".encode(), b"new\nline", b"a\\b", b"co:lon,comma"):
            with open(os.fsencode(root) + b"/" + name, "x"):
                pass

    odd = world.layer(None, edit)
    merged = world.merge(world.layer(None, write("x")), odd)
    assert set(world.read(merged)) == {*world.read(odd), "x"}
    order = [os.fsencode(p) for p in world.changed(None, odd)]
    assert order == sorted(order)


def test_hardlinked_symlinks_and_deep_trees(world: World) -> None:
    deep = "/".join(["d"] * 200)
    one = world.layer(None, symlink("a", "x"), link("b", "a"), write(f"{deep}/f"))
    merged = world.merge(world.layer(None, write("x")), one)
    tree = world.read(merged)
    assert tree["a"].inode == tree["b"].inode
    assert f"{deep}/f" in tree
    gone = world.layer(merged, remove("d"))
    assert world.paths(world.merge(one, Diff(merged, gone))) == ["a", "b"]


def test_trees_deeper_than_a_process_may_have_files(world: World) -> None:
    def edit(root: str) -> None:
        for n in range(300):
            os.mkdir(f"{root}/" + "/".join(["d"] * (n + 1)))

    deep = world.layer(None, edit, write("/".join(["d"] * 290) + "/f"))
    base = world.layer(None, write("x"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = open_descriptors()
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(opened) + 150, hard))
    try:
        merged = world.merge(base, deep)
        child = world.snapshots.prepare(merged)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert plain(world.read(child)).keys() == {*world.read(deep), "x"}
    with world.snapshots.tree(merged) as one, world.snapshots.tree(deep) as other:
        for n in (1, 100, 199, 200, 201, 299, 300):
            path = "/".join(["d"] * n)
            assert os.stat(path, dir_fd=one).st_mtime_ns == os.stat(path, dir_fd=other).st_mtime_ns


def test_reading_an_entry_agrees_with_stat(world: World) -> None:
    one = world.layer(None, write("f", "text", 0o640))
    found = os.lstat(f"{world.snapshots.layer_dir(one)}/f")
    assert stat.S_IMODE(found.st_mode) == 0o640
    assert read_entry(f"{world.snapshots.layer_dir(one)}/f").data == b"text"
