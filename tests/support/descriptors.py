"""Which descriptors this process has open: for tests that nothing leaks one."""

import gc
import os
from collections.abc import Set
from contextlib import suppress

Descriptor = tuple[int, int, int]
"""A number, and the device and inode behind it."""


def open_descriptors() -> Set[Descriptor]:
    """All that are open now."""
    found = set()
    for number in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):  # That of the listing itself.
            status = os.fstat(number)
            found.add((number, status.st_dev, status.st_ino))
    return found


def opened_since(before: Set[Descriptor]) -> Set[Descriptor]:
    """Those that were opened and are still open. Threads and objects of earlier tests may close
    theirs at any moment, so a number of descriptors would say nothing."""
    if open_descriptors() <= before:
        return set()
    gc.collect()  # What nothing holds any more is no leak.
    return open_descriptors() - before
