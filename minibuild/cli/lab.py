"""`minibuild lab`: defects of merges, reproduced on this machine with the fix and without.

Comes in: the name of an exhibit, the path of a Dockerfile, or none for a list. Goes out: what is
seen, in parts, or as JSON. The exit code is 0 only if all came out as
expected: 1 if not, 3 if this machine cannot show it. Read next: `minibuild.lab.exhibit_builder`,
and `lab_text` for the words; `lab_build` for any Dockerfile.
"""

import argparse
import os
import sys
from collections.abc import Iterable

from minibuild.cli import lab_build, lab_text
from minibuild.cli.command import NO, Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.table import table
from minibuild.errors import HostError, UsageError
from minibuild.lab.catalogue import EXHIBITS, exhibit
from minibuild.lab.exhibit import Exhibit
from minibuild.lab.exhibit_builder import show
from minibuild.rootless.enter import enter
from minibuild.session.registries import registry_access


def _flags(made: Parser) -> None:
    made.description = "Reproduce a defect of merges, step by step; without a name, list them."
    made.epilog = (
        "`minibuild lab try` is a calculator for merge and diff.\n"
        "PATH is a Dockerfile, or a folder with one: all its merges are made with the\n"
        "defect of --defect and without it.\n"
        "The exit code is 0 if an exhibit failed without the fix and passed with it, and if the\n"
        "defect makes no difference to a Dockerfile; 1 if not, and 3 if this machine cannot show\n"
        "it. See docs/lab.md."
    )
    made.word("[EXHIBIT|PATH]", "what to show: see `lab`", dest="what")
    made.switch("--slow", "wait for Enter after each part")
    made.switch("--keep", "keep the snapshots, and say where they are")
    made.value("--defect NAME", "of PATH: which (default: whiteout-hardlink)")
    made.value("--target STAGE", "of PATH: the stage to build")
    made.values("--build-arg K=V", "of PATH: a build argument")
    made.switch("--all", "of PATH: show all paths, not the first of many")
    made.format(short=True)


def _run(options: argparse.Namespace, session: Session) -> int:
    if not options.what:
        found = EXHIBITS.values()
        data = [{"name": e.name, "title": e.title, "defect": e.name} for e in found]
        lines = table(["EXHIBIT", "SHOWS"], [[e.name, e.title] for e in found])
        session.say_result(options, data, lines)
        return 0
    what = options.what
    if what not in EXHIBITS and ("/" in what or what == "." or os.path.exists(what)):
        return lab_build.run(options, session)
    if options.defect or options.target or options.build_arg or options.all:
        raise UsageError(
            "--defect, --target, --build-arg and --all are for a Dockerfile",
            hint="an exhibit has its own; `minibuild lab` lists them",
        )
    return _perform(exhibit(what), options, session)


def _perform(exhibit: Exhibit, options: argparse.Namespace, session: Session) -> int:
    as_json = options.format == "json"
    pages = Pages(session, options.slow)
    if not as_json:
        pages.write(lab_text.opening(exhibit))  # Also where nothing can be shown.
    enter()
    shown = show(
        exhibit,
        session.root,
        registries=registry_access(session.environment),
        keep=options.keep,
        cancelled=session.cancelled,
    )
    if as_json:
        session.say_json(lab_text.showing_data(shown, kept=options.keep))
    else:
        pages.write(lab_text.parts(shown, kept=options.keep))
    if shown.seen.unable:
        return HostError.exit_code
    return 0 if shown.as_expected else NO


class Pages:
    """Writes parts; if it is to be slow, it waits for a line of standard input between two."""

    def __init__(self, session: Session, slow: bool) -> None:
        self._session = session
        self._slow = slow
        self._first = True

    def write(self, parts: Iterable[Iterable[str]]) -> None:
        """Write parts, with a pause before each but the very first."""
        for lines in parts:
            if self._slow and not self._first:
                self._session.tell("-- Enter --")
                if not sys.stdin.readline():
                    self._slow = False  # The input is at its end.
            self._first = False
            self._session.say_lines(lines)
            self._session.flush()


COMMANDS = {"lab": Command(_flags, _run)}
