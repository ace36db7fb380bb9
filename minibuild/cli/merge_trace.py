"""`minibuild merge-trace`: what a merge did to each path, and why.

Comes in: an image of the store, or a step of the cache. Goes out: a table, or JSON with `--json`.
The merge is made once more, watched, and removed again. Read next: `minibuild.snapshot.trace`.
"""

import argparse
from collections.abc import Container, Iterator, Sequence
from typing import Any

from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.stores import chosen, find, open_store
from minibuild.cli.table import one_line, table
from minibuild.errors import ImageError, UsageError
from minibuild.graph.platform import Platform
from minibuild.lab.merge_inputs import Traced, diffs_of, of_image, of_step
from minibuild.progress.console import visible
from minibuild.snapshot.api import Applied
from minibuild.snapshot.trace import Fate, MergeTrace, trace_merge
from minibuild.worker.worker import Worker

_WORDS = {
    "below": "below the merge",
    "made": "directory recreated",
    "kept": "directory kept",
    "opaque": "opaque set",
    "whiteout": "whiteout written",
    "skipped": "whiteout skipped",
}
_ACTIONS = {
    "whiteouts": {"whiteout", "skipped", "removed", "opaque"},
    "copies": {"copied"},
}
"""What `--only` asks for, by the actions that count."""


def _flags(made: Parser) -> None:
    made.description = "Show what a merge did to each path: which layer won, which lost, and how."
    made.epilog = (
        "IMAGE is a name or id of the store. STEP is the beginning of a step's key, or\n"
        "words of its name, such as 'RUN make'. See docs/merge.md."
    )
    made.word("IMAGE|STEP", "an image of the store, or a step", dest="target")
    made.value("--path P", "only this path and what is below it")
    made.value("--only KIND", "conflicts, whiteouts or copies", choices=("conflicts", *_ACTIONS))
    made.switch("--all", "also paths that only one layer, below the merge, has")
    made.platform("which image of an index")
    made.format("text, or all of it as json", short=True)


def _run(options: argparse.Namespace, session: Session) -> None:
    platform = session.platform(options.platform)
    with open_store(session) as worker:
        traced = _traced(worker, options.target, platform)
        snapshots = worker.snapshots
        trace = trace_merge(snapshots, diffs_of(worker, traced.result, session.tell))
    fates = [fate for fate in trace.fates if _wanted(fate, options.path, options.only)]
    whole = options.all or bool(options.path)
    shown = fates if whole else [fate for fate in fates if not _untouched(fate)]
    lines = _lines(traced, trace, shown, len(fates) - len(shown), options.only)
    session.say_result(options, _as_data(traced, trace, fates), lines)


def _untouched(fate: Fate) -> bool:
    """Whether one layer of the parent has a path, and nothing else was ever done to it."""
    return len(fate.acts) == 1 and fate.acts[0].action == "below"


def _traced(worker: Worker, word: str, platform: Platform) -> Traced:
    """The image that `word` names, or else the step."""
    try:
        found = find(worker.images, word)
    except (ImageError, UsageError) as error:
        try:
            return of_step(worker, word)
        except UsageError as unknown:
            # `app` is more likely an image that is spelt wrong than a step.
            raise (error if error.hint.startswith("did you mean") else unknown) from None
    image = chosen(worker.content, found.descriptor, platform, word)
    return of_image(worker, word, image)


def _wanted(fate: Fate, path: str, only: str) -> bool:
    path = path.strip("/")
    if path and fate.path != path and not fate.path.startswith(f"{path}/"):
        return False
    if only == "conflicts":
        return fate.conflict
    return not only or any(act.action in _ACTIONS[only] for act in fate.acts)


# --- As text ---


def _lines(
    traced: Traced, trace: MergeTrace, fates: Sequence[Fate], hidden: int, only: str
) -> Iterator[str]:
    count, report = len(traced.result), trace.report
    yield f"{traced.name}: {count} layer{'' if count == 1 else 's'}, {_summary(trace)}"
    if trace.below < count:
        yield f"replayed by hardlinks: {report.linked:,} linked, {report.copied:,} copied"
    yield ""
    rows = [
        [str(n), "parent" if n < trace.below else "applied", one_line(instruction, 100)]
        for n, instruction in enumerate(traced.instructions)
    ]
    yield from table(["LAYER", "", "INSTRUCTION"], rows, right="LAYER")
    yield ""
    if fates:
        header = ["PATH", "LAYER", "WAS DONE", "INODE", "LINKS", "OVER"]
        rows = [_row(fate, _ACTIONS.get(only)) for fate in fates]
        yield from table(header, rows, right="LAYER INODE LINKS")
    else:
        yield "no path is like that" if trace.below < count else "a plain chain: nothing was merged"
    if hidden:
        yield f"... and {hidden:,} untouched paths of the layers below: see them with --all"


def _summary(trace: MergeTrace) -> str:
    alive = sum(not fate.gone for fate in trace.fates)
    conflicts = sum(fate.conflict for fate in trace.fates)
    return f"{alive:,} paths, {conflicts:,} that layers disagree about"


def _row(fate: Fate, wanted: Container[str] | None) -> list[str]:
    """A line of the table. What was asked for may not be what was done last: both are shown."""
    last = fate.acts[-1]
    asked = last if wanted is None else [act for act in fate.acts if act.action in wanted][-1]
    before = "" if asked is last else f"{act_words(asked)} (layer {asked.diff}), then "
    return [
        visible(fate.path),
        str(fate.winner),
        visible(f"{before}{act_words(last)}"),
        str(fate.inode or "-"),
        str(fate.links or "-"),
        ", ".join(map(str, fate.losers)),
    ]


def act_words(act: Applied) -> str:
    """What was done to a path, in words."""
    word = _WORDS.get(act.action, act.action)
    if act.action == "below" and act.deletes:
        word = "deleted below the merge"
    return f"{word}: {act.reason}" if act.reason else word


# --- As data ---


def _as_data(traced: Traced, trace: MergeTrace, fates: Sequence[Fate]) -> dict[str, Any]:
    said = traced.instructions
    return {
        "name": traced.name,
        "strategy": trace.report.strategy.value,
        "linked": trace.report.linked,
        "copied": trace.report.copied,
        "layers": [
            {"number": n, "instruction": text, "parent": n < trace.below}
            for n, text in enumerate(said)
        ],
        "paths": [
            {
                "path": fate.path,
                "gone": fate.gone,
                "layer": fate.winner,
                "instruction": said[fate.winner],
                "over": [{"layer": n, "instruction": said[n]} for n in fate.losers],
                "conflict": fate.conflict,
                "inode": fate.inode,
                "links": fate.links,
                "acts": [
                    {"layer": a.diff, "action": a.action, "reason": a.reason} for a in fate.acts
                ],
            }
            for fate in fates
        ],
    }


COMMANDS = {"merge-trace": Command(_flags, _run)}
