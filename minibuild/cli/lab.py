"""`minibuild lab`: defects of merges, reproduced on this machine with the fix and without.

Comes in: the name of an exhibit, the path of a Dockerfile, or none for a list. Goes out: what is
seen, in parts, or as JSON. The exit code is 0 only if all came out as expected: 1 if not, 3 if this
machine cannot show it. Of a Dockerfile it is how each of two builds ended, with the defect and
without, and the fates of the paths of their merges side by side: exit code 0 if the defect makes no
difference, 1 if it makes one; one that fails with the fix, too, has the exit code of a failed step.
Read next: `minibuild.lab.exhibit_builder`, `minibuild.lab.both_ways`; `lab_text` for the words.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from minibuild.buildflags.attributes import assignments
from minibuild.buildflags.request import build_request
from minibuild.cli import lab_text
from minibuild.cli.command import NO, Command, Session
from minibuild.cli.lab_text import fate_data, fate_words, merge_data, merge_lines, short
from minibuild.cli.parser import Parser
from minibuild.cli.table import table
from minibuild.errors import HostError, StepFailed, UsageError
from minibuild.lab.both_ways import BothWays, MergePair, PathFates, both_ways
from minibuild.lab.exhibit import Exhibit
from minibuild.lab.exhibit_builder import show
from minibuild.lab.exhibits import EXHIBITS, exhibit
from minibuild.progress.console import visible
from minibuild.rootless.enter import enter
from minibuild.session.registries import registry_access
from minibuild.session.request import BuildRequest
from minibuild.snapshot.defects import defect_named


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
        return _both_ways(options, session)
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


# --- Any Dockerfile, with a defect and without ---


_DEFECT = "whiteout-hardlink"
_SHOWN = 40


def _both_ways(options: argparse.Namespace, session: Session) -> int:
    """Build it both ways, and say what came of it."""
    defect = defect_named(options.defect or _DEFECT)
    request = _request(options, session)
    root = session.root
    enter()
    found = both_ways(request, defect, root, keep=options.keep, cancelled=session.cancelled)
    lines = _told(found, None if options.all else _SHOWN, kept=options.keep)
    session.say_result(options, _as_data(found, kept=options.keep), lines)
    if found.with_fix.error:
        return StepFailed.exit_code
    return NO if found.differs else 0


def _request(options: argparse.Namespace, session: Session) -> BuildRequest:
    path = os.path.abspath(options.what)
    if not os.path.exists(path):
        raise UsageError(
            f"there is no exhibit and no file {options.what!r}",
            hint="`minibuild lab` lists the exhibits; a path names a Dockerfile",
        )
    folder, file = (path, "") if os.path.isdir(path) else (os.path.dirname(path), path)
    build_args = assignments(options.build_arg, "build-arg")
    asked = {"file": file, "target": options.target, "build_args": build_args}
    return build_request(folder, {k: v for k, v in asked.items() if v}, session.environment)


# --- As text ---


def _told(found: BothWays, most: int | None, *, kept: bool) -> Iterator[str]:
    new, old = found.with_fix, found.without_fix
    count = len(new.merges)
    yield f"{count or 'no'} merge{'' if count == 1 else 's'}; the defect is {found.defect}"
    for one in (new, old):
        words = f"it fails: {visible(short(one.error, found.store))}" if one.error else "it passes"
        yield f"  {one.how + ':':<16} {words}"
    for pair in found.pairs:
        yield ""
        yield from _pair(found, pair, most)
    yield ""
    yield f"the defect makes {'a' if found.differs else 'no'} difference to it"
    if kept:
        yield f"kept: {found.store}/snapshots"


def _pair(found: BothWays, pair: MergePair, most: int | None) -> Iterator[str]:
    yield f"the merge that {visible(pair.with_fix.needed_by) or 'a step'} needs"
    yield from (f"  {line}" for line in merge_lines(pair.with_fix, found.store))
    fates = list(pair.fates)
    if most is not None and len(fates) > most:
        fates.sort(key=lambda fate: not fate.differs)  # those that matter come first
    rows = [_row(fate) for fate in fates[:most]]
    if rows:
        yield from table(["  PATH", "FROM", "WITH THE FIX", "WITHOUT", ""], rows)
    if most is not None and len(fates) > most:
        yield f"  ... and {len(fates) - most} more: see them with --all"
    if pair.without_fix is None:
        yield "  without the fix the build did not come so far"
    for path in pair.differing:
        yield f"  the trees differ: /{visible(path)}"


def _row(fate: PathFates) -> list[str]:
    old = "" if fate.without_fix is None else fate_words(fate.without_fix)
    new = "" if fate.with_fix is None else fate_words(fate.with_fix)
    same = "the same" if old == new else old or "did not come to it"
    return [f"  /{fate.path}", f"diff {fate.diff}", new, same, "<--" if fate.differs else ""]


# --- As data ---


def _as_data(found: BothWays, *, kept: bool) -> dict[str, Any]:
    return {
        "defect": found.defect,
        "differs": found.differs,
        "snapshotter": found.snapshotter,
        "kept": found.store if kept else None,
        "with_fix": {"error": found.with_fix.error or None, "merges": len(found.with_fix.merges)},
        "without_fix": {
            "error": found.without_fix.error or None,
            "merges": len(found.without_fix.merges),
        },
        "merges": [
            {
                "needed_by": pair.with_fix.needed_by,
                **merge_data(pair.with_fix),
                "paths": [
                    {
                        "path": fate.path,
                        "diff": fate.diff,
                        "differs": fate.differs,
                        "with_fix": fate.with_fix and fate_data(fate.with_fix),
                        "without_fix": fate.without_fix and fate_data(fate.without_fix),
                    }
                    for fate in pair.fates
                ],
                "differing": pair.differing,
            }
            for pair in found.pairs
        ],
    }


COMMANDS = {"lab": Command(_flags, _run)}
