"""The Diff operation in graphs: chains, trees that have nothing in common, merges, steps."""

import subprocess
import sys

import pytest

from minibuild.graph.state import State, diff, merge, scratch
from tests.integration.conftest import Builds
from tests.integration.shop import Shop, linked
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]


def paths(shop: Shop, state: State) -> list[str]:
    """The paths of a state, less its root."""
    return sorted(path for path in shop.files(state) if path)


def test_a_known_chain_is_its_steps_and_not_the_comparison_of_its_ends(shop: Shop) -> None:
    low = scratch().mkfile("/low")
    up = low.mkfile("/temporary").rm("/temporary").mkfile("/up")
    other = scratch().mkfile("/temporary")
    assert paths(shop, merge([other, diff(low, up)])) == ["up"]
    assert len(shop.layers(diff(low, up))) == 3
    # The ends alone say nothing of /temporary.
    straight = linked("/low", "").mkfile("/up")
    assert paths(shop, merge([other, diff(linked("/low", ""), straight)])) == ["temporary", "up"]


def test_unrelated_trees_are_compared(shop: Shop) -> None:
    a = scratch().mkdir("/d", 0o700).mkfile("/d/a").mkfile("/both", b"a").mkfile("/same", b"s")
    b = scratch().mkfile("/d", b"a file").mkfile("/both", b"b").mkfile("/new")
    changed = diff(a, b)
    assert len(shop.layers(changed)) == 1
    assert shop.files(merge([a, changed])).keys() == {"", "d", "both", "new"}
    x = scratch().mkfile("/same", b"of x").mkfile("/x")
    assert paths(shop, merge([x, changed])) == ["both", "d", "new", "x"]  # /same was deleted
    assert paths(shop, merge([x, diff(b, a)])) == ["both", "d", "d/a", "same", "x"]


def test_diffs_of_merges(shop: Shop) -> None:
    a, b, c = linked("/a"), linked("/b"), linked("/c")
    ab, abc = merge([a, b]), merge([a, b, c])
    assert paths(shop, diff(ab, abc)) == ["c"]
    assert shop.layers(diff(ab, abc)) == shop.layers(c)
    assert paths(shop, merge([abc, diff(abc, abc.rm("/c"))])) == ["a", "b"]
    # No prefix of the other: compared as trees.
    assert paths(shop, diff(merge([b, a]), abc)) == ["c"]
    assert paths(shop, merge([abc, diff(abc, merge([b, a]))])) == ["a", "b"]


def test_diffs_of_diffs_and_from_nothing(shop: Shop) -> None:
    a = linked("/a")
    ab, abc = a.mkfile("/b"), a.mkfile("/b").mkfile("/c")
    assert paths(shop, diff(diff(a, ab), diff(a, abc))) == ["c"]
    assert paths(shop, merge([abc, diff(diff(a, abc), diff(a, ab))])) == ["a", "b"]
    assert paths(shop, diff(scratch(), abc)) == ["a", "b", "c"]
    assert paths(shop, diff(abc, abc)) == []
    assert paths(shop, merge([abc, linked("/x"), diff(abc, scratch())])) == ["x"]


def test_a_diff_is_built_on(shop: Shop) -> None:
    a = linked("/a")
    ab = a.mkfile("/b")
    without_b = diff(a, ab).rm("/b")
    assert paths(shop, without_b) == []
    assert paths(shop, merge([ab, diff(diff(a, ab), without_b)])) == ["a"]


@pytest.mark.needs("busybox")
def test_the_diff_of_a_step_has_nothing_of_its_mounts(builds: Builds) -> None:
    program = """
import os
from minibuild import Output
from minibuild.graph.state import Mount, diff, image, scratch
base = image("busybox")
mounts = [Mount("/in", scratch().mkfile("/f"), readonly=False), Mount("/cache", cache="c"),
          Mount("/mem")]
ran = base.run("touch /in/x /cache/x /mem/x /out; rm /etc/group", mounts=mounts)
only = diff(base, ran)
only.build(Output("local", "only"))
print(sorted(os.path.join(d, f)[5:] for d, _, fs in os.walk("only") for f in fs))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=builds.cli.environment,
        cwd=builds.folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.stdout, done.stderr) == ("['out']\n", "")
