"""A store of its own for what the lab makes, beside what the user's store holds.

Comes in: the folder of a store. Goes out: a folder in it, removed when the block ends unless it is
to be kept. It is a thing in the making of the outer store, so a crash leaves nothing that is not
swept. Read next: `exhibit_builder`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from minibuild.snapshot.sweep import discard
from minibuild.worker.worker import Worker, open_worker


@contextmanager
def own_place(root: str, keep: str = "") -> Iterator[tuple[Worker, str]]:
    """The outer store, open, and a folder that does not exist yet. With `keep` it stays, in the
    folder `lab` of the store, under that name and a number."""
    with open_worker(root) as outer:
        place = _free_name(root, keep) if keep else outer.store.ingest_path()
        try:
            yield outer, place
        finally:
            if not keep and os.path.lexists(place):
                discard(outer.store, place)


def _free_name(root: str, name: str) -> str:
    number = 1
    while os.path.lexists(path := os.path.join(root, "lab", f"{name}-{number}")):
        number += 1
    return path
