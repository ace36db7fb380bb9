"""Work behind whoever fills buffers: all of it, in order, with its errors, and in the end."""

import threading

import pytest

from minibuild.layer.writer import BufferThread
from tests.support.threads import started_since


def test_all_in_order() -> None:
    seen = []

    def work(buffer: bytearray, length: int) -> bytearray:
        seen.append(bytes(buffer[:length]))
        return buffer

    behind = BufferThread(work)
    buffer = bytearray(8)
    used = set()
    for number in range(100):
        used.add(id(buffer))
        buffer[0] = number
        buffer = behind.feed(buffer, 1)
    behind.finish()
    assert seen == [bytes([number]) for number in range(100)]
    assert len(used) == 3, "buffers are used again: memory stays flat"


@pytest.mark.parametrize("count", [1, 50])
def test_an_error_comes_out(count: int) -> None:
    """At the next buffers, or at the end at the latest; and what comes later is not worked on."""
    worked = []

    def broken(buffer: bytearray, length: int) -> bytearray:
        worked.append(length)
        raise MemoryError

    behind = BufferThread(broken)
    with pytest.raises(MemoryError):
        for _ in range(count):
            behind.feed(bytearray(8), 8)
        behind.finish()
    behind.close()
    assert worked == [8]


def test_no_thread_for_nothing_and_none_that_stays() -> None:
    before = threading.enumerate()
    behind = BufferThread(lambda buffer, length: buffer)
    behind.finish()
    assert not started_since(before)
    behind.feed(bytearray(8), 8)
    (thread,) = started_since(before)
    assert thread.daemon  # It keeps no program alive.
    behind.close()
    assert not started_since(before)
