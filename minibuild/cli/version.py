"""`minibuild version`: what runs here, for bug reports.

Comes in: nothing. Goes out: versions of the program, of Python and the kernel, and the store.
"""

import argparse
import os
import sys

import minibuild
from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser


def _flags(made: Parser) -> None:
    made.description = "Show the version."
    made.format()


def run(options: argparse.Namespace, session: Session) -> None:
    """Print the versions."""
    system = os.uname()
    facts = {
        "version": minibuild.__version__,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "kernel": f"{system.sysname} {system.release} {system.machine}",
        "root": session.root,
    }
    (_, version), *others = facts.items()
    lines = [f"minibuild {version}", *(f"{name:<8} {value}" for name, value in others)]
    session.say_result(options, facts, lines)


COMMANDS = {"version": Command(_flags, run)}
