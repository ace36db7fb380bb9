"""Which threads this process has: for tests that nothing leaves one behind."""

import threading
from collections.abc import Sequence
from threading import Thread


def started_since(before: Sequence[Thread]) -> list[Thread]:
    """Those that are not in `before`. Threads of earlier tests may end at any moment, so a number
    of threads would say nothing."""
    return [thread for thread in threading.enumerate() if thread not in before]
