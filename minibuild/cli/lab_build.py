"""`minibuild lab PATH`: any Dockerfile, its merges made with an old defect and without.

Comes in: options. Goes out: how each of the two builds ended, and the fates of the paths of their
merges side by side, as text or JSON. The exit code is 0 if the defect makes no difference, 1 if it
makes one; a Dockerfile that fails with the fix, too, has the exit code of a failed step.
Read next: `minibuild.lab.both_ways`.
"""

import argparse
import os
from collections.abc import Iterator
from typing import Any

from minibuild.buildflags.attributes import assignments
from minibuild.buildflags.request import build_request
from minibuild.cli.command import NO, Session
from minibuild.cli.lab_text import fate_data, fate_words, merge_data, merge_lines, short
from minibuild.cli.table import table
from minibuild.errors import StepFailed, UsageError
from minibuild.lab.both_ways import BothWays, MergePair, PathFates, both_ways
from minibuild.progress.console import visible
from minibuild.rootless.enter import enter
from minibuild.session.request import BuildRequest
from minibuild.snapshot.defects import defect_named

_DEFECT = "whiteout-hardlink"
_SHOWN = 40


def run(options: argparse.Namespace, session: Session) -> int:
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
