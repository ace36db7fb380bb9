"""The algebra of merge and diff: rules 1 to 15 of the table in `docs/merge.md`, by number."""

from minibuild.lab.model import plain
from minibuild.snapshot.api import Diff
from tests.snapshot.world import World, mkdir, remove, utime, write


def test_c1_01_diff_of_a_tree_with_itself_is_empty(world: World) -> None:
    nothing = world.layer(None)
    a = world.layer(None, write("a"))
    assert world.changes(a, a) == []
    assert world.changes(None, nothing) == []
    assert world.changes(nothing, world.layer(nothing)) == []


def test_c1_02_an_empty_diff_changes_nothing(world: World) -> None:
    a = world.layer(None, write("a"))
    assert world.paths(world.merge(a, Diff(a, a))) == ["a"]
    assert world.paths(world.merge(a, Diff(a, world.layer(a)))) == ["a"]


def test_c1_03_deletions_inside_a_chain_travel_with_it(world: World) -> None:
    a1 = world.layer(None, write("foo"), write("keep"))
    a2 = world.layer(a1, remove("foo"))
    other = world.layer(None, write("foo", "of another"))
    merged = world.merge(other, Diff(None, a1), Diff(a1, a2))
    assert world.paths(merged) == ["keep"]


def test_c1_04_diff_to_nothing_is_a_deletion_of_just_that(world: World) -> None:
    nothing = world.layer(None)
    a = world.layer(None, write("dir/a"))
    x = world.layer(None, write("x"), write("y/z"))
    assert world.paths(world.merge(a, x, Diff(a, nothing))) == ["x", "y", "y/z"]


def test_c1_05_merging_the_diff_to_b_onto_a_gives_b_of_unrelated_trees(world: World) -> None:
    a = world.layer(
        None, write("bin/sh", "a"), write("etc/a"), write("same", "s"), mkdir("d", 0o700)
    )
    b = world.layer(None, write("bin/sh", "b"), write("etc/b"), write("d", "now a file"))
    assert plain(world.read(world.merge(a, Diff(a, b)))) == plain(world.read(b))


def test_c1_06_merge_is_associative(world: World) -> None:
    a = world.layer(None, write("f", "a"), write("a"))
    b = world.layer(None, write("f", "b"), write("b"))
    c = world.layer(None, write("f", "c"), write("c"))
    left = world.merge(world.merge(a, b), c)
    right = world.merge(a, world.merge(b, c))
    for merged in (world.merge(a, b, c), left, right):
        assert world.paths(merged) == ["a", "b", "c", "f"]
        assert world.text(merged, "f") == "c"


def test_c1_06_lists_are_merged_and_not_the_trees_they_come_to(world: World) -> None:
    a = world.layer(None, write("d/a"))
    b = world.layer(None, write("d", "a file"))
    c = world.layer(None, write("d/c"))
    # The file takes the directory away, with what is in it.
    assert world.paths(world.merge(a, b, c)) == ["d", "d/c"]
    assert world.paths(world.merge(b, c, parent=a)) == ["d", "d/c"]
    # The tree of the last two does not know any more that there was a file.
    assert world.paths(world.merge(a, world.merge(b, c))) == ["d", "d/a", "d/c"]


def test_c1_07_merge_is_not_commutative(world: World) -> None:
    foo = world.layer(None, write("foo"))
    removed = world.layer(foo, remove("foo"))
    bar = world.layer(removed, write("bar"))
    rm_then_bar = (Diff(foo, removed), Diff(removed, bar))
    assert world.paths(world.merge(foo, *rm_then_bar)) == ["bar"]
    assert world.paths(world.merge(*rm_then_bar, foo)) == ["bar", "foo"]


def test_c1_08_merge_of_nothing_and_of_one(world: World) -> None:
    assert world.paths(world.merge()) == []
    a = world.layer(None, write("a"))
    assert world.paths(world.merge(a)) == ["a"]
    assert world.paths(world.merge(a, Diff(a, a))) == ["a"]
    if not world.above_nothing:
        assert world.merge(a) == a
        assert world.merge(a, Diff(a, a)) == a


def test_c1_09_there_and_back_again(world: World) -> None:
    a, b = world.layer(None, write("a")), world.layer(None, write("b"))
    assert world.paths(world.merge(a, Diff(a, b), Diff(b, a))) == ["a"]
    assert world.paths(world.merge(Diff(a, b), Diff(b, a))) == ["a"]


def test_c1_10_diff_of_merges(world: World) -> None:
    a, b, c = (world.layer(None, write(name)) for name in "abc")
    ab, abc = world.merge(a, b), world.merge(a, b, c)
    assert world.changes(ab, abc) == ["modify .", "add c"]
    ab_without_c = world.layer(abc, remove("c"))
    assert world.paths(world.merge(abc, Diff(abc, ab_without_c))) == ["a", "b"]


def test_c1_11_diff_of_diffs(world: World) -> None:
    a = world.layer(None, write("a"))
    ab = world.layer(a, write("b"))
    abc = world.layer(ab, write("c"))
    only_b = world.merge(Diff(a, ab))
    b_and_c = world.merge(Diff(a, ab), Diff(ab, abc))
    assert world.changes(only_b, b_and_c) == ["modify .", "add c"]
    assert world.paths(world.merge(abc, Diff(b_and_c, only_b))) == ["a", "b"]


def test_c1_12_a_diff_or_a_merge_can_be_a_parent(world: World) -> None:
    a = world.layer(None, write("a"))
    ab = world.layer(a, write("b"))
    only_b = world.merge(Diff(a, ab))
    without_b = world.layer(only_b, remove("b"))
    assert world.changes(only_b, without_b) == ["modify .", "delete b"]
    assert world.paths(world.merge(ab, Diff(only_b, without_b))) == ["a"]


def test_c1_13_nested_mixes(world: World) -> None:
    names = {name: world.layer(None, write(name)) for name in "abde"}
    abd = world.merge(names["a"], names["b"], names["d"])
    dae = world.merge(names["d"], names["a"], names["e"])
    no_a = world.layer(dae, remove("a"))
    no_d = world.layer(no_a, remove("d"))
    merged = world.merge(
        names["a"], names["b"], names["d"],
        names["d"], names["a"], names["e"], Diff(dae, no_a), Diff(no_a, no_d),
    )  # fmt: skip
    assert world.paths(merged) == ["b", "e"]
    assert world.paths(world.merge(abd, Diff(None, no_d))) == ["a", "b", "d", "e"]


def test_c1_14_a_known_chain_differs_from_the_direct_diff(world: World) -> None:
    low = world.layer(None, write("low"))
    middle = world.layer(low, write("temporary"))
    up = world.layer(middle, remove("temporary"), write("up"))
    other = world.layer(None, write("temporary"))
    assert world.paths(world.merge(other, Diff(low, middle), Diff(middle, up))) == ["up"]
    assert world.paths(world.merge(other, Diff(low, up))) == ["temporary", "up"]


def test_c1_14_a_change_that_was_taken_back_is_no_part_of_the_diff_of_the_ends(
    world: World,
) -> None:
    low = world.layer(None, write("f", "1"), utime("f", 1), write("g"))
    middle = world.layer(low, write("f", "2"))
    up = world.layer(middle, write("f", "1"), utime("f", 1), write("new"))
    other = world.layer(None, write("f", "other"))
    assert world.text(world.merge(other, Diff(low, up)), "f") == "other"
    assert world.text(world.merge(other, Diff(low, middle), Diff(middle, up)), "f") == "1"


def test_c1_15_a_merge_takes_part_in_everything(world: World) -> None:
    a, b = world.layer(None, write("a")), world.layer(None, write("b"))
    child = world.layer(world.merge(a, b), write("child"))
    again = world.merge(child, world.layer(None, write("c")))
    assert world.paths(world.layer(again, remove("a"))) == ["b", "c", "child"]
