"""`minibuild du`: what the store holds, and how much room it takes.

Comes in: a store. Goes out: a table of records of the cache, images, cache mounts, layers that no
image has and transfers that were cut off; or JSON.
Read next: `minibuild.worker.gc`.
"""

import argparse

from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.table import ago, table
from minibuild.progress.quantity import bytes_text
from minibuild.rootless.enter import enter

_DESCRIPTION_CELLS = 60
_KINDS = {
    "record": "records",
    "image": "images",
    "cache-mount": "cache-mounts",
    "blob": "other blobs",
    "partial": "unfinished",
}
_ALWAYS = ("record", "image", "cache-mount")


def _parser() -> Parser:
    made = Parser(
        "minibuild du", description="Show what the store holds and how much room it takes."
    )
    made.switch("--verbose", help="show all records of the cache, not just the largest")
    made.add_argument("--format", choices=("text", "json"), default="text", help="text or json")
    return made


def _run(options: argparse.Namespace, session: Session) -> int:
    root = session.root
    enter()
    from minibuild.worker.gc import disk_usage, images_size
    from minibuild.worker.worker import open_worker

    with open_worker(root) as worker:
        holdings, of_images = disk_usage(worker), images_size(worker)
    if options.format == "json":
        import json

        session.say(json.dumps([holding._asdict() for holding in holdings], indent=2))
        return 0
    holdings.sort(key=lambda holding: (holding.kind, -holding.size_bytes))
    shown = [h for h in holdings if h.kind != "record"]
    records = [h for h in holdings if h.kind == "record"]
    shown += records if options.verbose else records[:20]
    rows = [
        [h.kind, bytes_text(h.size_bytes), ago(h.used), _short(h.description or h.id)]
        for h in shown
    ]
    for line in table(["KIND", "SIZE", "LAST USED", "WHAT"], rows, right="SIZE"):
        session.say(line)
    if hidden := len(holdings) - len(shown):
        session.say(f"... and {hidden} smaller records: see --verbose")
    for kind, label in _KINDS.items():
        # Images share layers, so their sum says nothing.
        size = sum(h.size_bytes for h in holdings if h.kind == kind)
        size = of_images if kind == "image" else size
        if size or kind in _ALWAYS:
            session.say(f"{label + ':':<14} {bytes_text(size):>9}")
    return 0


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _DESCRIPTION_CELLS else text[: _DESCRIPTION_CELLS - 1] + "…"


COMMANDS = {"du": Command(_parser, _run)}
