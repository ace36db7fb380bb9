#!/usr/bin/env python3
"""The command: measure workloads, show the table, write JSON and a picture.

    bench/run.py --workload W3 --vs buildah
    bench/run.py --workload W1,W2 --vs 'docker buildx build -t {tag} {context}' --rounds 3

`--scale 0.01` makes everything small: to try the harness, not to measure anything.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial

if __name__ == "__main__":  # Called by its path: the checkout has to be found first.
    CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    VENV = os.path.join(CHECKOUT, ".venv", "bin", "python")
    if os.path.exists(VENV) and not os.path.samefile(sys.prefix, os.path.join(CHECKOUT, ".venv")):
        os.execv(VENV, [VENV, *sys.argv])
    sys.path.insert(0, CHECKOUT)

from bench.bases import Bases, Unavailable
from bench.builders import Builder, Minibuild
from bench.chart import as_svg
from bench.limits import Limit, limits
from bench.page import AT_REST, as_page
from bench.peers import peer, peers_here
from bench.report import Report, Row, as_json, as_text, filesystem, rows_of
from bench.session import Session
from bench.tree import Lacking
from bench.workloads import Workload, chosen

_REST_S = 120


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--workload", default="", metavar="W1,W2,...", help="which (default: all)")
    made.add_argument(
        "--vs",
        action="append",
        metavar="CMD",
        help="buildah, buildkit, dockerd, or any command with {context} in it",
    )
    made.add_argument(
        "--vs-root",
        default="",
        metavar="DIR",
        help="a Debian in a folder, with buildkitd or dockerd in it",
    )
    made.add_argument("--vs-setup", default="", metavar="CMD", help="puts {base} into its {store}")
    made.add_argument("--alone", action="store_true", help="minibuild only")
    made.add_argument(
        "--rounds", type=int, default=0, help="how often (default: 3, or 5 where it is quick)"
    )
    made.add_argument("--scale", type=float, default=1.0, help="size of the workloads")
    made.add_argument("--directory", help="where to work (default: the system's temporary one)")
    made.add_argument("--json", metavar="FILE", help="write everything as JSON")
    made.add_argument("--svg", metavar="FILE", help="write a picture")
    made.add_argument("--markdown", metavar="FILE", help="write a page with the table")
    made.add_argument("--results", metavar="DIR", help="write RESULTS.md, .svg and .json there")
    return made


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _measure(
    workload: Workload, builders: Sequence[Builder], bases: Bases, given: argparse.Namespace,
    top: str,
) -> tuple[list[Row], list[Limit]]:  # fmt: skip
    folder = os.path.join(top, workload.name)
    os.makedirs(folder)
    with bases.base(workload.base) as base:
        session = Session(workload, builders, base, folder, given.scale)
        rows = rows_of(workload.name, session.measure(given.rounds or workload.rounds, _tell))
        found = limits(workload, session.context, folder, given.scale, base.files)
        return rows, found


def _builders(given: argparse.Namespace) -> list[Builder]:
    found: list[Builder] = [Minibuild()]
    if given.alone:
        return found
    if given.vs:
        return found + [peer(command, given.vs_setup, given.vs_root) for command in given.vs]
    return found + peers_here(given.vs_root, _tell)


def _come_to_rest() -> None:
    """Wait until the machine has little else to do, or for two minutes: what was done just before
    is in the load average for a while, and its dirty data is still being written."""
    os.sync()
    give_up = time.monotonic() + _REST_S
    while os.getloadavg()[0] > AT_REST and time.monotonic() < give_up:
        _tell(f"waiting for the machine to come to rest (load {os.getloadavg()[0]:.1f})")
        time.sleep(10)


def _collect(
    workloads: Sequence[Workload], builders: Sequence[Builder], given: argparse.Namespace, top: str
) -> Report:
    bases = Bases(top, given.scale)
    report = Report(
        (),
        {},
        {w.name: w.title for w in workloads},
        day=time.strftime("%d %B %Y", time.gmtime()),
        filesystem=filesystem(top),
        load_before=round(os.getloadavg()[0], 2),
        versions={builder.name: builder.version for builder in builders},
    )
    for workload in workloads:
        try:
            rows, limited = _measure(workload, builders, bases, given, top)
        except (Unavailable, OSError, RuntimeError) as reason:
            _tell(f"{workload.name} is left out: {reason}")
            left_out = {**report.left_out, workload.name: str(reason)}
            report = report._replace(left_out=left_out)
            continue
        bounds = {(workload.name, limit.phase): limit for limit in limited}
        report = report._replace(rows=(*report.rows, *rows), limits={**report.limits, **bounds})
        # After each workload: what was measured is not lost with what comes after it.
        _write(report, given)
    return report


def _write(report: Report, given: argparse.Namespace) -> None:
    wanted = [(given.json, as_json), (given.svg, as_svg), (given.markdown, as_page)]
    if given.results:
        page = partial(as_page, picture="RESULTS.svg")
        for ending, text in (("json", as_json), ("svg", as_svg), ("md", page)):
            wanted.append((os.path.join(given.results, f"RESULTS.{ending}"), text))
    for path, text in wanted:
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text(report))


def main(arguments: Sequence[str]) -> int:
    """Measure as told; 1 if minibuild failed somewhere."""
    given = parser().parse_args(arguments)
    try:
        workloads, builders = chosen(given.workload), _builders(given)
    except (ValueError, Lacking) as error:
        _tell(str(error))
        return 2
    if given.results and given.scale >= 1:
        _come_to_rest()
    top = tempfile.mkdtemp(prefix="bench-", dir=given.directory)
    try:
        report = _collect(workloads, builders, given, top)
        print(as_text(report), end="")
    finally:
        shutil.rmtree(top, ignore_errors=True)
    failed = [row for row in report.rows if row.error]
    for row in failed:
        _tell(f"\n{row.workload} {row.phase} {row.builder} failed:\n{row.error}")
    return 1 if any(row.builder == "minibuild" for row in failed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
