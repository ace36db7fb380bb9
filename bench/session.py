"""Measuring one workload: builders in turns, phase by phase, each round on fresh stores.

Comes in: a workload and builders. Goes out: costs, by builder and phase. The turns go A B A B, so
that whatever else the machine does falls on all alike. A store is new in each round and is not
deleted before the end: creating files where many were just deleted is several times slower. A
builder with a daemon has one for each store, which is up and warm before anything is timed; what
it costs counts with the command that called it, until that command has its answer.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from bench.bases import Base
from bench.builders import Builder, Order
from bench.contents import write
from bench.daemon import Daemon
from bench.measure import Cost, Failed, apart, run
from bench.workloads import Phase, Workload, compression, named

# Builders that remember files by their times do not trust those that changed just now.
_SETTLE_S = 2.1
_REPEATED = ("noop", "noop+oci")
_REPEATS = 3
_LONG_S = 1.5
"""A build without work that takes longer than this is not repeated: one says enough."""

Told = Callable[[str], None]


class Sample(NamedTuple):
    """One build that was timed; `error` if it failed, and then `cost` says nothing."""

    builder: str
    phase: str
    cost: Cost
    error: str = ""


class _Place(NamedTuple):
    """Where a builder builds; `error` says why it cannot."""

    store: str
    daemon: Daemon | None = None
    error: str = ""


class Session:
    """One workload, its context, its builders."""

    def __init__(
        self, workload: Workload, builders: Sequence[Builder], base: Base, folder: str, scale: float
    ) -> None:
        self._workload = workload
        self._builders = builders
        self._base = base
        self._folder = folder
        self.context = os.path.join(folder, "context")
        self._broken: set[str] = set()
        self._stores = 0
        os.makedirs(self.context)
        apart(lambda: workload.make(self.context, scale))
        self._name_base()

    def _name_base(self) -> None:
        path = os.path.join(self.context, "Dockerfile")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        write(path, text.replace("@IMAGE@", self._base.tag))

    def measure(self, rounds: int, tell: Told) -> list[Sample]:
        """All phases, `rounds` times."""
        samples: list[Sample] = []
        time.sleep(_SETTLE_S)
        for number in range(rounds):
            for phases in self._workload.runs:
                with ExitStack() as daemons:
                    places = {
                        b.name: self._fresh_place(b, phases[0], daemons) for b in self._live()
                    }
                    for phase in phases:
                        samples += self._phase(phase, places, number, tell)
        return samples

    def _live(self) -> list[Builder]:
        return [b for b in self._builders if b.name not in self._broken]

    def _phase(
        self, phase: str, places: dict[str, _Place], number: int, tell: Told
    ) -> list[Sample]:
        if phase.startswith("change"):
            with open(os.path.join(self.context, self._workload.changed), "ab") as file:
                file.write(f"# round {number} {phase}\n".encode())
        samples: list[Sample] = []
        for _ in range(_REPEATS if phase in _REPEATED else 1):
            slow = {s.builder for s in samples if s.cost.wall_s > _LONG_S}
            for builder in self._live():
                if builder.name in slow:
                    continue
                sample = self._build(builder, phase, places[builder.name])
                if sample.error:
                    self._broken.add(builder.name)
                samples.append(sample)
                tell(f"{self._workload.name} {phase} {builder.name}: {_shown(sample)}")
        return samples

    def _build(self, builder: Builder, phase: str, place: _Place) -> Sample:
        packed = compression(phase)
        output = ""
        if packed:
            output = os.path.join(self._folder, f"out-{builder.name.replace(' ', '-')}.tar")
            if os.path.exists(output):
                os.rename(output, f"{output}.{time.monotonic_ns()}")
        order = Order(place.store, self.context, output, packed or "gzip", named(phase))
        try:
            if place.error:
                raise Failed(place.error)
            cost = self._run(builder, builder.build(order), place)
        except Failed as error:
            return Sample(builder.name, phase, Cost(0, 0, 0), str(error))
        return Sample(builder.name, phase, cost)

    def _fresh_place(self, builder: Builder, phase: Phase, daemons: ExitStack) -> _Place:
        """A store with the base image in it, which a step has run on; the rest is not there. If
        images are to be stored, one was, so that the first that is timed is not the first."""
        self._stores += 1
        store = os.path.join(self._folder, f"store{self._stores}")
        os.makedirs(store)
        try:
            place = _Place(store, builder.start(store))
        except Failed as error:
            return _Place(store, error=str(error))
        if place.daemon:
            daemons.callback(place.daemon.stop)
        command = self._base.archive and builder.load(store, self._base.archive, self._base.tag)
        try:
            if command:
                self._run(builder, list(command), place)
                order = Order(store, self._first_step(), named=named(phase))
                self._run(builder, builder.build(order), place)
        except Failed:
            pass  # It will fail again where it is told.
        return place

    def _first_step(self) -> str:
        folder = os.path.join(self._folder, "first-step")
        write(f"{folder}/Dockerfile", f"FROM {self._base.tag}\nRUN true\n")
        return folder

    def _run(self, builder: Builder, argv: list[str], place: _Place) -> Cost:
        # Interpreters may keep what they compiled: that is how a program is installed.
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env |= builder.environment(place.store)
        log = os.path.join(self._folder, f"log-{builder.name.replace(' ', '-')}")
        if place.daemon is None:
            return run(argv, env=env, log=log, cwd=self._folder)
        place.daemon.forget_peak()
        before = place.daemon.cpu_s()
        cost = run(argv, env=env, log=log, cwd=self._folder)
        cpu_s = cost.cpu_s + place.daemon.cpu_s() - before
        peak_mib = max(cost.peak_mib, place.daemon.peak_mib())
        place.daemon.rest()
        return Cost(cost.wall_s, cpu_s, peak_mib)


def _shown(sample: Sample) -> str:
    if sample.error:
        return f"failed: {sample.error.splitlines()[-1]}"
    cost = sample.cost
    return f"{cost.wall_s:.3f} s, processors {cost.cpu_s:.3f} s, {cost.peak_mib:.0f} MiB"
