"""Pulling from registries: manifests by name, blobs by digest.

Comes in: references. Goes out: descriptors, and blobs as streams, to be checked where they are
kept. A stream that breaks off goes on where it was. Rules: "Pull" of the OCI distribution spec,
which Docker's registry API is the same as. Read next: `fetch` for keeping blobs, `push` for the way
back.
"""

import io
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, BinaryIO, cast

from minibuild.digest import Digest, InvalidDigest, digest_bytes, parse_digest
from minibuild.errors import RegistryError
from minibuild.events import Report, silent
from minibuild.graph.reference import Reference
from minibuild.oci.content import BlobSource, ContentStore
from minibuild.oci.document import MAX_DOCUMENT_BYTES
from minibuild.oci.model import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Descriptor
from minibuild.registry.client import RegistryClient, RegistryRequest, first_answer
from minibuild.registry.errors import Refused
from minibuild.registry.head import head_on_loopback
from minibuild.registry.hosts import Endpoint
from minibuild.registry.patience import Attempts, Patience, patient
from minibuild.registry.transport import discard, read_all
from minibuild.registry.unreachable import explain, reason, stalled
from minibuild.session.request import RegistryAccess

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

ACCEPT = ", ".join((OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST))
_SKIP_BYTES = 1 << 20
_HOPE_BYTES = 1 << 20
"""After so much, a transfer that stalls is worth another attempt, and as many as at first."""


def connect(
    access: RegistryAccess,
    cancelled: threading.Event,
    report: Report = silent,
    insecure: Iterable[str] = (),
) -> "Registry":
    """A client that can be stopped; registries of the domains `insecure` may do without TLS."""
    access = access._replace(insecure=(*access.insecure, *insecure))
    return Registry(access, patient(cancelled, access.stall_s, report))


class Registry:
    """A client for all registries. Safe in threads."""

    def __init__(
        self,
        access: RegistryAccess = RegistryAccess(),  # noqa: B008
        patience: Patience = Patience(),  # noqa: B008
    ) -> None:
        self.client = RegistryClient(access, patience)

    def find(
        self, reference: Reference, kept: ContentStore | None = None
    ) -> "tuple[Descriptor, RemoteBlobs]":
        """The manifest or index that a name has now, and where its blobs can be read.

        With `kept` only the digest is asked for (HEAD, which some registries do not count against
        limits) if that store has the document from before. Raises `RegistryError`.
        """
        endpoints = self.client.hosts.for_pull(reference)
        errors: list[RegistryError] = []
        for number, endpoint in enumerate(endpoints):
            blobs = RemoteBlobs(self.client, reference, endpoints[number:])
            if kept is not None and (known := self._known(endpoint, reference, kept)):
                return known, blobs
            try:
                descriptor, data = self._manifest(endpoint, reference)
            except RegistryError as error:
                errors.append(error)
                continue
            blobs.keep(descriptor, data)
            return descriptor, blobs
        raise first_answer(errors, reference)

    def blobs(self, reference: Reference) -> "RemoteBlobs":
        """The blobs of a repository, without asking for a manifest first."""
        return RemoteBlobs(self.client, reference, self.client.hosts.for_pull(reference))

    def _known(
        self, endpoint: Endpoint, reference: Reference, kept: ContentStore
    ) -> Descriptor | None:
        """The descriptor of a name if the store has the document; whatever is wrong, GET says."""
        path, proxy = _manifest_path(reference), self.client.transport.proxy
        try:
            # Without an HTTP library, where that is enough.
            proxied = proxy(f"http://{endpoint.host}/")
            headers = None if proxied else head_on_loopback(endpoint, path, ACCEPT)
            headers = headers or self._head(endpoint, path)
            digest = parse_digest(headers.get("docker-content-digest", ""))
        except (RegistryError, InvalidDigest):
            return None
        if not kept.has(digest) or reference.digest not in (None, digest):
            return None
        media_type = _media_type(headers.get("content-type", ""))
        return Descriptor(media_type, digest, kept.size(digest))

    def _head(self, endpoint: Endpoint, path: str) -> Mapping[str, str]:
        call = RegistryRequest("HEAD", path, headers={"Accept": ACCEPT}, once=True)
        response = self.client.call(endpoint, call)
        discard(response)
        return response.headers

    def _manifest(self, endpoint: Endpoint, reference: Reference) -> tuple[Descriptor, bytes]:
        of = f"@{reference.digest}" if reference.digest else f":{reference.tag}"
        what, accept = reference.path + of, {"Accept": ACCEPT}
        call = RegistryRequest("GET", _manifest_path(reference), headers=accept, what=what)
        response, data = self.client.document(endpoint, call, MAX_DOCUMENT_BYTES)
        media_type, digest = (
            _media_type(response.headers.get("Content-Type", "")),
            digest_bytes(data),
        )
        said = response.headers.get("Docker-Content-Digest", "")
        if said.startswith("sha256:") and said != digest:
            raise RegistryError(f"{endpoint.host} sent {digest} and says that it is {said}")
        if reference.digest is not None and digest != reference.digest:
            raise RegistryError(
                f"{endpoint.host} sent {digest} when asked for {what}",
                hint="the registry or something on the way to it is broken",
            )
        return Descriptor(media_type, digest, len(data)), data


def _manifest_path(reference: Reference) -> str:
    return f"manifests/{reference.digest or reference.tag}"


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip()


class RemoteBlobs(BlobSource):
    """The blobs of one repository, as a `BlobSource`. Safe in threads."""

    def __init__(
        self, client: RegistryClient, reference: Reference, endpoints: list[Endpoint]
    ) -> None:
        self._client = client
        self._endpoints = endpoints
        self._documents: dict[str, bytes] = {}
        self.reference = reference

    def keep(self, descriptor: Descriptor, data: bytes) -> None:
        """Remember a manifest that was read already."""
        self._documents[descriptor.digest] = data

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """See `BlobSource.open`."""
        if data := self._documents.get(descriptor.digest):
            return io.BytesIO(data[offset:])
        if descriptor.is_document:
            # Read more than once where an image is walked and then copied; and small.
            data = read_all(self.request(descriptor, 0), MAX_DOCUMENT_BYTES, self.host)
            self.keep(descriptor, data)
            return io.BytesIO(data[offset:])
        return cast(BinaryIO, _Stream(self, descriptor, offset))

    def referrers(self, digest: Digest) -> bytes:
        """The index of what says that it is about a manifest; empty if nothing does. Rules:
        "Listing Referrers" of the distribution spec; a registry without it has a tag for it."""
        for path in (f"referrers/{digest}", f"manifests/{digest.replace(':', '-')}"):
            call = RegistryRequest("GET", path, headers={"Accept": OCI_INDEX})
            try:
                return self._client.document(self._endpoints[0], call, MAX_DOCUMENT_BYTES)[1]
            except Refused as error:
                if error.status not in (400, 404, 405):
                    raise
        return b""

    def location(self, digest: Digest) -> Reference:
        """The repository itself: what is here can be mounted elsewhere in the same registry."""
        return self.reference

    def request(self, descriptor: Descriptor, offset: int) -> "BaseHTTPResponse":
        """The answer to a request for a blob from `offset` on; mirrors that lack it are passed."""
        headers = {"Accept": ACCEPT} if descriptor.is_document else {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        path = f"{'manifests' if descriptor.is_document else 'blobs'}/{descriptor.digest}"
        errors: list[RegistryError] = []
        for endpoint in self._endpoints:
            what = f"{endpoint.repository}@{descriptor.digest[:19]}"
            try:
                call = RegistryRequest("GET", path, (200, 206), headers=headers, what=what)
                return self._client.call(endpoint, call)
            except RegistryError as error:
                if not descriptor.is_document and isinstance(error, Refused):
                    error = _of_blob(error, endpoint.host, descriptor, offset)
                errors.append(error)
        raise first_answer(errors, self.reference)

    @property
    def host(self) -> str:
        """The host that is asked first."""
        return self._endpoints[0].host

    def attempts(self) -> Attempts:
        """How often to go on with a broken transfer."""
        return self._client.attempts()

    def broken(self, error: Exception, left: int) -> RegistryError:
        """The error for a transfer that broke off and could not be taken up again."""
        if stall := stalled(error, self.host):
            return RegistryError(f"{stall.message}; {left:,} bytes were to come", hint=stall.hint)
        found = explain(error, f"https://{self.host}/", self._client.transport.patience)
        why = found.message if "within" in found.message else reason(error)
        return RegistryError(
            f"{self.host} broke off a transfer, {left:,} bytes before its end: {why}",
            hint="try again: what has come already is kept",
        )


def _of_blob(error: Refused, host: str, descriptor: Descriptor, offset: int) -> RegistryError:
    """What it means that a blob is not there which a manifest of the same repository names."""
    if error.status == 416 and offset:
        return RegistryError(
            f"{host} has {offset:,} of the {descriptor.size:,} bytes of {descriptor.digest}",
            hint="the image is damaged there: push it again",
        )
    if error.status == 404:
        error.hint = "the image is not complete there: push it again"
    return error


class _Stream(io.RawIOBase):
    """A blob as a file, which asks for the rest when the connection is lost."""

    def __init__(self, blobs: RemoteBlobs, descriptor: Descriptor, offset: int) -> None:
        self._blobs = blobs
        self._descriptor = descriptor
        self._at = offset
        self._attempts = blobs.attempts()
        self._came = 0
        self._response: BaseHTTPResponse | None = None
        self._response = self._ask()

    def read(self, size: int = -1) -> bytes:
        import urllib3

        if size < 0:
            return b"".join(iter(lambda: self.read(_SKIP_BYTES), b""))
        while True:
            try:
                if self._response is None:
                    self._response = self._ask()
                data = bytes(self._response.read(size))
                if not data and self._at < self._descriptor.size:
                    raise urllib3.exceptions.ProtocolError("it ended early")
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                self._drop()
                silent = isinstance(error, urllib3.exceptions.ReadTimeoutError)
                stalls = self._came < _HOPE_BYTES and stalled(error, self._blobs.host)
                if stalls or not self._attempts.failed(silent=silent):
                    left = self._descriptor.size - self._at
                    raise self._blobs.broken(error, left) from None
                self._attempts.pause()
                continue
            # As long as something comes, there is hope; silence in between takes more of it.
            self._came += len(data)
            if data:
                self._attempts.failures = 0
            if self._came >= _HOPE_BYTES:
                self._attempts.silences = 0
            self._at += len(data)
            return data

    def _ask(self) -> "BaseHTTPResponse":
        self._came = 0
        response = self._blobs.request(self._descriptor, self._at)
        if self._at and response.status == 200:
            # This server sends everything or nothing: what we have already is passed over.
            left = self._at
            while left and (passed := len(response.read(min(left, _SKIP_BYTES)))):
                left -= passed
        return response

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def close(self) -> None:
        """Be done. A connection in the middle of a blob cannot be used for another request."""
        if self._response is not None and self._at >= self._descriptor.size:
            self._response.release_conn()
            self._response = None
        self._drop()
        super().close()
