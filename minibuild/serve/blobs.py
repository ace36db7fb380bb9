"""The service `Content`: logs and other blobs that records of builds name.

Comes in: a digest. Goes out: the size or the bytes. Nothing can be written here.
Rules: containerd `api/services/content/v1/content.proto`.
Read next: `history`.
"""

from collections.abc import Iterator
from typing import Any

from minibuild.buildkit.rpc import Failure, Types, abort, streaming, unary
from minibuild.serve.history import BuildHistory

NAME = "containerd.services.content.v1.Content"


class Blobs:
    """The calls of the service."""

    def __init__(self, types: Types, history: BuildHistory) -> None:
        self._types = types
        self._history = history

    def handlers(self) -> dict[str, Any]:
        """The calls by their names."""
        types = self._types
        return {
            "Info": unary(self.info, types["ContentInfoRequest"], types["ContentInfoResponse"]),
            "List": streaming(self.list, types["ContentListRequest"], types["ContentListResponse"]),
            "Read": streaming(self.read, types["ContentReadRequest"], types["ContentReadResponse"]),
        }

    def info(self, request: Any, context: Any) -> Any:
        """How large a blob is."""
        answer = self._types["ContentInfoResponse"]()
        answer.info.digest = request.digest
        try:
            answer.info.size = self._history.blob_size(request.digest)
        except Failure as failure:
            abort(context, self._types, failure)
        return answer

    def list(self, request: Any, context: Any) -> Iterator[Any]:
        """All blobs. A client that sends a filter gets those of which it knows nothing else."""
        answer = self._types["ContentListResponse"]()
        for digest in self._history.blobs():
            answer.info.add(digest=digest, size=self._history.blob_size(digest))
        yield answer

    def read(self, request: Any, context: Any) -> Iterator[Any]:
        """The bytes of a blob, or some of them."""
        position = request.offset
        try:
            for data in self._history.blob(request.digest, request.offset, request.size):
                yield self._types["ContentReadResponse"](offset=position, data=data)
                position += len(data)
        except Failure as failure:
            abort(context, self._types, failure)
