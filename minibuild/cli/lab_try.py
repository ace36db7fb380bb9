"""`minibuild lab try`: merge and diff as a calculator.

Comes in: trees as text and an expression. Goes out: the tree, the layers, the upperdirs, how it was
merged and why, as text or JSON. A model in memory and real snapshots work it out, and the exit code
is 1 if they differ. Read next: `minibuild.lab.trial`.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from minibuild.cli.command import NO, Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.table import table
from minibuild.errors import HostError
from minibuild.lab.model import ModelFile, ModelTree
from minibuild.lab.place import own_place
from minibuild.lab.trial import Trial, TrialResult, by_model, on_disk, parse, text_of
from minibuild.progress.console import visible
from minibuild.rootless.enter import enter
from minibuild.snapshot.defects import policy_for
from minibuild.snapshot.upperdir import UpperEntry
from minibuild.worker.worker import open_worker

_LETTERS = {"char device": "c", "block device": "b", "symlink": "l", "fifo": "p", "socket": "s"}


def _flags(made: Parser) -> None:
    made.description = "Work out an expression of merge and diff, by a model and by real snapshots."
    made.epilog = """\
EXPRESSION is made of names of trees, merge(a, b, ...), diff(lower, upper) and scratch.
Each TREE is NAME='WORDS', or NAME:EXPRESSION='WORDS' for one that is made on another,
as a RUN makes it. A word is one edit:
  x         an empty file          x=hello  one with contents
  d/        a directory            d/:1777  with a mode; a file: x:600=hello
  l->t      a symlink to t         h=>x     one more name for the file x
  -x        x is removed

  minibuild lab try 'merge(a, diff(b, c))' a='x y/1' b=x c:b='-x y/2'

The exit code is 0 if both say the same, 1 if not, and 3 if there are no snapshots here: then
the model answers alone. See docs/lab.md."""
    made.word("EXPRESSION", "such as 'merge(a, diff(b, c))'")
    made.word("[TREE...]", "NAME='x y/1', or NAME:BELOW='-x'")
    made.value("--defect NAME", "merge with an old defect (see build --lab)")
    made.format()


def _run(options: argparse.Namespace, session: Session) -> int:
    policy = policy_for(options.defect)
    trial = by_model(*parse(options.expression, options.tree))
    root = session.root
    if unable := why_no_snapshots():
        trial = trial._replace(unable=unable)
    else:
        with own_place(root) as (_, place), open_worker(place) as worker:
            trial = on_disk(trial, worker, policy)
    session.say_result(options, _as_data(trial), _told(trial))
    if trial.unable:
        return HostError.exit_code
    return 0 if trial.agrees else NO


def why_no_snapshots() -> str:
    """Enter a user namespace, if snapshots need one. Returns why that cannot be, or nothing.

    This comes before all else: layers are read by several threads, and a process may enter one only
    while it has a single one.
    """
    try:
        enter()
    except HostError as error:
        return error.message
    return ""


# --- As text ---


def _told(trial: Trial) -> Iterator[str]:
    names = [
        f"{one.name} on {text_of(one.below)}" if one.below else one.name for one in trial.given
    ]
    width = max(map(len, names), default=0)
    yield "trees"
    for name, one in zip(names, trial.given, strict=True):
        yield f"  {name:<{width}}  {visible(one.line)}"
    count = len(trial.parts)
    yield from ("", f"{text_of(trial.expression)}: {count} layer{'' if count == 1 else 's'}")
    yield from _layers(trial)
    yield ""
    if trial.chosen is not None:
        yield from _how("how", trial.chosen)
    if trial.linked is not None:
        yield from _how("also", trial.linked)
    yield from ("", "the tree" if trial.model.keys() - {""} else "the tree is empty")
    yield from _tree(trial.model)
    yield ""
    yield from _verdict(trial)


def _layers(trial: Trial) -> Iterator[str]:
    if not trial.layers:
        yield from (f"  {n}  {visible(words)}" for n, words in enumerate(trial.parts))
        return
    rows = []
    for number, layer in enumerate(trial.layers):
        beside = ["(in no directory of its own)"]
        if layer.upperdir is not None:
            beside = list(map(upper_words, layer.upperdir))
        height = max(1, len(layer.tar), len(beside))
        for at in range(height):
            first = [f"{number}", layer.made_by] if at == 0 else ["", ""]
            rows.append([*first, *(c[at] if at < len(c) else "" for c in (layer.tar, beside))])
    yield from table(["LAYER", "MADE BY", "AS A TAR", "AS AN UPPERDIR"], rows, right="LAYER")


def upper_words(entry: UpperEntry) -> str:
    """An entry of an upperdir in a cell: a whiteout is `x  c 0:0 #311 x2`."""
    slash = "/" if entry.type == "directory" else ""
    words = [f"{entry.path}{slash} "]
    if entry.type in _LETTERS:
        words.append(" ".join(filter(None, (_LETTERS[entry.type], entry.device))))
    if entry.opaque:
        words.append("opaque")
    if not slash and entry.links > 1:
        words.append(f"#{entry.inode} x{entry.links}")
    return " ".join(words).rstrip()


def _how(title: str, made: TrialResult) -> Iterator[str]:
    if made.report is None:
        yield f"{title:<5} the merge failed: {visible(made.error)}"
        return
    report = made.report
    if report.strategy.value == "stack":
        yield f"{title:<5} stacked: {report.reason}"
        return
    yield f"{title:<5} hardlinks: {report.reason}; {report.linked} linked, {report.copied} copied"
    found = [upper_words(entry) for entry in made.upperdir]
    yield f"      in the snapshot of the merge: {'; '.join(map(visible, found)) or 'nothing'}"


def _tree(tree: ModelTree) -> list[str]:
    rows = [[f"  {path}{'/' * (e.type == 'dir')}", _mode(e), _contents(e)]
            for path, e in sorted(tree.items()) if path]  # fmt: skip
    return table(["  PATH", "MODE", "CONTENTS"], rows) if rows else []


def _mode(entry: ModelFile) -> str:
    return "" if entry.type == "symlink" else f"{entry.mode:03o}"


def _contents(entry: ModelFile) -> str:
    if entry.type == "symlink":
        return f"-> {entry.data!s}"
    return entry.data.decode("utf-8", "replace") if isinstance(entry.data, bytes) else ""


def _verdict(trial: Trial) -> Iterator[str]:
    if trial.unable:
        yield f"this is what the model says; there are no real snapshots here: {trial.unable}"
        return
    for made in (trial.chosen, trial.linked):
        if made is not None and not made.agrees:
            what = "the merge" if made is trial.chosen else "the merge by hardlinks"
            yield f"{what} DIFFERS from the model"
            yield from (f"  {visible(words)}" for words in made.differences)
    if trial.agrees:
        both = ", stacked and by hardlinks" if trial.linked is not None else ""
        yield f"the model and the disk say the same{both}"


# --- As data ---


def _as_data(trial: Trial) -> dict[str, Any]:
    return {
        "expression": text_of(trial.expression),
        "trees": [
            {"name": g.name, "below": g.below and text_of(g.below), "words": g.line}
            for g in trial.given
        ],
        "agree": None if trial.unable else trial.agrees,
        "unable": trial.unable or None,
        "tree": _tree_data(trial.model),
        "layers": [
            {
                "made_by": layer.made_by,
                "tar": layer.tar,
                "upperdir": layer.upperdir and [upper_data(entry) for entry in layer.upperdir],
            }
            for layer in trial.layers
        ]
        or [{"made_by": words, "tar": None, "upperdir": None} for words in trial.parts],
        "merge": _outcome_data(trial.chosen),
        "by_hardlinks": _outcome_data(trial.linked),
    }


def upper_data(entry: UpperEntry) -> dict[str, Any]:
    """An entry of an upperdir."""
    return {**entry._asdict(), "whiteout": entry.is_whiteout}


def _outcome_data(made: TrialResult | None) -> dict[str, Any] | None:
    if made is None:
        return None
    return {
        "agrees": made.agrees,
        "error": made.error or None,
        "strategy": made.report and made.report.strategy.value,
        "reason": made.report and made.report.reason,
        "linked": made.report and made.report.linked,
        "copied": made.report and made.report.copied,
        "tree": _tree_data(made.tree),
        "upperdir": [upper_data(entry) for entry in made.upperdir],
        "differences": made.differences,
    }


def _tree_data(tree: ModelTree) -> list[dict[str, Any]]:
    return [
        {
            "path": path,
            "type": entry.type,
            "mode": f"{entry.mode:04o}",
            "contents": _contents(entry),
        }
        for path, entry in sorted(tree.items())
        if path
    ]


COMMANDS = {"lab try": Command(_flags, _run)}
