#!/usr/bin/env python3
"""What a build costs an ordinary account, beside the same build of root, in turns.

    bench/accounts.py --as minibuild-test                    the workloads W1 to W4, W7 and W8
    bench/accounts.py --as minibuild-test --as nobody --workload W2 --markdown page.md

Run it as root, from a checkout that the accounts can read. Each has stores of its own, and each,
root too, is called through setpriv(1), which takes two milliseconds. The goal, 1.15 of the time of
root, is for accounts that have subordinate ids.
"""

import argparse
import compileall
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

if __name__ == "__main__":  # Called by its path: the checkout has to be found first.
    CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    VENV = os.path.join(CHECKOUT, ".venv", "bin", "python")
    if os.path.exists(VENV) and not os.path.samefile(sys.prefix, os.path.join(CHECKOUT, ".venv")):
        os.execv(VENV, [VENV, *sys.argv])
    sys.path.insert(0, CHECKOUT)

import minibuild_dockerfile

import minibuild
from bench.bases import Bases, Unavailable
from bench.builders import Minibuild, Order
from bench.report import Row, filesystem, machine, rows_of
from bench.session import Session
from bench.workloads import chosen

_WORKLOADS = "W1,W2,W3,W4,W7,W8"
_HEAD = """\
# Root and other accounts

Written by `bench/accounts.py`: {processors} processors, Linux {kernel}, Python {python},
{filesystem}; {day}; load average {load} before the first build. Medians of {rounds} rounds in
turns: seconds of wall time and, in brackets, of the processors. The phases are those of
[RESULTS.md](RESULTS.md).

"""


class OfAccount(Minibuild):
    """The minibuild of this checkout, called by another account."""

    def __init__(self, account: str) -> None:
        super().__init__(name=account)
        self._user = pwd.getpwnam(account)
        names = (f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--init-groups")
        self._become = ["setpriv", *names]
        done = subprocess.run([*self._become, self._program, "version"], capture_output=True)
        if done.returncode:
            raise ValueError(f"{account} cannot run {self._program}: {done.stderr.decode()}")

    def load(self, store: str, archive: str, tag: str) -> list[str]:
        return [*self._become, *super().load(store, archive, tag)]

    def build(self, order: Order) -> list[str]:
        return [*self._become, *super().build(order)]

    def environment(self, store: str) -> Mapping[str, str]:
        return {**super().environment(store), "HOME": store}

    def start(self, store: str) -> None:
        os.chown(store, self._user.pw_uid, self._user.pw_gid)


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = argparse.ArgumentParser(
        prog="accounts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--as",
        dest="accounts",
        action="append",
        required=True,
        metavar="USER",
        help="which account",
    )
    made.add_argument("--workload", default=_WORKLOADS, metavar="W1,...", help="which workloads")
    made.add_argument("--rounds", type=int, default=3, help="how often (default: 3)")
    made.add_argument("--scale", type=float, default=1.0, help="size of the workloads")
    made.add_argument("--directory", help="where to work (default: the system's temporary one)")
    made.add_argument("--markdown", metavar="FILE", help="write the table there")
    return made


def as_table(rows: Sequence[Row], accounts: Sequence[str]) -> str:
    """A line for each phase: root, then each account and its ratio to root."""
    heads = ["", "root", *(f"{name} | ratio, processors" for name in accounts)]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * (2 + 2 * len(accounts))]
    by_key = {(row.workload, row.phase, row.builder): row for row in rows}
    for workload, phase in dict.fromkeys((row.workload, row.phase) for row in rows):
        root = by_key.get((workload, phase, "root"))
        cells = [f"{workload} {phase}", _seconds(root)]
        for name in accounts:
            row = by_key.get((workload, phase, name))
            cells += [_seconds(row), _ratios(row, root)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _seconds(row: Row | None) -> str:
    if row is None or row.wall_s is None or row.cpu_s is None:
        return "failed"
    return f"{row.wall_s.median:.3f} ({row.cpu_s.median:.3f})"


def _ratios(row: Row | None, root: Row | None) -> str:
    if not (row and root and row.wall_s and row.cpu_s and root.wall_s and root.cpu_s):
        return ""
    wall, cpu = row.wall_s.median / root.wall_s.median, row.cpu_s.median / root.cpu_s.median
    return f"{wall:.2f}, {cpu:.2f}"


def _measure(given: argparse.Namespace, builders: Sequence[Minibuild], top: str) -> list[Row]:
    rows: list[Row] = []
    bases = Bases(top, given.scale)
    for workload in chosen(given.workload):
        folder = os.path.join(top, workload.name)
        os.makedirs(folder)
        os.chmod(folder, 0o1777)  # Archives are written there.
        try:
            with bases.base(workload.base) as base:
                session = Session(workload, builders, base, folder, given.scale)
                rows += rows_of(workload.name, session.measure(given.rounds, _tell))
        except Unavailable as reason:
            _tell(f"{workload.name} is left out: {reason}")
    return rows


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Measure as told; 1 if a build failed."""
    given = parser().parse_args(arguments)
    try:
        builders = [OfAccount(name) for name in ("root", *given.accounts)]
    except (KeyError, ValueError) as error:
        _tell(str(error))
        return 2
    # Accounts that cannot write to the checkout would compile each module at each start.
    for package in (minibuild, minibuild_dockerfile):
        compileall.compile_dir(package.__path__[0], quiet=1)
    top = tempfile.mkdtemp(prefix="bench-", dir=given.directory)
    os.chmod(top, 0o755)
    words = {**machine(), "filesystem": filesystem(top), "rounds": given.rounds}
    words |= {"day": time.strftime("%d %B %Y", time.gmtime()), "load": f"{os.getloadavg()[0]:.1f}"}
    try:
        rows = _measure(given, builders, top)
    finally:
        shutil.rmtree(top, ignore_errors=True)
    table = as_table(rows, given.accounts)
    print(table, end="")
    if given.markdown:
        with open(given.markdown, "w", encoding="utf-8") as file:
            file.write(_HEAD.format(**words) + table)
    for row in rows:
        if row.error:
            _tell(f"\n{row.workload} {row.phase} {row.builder} failed:\n{row.error}")
    return 1 if any(row.error for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
