"""What an exhibit of the lab shows, in words and as JSON.

Comes in: exhibits, and the parts of a showing as they happen. Goes out: lines. Paths of snapshots
are shown from the folder `snapshots` on, so that they fit; JSON has them whole.
Read next: `minibuild.lab.exhibit_builder`.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from minibuild.cli.table import table
from minibuild.lab.evidence import MergeCall, MergeRun, Observation, Showing, Varied, failed_so
from minibuild.lab.exhibit import Exhibit, quote, text_of
from minibuild.lab.exhibit_builder import Remounted, ShowingPart
from minibuild.progress.console import visible
from minibuild.snapshot.api import Applied, Kind

_COLUMNS = ("VARIATION", "BREAKS", "WITHOUT THE FIX", "WITH THE FIX", "")
PartLines = Iterator[str]
"""The lines of one part, after which there may be a pause."""


class Telling:
    """The story of one exhibit, told as it happens."""

    def __init__(self, exhibit: Exhibit, *, kept: bool) -> None:
        self._exhibit = exhibit
        self._kept = kept
        self._store = ""
        self._width = max([len(v.name) for v in exhibit.variations] + [len(_COLUMNS[0])])
        self._varied = False

    def opening(self) -> Iterator[PartLines]:
        """What is known before anything is built."""
        yield iter((self._exhibit.title, "", *self._exhibit.story.splitlines()))
        yield self._recipe()
        yield self._condition()

    def part(self, part: ShowingPart) -> Iterator[PartLines]:
        """What was seen just now."""
        match part:
            case Observation():
                self._store = part.store
                yield self._seen(part)
            case Remounted():
                yield self._mounts(part)
            case MergeRun(how):
                if how == "without the fix":
                    yield self._merge(part.merge)
                yield self._run(part)
            case Varied():
                yield self._variation(part)
            case Showing():
                yield self._end(part)

    def goes_on(self, part: ShowingPart) -> bool:
        """Whether a part is one more row of a table that has begun."""
        return self._varied and isinstance(part, Varied)

    def _recipe(self) -> PartLines:
        text = text_of(self._exhibit.recipe)
        yield from _section("the Dockerfile" if text == self._exhibit.recipe else "the graph")
        yield from (f"  {line}" for line in text.splitlines())

    def _condition(self) -> PartLines:
        file, line, text = quote(self._exhibit.condition)
        yield from _section(f"the condition: {file}, line {line}")
        yield from (f"  {line}" for line in text.splitlines())
        yield f"  in BuildKit: {self._exhibit.buildkit}"

    def _seen(self, seen: Observation) -> PartLines:
        watched = self._exhibit.watched.strip()
        yield from _section(f"{watched}: the upperdir as the kernel left it")
        yield f"  {self._short(seen.upperdir)}  ({seen.snapshotter})"
        rows = [
            [f"  {e.path}", f"{e.type}{', opaque' if e.opaque else ''}", e.device,
             str(e.inode), str(e.links)]
            for e in seen.entries
        ]  # fmt: skip
        yield from table(["  PATH", "TYPE", "DEVICE", "INODE", "LINKS"], rows, right="INODE LINKS")

    def _mounts(self, part: Remounted) -> PartLines:
        yield from _section("four files deleted, two through one mount and two through the next")
        rows = [[f"  {r.entry.path}", str(r.mount), str(r.entry.inode)] for r in part.rows]
        yield from table(["  PATH", "MOUNT", "INODE"], rows, right="MOUNT INODE")
        yield "  one mount, one inode: the kernel keeps a whiteout for each mount, and links it"

    def _merge(self, call: MergeCall | None) -> PartLines:
        yield from _section("the merge that the last step needs")
        yield from (f"  {line}" for line in merge_lines(call, self._store))

    def _run(self, run: MergeRun) -> PartLines:
        yield from _section(f"{run.how}: {'it fails' if run.error else 'it passes'}")
        rows = [
            [f"  /{fate.path}", f"diff {fate.diff}", fate_words(fate)]
            for fate in run.fates
            if fate.path
        ]
        if rows:
            yield from table(["  PATH", "FROM", "FATE"], rows)
        if run.error:
            yield f"  error: {visible(self._short(run.error))}"

    def _variation(self, varied: Varied) -> PartLines:
        if not self._varied:
            yield from self._conditions()
        self._varied = True
        yield self._row(_varied_cells(self._exhibit, varied))

    def _conditions(self) -> PartLines:
        yield from _section("the conditions, and what becomes of it when one is broken")
        yield from (f"  {n}  {text}" for n, text in enumerate(self._exhibit.conditions, 1))
        yield ""
        yield self._row(_COLUMNS)

    def _row(self, cells: Iterable[str]) -> str:
        name, breaks, old, new, mark = cells
        return f"  {name:<{self._width}}  {breaks:<6}  {old:<16}  {new:<16}  {mark}".rstrip()

    def _end(self, showing: Showing) -> PartLines:
        yield ""
        if self._kept:
            place = os.path.dirname(showing.seen.store)
            yield f"kept: {showing.seen.store}/snapshots"
            yield f"      {place}/MAP.txt says what is what"
        yield _verdict(showing)

    def _short(self, text: str) -> str:
        return short(text, self._store)


def _section(title: str) -> tuple[str, str]:
    return "", title


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


def _varied_cells(exhibit: Exhibit, varied: Varied) -> list[str]:
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


def _varied_data(exhibit: Exhibit, varied: Varied) -> dict[str, Any]:
    return {
        "name": varied.variation.name,
        "breaks": varied.variation.breaks,
        "recipe": text_of(varied.variation.recipe),
        "as_expected": varied.as_expected(exhibit),
        "unable": varied.unable or None,
        "without_fix": _run_data(exhibit, varied.without_fix),
        "with_fix": _run_data(exhibit, varied.with_fix),
    }
