"""A fresh, writable view of an image: an active snapshot on its layers, removed afterwards.

Comes in: a worker and a name. Goes out: a snapshot for one step, and the image's config. The
layers become trees the way a build does it, so a later build finds them made.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from minibuild.cache.results import Result
from minibuild.cli.command import Session
from minibuild.errors import UsageError
from minibuild.graph.image import ContainerConfig, ImageConfig
from minibuild.graph.platform import Platform, host_platform
from minibuild.session.request import BuildRequest, RegistryAccess
from minibuild.snapshot.api import SnapshotID
from minibuild.source.source import Sources
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import open_context
from minibuild.worker.worker import Worker


class OpenedImage(NamedTuple):
    """An active snapshot with the files of an image, and the image's config."""

    snapshot: SnapshotID
    config: ImageConfig


@contextmanager
def writable_view(
    worker: Worker,
    name: str,
    platform: Platform,
    registries: RegistryAccess,
    session: Session,
) -> Iterator[OpenedImage]:
    """A view of the image `name`. What is written to it is gone when the block ends."""
    request = BuildRequest(registries=registries)
    with open_context(worker, request, {}, cancelled=session.cancelled) as build:
        sources = Sources(build)
        resolved = sources.finder.resolve(name, platform)
        result, _ = sources.image(resolved.source)
        active = worker.snapshots.prepare(build.materialiser.snapshot(result, session.tell))
    try:
        yield OpenedImage(active, resolved.config)
    finally:
        worker.snapshots.remove(active)


@contextmanager
def failed_view(worker: Worker, session: Session) -> Iterator[OpenedImage]:
    """A view of what the last failed step left, as that step saw itself: see `build --on-error`."""
    from minibuild.cache.failed import FailedSteps

    failed = FailedSteps(worker.cache, worker.diffs, worker.snapshots).last()
    if failed is None:
        raise UsageError(
            "no failed step is kept", hint="build with --on-error=keep, and it is the next to fail"
        )
    session.tell(f"in what {failed.name} left")
    like = {"env": failed.env, "cwd": failed.cwd, "user": failed.user}
    with tree_view(worker, failed.result, like, session.tell, session.cancelled) as view:
        yield view


@contextmanager
def tree_view(
    worker: Worker,
    result: Result,
    like: Mapping[str, Any],
    tell: Callable[[str], None],
    cancelled: threading.Event,
) -> Iterator[OpenedImage]:
    """A view of a result, as a step would see it that is `like` an Exec: with its variables, its
    working directory, its user."""
    env = [f"{name}={value}" for name, value in like.get("env", ())]
    config: ContainerConfig = {"Env": env, "WorkingDir": like.get("cwd", "/")}
    config["User"], config["Cmd"] = like.get("user", ""), ["sh"]
    active = worker.snapshots.prepare(worker.materialiser(cancelled).snapshot(result, tell))
    try:
        yield OpenedImage(active, ImageConfig(host_platform(), config))
    finally:
        worker.snapshots.remove(active)
