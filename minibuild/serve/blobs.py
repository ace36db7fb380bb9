"""The service `Content`: logs and other blobs that records of builds name.

Comes in: a digest. Goes out: the size or the bytes. Nothing can be written here.
Rules: containerd `api/services/content/v1/content.proto`.
Read next: `history`.
"""

from collections.abc import Iterator
from typing import Any

from minibuild.buildkit.dispatch import Method, ServerCall
from minibuild.buildkit.rpc import api_type
from minibuild.serve.history import BuildHistory

NAME = "containerd.services.content.v1.Content"


class Blobs:
    """The calls of the service."""

    def __init__(self, history: BuildHistory) -> None:
        self._history = history

    def methods(self) -> dict[str, Method]:
        """The calls by their names."""
        return {
            "Info": Method(self.info, "ContentInfoRequest"),
            "List": Method(self.list, "ContentListRequest", streams=True),
            "Read": Method(self.read, "ContentReadRequest", streams=True),
        }

    def info(self, request: Any, call: ServerCall) -> Any:
        """How large a blob is. Raises `Failure`."""
        answer = api_type("ContentInfoResponse")()
        answer.info.digest = request.digest
        answer.info.size = self._history.blob_size(request.digest)
        return answer

    def list(self, request: Any, call: ServerCall) -> Iterator[Any]:
        """All blobs. A client that sends a filter gets those of which it knows nothing else."""
        answer = api_type("ContentListResponse")()
        for digest in self._history.blobs():
            answer.info.add(digest=digest, size=self._history.blob_size(digest))
        yield answer

    def read(self, request: Any, call: ServerCall) -> Iterator[Any]:
        """The bytes of a blob, or some of them. Raises `Failure`."""
        position = request.offset
        for data in self._history.blob(request.digest, request.offset, request.size):
            yield api_type("ContentReadResponse")(offset=position, data=data)
            position += len(data)
