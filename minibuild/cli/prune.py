"""`minibuild prune`: remove what nothing needs any more.

Comes in: how old an unused record may get, and how large the cache. Goes out: how much room that
made. Images keep what they need as long as they have a name. Read next: `minibuild.worker.prune`.
"""

import argparse
import sys
import time

from minibuild.buildflags.sizes import size_bytes
from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.stores import open_store
from minibuild.errors import UsageError
from minibuild.progress.quantity import bytes_text
from minibuild.record.records import kept_keys, remove_older
from minibuild.session.duration import duration
from minibuild.worker.prune import FOREVER_S, Limits, prune

_SIZES = {
    "--max-used-space": "shrink the cache to this, such as 10GB: the longest unused goes first",
    "--min-free-space": "shrink it until the disk has this free",
    "--reserved-space": "never shrink it below this",
}


def _flags(made: Parser) -> None:
    made.description = (
        "Remove records of the cache that no build used for a while, then everything "
        "that no record and no name of an image needs."
    )
    made.value(
        "--keep-duration TIME",
        "keep what was used within this time, such as 12h or 7d (default: 7d)",
    )
    made.values("--filter until=TIME", "the same, as docker buildx prune has it")
    for flag, meaning in _SIZES.items():
        made.value(f"{flag} SIZE", meaning)
    made.switch("-a --all", "keep no record of the cache, and no cache mount")
    made.switch("--cache-mounts", "remove directories of RUN --mount=type=cache too")
    made.switch("-f --force", "do not ask")


def _run(options: argparse.Namespace, session: Session) -> int:
    limits = _limits(options)
    if options.all and not options.force and not _agreed(session):
        return 1
    with open_store(session, alone=True) as worker:
        root = worker.store.root
        builds = remove_older(root, limits.unused_for_s, time.time())
        mounts = options.cache_mounts or options.all
        freed = prune(worker, limits, cache_mounts=mounts, explained=kept_keys(root))
    session.say(
        f"removed {freed.records} records, {freed.snapshots} snapshots, {freed.blobs} blobs, "
        f"{freed.cache_mounts} cache mounts: {bytes_text(freed.size_bytes)}"
    )
    if builds:
        session.say(f"removed {builds} builds, which `minibuild builds` no longer lists")
    return 0


def _limits(options: argparse.Namespace) -> Limits:
    """What the flags say together. Where only sizes are given, age is of no account."""
    ages = [duration(options.keep_duration)] if options.keep_duration else []
    for text in options.filter:
        key, _, value = text.partition("=")
        if key != "until":
            raise UsageError(f"unknown filter {text!r}", hint="there is until=TIME")
        ages.append(duration(value))
    sized = options.max_used_space or options.min_free_space
    default = FOREVER_S if sized else Limits().unused_for_s
    most = options.max_used_space
    return Limits(
        0.0 if options.all else max(ages, default=default),
        size_bytes(most, "max-used-space") if most else None,
        size_bytes(options.min_free_space or "0", "min-free-space"),
        size_bytes(options.reserved_space or "0", "reserved-space"),
    )


def _agreed(session: Session) -> bool:
    """Whether the person at the terminal agrees; who is no person has said so with the flag."""
    if not sys.stdin.isatty():
        return True
    session.stderr.write("Remove the whole cache? Images with a name stay. [y/N] ")
    session.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


COMMANDS = {"prune": Command(_flags, _run)}
