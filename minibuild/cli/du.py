"""`minibuild du`: what the store holds, and how much room it takes.

Comes in: a store. Goes out: a table of records of the cache, images, cache mounts, layers that no
image has and transfers that were cut off; or JSON.
Read next: `minibuild.worker.gc`.
"""

import argparse

from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.stores import open_store
from minibuild.cli.table import ago, one_line
from minibuild.progress.quantity import bytes_text
from minibuild.worker.gc import disk_usage, images_size

_KINDS = {
    "record": "records",
    "image": "images",
    "cache-mount": "cache-mounts",
    "blob": "other blobs",
    "partial": "unfinished",
}
_ALWAYS = ("record", "image", "cache-mount")


def _flags(made: Parser) -> None:
    made.description = "Show what the store holds and how much room it takes."
    made.switch("--verbose", "show all records of the cache, not just the largest")
    made.format()


def _run(options: argparse.Namespace, session: Session) -> None:
    with open_store(session) as worker:
        holdings, of_images = disk_usage(worker), images_size(worker)
    if options.format == "json":
        return session.say_json([holding._asdict() for holding in holdings])
    holdings.sort(key=lambda holding: (holding.kind, -holding.size_bytes))
    shown = [h for h in holdings if h.kind != "record"]
    records = [h for h in holdings if h.kind == "record"]
    shown += records if options.verbose else records[:20]
    rows = [
        [h.kind, bytes_text(h.size_bytes), ago(h.used), one_line(h.description or h.id, 60)]
        for h in shown
    ]
    session.say_table(["KIND", "SIZE", "LAST USED", "WHAT"], rows, right="SIZE")
    if hidden := len(holdings) - len(shown):
        session.say(f"... and {hidden} smaller records: see --verbose")
    for kind, label in _KINDS.items():
        # Images share layers, so their sum says nothing.
        size = sum(h.size_bytes for h in holdings if h.kind == kind)
        size = of_images if kind == "image" else size
        if size or kind in _ALWAYS:
            session.say(f"{label + ':':<14} {bytes_text(size):>9}")


COMMANDS = {"du": Command(_flags, _run)}
