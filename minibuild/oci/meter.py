"""How far transfers are, reported to progress.

Comes in: blobs and counts of bytes. Goes out: events of one vertex, with a status for each blob.
There is a status every tenth of a second at most: a person sees no more.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from minibuild.digest import Digest
from minibuild.events import Report, Status
from minibuild.oci.model import Descriptor
from minibuild.progress.writer import task

_INTERVAL_S = 0.1
_DIGITS = 12


class Meter(Protocol):
    """Called with how many bytes of a blob are there by now. `how` is a word for blobs not sent at
    all."""

    def __call__(
        self, descriptor: Descriptor, current: int, *, done: bool = False, how: str = ""
    ) -> None: ...


def unmetered(descriptor: Descriptor, current: int, *, done: bool = False, how: str = "") -> None:
    """The meter of callers that do not want to know."""


class VertexMeter:
    """A meter that reports as statuses of one vertex. Safe in threads."""

    def __init__(self, report: Report, vertex: Digest) -> None:
        self._report = report
        self._vertex = vertex
        self._began: dict[Digest, float] = {}
        self._told: dict[Digest, float] = {}
        self._lock = threading.Lock()

    def __call__(
        self, descriptor: Descriptor, current: int, *, done: bool = False, how: str = ""
    ) -> None:
        now, digest = time.time(), descriptor.digest
        with self._lock:
            began = self._began.setdefault(digest, now)
            if not done and now - self._told.get(digest, 0.0) < _INTERVAL_S:
                return
            self._told[digest] = now
        part = digest[: len("sha256:") + _DIGITS] + (f" {how}" if how else "")
        completed = now if done else None
        self._report(Status(self._vertex, part, current, descriptor.size, "B", began, completed))


@contextmanager
def metered(report: Report, name: str) -> Iterator[VertexMeter]:
    """A vertex of its own for transfers, as `pulling docker.io/library/busybox`."""
    with task(report, name) as progress:
        yield VertexMeter(report, progress.vertex)
