"""What to do about hidden bytes, and where the others are."""

from typing import Any

import pytest

from minibuild.digest import DiffID, Digest
from minibuild.graph.platform import Platform
from minibuild.imagetools.edit import Image
from minibuild.imagetools.usage import usage
from minibuild.imagetools.waste import LayerOrigin, Waste, advice, kind_of, places, wasted
from minibuild.layer.layer import Layer
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Descriptor, Manifest
from minibuild.oci.multi import MultiSource
from minibuild.store.layout import Store
from tests.imagetools.test_squash import stored
from tests.imagetools.test_usage import file, of

BASE, RUN, COPY = (
    LayerOrigin("base", "busybox", 1),
    LayerOrigin("run", "RUN make", 4),
    LayerOrigin("copy", "COPY . /src", 3),
)
OTHER = LayerOrigin("run", "RUN rm", 7)
UNKNOWN = LayerOrigin("", "")

ADVICE = {
    "a RUN undone": (RUN, "deleted", "remove it in line 4 itself, or write it to a RUN --mount"),
    "a COPY undone": (COPY, "deleted", "leave it out of line 3, or have it in line 7 by RUN"),
    "a COPY and chmod": (COPY, "alike", "perhaps only its mode or owner changed: set them in li"),
    "a RUN and chmod": (RUN, "alike", "perhaps only its mode or owner changed: set them in line"),
    "written twice": (RUN, "replaced", "do not write in line 4 what line 7 replaces"),
    "of the base": (BASE, "deleted", "the base in line 1 has it, and keeps it"),
    "replaced in the base": (BASE, "replaced", "the base in line 1 has it, and keeps it"),
    "nothing known": (UNKNOWN, "deleted", "remove it in layer 0 itself"),
}


@pytest.mark.parametrize("name", ADVICE)
def test_advice(name: str) -> None:
    origin, how, expected = ADVICE[name]
    assert advice(Waste(0, 1, how, 1, 1, ("x",)), [origin, OTHER]).startswith(expected)  # type: ignore[arg-type]


def test_chmod_is_told_by_the_flag_of_copy() -> None:
    waste = Waste(0, 1, "alike", 1, 1, ("x",))
    assert advice(waste, [COPY, OTHER]).endswith("set them in line 3, with --chmod or --chown")
    assert advice(waste, [RUN, OTHER]).endswith("set them in line 4, there")


HISTORY: list[dict[str, Any]] = [
    {"created_by": "/bin/sh -c #(nop) ADD file:12 in / "},
    {"created_by": '/bin/sh -c #(nop)  CMD ["sh"]', "empty_layer": True},
    {"created_by": "RUN /bin/sh -c make # buildkit"},
    {"created_by": "/bin/sh -c make"},
    {"created_by": "|1 a=b /bin/sh -c make"},
    {"created_by": "COPY a b # buildkit"},
    {"created_by": "bazel build"},
    {},
]


@pytest.mark.parametrize("count", [9, 2])
def test_instructions_of_layers(count: int) -> None:
    """A history may say too little, or too much."""
    blob = Descriptor("", Digest(""), 0)
    layers = (Layer(DiffID(Digest("")), blob, MultiSource()),) * count
    image = Image(blob, Manifest(blob, ()), {}, layers, tuple(HISTORY), Platform("linux", "amd64"))
    found = image.instructions
    assert found[1] == "RUN /bin/sh -c make # buildkit"
    kinds = ["copy", "run", "run", "run", "copy", "", "", "", ""]
    assert list(map(kind_of, found)) == kinds[:count]


def test_groups(store: Store) -> None:
    many = [file(f"a/{n}", 10 + n) for n in range(5)]
    used = of(
        store,
        [file("x", 7), file("empty", 0), *many],
        [file("y", 9)],
        [("gone", "x", ""), ("gone", "a", ""), ("gone", "empty", ""), file("y", 3)],
    )
    assert wasted(used) == [
        Waste(0, 2, "deleted", 7 + 60, 7, ("a/4", "a/3", "a/2")),
        Waste(1, 2, "replaced", 9, 1, ("y",)),
    ]


def test_nothing_is_said_of_nothing(store: Store) -> None:
    assert wasted(of(store, [file("empty", 0)], [("gone", "empty", "")])) == []


def test_places(store: Store) -> None:
    content = ContentStore(store)
    layers = [
        stored(content, [("dir", "d", ""), ("dir", "d/e", ""), file("d/e/f", 10), file("top", 3)]),
        stored(content, [file("d/g", 4), ("link", "same", "d/g")]),
    ]
    used = usage(layers)
    one = [(p.path, p.is_directory, p.size_bytes, dict(p.by_layer)) for p in places(used, 1)]
    assert one == [("d", True, 14, {0: 10, 1: 4}), ("top", False, 3, {0: 3})]
    two = [(p.path, p.is_directory, p.size_bytes) for p in places(used, 2)]
    assert two == [("d/e", True, 10), ("d/g", False, 4), ("top", False, 3)]
    assert sum(p.size_bytes for p in places(used, 9)) == used.file_bytes - used.hidden_bytes
