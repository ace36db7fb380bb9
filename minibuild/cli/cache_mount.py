"""`minibuild cache-mount ls`, `show`, `rm`, `export` and `import`: directories of RUN
--mount=type=cache.

Comes in: ids, and places in the form of `--cache-mount-to` and `--cache-mount-from`. Goes out: a
table, or mounts in another place. Read next: `minibuild.remotecache.mounts`.
"""

import argparse
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from minibuild.buildflags.places import cache_mount_place
from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.registry_flags import access_of, add_registry_flags
from minibuild.cli.stores import open_store
from minibuild.cli.table import ago, table
from minibuild.errors import BuildError, ImageError, StoreError, UsageError
from minibuild.graph.reference import parse_reference
from minibuild.graph.spelling import one_of
from minibuild.progress.quantity import bytes_text
from minibuild.remotecache.mounts.artifact import read_mounts
from minibuild.remotecache.mounts.exporter import send
from minibuild.remotecache.mounts.importer import bring
from minibuild.remotecache.mounts.local import LocalMount
from minibuild.remotecache.mounts.tree import contents, is_empty
from minibuild.remotecache.places import open_place
from minibuild.session.request import BuildRequest, CacheMountPlace
from minibuild.solver.cachemounts import is_called
from minibuild.worker.context import BuildContext, open_context
from minibuild.worker.gc import cache_mounts_of
from minibuild.worker.worker import Worker

_PATIENCE_S = 30.0


@contextmanager
def _context(
    options: argparse.Namespace, session: Session, asked: CacheMountPlace
) -> Iterator[BuildContext]:
    """An open store, and progress that is shown until the block ends."""
    domains = [parse_reference(asked.ref).domain] if asked.ref else []
    access = access_of(options, session.environment, domains)
    with session.progress(options) as report, open_store(session) as worker:
        request = BuildRequest(registries=access)
        with open_context(worker, request, {}, report, session.cancelled) as build:
            yield build


def _known(worker: Worker) -> list[str]:
    """The ids of the cache mounts of the store."""
    return [holding.description for holding in cache_mounts_of(worker.store)]


def _ls_flags(made: Parser) -> None:
    made.description = "List the cache mounts of the store."
    made.switch("-q --quiet", "ids only")
    made.format()


def _ls(options: argparse.Namespace, session: Session) -> None:
    with open_store(session) as worker:
        found = sorted(cache_mounts_of(worker.store), key=lambda holding: holding.description)
    keys = ("id", "size_bytes", "created", "used")
    values = [(h.description, h.size_bytes, h.created, h.used) for h in found]
    rows = [[h.description, bytes_text(h.size_bytes), ago(h.used)] for h in found]
    lines = table(["ID", "SIZE", "LAST USED"], rows, right="SIZE")
    if options.quiet:
        lines = [holding.description for holding in found]
    session.say_result(options, [dict(zip(keys, v, strict=True)) for v in values], lines)


def _show_flags(made: Parser) -> None:
    made.description = "Show what is in a cache mount, the largest parts first."
    made.word("ID", "as `ls` shows it")
    made.value("--depth N", "how many levels (default: 1)", type=int, default=1)
    made.format()


def _show(options: argparse.Namespace, session: Session) -> None:
    if options.depth < 1:
        raise UsageError("--depth must be at least 1")
    with open_store(session) as worker:
        local = LocalMount(worker.store, options.id)
        if not os.path.isdir(local.path):
            raise _missing(options.id, _known(worker))
        with local.opened() as fd:
            found = contents(fd, options.depth)
    rows = [
        [bytes_text(e.size_bytes), str(e.files), ago(e.newest) if e.newest else "", e.path]
        for e in found
    ]
    lines = table(["SIZE", "FILES", "NEWEST", "PATH"], rows, right="SIZE FILES")
    session.say_result(options, [entry._asdict() for entry in found], lines)


def _rm_flags(made: Parser) -> None:
    made.word("ID...", "as `ls` shows it")


def _rm(options: argparse.Namespace, session: Session) -> None:
    with open_store(session) as worker:
        ids = _named(options.id, _known(worker), _missing)
        for id in ids:
            LocalMount(worker.store, id).remove(_PATIENCE_S, session.cancelled)


def _export_flags(made: Parser) -> None:
    made.description = "Write cache mounts of the store to a registry or a folder."
    made.word("PLACE", "REF, type=local,dest=DIR: see docs/cache-mounts.md")
    made.word("[ID...]", "which (default: all of the store)")
    made.progress("show no progress")
    add_registry_flags(made)


def _export(options: argparse.Namespace, session: Session) -> None:
    asked = cache_mount_place(options.place, "cache-mount-to")
    with _context(options, session, asked) as build:
        known = _known(build.worker)
        ids = _named((*asked.ids, *options.id) or sorted(known), known, _missing)
        sent = send(build, [asked._replace(ids=())], ids)
    for id in ids:
        session.say(f"{'exported' if id in sent else 'unchanged'}  {id}")


def _import_flags(made: Parser) -> None:
    made.description = (
        "Put cache mounts from a registry or a folder into the store. Mounts that "
        "have something in them are left alone, unless PLACE says force=true."
    )
    made.word("PLACE", "REF, type=local,src=DIR: see docs/cache-mounts.md")
    made.word("[ID...]", "which (default: all that are there)")
    made.progress("show no progress")
    add_registry_flags(made)


def _import(options: argparse.Namespace, session: Session) -> None:
    asked = cache_mount_place(options.place, "cache-mount-from")
    done = []
    with _context(options, session, asked) as build:
        opened = open_place(asked, build)
        kept = read_mounts(opened)
        if kept is None:
            raise ImageError(f"there are no cache mounts at {opened.name}")

        def missing(id: str, known: Collection[str]) -> ImageError:
            hint = one_of(id, sorted(known)[:10])
            return ImageError(f"{opened.name} has no cache mount {id}", hint=hint)

        for id in _named((*asked.ids, *options.id) or sorted(kept.layers), kept.layers, missing):
            local = LocalMount(build.worker.store, id)
            wanted = asked.force or is_empty(local.path)
            new = wanted and bring(build, local, "", opened.name, kept, _PATIENCE_S)
            done.append(f"{'imported' if new else 'unchanged' if wanted else 'kept'}  {id}")
    session.say_lines(done)


def _named(
    names: Sequence[str],
    known: Collection[str],
    missing: Callable[[str, Collection[str]], BuildError],
) -> list[str]:
    """The ids that are meant: whole ones, or what steps call the mount."""
    found: dict[str, None] = {}
    for name in names:
        ids = [name] if name in known else sorted(id for id in known if is_called(id, name))
        if not ids:
            raise missing(name, known)
        found |= dict.fromkeys(ids)
    return list(found)


def _missing(id: str, known: Iterable[str]) -> StoreError:
    hint = one_of(id, sorted(known)[:10])
    return StoreError(f"there is no cache mount {id} in the store", hint=hint)


COMMANDS = {
    "cache-mount ls": Command(_ls_flags, _ls),
    "cache-mount show": Command(_show_flags, _show),
    "cache-mount rm": Command(_rm_flags, _rm),
    "cache-mount export": Command(_export_flags, _export),
    "cache-mount import": Command(_import_flags, _import),
}
