"""When steps start: which one is the last, and that copies let them go first."""

import threading

import pytest

from minibuild.digest import Digest
from minibuild.graph.op import Exec, Merge
from minibuild.graph.vertex import Vertex
from minibuild.solver import start_order
from minibuild.solver.start_order import StartOrder
from tests.support.waiting import PATIENCE_S

FIRST, SECOND = Vertex(Exec(("first",)), ()), Vertex(Exec(("second",)), ())
NEITHER = Vertex(Merge(), (FIRST, SECOND))


def test_the_last_step_is_the_one_that_no_other_follows() -> None:
    made = StartOrder([FIRST, SECOND, NEITHER], {})
    assert not made.is_last(FIRST.digest)
    assert made.is_last(SECOND.digest)
    assert made.is_last(SECOND.digest)  # It is started once more.


def test_a_step_that_has_a_result_does_not_follow() -> None:
    done: dict[Digest, str] = {}
    made = StartOrder([FIRST, SECOND], done)
    done[SECOND.digest] = "found"
    assert made.is_last(FIRST.digest)


def test_a_copy_waits_until_steps_have_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_order, "_PATIENCE_S", 2 * PATIENCE_S)
    made, order, go = StartOrder([], {}), list[str](), threading.Event()

    def copy() -> None:
        go.set()
        made.wait()
        order.append("copy")

    copying = threading.Thread(target=copy)
    with made.starting():
        copying.start()
        go.wait()
        order.append("step")
        made.has_started()
        copying.join()
    assert order == ["step", "copy"]


def test_a_copy_does_not_wait_for_a_step_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_order, "_PATIENCE_S", 2 * PATIENCE_S)
    made = StartOrder([], {})
    with pytest.raises(OSError), made.starting():
        raise OSError
    copying = threading.Thread(target=made.wait, daemon=True)
    copying.start()
    copying.join(PATIENCE_S)
    assert not copying.is_alive()


def test_a_copy_does_not_wait_for_a_step_that_takes_long() -> None:
    made = StartOrder([], {})
    with made.starting():
        made.wait()
