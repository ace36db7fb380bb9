"""Merges in whole builds: rules 6 and 52 to 72 of the table in `docs/merge.md`, by number.

Graphs are made in Python (see docs/state.md) and stand on nothing, so no step has to be run.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import minibuild
from minibuild import BuildResult, Output
from minibuild.events import Completed, Event, Planned, Remark
from minibuild.graph.state import State, diff, image, local, merge, scratch
from minibuild.lab.model import ModelTree, plain
from tests.conftest import Cli
from tests.integration.shop import Shop, linked
from tests.support.images import read_image

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]

EPOCH = {"SOURCE_DATE_EPOCH": "1000000000"}


def test_c1_06_a_merge_of_merges_is_one_flat_list(shop: Shop) -> None:
    a, b, c = scratch().mkfile("/d/a"), scratch().mkfile("/d"), scratch().mkfile("/d/c")
    left, right = merge([merge([a, b]), c]), merge([a, merge([b, c])])
    for state in (merge([a, b, c]), left, right):
        assert sorted(shop.files(state)) == ["", "d", "d/c"]
    six = merge([merge([a, b, c]), merge([linked("/x"), linked("/y"), linked("/z")])])
    assert six.vertex is not None and len(six.vertex.inputs) == 6


def test_c5_52_a_linked_destination_never_looks_at_the_state_below(shop: Shop) -> None:
    base = scratch().mkdir("/real").mkfile("/real/keep").symlink("/sym", "real")
    tree = shop.files(merge([base, linked("/sym/f")]))
    assert tree["sym"].type == "dir" and "real/f" not in tree and "real/keep" in tree


def test_c5_53_parents_are_made_new_and_their_modes_win(shop: Shop) -> None:
    base = scratch().mkdir("/tmp", 0o1777).mkdir("/srv", 0o700)
    tree = shop.files(merge([base, linked("/tmp/f"), linked("/srv/f")]))
    assert (tree["tmp"].mode, tree["srv"].mode) == (0o755, 0o755)


def test_c5_54_the_mode_of_a_copied_directory_wins(shop: Shop) -> None:
    base = scratch().mkdir("/d", 0o755)
    source = scratch().mkdir("/x", 0o700).mkdir("/x/d", 0o750)
    assert shop.files(merge([base, scratch().copy(source, "/x/d", "/d")]))["d"].mode == 0o755
    copied = scratch().copy(source, "/x", "/")
    assert shop.files(merge([base, copied]))["d"].mode == 0o750


def test_c5_57_a_linked_layer_stays_when_what_is_below_changes(shop: Shop) -> None:
    def build(base: str) -> BuildResult:
        below = [scratch().mkfile("/base", base.encode()), linked("/a", base)]
        return shop.build(merge([*below, linked("/b"), linked("/c")]))

    one, other = build("one"), build("other")
    [first, second] = ([layer.digest for layer in r.images[0].layers] for r in (one, other))
    assert first[2:] == second[2:] and not set(first[:2]) & set(second[:2])
    assert other.digest != one.digest
    assert other.executed == 3  # the base, the file that is copied to /a, and the copy


def test_c5_58_an_unaffected_link_is_cached_and_put_together_anew(shop: Shop) -> None:
    copy = linked("/b")
    shop.build(merge([scratch().mkfile("/base", b"one"), copy]))
    heard: list[Event] = []
    state = merge([scratch().mkfile("/base", b"other"), copy])
    shop.build(state, report=heard.append)
    done = {e.vertex: e.cached for e in heard if isinstance(e, Completed)}
    assert copy.vertex is not None and state.vertex is not None
    assert done[copy.vertex.digest] is True
    told = [e.text for e in heard if isinstance(e, Remark) and e.vertex == state.vertex.digest]
    assert told == ["merged again from 2 results, 1 of them cached; no data was touched"]
    [names] = [e.vertices for e in heard if isinstance(e, Planned)][:1]
    assert [v.name for v in names].count("MERGE") == 1


def test_c5_59_a_step_on_a_merge_depends_on_all_of_it(shop: Shop) -> None:
    def executed(one: str, other: str) -> int:
        state = merge([linked("/one", one), linked("/other", other)])
        return shop.build(state.mkfile("/step")).executed

    assert executed("1", "1") == 4  # two files are the same
    assert executed("1", "1") == 0
    assert executed("1", "2") == 3  # a file, its copy, the step
    assert executed("2", "1") == 2  # a copy of a file that is known, the step


def test_c5_60_layers_are_the_history_less_its_empty_entries(shop: Shop) -> None:
    Path(shop.context, "f").write_text("f")
    text = "FROM scratch\nCOPY --link f /a\nENV A=b\nCOPY f /b\nLABEL x=y\nCOPY --link f /c\n"
    made = minibuild.build(shop.context, dockerfile=text, root=shop.root)
    [built] = made.images
    history = [entry for entry in built.config.history if not entry.get("empty_layer")]
    assert len(built.config.history) == 5
    assert [layer.instruction for layer in built.layers] == [e["created_by"] for e in history]
    assert [layer.link for layer in built.layers] == [False, False, True]
    assert [word[-1] for word in (e["created_by"].split(" #")[0] for e in history)] == list("abc")


def test_c6_61_merges_are_put_on_disk_only_for_whoever_reads_files(shop: Shop) -> None:
    state = merge([linked("/a"), linked("/b")])
    nested = merge([state, diff(linked("/c"), linked("/c").mkfile("/d"))])
    shop.build(nested)
    assert shop.rows("SELECT count(*) FROM trees") == [(0,)]
    shop.files(nested)
    assert shop.rows("SELECT count(*) FROM trees") == [(1,)]
    shop.build(state.mkfile("/on-top"))
    assert shop.rows("SELECT count(*) FROM trees") == [(2,)]


def test_c6_62_the_export_of_a_merge_is_the_layers_of_its_inputs(shop: Shop) -> None:
    a = scratch().mkfile("/a").mkfile("/a2")
    b, c = linked("/b"), linked("/c")
    parts = [shop.layers(part) for part in (a, b, c)]
    merged = shop.build(merge([a, b, c]))
    assert [layer.digest for layer in merged.images[0].layers] == [*parts[0], *parts[1], *parts[2]]
    again = shop.build(merge([merge([a, b]), c]))
    assert again.digest == merged.digest and again.executed == 0


def test_c6_65_an_image_unpacked_is_the_tree_of_the_build(shop: Shop, tmp_path: Path) -> None:
    base = scratch().mkdir("/d", 0o700).mkfile("/d/f", b"1").mkfile("/gone").mkfile("/x/y")
    edited = base.rm("/gone").rm("/x").mkfile("/x", b"a file").mkfile("/d/g", b"", 0o4755)
    state = merge([scratch().mkfile("/gone", b"other").mkfile("/stays"), diff(scratch(), edited)])
    before = shop.files(state)
    url = shop.layout(state, "layout")
    elsewhere = Shop(tmp_path, "elsewhere")
    assert rounded(elsewhere.files(image(url))) == rounded(before)
    # A step on top sees the same, so does a merge of the image with nothing new.
    assert rounded(elsewhere.files(merge([image(url), linked("/new")]))).keys() == {
        *before,
        "new",
    }
    flat = read_image(url.removeprefix("oci-layout://").removesuffix(":1"))
    assert {path.strip("/") for path in flat.files} | {""} == set(before)


def rounded(tree: ModelTree) -> dict[str, Any]:
    """A tree without inodes, and with times as precise as a layer has them."""
    return {p: e._replace(mtime=e.mtime // 10**9) for p, e in plain(tree).items()}


def test_c6_66_a_diff_of_layers_has_their_blobs(shop: Shop) -> None:
    base = merge([linked("/a"), linked("/b")])
    one = base.mkfile("/1")
    three = one.mkfile("/2").rm("/a")
    layers = shop.layers(three)
    assert shop.layers(diff(base, one)) == [layers[2]]
    assert shop.layers(diff(base, three)) == layers[2:]
    assert shop.layers(diff(one, three)) == layers[3:]
    (count,) = shop.rows("SELECT count(*) FROM diffs")[0]
    unrelated = diff(linked("/a"), linked("/b"))
    assert len(shop.layers(unrelated)) == 1
    assert shop.layers(unrelated) == shop.layers(unrelated)
    assert shop.rows("SELECT count(*) FROM diffs") == [(count + 1,)]


def test_c6_67_keys_of_merges_and_diffs_are_those_of_their_inputs_in_order(shop: Shop) -> None:
    a, b = linked("/a", "1"), linked("/b", "2")

    def executed(state: State) -> int:
        return shop.build(state.mkfile("/step")).executed

    assert executed(merge([a, b])) == 5
    assert executed(merge([merge([a]), b])) == 0
    assert executed(merge([b, a])) == 1
    assert executed(diff(a, a.mkfile("/x"))) > 0
    assert executed(diff(a, a.mkfile("/x"))) == 0


def test_c6_69_a_diff_over_a_chain_keeps_what_it_needs_and_no_more(cli: Cli) -> None:
    folder = Path(cli.root).parent
    shop = Shop(folder, os.path.basename(cli.root))
    chain = [scratch()]
    for name in "abcde":
        chain.append(chain[-1].mkfile(f"/{name}"))
    state = diff(chain[2], chain[5])
    shop.files(state)
    assert shop.rows("SELECT count(*) FROM diffs") == [(5,)]
    assert shop.rows("SELECT count(*) FROM trees") == [(1,)]  # a chain is no merge, c to e is one
    snapshots = shop.rows("SELECT count(*) FROM snapshots")
    cli("prune", "--force")
    assert shop.rows("SELECT count(*) FROM snapshots") == snapshots
    assert shop.files(state).keys() == {"", "c", "d", "e"}
    cli("prune", "--all", "--force")
    for table in ("diffs", "trees", "snapshots", "records"):
        assert shop.rows(f"SELECT count(*) FROM {table}") == [(0,)], table
    assert os.listdir(f"{shop.root}/snapshots") == []


def test_c6_70_a_tree_that_is_gone_is_unpacked_again(shop: Shop, tmp_path: Path) -> None:
    url = shop.layout(scratch().mkfile("/a").mkfile("/b"), "base")
    other = Shop(tmp_path, "other")
    step = image(url).mkfile("/c")
    other.build(step, Output("cacheonly"))
    [(first, second)] = other.rows("SELECT min(upper), max(upper) FROM diffs WHERE digest NOTNULL")
    for how in ("folder", "row"):
        for lost in (first, second):
            os.rename(f"{other.root}/snapshots/{lost}", f"{tmp_path}/lost-{how}-{lost}")
            if how == "row":
                with sqlite3.connect(f"{other.root}/meta.db") as db:
                    db.execute("DELETE FROM snapshots WHERE id = ?", (lost,))
        tree = other.files(image(url).mkfile(f"/{how}"))
        assert tree.keys() == {"", "a", "b", how}
        [(first, second)] = other.rows(
            "SELECT min(upper), max(upper) FROM diffs WHERE digest NOTNULL AND upper IN"
            " (SELECT id FROM snapshots)"
        )


def test_c6_71_one_tar_compressed_in_two_ways_is_two_layers(shop: Shop, tmp_path: Path) -> None:
    state = scratch().mkfile("/a", b"a" * 9999)
    urls = [
        shop.layout(state, kind, compression=kind, **{"force-compression": "true"})
        for kind in ("gzip", "zstd")
    ]
    other = Shop(tmp_path, "other")
    found = [other.build(image(url)).images[0].layers for url in urls]
    assert found[0][0].diff_id == found[1][0].diff_id
    assert found[0][0].digest != found[1][0].digest
    assert [layers[0].media_type.rpartition("+")[2] for layers in found] == ["gzip", "zstd"]
    assert other.files(merge([image(urls[0]), image(urls[1])])).keys() == {"", "a"}


def test_c6_72_times_of_merged_layers_are_rewritten_and_those_of_the_base_are_not(
    shop: Shop, tmp_path: Path
) -> None:
    url = shop.layout(scratch().mkfile("/base"), "base")
    base = read_image(f"{tmp_path}/base").manifest["layers"]
    context = Path(shop.context, "f")
    context.write_text("f")
    os.utime(context, (2_000_000_000, 2_000_000_000))
    copied = scratch().copy(local("context"), "f", "/d/f")
    state = merge([image(url), copied, scratch().mkfile("/last")])
    out = f"{tmp_path}/out"
    attributes = {"tar": "false", "rewrite-timestamp": "true"}
    shop.build(state, Output("oci", out, attributes), build_args=EPOCH)
    layers = read_image(out).manifest["layers"]
    assert layers[0]["digest"] == base[0]["digest"]
    tree = Shop(tmp_path, "other").files(image(f"oci-layout://{out}"))
    assert {tree[p].mtime for p in ("d/f", "last")} == {10**9 * 10**9}


def remarks(shop: Shop, state: State) -> list[str]:
    """What progress says of merges while the files of a state are made."""
    heard: list[Event] = []
    shop.files(state, report=heard.append)
    return [e.text for e in heard if isinstance(e, Remark) and e.text.startswith("merging")]


def test_progress_says_how_a_merge_was_made(shop: Shop) -> None:
    stacked = merge([linked(f"/{number}") for number in range(10)])
    told = remarks(shop, stacked)
    if shop.rows("SELECT DISTINCT backend FROM snapshots") != [("overlay",)]:
        assert told == [
            "merging 10 layers: linked 10 files (the native snapshotter has no layers to stack)"
        ]
        return
    assert told == ["merging 10 layers: stacked"]
    # A whiteout: the deletion was made on one base, and is put on another.
    base = scratch().mkfile("/gone")
    edit = diff(base, base.rm("/gone").mkfile("/new"))
    other = scratch().mkfile("/other")
    [line] = remarks(shop, merge([linked("/x"), other, edit]))
    assert line.startswith("merging 4 layers: linked ") and "hides files" in line
    # Trees that are no neighbours.
    [line] = remarks(shop, merge([other, diff(linked("/a"), linked("/b"))]))
    assert line.startswith("merging 2 layers: linked 1 file (snapshot ")
    # One layer twice.
    twice = merge([linked("/a", "1"), linked("/a", "2"), linked("/a", "1")])
    [line] = remarks(shop, twice)
    assert line == "merging 3 layers: linked 2 files (a layer comes twice)"
