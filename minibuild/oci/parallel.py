"""The same function on several values at once, in threads: for hashing, compression, transfer."""

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
    errors += wait_for(threads, ended)
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(values))]


def _start(threads: list[threading.Thread], body: Callable[[], None], count: int) -> None:
    """Start as many threads as can be started."""
    while len(threads) < count:
        thread = threading.Thread(target=body, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # No more of them for this user: those that there are will do.
            if not threads:
                raise
            return
        threads.append(thread)


def wait_for(
    threads: Sequence[threading.Thread], ended: "SimpleQueue[None]"
) -> list[BaseException]:
    """Wait for threads, each of which puts something into `ended` as its last act. Returns what
    interrupted the wait, which goes on nevertheless.

    Not by joining them: Python 3.11 takes a thread for ended when that is interrupted. And in
    turns, for a signal that comes just before a wait is handled after it.
    """
    left, interrupts = len(threads), list[BaseException]()
    while left:
        try:
            ended.get(timeout=_TURN_S)
            left -= 1
        except Empty:
            if not any(thread.is_alive() for thread in threads):
                break  # For want of memory one may end without its last act.
        except KeyboardInterrupt as error:
            interrupts.append(error)
    return interrupts
