"""A fresh, writable view of an image: an active snapshot on its layers, removed afterwards.

Comes in: a worker and a name. Goes out: a snapshot for one step, and the image's config. The
layers become trees the way a build does it, so a later build finds them made.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from minibuild.errors import UsageError
from minibuild.graph.image import ContainerConfig, ImageConfig
from minibuild.graph.platform import Platform, host_platform
from minibuild.session.request import BuildRequest, RegistryAccess
from minibuild.snapshot.api import SnapshotID
from minibuild.source.source import Sources
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import open_context
from minibuild.worker.worker import Worker


class View(NamedTuple):
    """An active snapshot with the files of an image, and the image's config."""

    snapshot: SnapshotID
    config: ImageConfig


@contextmanager
def writable_view(
    worker: Worker,
    name: str,
    platform: Platform,
    registries: RegistryAccess,
    tell: Callable[[str], None],
    cancelled: threading.Event,
) -> Iterator[View]:
    """A view of the image `name`. What is written to it is gone when the block ends."""
    request = BuildRequest(registries=registries)
    with open_context(worker, request, {}, cancelled=cancelled) as build:
        sources = Sources(build)
        resolved = sources.finder.resolve(name, platform)
        result, _ = sources.image(resolved.source)
        active = worker.snapshots.prepare(build.materialiser.snapshot(result, tell))
    try:
        yield View(active, resolved.config)
    finally:
        worker.snapshots.remove(active)


@contextmanager
def failed_view(
    worker: Worker, tell: Callable[[str], None], cancelled: threading.Event
) -> Iterator[View]:
    """A view of what the last failed step left, as that step saw itself: see `build --on-error`."""
    from minibuild.cache.failed import FailedSteps

    failed = FailedSteps(worker.cache, worker.diffs, worker.snapshots).last()
    if failed is None:
        raise UsageError(
            "no failed step is kept", hint="build with --on-error=keep, and it is the next to fail"
        )
    tell(f"in what {failed.name} left")
    env = [f"{name}={value}" for name, value in failed.env]
    config: ContainerConfig = {"Env": env, "WorkingDir": failed.cwd, "User": failed.user}
    config["Cmd"] = ["sh"]
    tree = worker.materialiser(cancelled).snapshot(failed.result, tell)
    active = worker.snapshots.prepare(tree)
    try:
        yield View(active, ImageConfig(host_platform(), config))
    finally:
        worker.snapshots.remove(active)
