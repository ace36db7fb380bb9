"""The same function on several values at once, in threads: for hashing, compression, transfer."""

import threading
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

    def body() -> None:
        while not errors:
            with taking:
                number, value = next(waiting, (-1, None))
            if number < 0:
                return
            try:
                results[number] = function(value)  # type: ignore[arg-type]
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=body, daemon=True) for _ in range(min(jobs, len(values)))]
    try:
        _start(threads)
        _join(threads)
    except BaseException as error:  # Ctrl-C: nothing more is begun.
        errors.append(error)
        _join(threads)
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(values))]


def _start(threads: list[threading.Thread]) -> None:
    """Start as many as can be started; one is enough."""
    for number, thread in enumerate(threads):
        try:
            thread.start()
        except RuntimeError:
            del threads[number:]
            if not threads:
                raise
            return


def _join(threads: Sequence[threading.Thread]) -> None:
    """Wait for all. In turns: a signal that comes just before a wait is handled after it."""
    for thread in threads:
        while thread.is_alive():
            thread.join(_TURN_S)
