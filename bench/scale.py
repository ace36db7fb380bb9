#!/usr/bin/env python3
"""How cost grows with the work: more files, more steps, more stages, more links.

    bench/scale.py --vs buildkit --vs-root DIR --results bench
    bench/scale.py --only files --sizes 2000,20000 --rounds 3 --alone

Comes in: families of workloads that differ only in their size. Goes out: a table, and a picture
with a line for each builder and phase, both axes logarithmic: a line that rises like the diagonal
is of cost in proportion to the work, a flat one of cost in proportion to the change. Builders take
turns, on fresh stores in each round. Read next: `session`, `lines`.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

if __name__ == "__main__":  # Called by its path: the checkout has to be found first.
    CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    VENV = os.path.join(CHECKOUT, ".venv", "bin", "python")
    if os.path.exists(VENV) and not os.path.samefile(sys.prefix, os.path.join(CHECKOUT, ".venv")):
        os.execv(VENV, [VENV, *sys.argv])
    sys.path.insert(0, CHECKOUT)

from bench.bases import Base, Bases
from bench.builders import Builder, Minibuild
from bench.contents import tree, write
from bench.limits import Limit, walk_limit
from bench.lines import as_lines, as_table
from bench.peers import peer, peers_here
from bench.report import Report, filesystem, rows_of
from bench.session import Session
from bench.tree import Lacking
from bench.workloads import PLAIN, Workload

_FROM = "FROM localhost/bench-busybox\n"


class Family(NamedTuple):
    """Workloads that `make` writes for a size. `changed` is the file that changes ("": none)."""

    name: str
    title: str
    sizes: tuple[int, ...]
    make: Callable[[str, int], None]
    changed: str = ""

    def workload(self, size: int) -> Workload:
        """One of them."""
        phases = PLAIN if self.changed else ("cold", "noop")
        name, title = f"{self.name} {size}", f"{size:,} {self.title}"
        return Workload(name, title, lambda top, _: self.make(top, size), (phases,), self.changed)


def _files(top: str, count: int) -> None:
    write(f"{top}/Dockerfile", f"{_FROM}COPY . /src\nRUN echo done > /done\n")
    tree(f"{top}/src", count, seed=3, sizes=(1024, 8192))


def _steps(top: str, count: int) -> None:
    write(f"{top}/Dockerfile", _FROM + "".join(f"RUN echo {n} > /n\n" for n in range(count)))


def _stages(top: str, count: int) -> None:
    stages = [f"{_FROM[:-1]} AS s{n}\nCOPY f{n} /f\nRUN cat /f > /out\n" for n in range(count)]
    last = "".join(f"COPY --from=s{n} /out /out{n}\n" for n in range(count))
    write(f"{top}/Dockerfile", f"{''.join(stages)}{_FROM}{last}")
    for n in range(count):
        write(f"{top}/f{n}", f"{n}\n")


def _links(top: str, count: int) -> None:
    links = "".join(f"COPY --link f{n} /f{n}\n" for n in range(count))
    write(f"{top}/Dockerfile", f"{_FROM}{links}RUN echo done > /done\n")
    for n in range(count):
        write(f"{top}/f{n}", f"{n}\n")


FAMILIES = (
    Family("files", "files of a COPY, then a RUN", (2_000, 20_000, 100_000), _files,
           "src/d000/f00000.txt"),
    Family("steps", "RUNs", (20, 100, 300), _steps),
    Family("stages", "stages", (10, 50, 150), _stages, "f0"),
    Family("links", "COPY --link of a file, then a RUN", (20, 100, 300), _links, "f0"),
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = argparse.ArgumentParser(
        prog="scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(family.name for family in FAMILIES)
    made.add_argument("--only", default="", metavar="NAME,...", help=f"of {names}")
    made.add_argument("--sizes", default="", metavar="N,...", help="instead of the usual ones")
    made.add_argument("--vs", action="append", metavar="CMD", help="as in bench/run.py")
    made.add_argument("--vs-root", default="", metavar="DIR", help="where BuildKit is")
    made.add_argument("--alone", action="store_true", help="minibuild only")
    made.add_argument("--rounds", type=int, default=3, help="how often (default: 3)")
    made.add_argument("--directory", help="where to work (default: the system's temporary one)")
    made.add_argument("--results", metavar="DIR", help="write SCALE.md and SCALE.svg there")
    return made


def _families(given: argparse.Namespace) -> list[Family]:
    """Those that are asked for. Raises `ValueError`."""
    by_name = {family.name: family for family in FAMILIES}
    wanted = [name for name in given.only.split(",") if name]
    if unknown := [name for name in wanted if name not in by_name]:
        raise ValueError(f"there is no family {unknown[0]}: there are {', '.join(by_name)}")
    sizes = tuple(int(size) for size in given.sizes.split(",") if size)
    found = [by_name[name] for name in wanted] or list(FAMILIES)
    return [family._replace(sizes=sizes or family.sizes) for family in found]


def _builders(given: argparse.Namespace) -> list[Builder]:
    others = [peer(command, "", given.vs_root) for command in given.vs or ()]
    if not others and not given.alone:
        others = peers_here(given.vs_root, _tell)
    return [Minibuild(), *others]


def _measure(
    family: Family, builders: Sequence[Builder], base: Base, report: Report,
    given: argparse.Namespace, top: str,
) -> Report:  # fmt: skip
    for size in family.sizes:
        workload = family.workload(size)
        folder = os.path.join(top, workload.name.replace(" ", ""))
        os.makedirs(folder)
        session = Session(workload, builders, base, folder, 1.0)
        rows = (*report.rows, *rows_of(workload.name, session.measure(given.rounds, _tell)))
        seconds = walk_limit(session.context)
        limit = Limit("noop", "python, scandir and lstat", seconds)
        limits = {**report.limits, (workload.name, "noop"): limit}
        titles = {**report.titles, workload.name: workload.title}
        report = report._replace(rows=rows, limits=limits, titles=titles)
        _write(report, given)  # Now: what was measured is not lost with what comes after it.
    return report


def _write(report: Report, given: argparse.Namespace) -> None:
    if given.results:
        for name, text in (("SCALE.md", as_table(report)), ("SCALE.svg", as_lines(report))):
            with open(os.path.join(given.results, name), "w", encoding="utf-8") as file:
                file.write(text)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Measure as told; 1 if minibuild failed somewhere."""
    given = parser().parse_args(arguments)
    try:
        families, builders = _families(given), _builders(given)
    except (ValueError, Lacking) as error:
        _tell(str(error))
        return 2
    top = tempfile.mkdtemp(prefix="bench-", dir=given.directory)
    report = Report(
        (),
        {},
        {},
        day=time.strftime("%d %B %Y", time.gmtime()),
        filesystem=filesystem(top),
        load_before=round(os.getloadavg()[0], 2),
        versions={builder.name: builder.version for builder in builders},
    )
    try:
        with Bases(top, 1.0).base("busybox") as base:
            for family in families:
                report = _measure(family, builders, base, report, given, top)
        print(as_table(report), end="")
    finally:
        shutil.rmtree(top, ignore_errors=True)
    failed = [row for row in report.rows if row.error]
    for row in failed:
        _tell(f"\n{row.workload} {row.phase} {row.builder} failed:\n{row.error}")
    return 1 if any(row.builder == "minibuild" for row in failed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
