"""Running the tests on mutants: a plugin of pytest with a loop of its own.

All tests run once and are watched: which lines of the modules does each of them execute? Then each
mutant gets a forked child, in which the code of one function is replaced, and the tests that
execute the changed line run until one fails. A fork costs nothing of collecting and importing,
and what a mutant breaks is gone with its process and its folder (`confine`).
"""

import importlib
import os
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import _lru_cache_wrapper, cached_property
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.confine import confine
from tests.mutation.mutants import Mutant, mutants

SLOW_FACTOR = 10
SLOW_SECONDS = 5
"""A mutant may loop for ever: one with which a test takes so many times as long as it took before,
and so many seconds more, is killed."""

BROKEN = 3
"""The status of a child in which the tool failed, and not a test."""


class Outcome(NamedTuple):
    """What became of a mutant: `killed`, `survived`, `timeout`, `unreached` (no test executes the
    line), or `broken` (the change could not be made)."""

    mutant: Mutant
    what: str


class Mutations:
    """Takes the place of pytest's loop. `jobs` children run at once, each in a folder of `work`."""

    def __init__(
        self, paths: Sequence[Path], checkout: Path, work: Path, jobs: int, sample: int
    ) -> None:
        self._modules = {str(path.resolve()): module_of(path, checkout) for path in paths}
        self._work = work
        self._jobs = jobs
        self._sample = sample
        self._lines: dict[tuple[str, int], list[int]] = defaultdict(list)
        self._seconds: dict[int, float] = {}
        self.outcomes: list[Outcome] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """First all tests on what is written, then some of those that pass on each mutant. One that
        is skipped then has noticed it, too: what it needs was there before."""
        for name in self._modules.values():
            importlib.import_module(name)
        for number, item in enumerate(session.items):
            started = time.monotonic()
            with self._watched(number):
                outcome = _run(session, item, next(iter(session.items[number + 1 :]), None))
            if outcome == "failed":
                raise pytest.UsageError(f"{item.nodeid} fails without any mutant")
            if outcome == "passed":
                self._seconds[number] = time.monotonic() - started
        self._control(session)
        left = [m for path in self._modules for m in mutants(path, Path(path).read_text())]
        left = left[:: self._sample]
        print(f"{len(self._seconds)} tests, {len(left)} mutants", flush=True)
        running: dict[int, Mutant] = {}
        while left or running:
            while left and len(running) < self._jobs:
                mutant = left.pop(0)
                executing = self._lines.get((mutant.path, mutant.line), [])
                tests = [number for number in executing if number in self._seconds]
                if not tests:
                    self._note(mutant, "unreached")
                    continue
                running[self._start(session, mutant, tests)] = mutant
            if running:
                self._reap(running)
        return True

    @contextmanager
    def _watched(self, number: int) -> Iterator[None]:
        """Note which lines of the modules are executed meanwhile, in all threads."""
        import threading

        def trace(frame: FrameType, event: str, arg: Any) -> Any:
            return step if frame.f_code.co_filename in self._modules else None

        def step(frame: FrameType, event: str, arg: Any) -> Any:
            tests = self._lines[frame.f_code.co_filename, frame.f_lineno]
            if not tests or tests[-1] != number:
                tests.append(number)
            return step

        threading.settrace(trace)
        sys.settrace(trace)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)

    def _control(self, session: pytest.Session) -> None:
        """All tests again in a child without a mutant: one that fails there would kill all."""
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            self._confine(session)
            failed = self._first_failure(session, self._quickest(list(self._seconds)))
            if failed is not None:
                print(f"{failed.nodeid} fails when it runs a second time", flush=True)
            os._exit(failed is not None)
        if os.waitpid(pid, 0)[1]:
            raise pytest.UsageError("a test fails without any mutant, in a child")
        self._remove_folder(pid)

    def _start(self, session: pytest.Session, mutant: Mutant, tests: Sequence[int]) -> int:
        pid = os.fork()
        if pid:
            return pid
        os.setpgid(0, 0)
        status = BROKEN
        try:
            silence = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(silence, fd)
            self._confine(session)
            apply(mutant, self._modules[mutant.path])
            status = 0 if self._first_failure(session, self._quickest(tests)) is None else 1
        finally:
            os._exit(status)

    def _confine(self, session: pytest.Session) -> None:
        """Give this child a folder of its own. It can read what fixtures of the session made."""
        folder = self._folder(os.getpid())
        folder.mkdir()
        confine(folder)
        # pytest says in no public place where the folders of tests are made.
        session.config._tmp_path_factory._basetemp = folder  # type: ignore[attr-defined]

    def _folder(self, pid: int) -> Path:
        return self._work / str(pid)

    def _remove_folder(self, pid: int) -> None:
        shutil.rmtree(self._folder(pid), ignore_errors=True)

    def _quickest(self, tests: Sequence[int]) -> list[int]:
        """The quickest first: one that fails is enough."""
        return sorted(tests, key=self._seconds.__getitem__)

    def _first_failure(self, session: pytest.Session, tests: Sequence[int]) -> pytest.Item | None:
        # What the alarm does by default, to end the process, works in any code.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        items = [session.items[number] for number in tests]
        for number, item, after in zip(tests, items, [*items[1:], None], strict=True):
            signal.setitimer(signal.ITIMER_REAL, SLOW_SECONDS + SLOW_FACTOR * self._seconds[number])
            if _run(session, item, after) != "passed":
                return item
        signal.setitimer(signal.ITIMER_REAL, 0)
        return None

    def _reap(self, running: dict[int, Mutant]) -> None:
        pid, status = os.wait()
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # What a test started, and did not live to end.
        self._remove_folder(pid)
        if os.WIFSIGNALED(status):
            what = "timeout" if os.WTERMSIG(status) == signal.SIGALRM else "killed"
        else:
            known = {0: "survived", BROKEN: "broken"}
            what = known.get(os.WEXITSTATUS(status), "killed")
        self._note(running.pop(pid), what)

    def _note(self, mutant: Mutant, what: str) -> None:
        self.outcomes.append(Outcome(mutant, what))
        if what not in ("killed", "timeout"):
            where = os.path.relpath(mutant.path)
            print(f"{what} {where}:{mutant.line} {mutant.function}: {mutant.change}", flush=True)


class _Between:
    """In the place of a test to come: of the fixtures those of the session stay. Any test can come
    after it; pytest takes what is left of another module for a mistake, and fails the test."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session

    def listchain(self) -> list[pytest.Session]:
        """What the test to come is part of."""
        return [self._session]


def _run(session: pytest.Session, item: pytest.Item, following: pytest.Item | None) -> str:
    """How a test ends; `following` is run next, and keeps what it shares with this one."""
    after: Any = following or _Between(session)
    outcomes = {report.outcome for report in runtestprotocol(item, nextitem=after, log=False)}
    return next(iter(outcomes & {"failed"} or outcomes - {"passed"}), "passed")


def module_of(path: Path, checkout: Path) -> str:
    """The name under which a file of the checkout is imported."""
    parts = path.resolve().relative_to(checkout).with_suffix("").parts
    return ".".join(parts[parts[0] == "frontends" :]).removesuffix(".__init__")


def apply(mutant: Mutant, module: str) -> None:
    """Replace the code of one function, wherever it was imported to."""
    found: Any = sys.modules[module]
    for part in mutant.function.split("."):
        found = found.__dict__[part]
    function = _plain(found)
    function.__code__ = _rebound(mutant.code, function.__code__)
    # Functions that remember would answer what they answered before, be it this one or a caller.
    for remembering in _with_cache(module.partition(".")[0]):
        remembering.cache_clear()


def _with_cache(package: str) -> list[Any]:
    """What `functools.cache` decorates in the modules of a package."""
    modules = [m for name, m in sys.modules.items() if name.partition(".")[0] == package]
    values = [value for module in modules for value in vars(module).values()]
    return [value for value in values if isinstance(value, _lru_cache_wrapper)]


def _plain(found: Any) -> FunctionType:
    """The function below decorators, properties and methods."""
    while not isinstance(found, FunctionType) or hasattr(found, "__wrapped__"):
        if isinstance(found, property):
            found = found.fget
        elif isinstance(found, cached_property):
            found = found.func
        elif isinstance(found, staticmethod | classmethod):
            found = found.__func__
        else:
            found = found.__wrapped__
    return found


def _rebound(code: CodeType, before: CodeType) -> CodeType:
    """The new code, in the place of the old one: a class cell must be the same."""
    if code.co_freevars != before.co_freevars:
        raise ValueError("the change takes other variables from outside")
    return code
