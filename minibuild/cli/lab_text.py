"""What an exhibit of the lab shows, in words and as JSON.

Comes in: exhibits, and what was shown of them. Goes out: lines. Paths of snapshots
are shown from the folder `snapshots` on, so that they fit; JSON has them whole.
Read next: `minibuild.lab.exhibit_builder`.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from minibuild.cli.table import table
from minibuild.lab.evidence import (
    MergeCall,
    MergeRun,
    MountRow,
    Observation,
    Showing,
    VariationResult,
    failed_so,
)
from minibuild.lab.exhibit import Exhibit, quote, text_of
from minibuild.progress.console import visible
from minibuild.snapshot.api import Applied, Kind

Lines = Iterable[str]
"""The lines of one part, after which there may be a pause."""


def opening(exhibit: Exhibit) -> Iterator[Lines]:
    """What is known before anything is built: the story, what is built, and the condition."""
    yield (exhibit.title, "", *exhibit.story.splitlines())
    recipe = text_of(exhibit.recipe)
    title = "the Dockerfile" if recipe == exhibit.recipe else "the graph"
    yield _section(title, *recipe.splitlines())
    file, line, text = quote(exhibit.condition)
    said = f"in BuildKit: {exhibit.buildkit}"
    yield _section(f"the condition: {file}, line {line}", *text.splitlines(), said)


def parts(showing: Showing, *, kept: bool) -> Iterator[Lines]:
    """What was seen."""
    store = showing.seen.store
    yield _seen(showing.exhibit, showing.seen)
    if showing.mounts:
        yield _mounts(showing.mounts)
    merge = merge_lines(showing.without_fix.merge, store)
    yield _section("the merge that the last step needs", *merge)
    for run in (showing.without_fix, showing.with_fix):
        yield _run(run, store)
    if showing.variations:
        yield _variations(showing)
    where = f"kept: {store}/snapshots"
    said = f"      {os.path.dirname(store)}/MAP.txt says what is what"
    yield ("", *((where, said) if kept else ()), _verdict(showing))


def _section(title: str, *lines: str) -> Lines:
    return ("", title, *(f"  {line}".rstrip() for line in lines))


def _seen(exhibit: Exhibit, seen: Observation) -> Lines:
    rows = [
        [e.path, f"{e.type}{', opaque' if e.opaque else ''}", e.device, str(e.inode), str(e.links)]
        for e in seen.entries
    ]
    return _section(
        f"{exhibit.watched.strip()}: the upperdir as the kernel left it",
        f"{short(seen.upperdir, seen.store)}  ({seen.snapshotter})",
        *table(["PATH", "TYPE", "DEVICE", "INODE", "LINKS"], rows, right="INODE LINKS"),
    )


def _mounts(mounts: Sequence[MountRow]) -> Lines:
    rows = [[row.entry.path, str(row.mount), str(row.entry.inode)] for row in mounts]
    return _section(
        "four files deleted, two through one mount and two through the next",
        *table(["PATH", "MOUNT", "INODE"], rows, right="MOUNT INODE"),
        "one mount, one inode: the kernel keeps a whiteout for each mount, and links it",
    )


def _run(run: MergeRun, store: str) -> Lines:
    rows = [[f"/{f.path}", f"diff {f.diff}", fate_words(f)] for f in run.fates if f.path]
    return _section(
        f"{run.how}: {'it fails' if run.error else 'it passes'}",
        *(table(["PATH", "FROM", "FATE"], rows) if rows else ()),
        *([f"error: {visible(short(run.error, store))}"] if run.error else ()),
    )


def _variations(showing: Showing) -> Lines:
    header = ["VARIATION", "BREAKS", "WITHOUT THE FIX", "WITH THE FIX", ""]
    return _section(
        "the conditions, and what becomes of it when one is broken",
        *(f"{n}  {text}" for n, text in enumerate(showing.exhibit.conditions, 1)),
        "",
        *table(header, [_varied_cells(showing.exhibit, one) for one in showing.variations]),
    )


def short(text: str, store: str) -> str:
    """A text in which paths of a store begin in it."""
    return text.replace(f"{store}/", "") if store else text


def merge_lines(call: MergeCall | None, store: str) -> Iterator[str]:
    """What is merged with what."""
    if call is None:
        yield "none"
        return
    lowers = [short(path, store) for path in call.lowerdirs]
    yield f"base       {'nothing' if call.base is None else f'snapshot {call.base}'}"
    yield f"lowerdirs  {':'.join(lowers) or 'none'}"
    for position, (lower, upper) in enumerate(call.diffs):
        below = "nothing" if lower is None else f"snapshot {lower}"
        made_by = f"  {call.made_by[position]}" if call.made_by else ""
        yield f"diff {position}     from {below} to snapshot {upper}{visible(made_by)}"


def fate_words(fate: Applied) -> str:
    """What became of a path, in words."""
    if fate.action == "removed":
        return "removed; no whiteout, as no lower has it"
    if fate.action == "skipped":
        return "skipped, as no lower has it"
    if fate.action == "whiteout":
        linked = fate.reason.startswith("linked")
        return "whiteout, cross-linked from the RUN's" if linked else "whiteout, created"
    return fate.action + (f" ({fate.reason})" if fate.reason else "")


def _varied_cells(exhibit: Exhibit, varied: VariationResult) -> list[str]:
    variation = varied.variation
    breaks = ", ".join(map(str, variation.breaks)) or "none"
    if varied.without_fix is None or varied.with_fix is None:
        return [variation.name, breaks, "not run", "not run", varied.unable]
    mark = "" if varied.as_expected(exhibit) else "NOT AS EXPECTED"
    return [variation.name, breaks, _ended(varied.without_fix), _ended(varied.with_fix), mark]


def _ended(run: MergeRun) -> str:
    if run.error:
        return "fails"
    return "passes" if run.merge is not None else "passes, no merge"


def _verdict(showing: Showing) -> str:
    if showing.seen.unable:
        return f"this cannot be seen here: {showing.seen.unable}"
    if showing.as_expected:
        return "as expected: without the fix the last step fails, with it the same step passes"
    return "NOT as expected: see above"


# --- JSON ---------------------------------------------------------------------------------------


def showing_data(showing: Showing, *, kept: bool) -> dict[str, Any]:
    """The same as data."""
    exhibit, seen = showing.exhibit, showing.seen
    file, line, text = quote(exhibit.condition)
    return {
        "exhibit": exhibit.name,
        "defect": exhibit.name,
        "as_expected": showing.as_expected,
        "unable": seen.unable or None,
        "snapshotter": seen.snapshotter,
        "kept": seen.store if kept else None,
        "dockerfile": exhibit.recipe if isinstance(exhibit.recipe, str) else None,
        "recipe": text_of(exhibit.recipe),
        "condition": {"file": file, "line": line, "text": text, "buildkit": exhibit.buildkit},
        "upperdir": seen.upperdir,
        "entries": [entry._asdict() for entry in seen.entries],
        "mounts": [{"mount": r.mount, **r.entry._asdict()} for r in showing.mounts],
        "without_fix": _run_data(exhibit, showing.without_fix),
        "with_fix": _run_data(exhibit, showing.with_fix),
        "conditions": exhibit.conditions,
        "variations": [_varied_data(exhibit, varied) for varied in showing.variations],
    }


def _run_data(exhibit: Exhibit, run: MergeRun | None) -> dict[str, Any] | None:
    if run is None:
        return None
    return {
        "outcome": "fails" if run.error else "passes",
        "error": run.error or None,
        "error_as_expected": failed_so(exhibit, run),
        "merge": None if run.merge is None else merge_data(run.merge),
        "paths": [fate_data(fate) for fate in run.fates],
    }


def merge_data(call: MergeCall) -> dict[str, Any]:
    """What is merged with what."""
    return {
        "base": call.base,
        "lowerdirs": call.lowerdirs,
        "diffs": [
            {"lower": lower, "upper": upper, "made_by": made_by}
            for (lower, upper), made_by in zip(call.diffs, call.made_by, strict=True)
        ],
    }


def fate_data(fate: Applied) -> dict[str, Any]:
    """What became of a path."""
    return {
        "path": fate.path,
        "diff": fate.diff,
        "delete": fate.kind is Kind.DELETE,
        "action": fate.action,
        "reason": fate.reason,
    }


def _varied_data(exhibit: Exhibit, varied: VariationResult) -> dict[str, Any]:
    return {
        "name": varied.variation.name,
        "breaks": varied.variation.breaks,
        "recipe": text_of(varied.variation.recipe),
        "as_expected": varied.as_expected(exhibit),
        "unable": varied.unable or None,
        "without_fix": _run_data(exhibit, varied.without_fix),
        "with_fix": _run_data(exhibit, varied.with_fix),
    }
