"""Layers of which each stands on the one below it, and little room for calls in calls."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from minibuild.cache.results import DiffKey, Result
from minibuild.digest import DiffID
from minibuild.layer.layer import Layer
from minibuild.oci.model import OCI_LAYER, Descriptor
from minibuild.worker.worker import Worker
from tests.layer.tars import entry, tar

LAYERS = 90


@contextmanager
def shallow() -> Iterator[None]:
    """A little room for calls in calls, much less than one for each layer."""
    before, depth, frame = sys.getrecursionlimit(), 0, sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(depth + LAYERS)
    yield
    sys.setrecursionlimit(before)


def stacked(worker: Worker, *, whole: bool) -> Result:
    """Layers with a file each, made on all below them, or on the one below alone."""
    made: Result = ()
    for number in range(LAYERS):
        data = tar(entry(f"f{number}", b"x", uid=os.getuid(), gid=os.getgid()))
        digest = worker.content.put(data)
        layer = Layer(DiffID(digest), Descriptor(OCI_LAYER, digest, len(data)), worker.content)
        key: DiffKey = worker.diffs.add(made if whole else made[-1:], layer=layer)
        made = (*made, key)
    return made
