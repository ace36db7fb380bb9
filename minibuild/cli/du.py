"""`minibuild du`: what the store holds, and how much room it takes.

Comes in: a store. Goes out: a table of records of the cache, images and cache mounts, or JSON.
Read next: `minibuild.housekeeping`.
"""

import argparse

from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.privileges import enter
from minibuild.cli.table import ago, table
from minibuild.progress.quantity import bytes_text

_DESCRIPTION_CELLS = 60


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
    from minibuild.engine import open_engine
    from minibuild.housekeeping import disk_usage

    with open_engine(root) as engine:
        holdings = disk_usage(engine)
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
    for kind in ("record", "image", "cache-mount"):
        size = sum(h.size_bytes for h in holdings if h.kind == kind)
        session.say(f"{kind + 's:':<14} {bytes_text(size):>9}")
    return 0


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _DESCRIPTION_CELLS else text[: _DESCRIPTION_CELLS - 1] + "…"


COMMANDS = {"du": Command(_parser, _run)}
