"""One body of tests over every backend and every way to merge.

A merge on overlayfs begins with a parent, and what the parent has lies below. So that a rule is
also seen where one diff meets another in the layer that is being written, `overlay-above` has all
diffs applied above an empty parent.

In a user namespace (see `test_user_namespace`) the same files run once more.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from minibuild.errors import HostError
from minibuild.snapshot.api import Strategy
from minibuild.store.layout import Store
from tests.snapshot.world import World

WORLDS = {
    "overlay-stack": ("overlay", Strategy.AUTO, False),
    "overlay-hardlink": ("overlay", Strategy.HARDLINK, False),
    "overlay-above": ("overlay", Strategy.HARDLINK, True),
    "native": ("native", Strategy.AUTO, False),
    "stacked": ("stacked", Strategy.AUTO, False),
}


def make_world(store: Store, name: str) -> World:
    """The world called `name`, if this process has the powers that snapshots need."""
    if os.geteuid():
        pytest.skip("not root here; test_user_namespace.py runs the same inside a namespace")
    backend, strategy, above = WORLDS[name]
    try:
        return World(store, backend, strategy, above_nothing=above)  # type: ignore[arg-type]
    except HostError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, store: Store) -> World:
    """Each backend with each way to merge."""
    return make_world(store, request.param)


@pytest.fixture(params=[name for name in WORLDS if name.startswith("overlay")])
def overlay(request: pytest.FixtureRequest, store: Store) -> World:
    """What only concerns overlayfs."""
    return make_world(store, request.param)


@pytest.fixture
def hardlink(store: Store) -> World:
    """What only concerns applying a diff on overlayfs."""
    return make_world(store, "overlay-hardlink")


@pytest.fixture
def stack(store: Store) -> World:
    """What only concerns stacking."""
    return make_world(store, "overlay-stack")


@pytest.fixture
def store_worlds(tmp_path: Path) -> Iterator[dict[str, World]]:
    """All of them, each in a store of its own."""
    stores = {name: Store(str(tmp_path / name)) for name in WORLDS}
    yield {name: make_world(store, name) for name, store in stores.items()}
    for store in stores.values():
        store.close()


settings.register_profile("deep", max_examples=10_000)
settings.register_profile("namespace", settings.get_profile("unhurried"), max_examples=40)
