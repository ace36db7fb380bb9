"""Directories of `RUN --mount=type=cache`: they outlive builds and belong to no result.

A cache is known by its id. `shared` users use one directory at the same time; `locked` ones wait
for each other; a `private` one takes the first directory nobody uses, and makes another if all are
in use. A directory is seeded, and gets its owner and mode, when it is first made, and only then.

Whoever uses a cache holds its use lock together with all others who do; whoever packs or replaces
its contents (`minibuild.remotecache.mounts`) holds it alone.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from minibuild.cache.results import VertexResult
from minibuild.digest import digest_bytes, digest_hex, digest_strings
from minibuild.graph.op import CacheMount
from minibuild.graph.vertex import Vertex
from minibuild.linux.owner import fchown
from minibuild.solver.trees import input_of
from minibuild.store.flock import try_lock
from minibuild.store.layout import Store
from minibuild.worker.context import BuildContext

Seed = Callable[[int], None]
"""Fills a new cache directory, given as an open descriptor."""

SeedOf = Callable[[CacheMount], Seed | None]
"""What fills the directory of a mount, if something does."""


def folder_of(store: Store, id: str) -> str:
    """The folder of a cache in the store: its directories are `0`, `1`, ... in it."""
    return store.path("cache-mounts", digest_hex(digest_bytes(id.encode()))[:32])


def named_by_seed(
    mount: CacheMount, vertex: Vertex, done: Sequence[VertexResult | None]
) -> CacheMount:
    """The mount of a step with an id that tells what its cache started from, if that is something.

    As in BuildKit: what was made of one tree is no cache of another, even if both have the same
    target; and when a stage changes, its cache starts anew.
    """
    if mount.input < 0:
        return mount
    source, solved = vertex.inputs[mount.input], input_of(vertex, mount.input, done)
    key = solved.key if solved is not None else None
    seed = key or (source.digest if source is not None else "scratch")
    return mount._replace(
        id=f"{mount.id} from {digest_hex(digest_strings((seed, mount.source)))[:12]}"
    )


def use_lock(folder: str) -> str:
    """The name of the lock that is held while the cache in `folder` is used."""
    return f"use-{os.path.basename(folder)}"


def make_folder(folder: str) -> None:
    """Make the folder of a cache. Nobody but us gets at set-id programs and secrets in there."""
    os.makedirs(folder, exist_ok=True)
    os.chmod(folder, 0o700)


def describe(folder: str, id: str, target: str) -> None:
    """Note in the folder of a cache what it is, unless that is known."""
    about = os.path.join(folder, "about.json")
    if not os.path.exists(about):
        with open(about, "w", encoding="utf-8") as file:
            json.dump({"id": id, "target": target}, file)


@contextmanager
def cache_directories(
    build: BuildContext, mounts: Sequence[CacheMount], seed_of: SeedOf
) -> Iterator[dict[str, str]]:
    """The directories of the caches of a step by their ids, held while the block runs.

    They are taken in the order of their ids, so two steps never wait for each other. A cache that
    a step mounts twice is one directory, and is locked if one of the mounts asks for that.
    """
    first: dict[str, CacheMount] = {}
    for mount in mounts:
        if mount.sharing == "locked" or mount.id not in first:
            first[mount.id] = mount
    with ExitStack() as stack:
        yield {
            id: stack.enter_context(_held(build, mount, seed_of(mount)))
            for id, mount in sorted(first.items())
        }


@contextmanager
def _held(build: BuildContext, mount: CacheMount, seed: Seed | None) -> Iterator[str]:
    """The directory of a cache mount, held as its sharing mode asks while the block runs."""
    folder = folder_of(build.worker.store, mount.id)
    with build.worker.store.lock(use_lock(folder), build.cancelled, shared=True):
        make_folder(folder)
        os.utime(folder)  # when it was last used, for pruning
        if mount.sharing == "private":
            with _first_free(build, folder, mount, seed) as path:
                yield path
            return
        path = _made(build, folder, 0, mount, seed)
        if mount.sharing == "shared":
            yield path
            return
        with build.worker.store.lock(f"cache-{os.path.basename(folder)}", build.cancelled):
            yield path


@contextmanager
def _first_free(
    build: BuildContext, folder: str, mount: CacheMount, seed: Seed | None
) -> Iterator[str]:
    number = 0
    while True:
        with try_lock(os.path.join(folder, f"{number}.lock")) as held:
            if held:
                yield _made(build, folder, number, mount, seed)
                return
        number += 1


def _made(
    build: BuildContext, folder: str, number: int, mount: CacheMount, seed: Seed | None
) -> str:
    """The directory `number` of a cache, made and seeded if it is not there."""
    path = os.path.join(folder, str(number))
    if os.path.isdir(path):
        return path
    with build.worker.store.lock(f"seed-{os.path.basename(folder)}", build.cancelled):
        if os.path.isdir(path):
            return path
        # Seeded under another name: a crash must not leave half a seed that looks whole.
        making = build.worker.store.ingest_path()
        os.mkdir(making, 0o700)
        fd = os.open(making, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if seed is not None:
                seed(fd)
            fchown(fd, mount.uid, mount.gid, mount.target)
            os.fchmod(fd, mount.mode)
        finally:
            os.close(fd)
        describe(folder, mount.id, mount.target)
        os.rename(making, path)
    return path
