"""`minibuild du` and `prune`: what the store holds, how much space it takes, and how to free some.

Comes in: a store; how old an unused record may get, and how large the cache. Goes out: a table of
records of the cache, images, cache mounts, layers that no image has and transfers that were cut
off; or what was removed. Images keep what they need as long as they have a name.
Read next: `minibuild.worker.gc`, `minibuild.worker.prune`.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

from minibuild.buildflags.attributes import size_bytes
from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.stores import open_store
from minibuild.cli.table import ago, one_line, table
from minibuild.progress.quantity import bytes_text
from minibuild.record.records import kept_keys, remove_older
from minibuild.session.duration import duration
from minibuild.store.reserve import reserve_on_the_disk
from minibuild.worker.gc import UsageRecord, disk_usage, images_size
from minibuild.worker.prune import FOREVER_S, Limits, prune
from minibuild.worker.usage_filter import parse_filter

_KINDS = {
    "record": "records",
    "image": "images",
    "cache-mount": "cache-mounts",
    "blob": "other blobs",
    "partial": "unfinished",
}
_ALWAYS = ("record", "image", "cache-mount")


def _du_flags(made: Parser) -> None:
    made.switch("--verbose", "show all records of the cache, not just the largest")
    made.format()


def _du(options: argparse.Namespace, session: Session) -> None:
    with open_store(session) as worker:
        holdings, of_images = disk_usage(worker), images_size(worker)
    data = [holding._asdict() for holding in holdings]
    session.say_result(options, data, _usage(holdings, of_images, whole=options.verbose))


def _usage(holdings: Sequence[UsageRecord], of_images: int, *, whole: bool) -> Iterator[str]:
    """The holdings by kind, the largest first, and what each kind takes."""
    ordered = sorted(holdings, key=lambda holding: (holding.kind, -holding.size_bytes))
    shown = [h for h in ordered if h.kind != "record"]
    records = [h for h in ordered if h.kind == "record"]
    shown += records if whole else records[:20]
    rows = [
        [h.kind, bytes_text(h.size_bytes), ago(h.used), one_line(h.description or h.id, 60)]
        for h in shown
    ]
    yield from table(["KIND", "SIZE", "LAST USED", "WHAT"], rows, right="SIZE")
    if hidden := len(holdings) - len(shown):
        yield f"... and {hidden} smaller records: see --verbose"
    for kind, label in _KINDS.items():
        # Images share layers, so their sum says nothing.
        size = sum(h.size_bytes for h in holdings if h.kind == kind)
        size = of_images if kind == "image" else size
        if size or kind in _ALWAYS:
            yield f"{label + ':':<14} {bytes_text(size):>9}"


_UNTIL = "until="
_CACHE_MOUNT = "exec.cachemount"
_SIZES = {
    "--max-used-space": "shrink the cache to this, such as 10GB: the longest unused goes first",
    "--min-free-space": "shrink it until the disk has this free",
    "--reserved-space": "never shrink it below this",
}


def _prune_flags(made: Parser) -> None:
    made.description = (
        "Remove records of the cache that no build used for a while, then everything "
        "that no record and no name of an image needs."
    )
    made.value(
        "--keep-duration TIME",
        "keep what was used within this time, such as 12h or 7d (default: 7d)",
    )
    made.values(
        "--filter until=TIME|FIELD=VALUE",
        "the same as --keep-duration; or remove only what has this: "
        "type=exec.cachemount, id~=PATTERN, description~=PATTERN",
    )
    for flag, meaning in _SIZES.items():
        made.value(f"{flag} SIZE", meaning)
    made.switch("-a --all", "remove all records and cache mounts, also new ones")
    made.switch("--cache-mounts", "remove directories of RUN --mount=type=cache too")
    made.switch("-f --force", "do not ask")


def _prune(options: argparse.Namespace, session: Session) -> int:
    limits = _limits(options)
    if options.all and not options.force and not _agreed(session):
        return 1
    chosen = ",".join(text for text in options.filter if not text.startswith(_UNTIL))
    meant = parse_filter(chosen)
    root = session.root
    with reserve_on_the_disk(root), open_store(session, alone=True) as worker:
        builds = 0 if chosen else remove_older(root, limits.unused_for_s, time.time())
        mounts = options.cache_mounts or options.all or _CACHE_MOUNT in chosen
        freed = prune(worker, limits, meant=meant, cache_mounts=mounts, explained=kept_keys(root))
    session.say(
        f"removed {freed.records} records, {freed.snapshots} snapshots, {freed.blobs} blobs, "
        f"{freed.cache_mounts} cache mounts: {bytes_text(freed.size_bytes)}"
    )
    if builds:
        session.say(f"removed {builds} builds, which `minibuild builds` no longer lists")
    return 0


def _limits(options: argparse.Namespace) -> Limits:
    """What the flags say together. Where only sizes are given, age does not matter."""
    ages = [duration(options.keep_duration, "--keep-duration")] if options.keep_duration else []
    given = [text for text in options.filter if text.startswith(_UNTIL)]
    ages += [duration(text.removeprefix(_UNTIL), "--filter") for text in given]
    sized = options.max_used_space or options.min_free_space
    default = FOREVER_S if sized else 0.0 if options.all else Limits().unused_for_s
    most = options.max_used_space
    return Limits(
        max(ages, default=default),
        size_bytes(most, "max-used-space") if most else None,
        size_bytes(options.min_free_space or "0", "min-free-space"),
        size_bytes(options.reserved_space or "0", "reserved-space"),
    )


def _agreed(session: Session) -> bool:
    """Whether the person at the terminal agrees. Without a terminal there is no question."""
    if not sys.stdin.isatty():
        return True
    session.stderr.write("Remove the whole cache? Images with a name stay. [y/N] ")
    session.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


COMMANDS = {
    "du": Command(_du_flags, _du),
    "prune": Command(_prune_flags, _prune),
}
