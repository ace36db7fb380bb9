"""OCI layouts of this machine that a builder reads and writes: contexts, caches, images.

Comes in: layouts by the names of stores, and the service `Content`, which asks for blobs or sends
them. Goes out: blobs. One that arrives is checked against its digest and gets its name when it is
whole. What a layout's index says is written by `layouts`, when the builder has answered.
Rules: containerd `api/services/content/v1/content.proto`; moby/buildkit `session/content`.
Read next: `outputs`.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from minibuild.buildkit.dispatch import Method, ServerCall
from minibuild.buildkit.rpc import ALREADY_EXISTS, NOT_FOUND, Failure, api_type
from minibuild.client.session import Services
from minibuild.digest import InvalidDigest, digest_hex, parse_digest

_STORE = "buildkit-attachable-store-id"
_COMMIT = 2
_CHUNK_BYTES = 1 << 20


def content(folders: Mapping[str, str]) -> Services:
    """The service, for layouts by the names of their stores."""
    stores = _Stores(folders)
    write = Method(stores.write, "ContentWriteRequest", streams=True, takes_many=True)
    return {
        "containerd.services.content.v1.Content": {
            "Info": Method(stores.info, "ContentInfoRequest"),
            "Read": Method(stores.read, "ContentReadRequest", streams=True),
            "Write": write,
        }
    }


class _Stores:
    """The calls of the service."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._folders = folders

    def _blob(self, call: ServerCall, digest: str) -> str:
        """Where a blob lies, or would. Raises `Failure`."""
        store = call.metadata.get(_STORE, [""])[0]
        if store not in self._folders:
            raise Failure(f"unknown store {store!r}", NOT_FOUND)
        try:
            name = digest_hex(parse_digest(digest))
        except InvalidDigest as error:
            raise Failure(str(error)) from None
        return os.path.join(self._folders[store], "blobs", "sha256", name)

    def _size(self, path: str, digest: str) -> int:
        try:
            return os.stat(path).st_size
        except FileNotFoundError:
            raise Failure(f"content {digest}: not found", NOT_FOUND) from None

    def info(self, request: Any, call: ServerCall) -> Any:
        """How large a blob is. Raises `Failure`."""
        answer = api_type("ContentInfoResponse")()
        answer.info.digest = request.digest
        answer.info.size = self._size(self._blob(call, request.digest), request.digest)
        return answer

    def read(self, request: Any, call: ServerCall) -> Iterator[Any]:
        """The bytes of a blob, from an offset on; `size` 0 is all of them. Raises `Failure`."""
        path = self._blob(call, request.digest)
        size = self._size(path, request.digest)
        position = request.offset
        end = min(size, position + request.size) if request.size else size
        with open(path, "rb") as file:
            file.seek(position)
            while position < end and (data := file.read(min(_CHUNK_BYTES, end - position))):
                yield api_type("ContentReadResponse")(offset=position, data=data)
                position += len(data)

    def write(self, _: None, call: ServerCall) -> Iterator[Any]:
        """Take one blob: each message is answered with how far it has come. Raises `Failure`."""
        incoming: _Incoming | None = None
        try:
            for request in call:
                if incoming is None:
                    path = self._blob(call, request.expected)
                    if os.path.exists(path):
                        raise Failure(f"content {request.expected}: already exists", ALREADY_EXISTS)
                    incoming = _Incoming(path, request.total)
                if request.data:
                    incoming.add(request.offset, request.data)
                if request.action == _COMMIT:
                    incoming.commit()
                yield api_type("ContentWriteResponse")(
                    action=request.action,
                    offset=incoming.size,
                    total=incoming.total,
                    digest=request.expected,
                )
        except OSError as error:
            raise Failure(f"cannot write: {error.strerror}") from None
        finally:
            if incoming is not None:
                incoming.drop()


class _Incoming:
    """A blob that is on its way."""

    def __init__(self, path: str, total: int) -> None:
        import hashlib

        self.total = total
        self.size = 0
        self._path = path
        self._hash = hashlib.sha256()
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._temporary = f"{path}.{os.urandom(6).hex()}"
        self._file = open(self._temporary, "xb")  # noqa: SIM115 (`drop` closes it)

    def add(self, offset: int, data: bytes) -> None:
        if offset != self.size:
            raise Failure(f"bytes at {offset} where those at {self.size} were expected")
        if self.total and self.size + len(data) > self.total:
            raise Failure("the builder sent more than it said")
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def commit(self) -> None:
        if self._hash.hexdigest() != os.path.basename(self._path):
            raise Failure("the builder sent other bytes than it said")
        self._file.close()
        os.replace(self._temporary, self._path)

    def drop(self) -> None:
        self._file.close()
        with suppress(FileNotFoundError):
            os.unlink(self._temporary)
