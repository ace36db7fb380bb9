"""The service `Content`: logs and other blobs that records of builds name.

Comes in: a digest. Goes out: the size or the bytes. Nothing can be written here.
Rules: containerd `api/services/content/v1/content.proto`.
Read next: `history`.
"""

import os
from collections.abc import Iterator
from typing import Any

from minibuild.buildkit.dispatch import Method, ServerCall
from minibuild.buildkit.rpc import NOT_FOUND, Failure, api_type
from minibuild.digest import digest_hex, parse_digest
from minibuild.serve.answers import as_failures
from minibuild.serve.history import BLOBS

NAME = "containerd.services.content.v1.Content"
_CHUNK_BYTES = 1 << 20


class Blobs:
    """The calls of the service. A blob is beside a record, or of an image, as long as the store has
    that."""

    def __init__(self, root: str) -> None:
        self._kept = os.path.join(root, BLOBS)
        self._images = os.path.join(root, "blobs", "sha256")

    def methods(self) -> dict[str, Method]:
        """The calls by their names."""
        return {
            "Info": Method(self.info, "ContentInfoRequest"),
            "List": Method(self.list, "ContentListRequest", streams=True),
            "Read": Method(self.read, "ContentReadRequest", streams=True),
        }

    def _place(self, digest: str) -> str:
        """Where a blob is. Raises `Failure`."""
        with as_failures():
            name = digest_hex(parse_digest(digest))
        for folder in (self._kept, self._images):
            if os.path.isfile(path := os.path.join(folder, name)):
                return path
        raise Failure(f"content {digest}: not found", NOT_FOUND)

    def info(self, request: Any, call: ServerCall) -> Any:
        """How large a blob is. Raises `Failure`."""
        answer = api_type("ContentInfoResponse")()
        answer.info.digest = request.digest
        answer.info.size = os.stat(self._place(request.digest)).st_size
        return answer

    def list(self, request: Any, call: ServerCall) -> Iterator[Any]:
        """All that is kept. A client that sends a filter gets those of which it knows nothing
        else."""
        answer = api_type("ContentListResponse")()
        if os.path.isdir(self._kept):
            for entry in os.scandir(self._kept):
                if not entry.name.startswith("."):
                    answer.info.add(digest=f"sha256:{entry.name}", size=entry.stat().st_size)
        yield answer

    def read(self, request: Any, call: ServerCall) -> Iterator[Any]:
        """The bytes of a blob, or some of them. Raises `Failure`."""
        path, position = self._place(request.digest), max(request.offset, 0)
        left = request.size or os.stat(path).st_size
        with open(path, "rb") as file:
            file.seek(position)
            while left > 0 and (data := file.read(min(left, _CHUNK_BYTES))):
                yield api_type("ContentReadResponse")(offset=position, data=data)
                position += len(data)
                left -= len(data)
