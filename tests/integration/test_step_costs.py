"""What a step costs beside its program, counted instead of timed."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping

import pytest

from tests.integration.conftest import Builds

PROGRAM = r"""
import _sqlite3, os, sys
from minibuild.cli.main import entry
from minibuild.linux import syscalls
from minibuild.cache import records as cache
from minibuild.solver import keys

LATER = ("hashlib", "queue", "minibuild.executor.seccomp.program", "minibuild.solver.exec")
counts = {"transactions": 0, "looks": 0, "early": 0, "keys": 0, "lookups": 0}
connect, isdir, clone = _sqlite3.connect, os.path.isdir, syscalls.clone

def traced(*args, **named):
    made = connect(*args, **named)
    def trace(sql):
        writes = sql.startswith(("INSERT", "UPDATE", "DELETE"))
        counts["transactions"] += sql.startswith("BEGIN") or (writes and not made.in_transaction)
    made.set_trace_callback(trace)
    return made

def looked(path):
    counts["looks"] += "/snapshots/" in path
    return isdir(path)

def called(name, function):
    def counting(*args):
        counts[name] += 1
        return function(*args)
    return counting

keys.step_key = called("keys", keys.step_key)
cache.Cache.lookup = called("lookups", cache.Cache.lookup)

def cloned(flags, **rest):
    counts["early"] += sum(name in sys.modules for name in LATER)
    return clone(flags, **rest)

_sqlite3.connect, os.path.isdir, syscalls.clone = traced, looked, cloned
code = entry(sys.argv[1:])
sys.stdout.write("\n" + " ".join(f"{name} {count}" for name, count in counts.items()))
sys.exit(code)
"""


def counted(builds: Builds, *arguments: str) -> Counter[str]:
    """What was counted in a build."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "build", "--progress=quiet", *arguments],
        env={**os.environ, "MINIBUILD_ROOT": builds.cli.root},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    words = done.stdout.splitlines()[-1].split()
    return Counter(dict(zip(words[::2], map(int, words[1::2]), strict=True)))


@pytest.mark.integration
@pytest.mark.needs("mount", "busybox")
def test_a_step_among_many(builds: Builds, project: Callable[[Mapping[str, str]], str]) -> None:
    """It costs the same, however many came before, and little is written for it."""

    def cost(name: str, steps: int) -> Counter[str]:
        lines = [f"RUN echo {name} {number} > /n\n" for number in range(steps)]
        return counted(builds, project({"Dockerfile": "FROM busybox\n" + "".join(lines)}))

    cost("first", 1)
    few, many = cost("few", 2), cost("many", 12)
    # That a snapshot is begun; that it is done, and a diff; that there is a record, and of what.
    # Two more for the layer: what it is called, and whose it is.
    assert many["transactions"] - few["transactions"] == 5 * 10
    # What the step below writes to is there.
    assert many["looks"] - few["looks"] == 0
    # Asked for once, under its lock.
    assert many["lookups"] - few["lookups"] == 10
    assert many["keys"] - few["keys"] == 10


@pytest.mark.integration
@pytest.mark.needs("mount", "busybox")
def test_the_first_step(builds: Builds, project: Callable[[Mapping[str, str]], str]) -> None:
    """The server is started before anything is loaded that is not needed until it is ready."""
    context = project({"Dockerfile": "FROM busybox\nRUN true\n"})
    assert counted(builds, context)["early"] == 0
