"""`minibuild lab`: defects of merges, reproduced on this machine with the fix and without.

Comes in: the name of an exhibit, or none for a list. Goes out: what was seen, as text or JSON. The
exit code is 0 only if all came out as expected: 1 if not, 3 if this machine cannot show it.
Read next: `minibuild.lab.stage`, and `lab_text` for the words.
"""

import argparse
import threading

from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.errors import HostError

UNEXPECTED = 1


def _parser() -> Parser:
    made = Parser(
        "minibuild lab",
        description="Reproduce a defect of merges, step by step; without a name, list them.",
        epilog="The exit code is 0 if the merge failed without the fix and passed with it,\n"
        "1 if not, and 3 if this machine cannot show it. See docs/lab.md.",
    )
    made.add_argument("exhibit", nargs="?", default="", metavar="EXHIBIT", help="which to show")
    made.switch("--json", help="write what was seen as JSON")
    made.switch("--keep", help="keep the snapshots, and say where they are")
    return made


def _run(options: argparse.Namespace, session: Session) -> int:
    from minibuild.cli import lab_text
    from minibuild.lab.catalogue import EXHIBITS, exhibit

    if not options.exhibit:
        lines = lab_text.listing_json if options.json else lab_text.listing
        session.say_lines(lines(EXHIBITS.values()))
        return 0
    wanted = exhibit(options.exhibit)
    from minibuild.linux.signals import stopping
    from minibuild.rootless.enter import enter
    from minibuild.session.registries import registry_access

    root, registries = session.root, registry_access(session.environment)
    enter()
    # Only now: a process with two threads may not enter a user namespace.
    from minibuild.lab.stage import show

    cancelled = threading.Event()
    with stopping(cancelled):
        seen = show(wanted, root, registries=registries, keep=options.keep, cancelled=cancelled)
    shown = lab_text.showing_json if options.json else lab_text.showing
    session.say_lines(shown(seen, kept=options.keep))
    if seen.unable:
        return HostError.exit_code
    return 0 if seen.as_expected else UNEXPECTED


COMMANDS = {"lab": Command(_parser, _run)}
