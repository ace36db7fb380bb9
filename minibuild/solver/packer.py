"""Packing the layers of steps that are done while later steps run.

Comes in: diffs, as steps make them. Goes out: nothing but layers in the store, which the export
then finds. A step waits for its process most of the time, and hashing and compression do not hold
the interpreter lock, so one thread beside the steps costs them little; several would. What has not
been begun when the last step is done is left to the export, which has more threads.
Read next: `cache.materialise`.
"""

import threading
from collections import deque
from contextlib import suppress

from minibuild.cache.results import DiffKey
from minibuild.solver.layers import Packing
from minibuild.worker.context import BuildContext

_GRACE_S = 0.3
"""How long a build that failed waits for the layer in the making."""
_TURN_S = 0.1
"""How often the end of a build looks whether it was cancelled meanwhile."""
_AFTER_S = 0.002
"""How long after a step its layer is begun: the thread that starts the next step has much to do in
the interpreter until it runs, and then nothing."""


class Packer:
    """One thread that packs, from the first `add` to `stop`."""

    def __init__(self, build: BuildContext, packing: Packing) -> None:
        self._build = build
        self._packing = packing
        self._waiting: deque[DiffKey] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def add(self, key: DiffKey) -> None:
        """Have a diff packed when there is time."""
        with self._changed:
            self._waiting.append(key)
            self._changed.notify()
            if self._thread is None:
                thread = threading.Thread(target=self._run, daemon=True)
                with suppress(RuntimeError):  # No more threads: the export packs it.
                    thread.start()
                    self._thread = thread

    def stop(self) -> None:
        """Leave what has not been begun, and wait for the layer in the making."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify()
        if self._thread is None:
            return
        try:
            # In turns: a signal that comes just before a wait is handled after it. And not by
            # joining the thread, which Python 3.11 takes for ended when that is interrupted.
            while not (self._ended.wait(_TURN_S) or self._build.cancelled.is_set()):
                continue
        finally:
            # After a failure the layer is not wanted; the thread ends with the next block of it.
            self._ended.wait(_GRACE_S)

    def _run(self) -> None:
        try:
            self._pack_all()
        finally:
            self._ended.set()

    def _pack_all(self) -> None:
        while (key := self._next()) is not None:
            try:
                self._build.materialiser.layer(key, self._packing.compression, self._packing.level)
            except BaseException:
                return  # The export meets the same trouble, and reports it.

    def _next(self) -> DiffKey | None:
        with self._changed:
            idle = not self._waiting
            while not (self._waiting or self._stopped):
                self._changed.wait()
            if idle:
                self._changed.wait_for(lambda: self._stopped, _AFTER_S)
            return self._waiting.popleft() if self._waiting else None
