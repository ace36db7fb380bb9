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

from minibuild.buildkit import content
from minibuild.buildkit.dispatch import CallHandler, ServerCall
from minibuild.buildkit.rpc import ALREADY_EXISTS, NOT_FOUND, Failure, api_type
from minibuild.client.session import Services
from minibuild.startup.tuples import NamedTuple

_COMMIT = 2


def layouts(folders: Mapping[str, str]) -> Services:
    """The service, for layouts by the names of their stores."""
    stores = _Stores(folders)
    write = CallHandler(stores.write, "ContentWriteRequest", streams=True, takes_many=True)
    return {content.NAME: {**content.reading(stores.place), "Write": write}}


class _Stores(NamedTuple):
    """The calls of the service."""

    folders: Mapping[str, str]

    def place(self, call: ServerCall, name: str) -> str:
        """Where a blob lies, or would. Raises `Failure`."""
        store = call.metadata.get(content.STORE, [""])[0]
        if store not in self.folders:
            raise Failure(f"unknown store {store!r}", NOT_FOUND)
        return os.path.join(self.folders[store], "blobs", "sha256", name)

    def write(self, _: None, call: ServerCall) -> Iterator[Any]:
        """Take one blob: each message is answered with how far it has come. Raises `Failure`."""
        incoming: _Incoming | None = None
        try:
            for request in call:
                if incoming is None:
                    path = self.place(call, content.blob_name(request.expected))
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
