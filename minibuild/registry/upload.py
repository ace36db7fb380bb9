"""One blob on its way into a repository: by mount, whole, or in parts.

Comes in: a descriptor and a source of its bytes. Goes out: nothing, or a `RegistryError`; the
blob is in the repository afterwards. What the registry has is not sent. Rules: "Push" of the OCI
distribution spec: "Mounting a blob from another repository", "POST then PUT", "Pushing a blob in
chunks". Read next: `push`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from minibuild.errors import RegistryError
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

How = Literal["present", "mounted", "sent"]

_SMALL_BYTES = 1 << 20
_CHUNK_BYTES = 16 << 20
_READ_BYTES = 1 << 20
_OCTETS = "application/octet-stream"


class Uploader:
    """Brings blobs into the repository of one endpoint. Safe in threads."""

    def __init__(
        self, client: RegistryClient, endpoint: Endpoint, meter: Meter = unmetered
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._meter = meter

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the repository has a blob."""
        path = f"blobs/{descriptor.digest}"
        response = self._client.call(
            self._endpoint, RegistryRequest("HEAD", path, (200, 404), push=True)
        )
        discard(response)
        size = response.headers.get("Content-Length", "")
        # What an earlier accident left behind with that name is sent again.
        return response.status == 200 and (not size or size == str(descriptor.size))

    def bring(
        self, descriptor: Descriptor, source: BlobSource, mount_from: Sequence[str] = ()
    ) -> How:
        """Have a blob in the repository. `mount_from` are repositories of the same registry that
        may have it. The source is opened only if the blob has to be sent."""
        if self.has(descriptor):
            self._meter(descriptor, descriptor.size, done=True, how="exists")
            return "present"
        session = self._mount(descriptor, mount_from)
        if session == "mounted":
            self._meter(descriptor, descriptor.size, done=True, how="mounted")
            return "mounted"
        attempts = self._client.transport.patience.attempts
        for attempt in range(1, attempts + 1):
            try:
                self._send(descriptor, source, session or self._begin())
                break
            except (Unreachable, Refused) as error:
                lost = isinstance(error, Refused) and error.status in (404, 416, *TEMPORARY)
                again = lost or (isinstance(error, Unreachable) and error.temporary)
                if not again or attempt == attempts:
                    raise
            # The session is lost: a new one.
            self._client.transport.pause(attempt)
            session = None
        self._meter(descriptor, descriptor.size, done=True)
        return "sent"

    def _mount(
        self, descriptor: Descriptor, mount_from: Sequence[str]
    ) -> "UploadSession | Literal['mounted'] | None":
        """Mount the blob from another repository. A registry that does not do that opens a session
        to send it in."""
        for other in mount_from:
            # Digests and names of repositories have no character that a query would mistake.
            query = f"?mount={descriptor.digest}&from={other}"
            try:
                response = self._post("blobs/uploads/" + query, (other,))
            except RegistryError:
                continue  # no right to read there, say: then it is sent
            if response.status == 201:
                return "mounted"
            return UploadSession(self._client, self._endpoint, response)
        return None

    def _begin(self) -> "UploadSession":
        return UploadSession(self._client, self._endpoint, self._post("blobs/uploads/", ()))

    def _post(self, path: str, also: tuple[str, ...]) -> "BaseHTTPResponse":
        response = self._client.call(
            self._endpoint,
            RegistryRequest(
                "POST", path, (201, 202), headers={"Content-Length": "0"}, push=True, also=also
            ),
        )
        discard(response)
        return response

    def _send(self, descriptor: Descriptor, source: BlobSource, session: "UploadSession") -> None:
        if descriptor.size > _SMALL_BYTES or session.chunk_bytes:
            self._send_parts(descriptor, source, session)
            session.finish(descriptor)
            return
        data = _all_of(source, descriptor)
        session.finish(descriptor, data)

    def _send_parts(
        self, descriptor: Descriptor, source: BlobSource, session: "UploadSession"
    ) -> None:
        """Send the bytes; after an interruption, those that the registry has not got yet."""
        patience = self._client.transport.patience
        failures = 0
        while session.offset < descriptor.size:
            length = descriptor.size - session.offset
            if session.chunk_bytes:
                length = min(length, max(session.chunk_bytes, _CHUNK_BYTES))
            before = session.offset
            try:
                session.append(descriptor, source, length, self._meter)
                failures = 0
            except (Unreachable, Refused) as error:
                if isinstance(error, Refused) and error.status not in (416, *TEMPORARY):
                    raise
                if isinstance(error, Unreachable) and not error.temporary:
                    raise
                session.ask()  # raises if the session is lost
                failures = 0 if session.offset > before else failures + 1
                if failures >= patience.attempts:
                    raise
                self._client.transport.pause(failures or 1)


class UploadSession:
    """An upload that the registry has opened: where to send to, and how much it has."""

    def __init__(
        self, client: RegistryClient, endpoint: Endpoint, response: "BaseHTTPResponse"
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._location = ""
        self.offset = 0
        least = response.headers.get("OCI-Chunk-Min-Length", "")
        self.chunk_bytes = int(least) if least.isascii() and least.isdigit() else 0
        self._follow(response)

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

    def append(self, descriptor: Descriptor, source: BlobSource, length: int, meter: Meter) -> None:
        """Send the next `length` bytes."""
        start = self.offset
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
                body=lambda: cast(BinaryIO, _Part(source, descriptor, start, length, meter)),
                push=True,
                once=True,
            ),
        )
        discard(response)
        self._follow(response)
        self.offset = start + length

    def ask(self) -> None:
        """Ask how much the registry has got."""
        response = self._client.call(
            self._endpoint, RegistryRequest("GET", self._location, (204, 202, 200), push=True)
        )
        discard(response)
        if "Location" in response.headers:
            self._follow(response)
        _, _, last = response.headers.get("Range", "").rpartition("-")
        # "0-0" is what some say of one byte and others of none: nothing is the safe reading.
        self.offset = int(last) + 1 if last.isascii() and last.isdigit() and last != "0" else 0

    def finish(self, descriptor: Descriptor, data: bytes = b"") -> None:
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


class _Part:
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
