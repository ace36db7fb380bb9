"""Builds through `minibuild serve` against the same client with buildkitd.

    python bench/serve.py [--workload W1,W2,...] [--rounds N] [--scale X] [--write FILE]

Both are called by `buildctl`, with the same words, in turns, each round on fresh stores, their
daemons up and warm: so the client, its session and what goes through it are the same, and what
differs is the builder. buildkitd, buildctl and runc are on the path, or in a Debian in a folder.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence

if __name__ == "__main__":  # Called by its path: the checkout has to be found first.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench.bases import Bases
from bench.builders import Minibuild, Order
from bench.buildkit import BuildKit, listens
from bench.daemon import Daemon
from bench.measure import spread
from bench.session import Sample, Session
from bench.tree import Lacking, Tree
from bench.workloads import chosen

NAME = "minibuild serve"
GOAL = 0.6
_WORKLOADS = "W1,W2,W3,W4,W7"


class Served(BuildKit):
    """buildctl, and `minibuild serve` in the place of buildkitd."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree)
        self.name = NAME
        self._program = Minibuild().build(Order("", ""))[0]

    def start(self, store: str) -> Daemon:
        path = f"{store}/socket"
        script = (
            'mount -t proc proc /proc && exec env MINIBUILD_ROOT="$1/root" "$2" serve --addr "$3"'
        )
        command = ["/bin/sh", "-c", script, "sh", store, self._program, f"unix://{path}"]
        return Daemon(command, log=f"{store}/log", answers=lambda: listens(path))


def table(samples: Sequence[tuple[str, Sample]], names: Sequence[str]) -> list[str]:
    """One line for each workload and phase: medians, least and most, and the ratio; and what the
    processors did meanwhile for the client and the builder."""
    head = ["workload", "phase", *(f"{name}, s" for name in names), "ratio", "goal"]
    head += ["processors, s", "ratio"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for workload, phase in dict.fromkeys((w, s.phase) for w, s in samples):
        found = [s for w, s in samples if (w, s.phase) == (workload, phase)]
        if any(sample.error for sample in found):
            lines.append(f"| {workload} | {phase} | failed |")
            continue
        times = [spread(s.cost.wall_s for s in found if s.builder == name) for name in names]
        ratio = times[0].median / times[1].median
        cells = [f"{t.median:.3f} ({t.low:.3f}-{t.high:.3f})" for t in times]
        cells += [f"{ratio:.2f}", "met" if ratio <= GOAL else "missed"]
        work = [spread(s.cost.cpu_s for s in found if s.builder == name).median for name in names]
        cells += [" / ".join(f"{cpu_s:.2f}" for cpu_s in work), f"{work[0] / work[1]:.2f}"]
        lines.append(f"| {workload} | {phase} | {' | '.join(cells)} |")
    return lines


def main(arguments: Sequence[str]) -> int:
    """Measure as told; 1 if a builder failed."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--workload", default=_WORKLOADS)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--scale", type=float, default=1.0)
    made.add_argument("--vs-root", default="")
    made.add_argument("--write", default="", metavar="FILE", help="write the table there, too")
    given = made.parse_args(arguments)
    try:
        builders = (Served(Tree(given.vs_root)), BuildKit(Tree(given.vs_root)))
    except Lacking as reason:
        print(reason, file=sys.stderr)
        return 2
    top, samples, loads = tempfile.mkdtemp(prefix="bench-serve-"), [], [os.getloadavg()[0]]
    try:
        bases = Bases(top, given.scale)
        for workload in chosen(given.workload):
            folder = os.path.join(top, workload.name)
            os.makedirs(folder)
            with bases.base(workload.base) as base:
                session = Session(workload, builders, base, folder, given.scale)
                found = session.measure(given.rounds, lambda text: print(text, file=sys.stderr))
            samples += [(workload.name, sample) for sample in found]
            loads.append(os.getloadavg()[0])
    finally:
        shutil.rmtree(top, ignore_errors=True)
    day = time.strftime("%d %B %Y", time.gmtime())
    lines = table(samples, [builder.name for builder in builders])
    lines += ["", f"{day}; {os.cpu_count()} processors; load average {min(loads):.1f} to "
              f"{max(loads):.1f}; {builders[1].version}; {given.rounds} rounds."]  # fmt: skip
    print("\n".join(lines))
    if given.write:
        with open(given.write, "w", encoding="utf-8") as file:
            file.write(_PAGE + "\n".join(lines) + "\n")
    return 1 if any(sample.error for _, sample in samples) else 0


_PAGE = """# Through `minibuild serve`

Written by `bench/serve.py --write bench/serve.md`. One client, `buildctl`, with the same
words for both: with `minibuild serve`, and with buildkitd. Seconds are wall time, medians
(least-most), builders in turns; the goal is a ratio of 0.6. Beside them is the processor time of
the client and the builder together, which other work on the machine disturbs less. The phases and
workloads are those of [RESULTS.md](RESULTS.md).

"""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
