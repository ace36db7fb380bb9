"""The same function on several values at once, in threads: for hashing, compression, transfer."""

import sys
import threading
from _queue import Empty, SimpleQueue
from collections.abc import Callable, Sequence
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")
_TURN_S = 0.1


def in_parallel(function: Callable[[A], B], values: Sequence[A], jobs: int) -> list[B]:
    """`[function(v) for v in values]`, up to `jobs` at a time. Raises the first error."""
    if len(values) < 2 or jobs < 2:
        return [function(value) for value in values]
    results: dict[int, B] = {}
    errors: list[BaseException] = []
    waiting = iter(enumerate(values))
    taking = threading.Lock()
    ended: SimpleQueue[None] = SimpleQueue()

    def body() -> None:
        try:
            while not errors:
                with taking:
                    number, value = next(waiting, (-1, None))
                if number < 0:
                    return
                results[number] = function(value)  # type: ignore[arg-type]
        except BaseException as error:
            errors.append(error)
        finally:
            ended.put(None)

    threads: list[threading.Thread] = []
    try:
        _start(threads, body, min(jobs, len(values)))
    except BaseException as error:
        errors.append(error)
    wait_for(threads, ended, errors)
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(values))]


def _start(threads: list[threading.Thread], body: Callable[[], None], count: int) -> None:
    """Start as many threads as can be started."""
    while len(threads) < count:
        threads.append(threading.Thread(target=body, daemon=True))
        try:
            threads[-1].start()
        except RuntimeError:  # No more of them for this user: those that there are will do.
            threads.pop()
            if not threads:
                raise
            return


def wait_for(
    threads: Sequence[threading.Thread], ended: "SimpleQueue[None]", interrupts: list[BaseException]
) -> None:
    """Wait for threads, each of which puts something into `ended` as its last act. What interrupts
    the wait goes into a list, and it goes on.

    Not by joining them: Python 3.11 takes a thread for ended when that is interrupted. And in
    turns, for a signal that comes just before a wait is handled after it.
    """
    left = len(threads)
    while left:
        try:
            left -= _has_one_ended(threads, ended)
        except RuntimeError:
            return
        except KeyboardInterrupt as error:
            interrupts.append(error)


def _has_one_ended(threads: Sequence[threading.Thread], ended: "SimpleQueue[None]") -> bool:
    try:
        ended.get(timeout=_TURN_S)
    except Empty:
        # For want of memory one may end without its last act. Not by asking the thread, either.
        alive = set(sys._current_frames())  # The frames would keep all that is in them alive.
        if not any(thread.ident in alive for thread in threads):
            raise RuntimeError("no thread is left") from None
        return False
    return True
