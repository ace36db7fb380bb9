"""The order of events: daemons are there while they are needed, and not longer."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from bench.bases import Base
from bench.builders import Order
from bench.contents import write
from bench.daemon import Daemon
from bench.measure import Failed
from bench.session import Session
from bench.workloads import Workload


class Clerk:
    """A daemon that does nothing but keep a diary."""

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary
        self.used_s = 0.0

    def stop(self) -> None:
        """Its end."""
        self.diary.append("stop")

    def forget_peak(self) -> None:
        """Before each command."""

    def cpu_s(self) -> float:
        """Two seconds more at each look."""
        self.used_s += 2
        return self.used_s

    def peak_mib(self) -> float:
        """More than any client."""
        return 5000.0

    def rest(self) -> None:
        """After each command."""
        self.diary.append("rest")


class Served:
    """A builder with such a daemon."""

    name = version = "served"

    def __init__(self, argv: list[str]) -> None:
        self.argv = argv
        self.diary: list[str] = []
        self.orders: list[Order] = []

    def load(self, store: str, archive: str, tag: str) -> list[str]:
        """Nothing is in it."""
        return ["true"]

    def build(self, order: Order) -> list[str]:
        """The command; none is a Ctrl-C."""
        if not self.argv:
            raise KeyboardInterrupt
        self.orders.append(order)
        return self.argv

    def environment(self, store: str) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def start(self, store: str) -> Daemon:
        """A daemon, or so it looks."""
        assert os.path.isdir(store)
        self.diary.append("start")
        return cast(Daemon, Clerk(self.diary))


class Broken(Served):
    """A builder whose daemon does not come up."""

    def start(self, store: str) -> Daemon:
        """It fails."""
        raise Failed("the daemon does not answer\nno such store")


@pytest.fixture(autouse=True)
def _unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here looks at the times of files."""
    monkeypatch.setattr("bench.session._SETTLE_S", 0)


TWO = (("cold",), ("cold+oci",))


def session(
    builder: Served, folder: Path, runs: tuple[tuple[str, ...], ...] = TWO, archive: str = ""
) -> Session:
    """A session of two runs with one phase each, or of others."""
    workload = Workload(
        "W0", "", lambda top, scale: write(f"{top}/Dockerfile", ""), runs, changed="Dockerfile"
    )
    return Session(workload, [builder], Base("x", archive), str(folder), 1)


def test_a_daemon_has_one_store_and_its_costs_count(tmp_path: Path) -> None:
    builder = Served(["true"])
    samples = session(builder, tmp_path).measure(1, lambda text: None)
    assert builder.diary == ["start", "rest", "stop"] * 2
    assert [sample.cost.cpu_s // 1 for sample in samples] == [2, 2]
    assert samples[0].cost.peak_mib == 5000


def test_a_daemon_is_stopped_if_the_session_ends_early(tmp_path: Path) -> None:
    builder = Served([])
    with pytest.raises(KeyboardInterrupt):
        session(builder, tmp_path).measure(1, lambda text: None)
    assert builder.diary == ["start", "stop"]


def test_a_daemon_that_does_not_come_up_is_a_builder_that_failed(tmp_path: Path) -> None:
    samples = session(Broken(["true"]), tmp_path).measure(2, lambda text: None)
    assert [sample.error.splitlines()[-1] for sample in samples] == ["no such store"]


def test_all_builders_are_asked_for_the_kind_of_result_that_the_phase_is_called_after(
    tmp_path: Path,
) -> None:
    builder = Served(["true"])
    runs = (("cold",), ("cold+image", "change+image"), ("cold+oci",))
    session(builder, tmp_path, runs).measure(1, lambda text: None)
    kinds = [(order.named, bool(order.output)) for order in builder.orders]
    assert kinds == [(False, False), (True, False), (True, False), (False, True)]


def test_where_images_are_stored_the_first_one_is_not_timed(tmp_path: Path) -> None:
    builder = Served(["true"])
    runs = (("noop",), ("cold+image",))
    session(builder, tmp_path, runs, archive="base.tar").measure(1, lambda text: None)
    warm = [order.named for order in builder.orders if order.context.endswith("first-step")]
    assert warm == [False, True]
