"""What `--link` means in a graph: rules 51, 52, 55 and 56 of the table in `docs/merge.md`."""

import pytest
from minibuild_dockerfile.errors import DockerfileError

from minibuild.graph.op import Copy, File, GitSource, HttpSource, ImageSource, Merge
from minibuild.graph.vertex import Vertex
from tests.minibuild_dockerfile.converted import build, vertices


def link(text: str) -> tuple[Vertex, Vertex]:
    """The merge of a Dockerfile and its last input."""
    merged = build(text).images[0].vertex
    assert merged is not None and isinstance(merged.op, Merge)
    copy = merged.inputs[-1]
    assert copy is not None and isinstance(copy.op, File)
    return merged, copy


@pytest.mark.parametrize(
    "words", ["COPY --link a", "ADD --link http://h/a", "ADD --link http://h/a.git"]
)
def test_c5_51_a_link_is_a_merge_with_a_file_on_nothing(words: str) -> None:
    merged, copy = link(f"FROM busybox\n{words} /a\n")
    assert copy.inputs[0] is None
    base = merged.inputs[0]
    assert len(merged.inputs) == 2 and base is not None and isinstance(base.op, ImageSource)
    sources = {type(v.op) for v in copy.inputs if v is not None}
    assert sources != {HttpSource, GitSource}


def test_c5_51_one_row_for_the_copy_and_one_for_the_link() -> None:
    merged, copy = link("FROM busybox\nCOPY --link a /a\n")
    assert copy.note.name == "[2/2] COPY --link a /a"
    assert merged.note.name == "[2/2] LINK COPY --link a /a"


@pytest.mark.parametrize(
    ("dest", "expected"), [(".", "/w/v/"), ("$NOTHING", "/w/v/"), ("x", "/w/v/x")]
)
def test_c5_52_the_destination_is_resolved_without_the_tree(dest: str, expected: str) -> None:
    _, copy = link(f"FROM busybox\nWORKDIR /w\nWORKDIR v\nCOPY --link a {dest}\n")
    assert isinstance(copy.op, File)
    (action,) = copy.op.actions
    assert isinstance(action, Copy) and action.dest == expected
    assert all(not isinstance(v.op, ImageSource) for v in copy.inputs if v is not None)


@pytest.mark.parametrize("owner", ["app", "1:staff", "app:1"])
def test_c5_55_names_of_owners_are_refused_with_the_line(owner: str) -> None:
    with pytest.raises(DockerfileError, match="cannot look up the user or group") as caught:
        build(f"FROM busybox\n\nCOPY --link --chown={owner} a /\n")
    assert caught.value.span is not None and caught.value.span.first == 3
    assert "--chown=1000:1000" in caught.value.hint


def test_c5_56_a_copy_that_changes_modes_is_not_linked() -> None:
    """As BuildKit has it; what users see depends on it, so it is not done better."""
    found = vertices("FROM busybox\nCOPY --link --chmod=700 a /a\n")
    assert not [v for v in found if isinstance(v.op, Merge)]
    (copy,) = [v for v in found if isinstance(v.op, File)]
    assert copy.inputs[0] is not None and isinstance(copy.inputs[0].op, ImageSource)
