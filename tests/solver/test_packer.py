"""Layers are packed beside the steps: in order, one at a time, and what fails is left alone."""

import threading
from typing import Any, cast

from minibuild.cache.results import DiffKey
from minibuild.solver.packer import Packer
from tests.support.waiting import PATIENCE_S, comes


class Materialiser:
    """Packs when it is let, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.first = threading.Event()
        self.go = threading.Semaphore(0)
        self.packed = threading.Semaphore(0)

    def layer(self, key: int, compression: str, level: int | None) -> None:
        assert (compression, level) == ("zstd", 3)
        self.begun.append(key)
        self.first.set()
        assert self.go.acquire(timeout=PATIENCE_S)
        if key == 13:
            raise OSError("no")
        self.packed.release()


class Bench:
    def __init__(self) -> None:
        self.materialiser = Materialiser()
        self.cancelled = threading.Event()


class Packing:
    compression, level = "zstd", 3


def packer() -> tuple[Packer, Bench]:
    bench = Bench()
    return Packer(cast(Any, bench), cast(Any, Packing())), bench


def test_what_has_not_begun_is_left() -> None:
    made, bench = packer()
    for key in (1, 2, 3):
        made.add(DiffKey(key))
    assert bench.materialiser.first.wait(PATIENCE_S)
    stopping = threading.Thread(target=made.stop)
    stopping.start()
    assert comes(lambda: made._stopped)
    assert stopping.is_alive()  # the layer in the making is waited for
    bench.materialiser.go.release(3)
    stopping.join(PATIENCE_S)
    assert not stopping.is_alive() and bench.materialiser.begun[:1] == [1]
    assert 3 not in bench.materialiser.begun


def test_all_are_packed_in_order() -> None:
    """One that is lost fails the test, and does not hang it: each packing is waited for so long
    and no longer."""
    made, bench = packer()
    bench.materialiser.go.release(100)
    keys = [key for key in range(20) if key != 13]
    for key in keys:
        made.add(DiffKey(key))
    begun = [bench.materialiser.packed.acquire(timeout=PATIENCE_S) for _ in keys]
    made.stop()
    assert all(begun)
    assert bench.materialiser.begun == keys


def test_an_error_is_for_the_export() -> None:
    made, bench = packer()
    bench.materialiser.go.release(100)
    made.add(DiffKey(13))
    made.add(DiffKey(14))
    made.stop()  # raises nothing
    assert 14 not in bench.materialiser.begun


def test_after_a_failure_nobody_waits_long() -> None:
    made, bench = packer()
    made.add(DiffKey(1))
    assert bench.materialiser.first.wait(PATIENCE_S)
    bench.cancelled.set()
    stopping = threading.Thread(target=made.stop)
    stopping.start()
    stopping.join(PATIENCE_S / 2)
    assert not stopping.is_alive()
    bench.materialiser.go.release(5)


def test_nothing_to_do() -> None:
    made, _ = packer()
    made.stop()
