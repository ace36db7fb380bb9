"""The same work in threads: results in order, the first error, and Ctrl-C, which waits for what has
been begun."""

import gc
import signal
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType

import pytest

from minibuild.oci import parallel
from minibuild.oci.parallel import in_parallel
from tests.support.threads import started_since
from tests.support.waiting import comes


@pytest.mark.parametrize("jobs", [1, 2, 3, 50])
def test_results_are_in_order(jobs: int) -> None:
    assert in_parallel(lambda n: n * n, range(20), jobs) == [n * n for n in range(20)]
    assert in_parallel(lambda n: n, [], jobs) == []


def test_the_first_error_stops_the_rest() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        raise ValueError(number)

    with pytest.raises(ValueError):
        in_parallel(work, range(1000), 2)
    assert len(begun) < 10


def test_fewer_threads_than_wished_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user may have no more of them."""
    start: Callable[[threading.Thread], None] = threading.Thread.start
    started: list[threading.Thread] = []

    def limited(thread: threading.Thread) -> None:
        if len(started) == limit:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    limit = 1
    assert in_parallel(lambda n: n, range(10), 4) == list(range(10))
    limit = 0
    started.clear()
    with pytest.raises(RuntimeError):
        in_parallel(lambda n: n, range(10), 4)


def test_nothing_of_the_work_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without a search for garbage, which a build does not do."""
    monkeypatch.setattr(parallel, "_TURN_S", 0.001)
    held: list[weakref.ref[set[int]]] = []

    class Held(set[int]):
        pass

    def work(number: int) -> None:
        mine = Held()
        held.append(weakref.ref(mine))
        time.sleep(0.05)

    gc.disable()
    try:
        in_parallel(work, range(2), 2)
        assert [one() for one in held] == [None, None]
    finally:
        gc.enable()


def test_an_interrupt_waits_for_what_has_been_begun() -> None:
    """Python 3.11 would take a thread for ended when the wait for it is interrupted."""
    begun, ended = threading.Semaphore(0), list[int]()
    main = threading.main_thread().ident
    assert main is not None

    def work(number: int) -> None:
        begun.release()
        if number == 0:
            for _ in range(3):
                begun.acquire()
            signal.pthread_kill(main, signal.SIGINT)
        assert comes(lambda: interrupted)
        time.sleep(0.2)  # So that the wait knows of it.
        ended.append(number)

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.append(number)
        raise KeyboardInterrupt

    threads, interrupted = threading.enumerate(), list[int]()
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            in_parallel(work, range(100), 3)
    finally:
        signal.signal(signal.SIGINT, before)
    assert 3 <= len(ended) <= 4
    assert not started_since(threads)
