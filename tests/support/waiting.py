"""Waiting for what another thread or process does, by looking again and again."""

import time
from collections.abc import Callable

PATIENCE_S = 120.0
"""How long a test waits for what has to come: many times as long as anything takes, for others may
have the processors and the disk. Only a test that fails waits so long."""


def comes(state: Callable[[], object], within_s: float = PATIENCE_S) -> bool:
    """Whether something comes to be true, at the latest after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not state():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
