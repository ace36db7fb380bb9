"""What an exhibit of the lab showed, in words and as JSON.

Comes in: exhibits and `Showing`s. Goes out: lines. Paths of snapshots are shown from the folder
`snapshots` on, so that they fit; JSON has them whole.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from minibuild.cli.table import table
from minibuild.lab.evidence import Run, Showing, Varied, failed_so
from minibuild.lab.exhibit import Exhibit
from minibuild.snapshot.api import Applied, Kind


def listing(exhibits: Iterable[Exhibit]) -> list[str]:
    """The exhibits in a table."""
    return table(["EXHIBIT", "SHOWS"], [[made.name, made.title] for made in exhibits])


def listing_json(exhibits: Iterable[Exhibit]) -> list[str]:
    """The exhibits as JSON."""
    found = [{"name": e.name, "title": e.title, "defect": e.defect} for e in exhibits]
    return [json.dumps(found, indent=2)]


def showing(seen: Showing, *, kept: bool) -> Iterator[str]:
    """The whole story, as lines."""
    exhibit = seen.exhibit
    yield from (exhibit.title, "", *exhibit.story.splitlines())
    yield from _section("the Dockerfile")
    yield from (f"  {line}" for line in exhibit.dockerfile.splitlines())
    yield from _section(f"{exhibit.watched.strip()}: the upperdir as the kernel left it")
    yield f"  {_short(seen, seen.upperdir)}  ({seen.snapshotter})"
    rows = [[f"  {e.path}", e.type, e.device, str(e.inode), str(e.links)] for e in seen.entries]
    yield from table(["  PATH", "TYPE", "DEVICE", "INODE", "LINKS"], rows, right="INODE LINKS")
    yield from _section("the merge that the last step needs")
    yield from _merge(seen)
    yield from _section(
        "without the fix: " + ("it fails" if seen.without_fix.error else "it passes")
    )
    yield from _run(seen, seen.without_fix)
    yield from _section("with the fix: " + ("it fails" if seen.with_fix.error else "it passes"))
    yield from _run(seen, seen.with_fix)
    yield from _section("the conditions, and what becomes of it when one is broken")
    yield from (f"  {n}  {text}" for n, text in enumerate(exhibit.conditions, 1))
    yield ""
    rows = [_varied_row(exhibit, varied) for varied in seen.variations]
    yield from table(["  VARIATION", "BREAKS", "WITHOUT THE FIX", "WITH THE FIX", ""], rows)
    yield ""
    if kept:
        yield f"kept: {seen.store}/snapshots"
    yield _verdict(seen)


def _section(title: str) -> tuple[str, str]:
    return "", title


def _merge(seen: Showing) -> Iterator[str]:
    call = seen.without_fix.merge
    if call is None:
        yield "  none"
        return
    lowers = [_short(seen, path) for path in call.lowerdirs]
    yield f"  base       {'nothing' if call.base is None else f'snapshot {call.base}'}"
    yield f"  lowerdirs  {':'.join(lowers) or 'none'}"
    for position, (lower, upper) in enumerate(call.diffs):
        below = "nothing" if lower is None else f"snapshot {lower}"
        yield f"  diff {position}     from {below} to snapshot {upper}"


def _run(seen: Showing, run: Run) -> Iterator[str]:
    rows = [
        [f"  /{fate.path}", f"diff {fate.diff}", _fate(fate)] for fate in run.fates if fate.path
    ]
    if rows:
        yield from table(["  PATH", "FROM", "FATE"], rows)
    if run.error:
        yield f"  error: {run.error}"


def _fate(fate: Applied) -> str:
    """What became of a path, in words."""
    if fate.action == "removed":
        return "removed; no whiteout, as no lower has it"
    if fate.action == "skipped":
        return "skipped, as no lower has it"
    if fate.action == "whiteout":
        linked = fate.reason.startswith("linked")
        return "whiteout, cross-linked from the RUN's" if linked else "whiteout, created"
    return fate.action + (f" ({fate.reason})" if fate.reason else "")


def _varied_row(exhibit: Exhibit, varied: Varied) -> list[str]:
    variation = varied.variation
    breaks = ", ".join(map(str, variation.breaks)) or "none"
    name = f"  {variation.name}"
    if varied.without_fix is None or varied.with_fix is None:
        return [name, breaks, "not run", "not run", varied.unable]
    mark = "" if varied.as_expected(exhibit) else "NOT AS EXPECTED"
    return [name, breaks, _ended(varied.without_fix), _ended(varied.with_fix), mark]


def _ended(run: Run) -> str:
    if run.error:
        return "fails"
    return "passes" if run.merge is not None else "passes, no merge"


def _verdict(seen: Showing) -> str:
    if seen.unable:
        return f"this cannot be seen here: {seen.unable}"
    if seen.as_expected:
        return "as expected: without the fix the merge fails, with it the same merge passes"
    return "NOT as expected: see above"


def _short(seen: Showing, path: str) -> str:
    return path.removeprefix(f"{seen.store}/")


# --- JSON ---------------------------------------------------------------------------------------


def showing_json(seen: Showing, *, kept: bool) -> Iterator[str]:
    """The same as JSON."""
    data = {
        "exhibit": seen.exhibit.name,
        "defect": seen.exhibit.defect,
        "as_expected": seen.as_expected,
        "unable": seen.unable or None,
        "snapshotter": seen.snapshotter,
        "kept": seen.store if kept else None,
        "dockerfile": seen.exhibit.dockerfile,
        "upperdir": seen.upperdir,
        "entries": [entry._asdict() for entry in seen.entries],
        "without_fix": _run_data(seen.exhibit, seen.without_fix),
        "with_fix": _run_data(seen.exhibit, seen.with_fix),
        "conditions": seen.exhibit.conditions,
        "variations": [_varied_data(seen.exhibit, varied) for varied in seen.variations],
    }
    yield json.dumps(data, indent=2)


def _run_data(exhibit: Exhibit, run: Run | None) -> dict[str, Any] | None:
    if run is None:
        return None
    call = run.merge
    return {
        "outcome": "fails" if run.error else "passes",
        "error": run.error or None,
        "error_as_expected": failed_so(exhibit, run),
        "merge": None
        if call is None
        else {
            "base": call.base,
            "lowerdirs": call.lowerdirs,
            "diffs": [{"lower": lower, "upper": upper} for lower, upper in call.diffs],
        },
        "paths": [
            {
                "path": fate.path,
                "diff": fate.diff,
                "delete": fate.kind is Kind.DELETE,
                "action": fate.action,
                "reason": fate.reason,
            }
            for fate in run.fates
        ],
    }


def _varied_data(exhibit: Exhibit, varied: Varied) -> dict[str, Any]:
    return {
        "name": varied.variation.name,
        "breaks": varied.variation.breaks,
        "as_expected": varied.as_expected(exhibit),
        "unable": varied.unable or None,
        "without_fix": _run_data(exhibit, varied.without_fix),
        "with_fix": _run_data(exhibit, varied.with_fix),
    }
