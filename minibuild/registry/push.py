"""Pushing to registries: blobs in parallel, then manifests, then tags.

Comes in: an image or index that a source can read. Goes out: the same in a repository, where each
document comes after what it names, as registries demand. What the registry has is not sent. Rules:
"Push" of the OCI distribution spec. The bytes of a blob are the work of `upload`.

    repository = Repository(registry, parse_reference("registry.example.com/team/app:1"))
    repository.push_blob(descriptor, content)
    repository.push_manifest(data, media_type, tag="1")

    push_image(registry, content, top, [reference, ...])      # all of it at once
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from minibuild.errors import RegistryError
from minibuild.graph.reference import Reference
from minibuild.oci.content import BlobSource, read_document
from minibuild.oci.meter import Meter, unmetered
from minibuild.oci.model import OCI_MANIFEST, Descriptor, describe
from minibuild.oci.multi import MultiSource
from minibuild.oci.parallel import in_parallel
from minibuild.oci.transfer import blobs_of
from minibuild.registry.client import RegistryRequest
from minibuild.registry.errors import Refused
from minibuild.registry.pull import Registry
from minibuild.registry.transport import TEMPORARY, discard
from minibuild.registry.unreachable import Unreachable
from minibuild.registry.upload import UploadSession

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

PushOutcome = Literal["present", "mounted", "sent"]

UPLOADS = 4
"""Blobs sent at once, as other clients do: more would be taken for abuse by some registries."""


class Repository:
    """One repository of a registry, to push to. Safe in threads. All methods raise
    `RegistryError`."""

    def __init__(
        self, registry: Registry, reference: Reference, *, meter: Meter = unmetered
    ) -> None:
        self.reference = reference
        self._client = registry.client
        self._endpoint = registry.client.hosts.for_push(reference)
        self._meter = meter

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the repository has a blob (not: a manifest)."""
        path = f"blobs/{descriptor.digest}"
        response = self._client.call(
            self._endpoint, RegistryRequest("HEAD", path, (200, 404), push=True)
        )
        discard(response)
        size = response.headers.get("Content-Length", "")
        # What an earlier accident left behind with that name is sent again.
        return response.status == 200 and (not size or size == str(descriptor.size))

    def push_blob(
        self, descriptor: Descriptor, source: BlobSource, *, mount_from: Sequence[Reference] = ()
    ) -> PushOutcome:
        """Have a blob in the repository; returns whether it was `present`, `mounted` or `sent`.

        `mount_from` are repositories that may have the blob, besides the one that the source knows;
        those of other registries are passed over. `source` is opened only if the blob has to be
        sent, and again if that breaks off.
        """
        if self.has(descriptor):
            self._meter(descriptor, descriptor.size, done=True, how="exists")
            return "present"
        known = source.location(descriptor.digest)
        session = self._mount(descriptor, (*mount_from, *([] if known is None else [known])))
        if session == "mounted":
            self._meter(descriptor, descriptor.size, done=True, how="mounted")
            return "mounted"
        attempts = self._client.attempts()
        while True:
            try:
                opened = session or self._session(self._post("blobs/uploads/"))
                opened.send(descriptor, source)
                break
            except (Unreachable, Refused) as error:
                lost = isinstance(error, Refused) and error.status in (404, 416, *TEMPORARY)
                again = lost or (isinstance(error, Unreachable) and error.temporary)
                if not again or not attempts.failed():
                    raise
            attempts.pause()
            session = None  # It is lost: a new one.
        self._meter(descriptor, descriptor.size, done=True)
        return "sent"

    def _mount(
        self, descriptor: Descriptor, mount_from: Sequence[Reference]
    ) -> UploadSession | Literal["mounted"] | None:
        """Mount a blob from another repository of the same registry. One that does not do that
        opens a session to send it in."""
        here = self._endpoint
        for there in map(self._client.hosts.for_push, mount_from):
            if there.host != here.host or there.repository == here.repository:
                continue
            # Digests and names of repositories have no character that a query would mistake.
            path = f"blobs/uploads/?mount={descriptor.digest}&from={there.repository}"
            try:
                response = self._post(path, there.repository)
            except RegistryError:
                continue  # no right to read there, say: then it is sent
            return "mounted" if response.status == 201 else self._session(response)
        return None

    def _session(self, response: "BaseHTTPResponse") -> UploadSession:
        return UploadSession(self._client, self._endpoint, response, self._meter)

    def _post(self, path: str, *also: str) -> "BaseHTTPResponse":
        length = {"Content-Length": "0"}
        call = RegistryRequest("POST", path, (201, 202), headers=length, push=True, also=also)
        response = self._client.call(self._endpoint, call)
        discard(response)
        return response

    def push_blobs(
        self, blobs: Sequence[Descriptor], source: BlobSource, mount_from: Sequence[Reference] = ()
    ) -> None:
        """The same for several, a few at a time."""

        def push(blob: Descriptor) -> PushOutcome:
            return self.push_blob(blob, source, mount_from=mount_from)

        in_parallel(push, blobs, UPLOADS)

    def push_bytes(self, data: bytes, media_type: str) -> Descriptor:
        """Have a small blob, such as a config, in the repository."""
        descriptor = describe(media_type, data)
        source = MultiSource()
        source.put(data)
        self.push_blob(descriptor, source)
        return descriptor

    def push_manifest(
        self, data: bytes, media_type: str = OCI_MANIFEST, tag: str = "", *, once: bool = False
    ) -> Descriptor:
        """Put a manifest or an index, under a tag or by its digest alone; `once` without trying
        again. What it names has to be there already.
        """
        descriptor = describe(media_type, data)
        call = RegistryRequest(
            "PUT",
            f"manifests/{tag or descriptor.digest}",
            (200, 201, 202),
            headers={"Content-Type": media_type, "Content-Length": str(len(data))},
            body=data,
            push=True,
            what=f"{self._endpoint.repository}:{tag}" if tag else self._endpoint.repository,
            once=once,
        )
        response = self._put(call)
        stored = response.headers.get("Docker-Content-Digest", descriptor.digest)
        discard(response)
        if stored != descriptor.digest:
            raise RegistryError(
                f"{self._endpoint.host} stored {stored} and was sent {descriptor.digest}"
            )
        return descriptor

    def _put(self, call: RegistryRequest) -> "BaseHTTPResponse":
        """The answer to a PUT of a manifest.

        The transport tries again what is temporary by its status; `Refused` knows of more.
        """
        attempts = self._client.attempts()
        while True:
            try:
                return self._client.call(self._endpoint, call)
            except Refused as error:
                again = error.temporary and error.status not in TEMPORARY and not call.once
                if not again or not attempts.failed():
                    raise
            attempts.pause()


def push_image(
    registry: Registry,
    source: BlobSource,
    top: Descriptor,
    names: Sequence[Reference],
    *,
    by_digest: bool = False,
    meter: Meter = unmetered,
) -> None:
    """Push an image or index, with all below it, under each of `names`.

    With `by_digest` no tag is set. Blobs are mounted if the source says that the registry has them
    in another repository. Names in one repository cost one push and a tag each.
    """
    tags: dict[str, list[Reference]] = {}
    for name in names:
        tags.setdefault(name.name, []).append(name)
    before: Reference | None = None
    for group in tags.values():
        repository = Repository(registry, group[0], meter=meter)
        _push_blobs(repository, source, top, before)
        data = read_document(source, top)
        for tag in [""] if by_digest else [name.tag for name in group]:
            repository.push_manifest(data, top.media_type, tag)
        before = group[0]


def _push_blobs(
    repository: Repository, source: BlobSource, top: Descriptor, before: Reference | None
) -> None:
    """Everything but the top document: blobs at the same time, then the manifests of an index."""
    parts = [part for part in blobs_of(source, top) if part.digest != top.digest]
    near = () if before is None else (before,)
    repository.push_blobs([part for part in parts if not part.is_document], source, near)
    for document in (part for part in parts if part.is_document):
        data = read_document(source, document)
        repository.push_manifest(data, document.media_type)
