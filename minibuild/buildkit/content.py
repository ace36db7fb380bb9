"""Blobs for the other side of a connection: those calls of the service `Content` that only read.

Comes in: a digest, as the other side says it. Goes out: the size of a blob, and its bytes. Clients
have this service for their layouts, and a builder for what it keeps of builds.
Rules: containerd `api/services/content/v1/content.proto`; moby/buildkit `session/content`.
Read next: `serve.history` and `client.layouts`, which have blobs.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from minibuild.buildkit.dispatch import CallHandler, ServerCall
from minibuild.buildkit.rpc import NOT_FOUND, Failure, api_type
from minibuild.digest import InvalidDigest, digest_hex, parse_digest

NAME = "containerd.services.content.v1.Content"
STORE = "buildkit-attachable-store-id"
"""The metadata of a call that says which store of a client is meant."""

CHUNK_BYTES = 1 << 20

BlobPlace = Callable[[ServerCall, str], str]
"""Where the blob of a hex digest lies, or would, for a call."""


def reading(place: BlobPlace) -> Mapping[str, CallHandler]:
    """The calls by their names."""

    def opened(digest: str, call: ServerCall) -> tuple[str, int]:
        """Where a blob is, and its size. Raises `Failure`."""
        path = place(call, blob_name(digest))
        try:
            return path, os.stat(path).st_size
        except FileNotFoundError:
            raise Failure(f"content {digest}: not found", NOT_FOUND) from None

    def info(request: Any, call: ServerCall) -> Any:
        answer = api_type("ContentInfoResponse")()
        answer.info.digest = request.digest
        _, answer.info.size = opened(request.digest, call)
        return answer

    def read(request: Any, call: ServerCall) -> Iterator[Any]:
        """The bytes from an offset on; so many of them, or if that is 0 all."""
        path, size = opened(request.digest, call)
        position = max(request.offset, 0)
        end = min(size, position + request.size) if request.size else size
        with open(path, "rb") as file:
            file.seek(position)
            while data := file.read(max(0, min(CHUNK_BYTES, end - position))):
                yield api_type("ContentReadResponse")(offset=position, data=data)
                position += len(data)

    return {
        "Info": CallHandler(info, "ContentInfoRequest"),
        "Read": CallHandler(read, "ContentReadRequest", streams=True),
    }


def blob_name(digest: str) -> str:
    """What a blob's file is called. Raises `Failure` for what is no digest."""
    try:
        return digest_hex(parse_digest(digest))
    except InvalidDigest as error:
        raise Failure(str(error)) from None
