"""Merges and registries: what is known of a merge elsewhere, or lies there, is not moved.

Rules 63 and 64 of docs/merge.md."""

from pathlib import Path

import pytest

from minibuild.graph.state import State, image, merge, scratch
from minibuild.session.request import CachePlace, Output
from tests.support.registry import Registry as Server

pytestmark = [pytest.mark.integration, pytest.mark.needs("docker-registry", "openssl", "mount")]


def parts(first: str = "a") -> list[State]:
    """Three trees of a file each; the first one may be another."""
    return [scratch().mkfile(f"/{name}", name.encode() * 100) for name in (first, "b", "c")]


def layers_in(root: Path) -> int:
    """How many layers a store has: all its blobs but JSON documents."""
    blobs = (root / "blobs/sha256").iterdir()
    return sum(blob.read_bytes()[:1] != b"{" for blob in blobs)


Places = tuple[CachePlace, ...]


def push(
    state: State, name: str, root: Path, cache_to: Places = (), cache_from: Places = ()
) -> str:
    """Build and push; the digest of the image."""
    made = state.build(
        Output("registry"), tags=[name], root=root, cache_to=cache_to, cache_from=cache_from
    )
    assert made.digest is not None
    return made.digest


@pytest.mark.parametrize("kind", ["inline", "min", "max"])
@pytest.mark.parametrize("top", [False, True], ids=["merge", "with a layer on top"])
def test_c6_63_no_layer_of_a_known_merge_is_fetched(
    plain: Server, tmp_path: Path, kind: str, top: bool
) -> None:
    name = f"{plain.address}/merges/{kind}{'-top' if top else ''}:1"
    cache = f"{name.removesuffix(':1')}:cache"
    to, source = CachePlace("inline"), CachePlace("registry", ref=name)
    if kind != "inline":
        to = CachePlace("registry", ref=cache, mode="max" if kind == "max" else "min")
        source = CachePlace("registry", ref=cache)

    def state(first: str = "a") -> State:
        merged = merge(parts(first))
        return merge([merged, scratch().mkfile("/top", b"top")]) if top else merged

    first = push(state(), name, tmp_path / "one", cache_to=(to,))
    before = len(plain.requests())
    again = push(state(), name, tmp_path / "two", cache_from=(source,), cache_to=(to,))
    assert again == first
    assert layers_in(tmp_path / "two") == 0
    # Another first input: its layer is made, those above it stay where they are.
    push(state("other"), name, tmp_path / "three", cache_from=(source,))
    assert layers_in(tmp_path / "three") == 1
    fetched = [line for line in plain.requests()[before:] if line.startswith("GET")]
    documents = [line for line in fetched if "/blobs/" in line]
    assert len(documents) == 2, documents  # a config each


def test_c6_64_what_is_in_the_registry_is_not_sent(plain: Server, tmp_path: Path) -> None:
    """A merge of images that were pushed, into the same registry: config and manifest alone."""
    top = f"{plain.address}/merged"
    names = [f"{top}/{name}:1" for name in "abc"]
    for name, part in zip(names, parts(), strict=True):
        push(part, name, tmp_path / "one")
    before = len(plain.requests())
    push(merge([image(name) for name in names]), f"{top}/all:1", tmp_path / "two")
    lines = plain.requests()[before:]
    assert lines.count("POST /v2/merged/all/blobs/uploads/ 201") == 3  # mounted
    assert len([line for line in lines if line.startswith(("PUT", "PATCH"))]) == 2
    assert layers_in(tmp_path / "two") == 0
    before = len(plain.requests())
    push(merge([image(name) for name in names]), f"{top}/a:all", tmp_path / "two")
    sent = [line for line in plain.requests()[before:] if line.startswith(("PUT", "PATCH"))]
    assert len(sent) == 2
