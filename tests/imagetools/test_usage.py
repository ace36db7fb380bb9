"""Bytes of layers, and which of them later layers hide."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings

from minibuild.imagetools.usage import ImageUsage, usage
from minibuild.oci.content import ContentStore
from minibuild.store.layout import Store
from tests.imagetools.test_squash import Op, layers_of_changes, stored


def of(store: Store, *layers: Sequence[Op]) -> ImageUsage:
    content = ContentStore(store)
    return usage([stored(content, ops) for ops in layers])


def file(path: str, size: int) -> Op:
    return ("file", path, "x" * size)


CASES: dict[str, tuple[list[list[Op]], list[tuple[str, int, int, int, str]]]] = {
    "nothing hidden": ([[file("a", 5)], [file("b", 3)]], []),
    "deleted": ([[file("a", 5)], [("gone", "a", "")]], [("a", 5, 0, 1, "deleted")]),
    "replaced": ([[file("a", 5)], [file("a", 2)]], [("a", 5, 0, 1, "replaced")]),
    "replaced by one of its size": ([[file("a", 5)], [file("a", 5)]], [("a", 5, 0, 1, "alike")]),
    "replaced by a directory": ([[file("a", 5)], [("dir", "a", "")]], [("a", 5, 0, 1, "replaced")]),
    "replaced twice": (
        [[file("a", 5)], [file("a", 2)], [file("a", 1)]],
        [("a", 5, 0, 1, "replaced"), ("a", 2, 1, 2, "replaced")],
    ),
    "gone with its directory": (
        [[("dir", "d", ""), file("d/a", 5), file("d/b", 4)], [], [("gone", "d", "")]],
        [("d/a", 5, 0, 2, "deleted"), ("d/b", 4, 0, 2, "deleted")],
    ),
    "opaque": (
        [
            [("dir", "d", ""), file("d/a", 5)],
            [("dir", "d", ""), ("opaque", "d", ""), file("d/b", 1)],
        ],
        [("d/a", 5, 0, 1, "deleted")],
    ),
    "one of two names": ([[file("a", 5), ("link", "b", "a")], [("gone", "a", "")]], []),
    "both names": (
        [[file("a", 5), ("link", "b", "a")], [("gone", "a", ""), ("gone", "b", "")]],
        [("a", 5, 0, 1, "deleted")],
    ),
    "a whiteout of nothing": ([[file("a", 5)], [("gone", "c", "")]], []),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_hidden(name: str, store: Store) -> None:
    layers, expected = CASES[name]
    found = of(store, *layers)
    assert [tuple(one) for one in found.hidden] == expected
    assert found.hidden_bytes == sum(size for _, size, *_ in expected)
    assert [layer.file_bytes for layer in found.layers] == [
        sum(len(data) for kind, _, data in ops if kind == "file") for ops in layers
    ]


@given(layers_of_changes())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_not_hidden_is_seen(store: Store, layers: list[list[Op]]) -> None:
    found = of(store, *layers)
    seen = {
        (i.layer, i.ordinal): i.entry.size for i in found.tree.values() if i.entry.kind == "file"
    }
    assert found.file_bytes - found.hidden_bytes == sum(seen.values())
    assert all(0 <= one.layer < one.by < len(layers) for one in found.hidden)
