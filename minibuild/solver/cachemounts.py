"""Directories of `RUN --mount=type=cache`: they outlive builds and belong to no result.

A cache is known by its id, which says all that makes it another cache: the name that the step
gives, the tree that it starts from, and the owner that it is made for. So a step that wants a
cache of its own user never gets that of another. `shared` users use one directory at the same
time; `locked` ones wait for each other; a `private` one takes the first directory that is free, and
makes another if all are in use. A build with a step that may not come from the cache
(`--no-cache`) begins without the directories of that step, as in BuildKit.

A directory is seeded, and gets its owner and mode, when it is first made, and only then. The rules
are those of BuildKit. A mount `from` a tree starts with a copy of it, or of `source` in it, which
also says who owns the directory. With an owner and no source the directory is `/cache` of the tree,
or a new one if there is none. A mount of no tree starts empty, as root's with mode 0755 or with the
owner it names.

Steps that use a cache hold its use lock together; what packs or replaces its contents
(`minibuild.remotecache.mounts`) holds it alone. Read next: `exec`.
"""

import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from minibuild.digest import digest_bytes, digest_hex, digest_strings
from minibuild.errors import BuildError
from minibuild.graph.op import CacheMount, Copy, Exec
from minibuild.graph.pattern import escape_glob
from minibuild.graph.vertex import Vertex
from minibuild.linux import xattr
from minibuild.linux.beneath import lstat, real_path
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.owner import seen
from minibuild.linux.tree_writer import Metadata, set_metadata
from minibuild.oci.document import parse_document
from minibuild.solver.inputs import open_input
from minibuild.solver.keys import ReadyVertex
from minibuild.store.flock import hold
from minibuild.store.layout import Store
from minibuild.worker.context import BuildContext

_OWNED = "/cache"
"""Where in a tree BuildKit makes the directory of a cache that has an owner."""


def folder_of(store: Store, id: str) -> str:
    """The folder of a cache in the store: its directories are `0`, `1`, ... in it."""
    return store.path("cache-mounts", digest_hex(digest_bytes(id.encode()))[:32])


def has_owner(mount: CacheMount) -> bool:
    """Whether the directory is made for an owner. A `source` brings its own, as in BuildKit."""
    return mount.source == "/" and (mount.mode, mount.uid, mount.gid) != (None, None, None)


def with_full_id(mount: CacheMount, ready: ReadyVertex) -> CacheMount:
    """The mount of a step with the id of its cache: also what that started from, and its owner.

    As in BuildKit: what was made of one tree is no cache of another, even if both have the same
    target; and when a stage changes, its cache starts empty.
    """
    id = mount.id
    if mount.input >= 0:
        found, source = ready.input(mount.input), ready.vertex.inputs[mount.input]
        key = found.key if found is not None else None
        seed = key or (source.digest if source is not None else "scratch")
        id = f"{id} from {digest_hex(digest_strings((seed, mount.source)))[:12]}"
    if has_owner(mount):
        mode, uid, gid = owner_of(mount)
        id = f"{id} of {uid}:{gid} {mode:04o}"
    return mount._replace(id=id)


def is_called(id: str, name: str) -> bool:
    """Whether `name` means the cache `id`: it is what steps call it, or the whole id."""
    return id == name or id.startswith((f"{name} from ", f"{name} of "))


def owner_of(mount: CacheMount) -> tuple[int, int, int]:
    """The mode, user and group of a new directory that no tree says them of.

    Of the mode only the permission bits count: BuildKit drops the others on the way.
    """
    if not has_owner(mount):
        return 0o755, 0, 0
    mode = 0o755 if mount.mode is None else mount.mode & 0o777
    return mode, mount.uid or 0, mount.gid or 0


def use_lock(folder: str) -> str:
    """The name of the lock that is held while the cache in `folder` is used."""
    return f"use-{os.path.basename(folder)}"


def make_folder(folder: str) -> None:
    """Make the folder of a cache. Only this account gets at set-id programs and secrets there."""
    os.makedirs(folder, exist_ok=True)
    os.chmod(folder, 0o700)


def describe(folder: str, id: str, target: str) -> None:
    """Note in the folder of a cache what it is, unless that is known."""
    about = os.path.join(folder, "about.json")
    if not os.path.exists(about):
        with open(about, "w", encoding="utf-8") as file:
            json.dump({"id": id, "target": target}, file)


def start_empty(build: BuildContext, steps: Iterable[Vertex]) -> None:
    """Remove the caches that these steps mount, before the first of them runs: what one of them
    puts there is for the others. Waits until no step of another build uses them."""
    named = {
        (mount.id, mount.input >= 0 or has_owner(mount))
        for step in steps
        if isinstance(step.op, Exec)
        for mount in step.op.mounts
        if isinstance(mount, CacheMount)
    }
    if not named:
        return
    from minibuild.snapshot.sweep import discard

    store = build.worker.store
    top = store.path("cache-mounts")
    for folder in (os.path.join(top, name) for name in sorted(os.listdir(top))):
        id = _called(folder)
        if any((id != name) == special and is_called(id, name) for name, special in named):
            with store.lock(use_lock(folder), build.cancelled):
                if os.path.isdir(folder):
                    discard(store, folder)


def _called(folder: str) -> str:
    """The id of the cache in a folder; empty if that is not known."""
    try:
        with open(os.path.join(folder, "about.json"), "rb") as file:
            return parse_document(file.read(), "about.json")["id"].text()
    except (OSError, BuildError):
        return ""


class _Seed:
    """What the new directory of a cache mount starts with. `result` names the very result that the
    files are from, "" if there is none: one that was made again is another, also if its key is the
    same. A cache has no table of owners: where owners are recorded, symlinks belong to root."""

    def __init__(self, build: BuildContext, ready: ReadyVertex, mount: CacheMount) -> None:
        self._build = build
        self._ready = ready
        self._mount = mount
        found = ready.input(mount.input) if mount.input >= 0 else None
        self.result = "" if found is None else " ".join(map(str, found.result))

    def fill(self, fd: int) -> None:
        """Give an empty directory its files, its owner and its mode."""
        looks = None if self._mount.input < 0 else self._copy(fd)
        owners = self._build.worker.snapshots.owners(None)
        metadata = looks or Metadata(*owner_of(self._mount))
        set_metadata(fd, metadata, self._mount.target, owners=owners)

    def _copy(self, fd: int) -> Metadata | None:
        """Copy what the mount is from; returns how the directory looks there, if it is one."""
        from minibuild.fileop.api import Hooks
        from minibuild.fileop.apply import apply

        build, mount = self._build, self._mount
        with open_input(build, self._ready, mount.input) as tree:
            source = _OWNED if has_owner(mount) else mount.source
            if has_owner(mount) and not _is_directory(lstat(tree.fd, real_path(tree.fd, source))):
                return None
            copy = Copy(0, (escape_glob(source),), "/", keep_owner=not tree.local)
            owners, hooks = build.worker.snapshots.owners(None), Hooks(cancelled=build.cancelled)
            apply([copy], fd, {0: tree}, hooks, owners=owners)
            real = real_path(tree.fd, source)
            found = lstat(tree.fd, real)
            if found is None or not _is_directory(found):
                return None
            found = seen(found, xattr.at(tree.fd, real), tree.owners)
            owner = (0, 0) if tree.local else (found.st_uid, found.st_gid)
            return Metadata(found.st_mode, *owner)


def _is_directory(found: os.stat_result | None) -> bool:
    return found is not None and stat.S_ISDIR(found.st_mode)


@contextmanager
def cache_directories(
    build: BuildContext, ready: ReadyVertex, mounts: Sequence[CacheMount]
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
            id: stack.enter_context(_held(build, mount, _Seed(build, ready, mount)))
            for id, mount in sorted(first.items())
        }


@contextmanager
def _held(build: BuildContext, mount: CacheMount, seed: _Seed) -> Iterator[str]:
    """The directory of a cache mount, held as its sharing mode asks while the block runs."""
    folder = folder_of(build.worker.store, mount.id)
    _leave_older(build, folder, seed)
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


def _leave_older(build: BuildContext, folder: str, seed: _Seed) -> None:
    """Remove a cache that started from another result, such as that of a stage which was built
    again without the cache. Waits until no step uses it."""
    if _started_from(folder) in ("", seed.result):
        return
    from minibuild.snapshot.sweep import discard

    with build.worker.store.lock(use_lock(folder), build.cancelled):
        if _started_from(folder) not in ("", seed.result):
            discard(build.worker.store, folder)


def _seed_note(folder: str) -> str:
    return os.path.join(folder, "seed")


def _started_from(folder: str) -> str:
    """The result that a cache started from; "" if that is not known, or if there was none."""
    try:
        with open(_seed_note(folder), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


@contextmanager
def _first_free(build: BuildContext, folder: str, mount: CacheMount, seed: _Seed) -> Iterator[str]:
    number = 0
    while True:
        with hold(os.path.join(folder, f"{number}.lock"), wait=False) as held:
            if held:
                yield _made(build, folder, number, mount, seed)
                return
        number += 1


def _made(build: BuildContext, folder: str, number: int, mount: CacheMount, seed: _Seed) -> str:
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
        with closing_fd(os.open(making, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
            seed.fill(fd)
        describe(folder, mount.id, mount.target)
        if seed.result:
            with open(_seed_note(folder), "w", encoding="utf-8") as file:
                file.write(seed.result)
        os.rename(making, path)
    return path
