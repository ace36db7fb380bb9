"""The service `Content`: logs and other blobs that records of builds name.

Comes in: a digest. Goes out: the size or the bytes. Nothing can be written here.
Read next: `buildkit.content`, the calls that read; `history`.
"""

import os
from collections.abc import Iterator
from typing import Any

from minibuild.buildkit.content import reading
from minibuild.buildkit.dispatch import CallHandler, ServerCall
from minibuild.buildkit.rpc import api_type
from minibuild.serve.history import BLOBS


class Blobs:
    """The calls of the service. A blob is beside a record, or of an image, as long as the store has
    that."""

    def __init__(self, root: str) -> None:
        self._kept = os.path.join(root, BLOBS)
        self._images = os.path.join(root, "blobs", "sha256")

    def methods(self) -> dict[str, CallHandler]:
        """The calls by their names."""
        listing = CallHandler(self.list, "ContentListRequest", streams=True)
        return {**reading(self._place), "List": listing}

    def _place(self, call: ServerCall, name: str) -> str:
        kept = os.path.join(self._kept, name)
        return kept if os.path.isfile(kept) else os.path.join(self._images, name)

    def list(self, request: Any, call: ServerCall) -> Iterator[Any]:
        """All that is kept. A client that sends a filter gets those of which it knows nothing
        else."""
        answer = api_type("ContentListResponse")()
        if os.path.isdir(self._kept):
            for entry in os.scandir(self._kept):
                if not entry.name.startswith("."):
                    answer.info.add(digest=f"sha256:{entry.name}", size=entry.stat().st_size)
        yield answer
