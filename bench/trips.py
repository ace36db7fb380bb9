"""How many rooms a value passes: the real calls of a trip through the code, counted.

    python bench/trips.py                              the trips of docs/architecture.md, as a table
    python bench/trips.py MODULE:QUALNAME WORD...      one trip in `minibuild WORD...`, in detail

Comes in: a function at which a trip starts. Goes out: how many modules are entered below its calls,
in all threads of this process; how many functions; how many calls go from one module to another;
and which modules call each other. Counted are calls of functions: not what a module does when it is
imported, not the constructors of named tuples, and not what becomes of progress once a report is
called, for that is a trip of its own. Steps run in processes of their own, which are not counted.
"""

import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).resolve().parent.parent
OURS = ("minibuild", "minibuild_dockerfile")
ASIDE = ("minibuild.startup", "minibuild.progress", "minibuild.events", "minibuild.record")
_OPTIMIZED = 1
"""The flag of code that is a function's, and no class body or module."""


class Count(NamedTuple):
    """What was counted of a trip."""

    modules: Counter[str]
    functions: set[str]
    across: Counter[tuple[str, str]]

    @property
    def both_ways(self) -> list[tuple[str, str]]:
        """Modules that call each other."""
        return sorted((a, b) for a, b in self.across if a < b and (b, a) in self.across)

    def row(self, name: str) -> str:
        """The numbers as a line of a table."""
        numbers = (len(self.modules), len(self.functions), self.across.total(), len(self.both_ways))
        return f"| {name} | {' | '.join(f'{number:,}' for number in numbers)} |"


class Trip:
    """A profile hook that counts below the calls of one function."""

    def __init__(self, start: str) -> None:
        self._start = start
        self._stacks = threading.local()
        self.count = Count(Counter(), set(), Counter())

    def hook(self, frame: FrameType, event: str, _: Any) -> None:
        """See sys.setprofile."""
        code, module = frame.f_code, str(frame.f_globals.get("__name__", ""))
        if event not in ("call", "return") or module.split(".")[0] not in OURS:
            return
        if not code.co_flags & _OPTIMIZED or module.startswith(ASIDE):
            return
        stack: list[str] = self._stacks.__dict__.setdefault("stack", [])
        name = f"{module}:{code.co_qualname}"
        if event == "return":
            if stack:
                stack.pop()
        elif stack or name == self._start:
            self.count.modules[module] += 1
            self.count.functions.add(name)
            if stack and stack[-1] != module:
                self.count.across[stack[-1], module] += 1
            stack.append(module)


def count(start: str, words: Sequence[str]) -> Count:
    """Run a command in this process, and count a trip. Raises `SystemExit` if it fails."""
    from minibuild.cli.main import entry

    trip = Trip(start)
    threading.setprofile(trip.hook)
    sys.setprofile(trip.hook)
    try:
        code = entry(list(words))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if code:
        raise SystemExit(code)
    return trip.count


# --- The table ---

DOCKERFILE = """\
FROM base AS build
COPY src /src
RUN ["/bin/busybox", "touch", "/made"]
FROM base
ENV A=1
WORKDIR /app
COPY --link --from=build /src /app/src
COPY --link src/d1 /app/d1
CMD ["/bin/busybox"]
"""
COPY = "FROM scratch\nCOPY src /src\n"
RUN = 'FROM base\nRUN ["/bin/busybox", "true"]\n'
MERGE = "FROM base\nCOPY --link src /src\n" + RUN.splitlines()[1] + "\n"

TRIPS = [
    ("Dockerfile of 9 lines to graph", DOCKERFILE, "minibuild_dockerfile.convert:convert"),
    ("COPY: what is known of it", COPY, "minibuild.solver.lookup:Lookup.ask"),
    ("COPY: op to layer", COPY, "minibuild.fileop.copy:copy"),
    ("COPY: all of its work", COPY, "minibuild.solver.step:Steps.do"),
    ("RUN, with the first unpacking of the base", RUN, "minibuild.solver.step:Steps.do"),
    ("merge", MERGE, "minibuild.snapshot.snapshotter:Snapshotter.merge"),
]


def table() -> None:
    """Count all trips, each in a process and a store of its own."""
    print("| trip | modules | functions | calls across modules | pairs that call each other |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(3):
            (Path(folder) / f"src/d{number}").mkdir(parents=True)
            for file in range(8):
                (Path(folder) / f"src/d{number}/f{file}").write_text(f"file {file}\n")
        (Path(folder) / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
        (Path(folder) / "busybox").chmod(0o755)
        for number, (name, text, start) in enumerate(TRIPS):
            environment = {**os.environ, "MINIBUILD_ROOT": f"{folder}/store{number}"}
            base = "FROM scratch\nCOPY busybox /bin/busybox\n"
            quiet = ["build", "-q", "-f-", folder]
            _run([*quiet, "-t", "base"], base, environment)
            _run(["--trip", name, start, *quiet], text, environment)


def _run(words: Sequence[str], text: str, environment: dict[str, str]) -> None:
    argv = [sys.executable, __file__, *words]
    if words[0] == "build":
        argv = [sys.executable, "-m", "minibuild", *words]
    done = subprocess.run(
        argv, input=text, env=environment, cwd=CHECKOUT, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    if words[0] == "--trip":
        print(done.stdout.splitlines()[-1])


def main(words: Sequence[str]) -> None:
    """See the module."""
    sys.path.insert(0, str(CHECKOUT))
    if not words:
        table()
    elif words[0] == "--trip":
        print("\n" + count(words[2], words[3:]).row(words[1]))
    else:
        found = count(words[0], words[1:])
        print("\n" + found.row(words[0]))
        for pair in found.both_ways:
            print("both ways:", *pair)
        print(*(f"{module}:{calls}" for module, calls in found.modules.most_common()))


if __name__ == "__main__":
    main(sys.argv[1:])
