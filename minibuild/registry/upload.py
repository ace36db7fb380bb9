"""An upload: one blob on its way into a repository, whole or in parts.

Comes in: a session that the registry has opened, and a source of the bytes. Goes out: nothing, or a
`RegistryError`; the blob is in the repository afterwards. After an interruption the registry is
asked how much it has. Rules: "Push" of the OCI distribution spec: "POST then PUT", "Pushing a blob
in chunks". Read next: `push`.
"""

from typing import TYPE_CHECKING, BinaryIO, cast

from minibuild.errors import RegistryError
from minibuild.graph.literals import parse_uint
from minibuild.oci.content import BlobSource
from minibuild.oci.meter import Meter, unmetered
from minibuild.oci.model import Descriptor
from minibuild.registry.client import RegistryClient, RegistryRequest
from minibuild.registry.errors import Refused
from minibuild.registry.hosts import Endpoint
from minibuild.registry.transport import TEMPORARY, discard, redirect_target
from minibuild.registry.unreachable import Unreachable, no_address, reason

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_SMALL_BYTES = 1 << 20
_CHUNK_BYTES = 16 << 20
_READ_BYTES = 1 << 20
_OCTETS = "application/octet-stream"


class UploadSession:
    """An upload that the registry has opened with `response`: where to send to, and how much it
    has."""

    def __init__(
        self,
        client: RegistryClient,
        endpoint: Endpoint,
        response: "BaseHTTPResponse",
        meter: Meter = unmetered,
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._meter = meter
        self._location = ""
        self._offset = 0
        least = response.headers.get("OCI-Chunk-Min-Length", "")
        self._chunk_bytes = max(parse_uint(least), 0)
        self._follow(response)

    def send(self, descriptor: Descriptor, source: BlobSource) -> None:
        """Send a blob, and close the session."""
        if descriptor.size > _SMALL_BYTES or self._chunk_bytes:
            self._send_parts(descriptor, source)
            self._finish(descriptor)
        else:
            self._finish(descriptor, _all_of(source, descriptor))

    def _send_parts(self, descriptor: Descriptor, source: BlobSource) -> None:
        """Send the bytes; after an interruption, those that the registry has not got yet."""
        attempts = self._client.attempts()
        while self._offset < descriptor.size:
            length = descriptor.size - self._offset
            if self._chunk_bytes:
                length = min(length, max(self._chunk_bytes, _CHUNK_BYTES))
            before = self._offset
            try:
                self._append(descriptor, source, length)
                attempts.failures = 0
            except (Unreachable, Refused) as error:
                if isinstance(error, Refused) and error.status not in (416, *TEMPORARY):
                    raise
                if isinstance(error, Unreachable) and not error.temporary:
                    raise
                self._ask()  # raises if the session is lost
                if self._offset > before:
                    attempts.failures = 0
                elif not attempts.failed():
                    raise
                attempts.pause()

    def _follow(self, response: "BaseHTTPResponse") -> None:
        location = response.headers.get("Location", "")
        if not location:
            raise RegistryError(f"{self._endpoint.host} does not say where to send a blob")
        try:
            self._location = redirect_target(
                self._client.url(self._endpoint, "blobs/uploads/"), location
            )
        except ValueError as error:
            raise no_address(self._endpoint.host, reason(error)) from None

    def _append(self, descriptor: Descriptor, source: BlobSource, length: int) -> None:
        """Send the next `length` bytes."""
        start, meter = self._offset, self._meter
        headers = {"Content-Type": _OCTETS, "Content-Length": str(length)}
        if start or length < descriptor.size:
            headers["Content-Range"] = f"{start}-{start + length - 1}"
        response = self._client.call(
            self._endpoint,
            RegistryRequest(
                "PATCH",
                self._location,
                (202, 204),
                headers=headers,
                body=lambda: cast(BinaryIO, _BlobPart(source, descriptor, start, length, meter)),
                push=True,
                once=True,
            ),
        )
        discard(response)
        self._follow(response)
        self._offset = start + length

    def _ask(self) -> None:
        """Ask how much the registry has got."""
        response = self._client.call(
            self._endpoint, RegistryRequest("GET", self._location, (204, 202, 200), push=True)
        )
        discard(response)
        if "Location" in response.headers:
            self._follow(response)
        _, _, last = response.headers.get("Range", "").rpartition("-")
        # "0-0" is what some say of one byte and others of none: nothing is the safe reading.
        self._offset = parse_uint(last) + 1 if last != "0" else 0

    def _finish(self, descriptor: Descriptor, data: bytes = b"") -> None:
        """Close the session: the blob is kept if its digest is right."""
        mark = "&" if "?" in self._location else "?"
        response = self._client.call(
            self._endpoint,
            RegistryRequest(
                "PUT",
                f"{self._location}{mark}digest={descriptor.digest}",
                (201, 204),
                headers={"Content-Type": _OCTETS, "Content-Length": str(len(data))},
                body=data,
                push=True,
                once=True,
                what=f"{self._endpoint.repository}@{descriptor.digest[:19]}",
            ),
        )
        discard(response)


class _BlobPart:
    """A piece of a blob as a file, opened where the piece begins."""

    def __init__(
        self, source: BlobSource, descriptor: Descriptor, start: int, length: int, meter: Meter
    ) -> None:
        self._file = source.open(descriptor, start)
        self._descriptor, self._meter = descriptor, meter
        self._at, self._left = start, length

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted) if wanted else b""
        self._at += len(data)
        self._left -= len(data)
        self._meter(self._descriptor, self._at)
        return data

    def close(self) -> None:
        self._file.close()


def _all_of(source: BlobSource, descriptor: Descriptor) -> bytes:
    with source.open(descriptor) as file:
        parts = list(iter(lambda: file.read(_READ_BYTES), b""))
    return b"".join(parts)
