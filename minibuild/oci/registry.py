"""Pulling from registries: manifests by name, blobs by digest.

Comes in: references. Goes out: descriptors, and blobs as streams that whoever keeps them checks.
Rules: the OCI distribution spec ("Pulling manifests", "Pulling blobs") and Docker's token
authentication. HTTP, TLS and connection pools are urllib3's. Read next: `credentials`.
"""

import re
from typing import Any, BinaryIO, cast

from minibuild.digest import digest_bytes
from minibuild.errors import RegistryError
from minibuild.oci.content import BlobSource
from minibuild.oci.credentials import Credentials
from minibuild.oci.model import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    MAX_DOCUMENT_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    parse_json,
)
from minibuild.oci.reference import DEFAULT_DOMAIN, Reference

_ACCEPT = ", ".join((OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST))
_DOCKER_HUB = "registry-1.docker.io"
_CONNECT_S, _READ_S = 10.0, 60.0
_RETRIES = 3
_PARAMETER = re.compile(r'([a-zA-Z]+)="([^"]*)"')
_MAX_TOKEN_BYTES = 1 << 20


class Registry:
    """A client with its connections and tokens. Safe in threads, as urllib3's pools are."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        import urllib3

        self._errors = urllib3.exceptions.HTTPError
        self._credentials = credentials or Credentials()
        self._tokens: dict[str, str] = {}
        retries = urllib3.Retry(
            _RETRIES,
            connect=1,
            backoff_factor=0.3,
            status_forcelist=(429, 500, 502, 503, 504),
            raise_on_status=False,
        )
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
            retries=retries,
            headers={"User-Agent": "minibuild"},
        )

    def find(self, reference: Reference) -> tuple[Descriptor, BlobSource]:
        """The manifest or index that a name has now, and where its blobs can be read."""
        name = reference.digest or reference.tag
        response = self.get(reference, f"manifests/{name}", {"Accept": _ACCEPT})
        try:
            data = response.read(MAX_DOCUMENT_BYTES + 1)
        except self._errors as error:
            raise RegistryError(f"{reference.domain} broke off: {error}") from error
        finally:
            response.release_conn()
        digest = digest_bytes(data)
        if reference.digest is not None and digest != reference.digest:
            raise RegistryError(f"{reference.domain} sent {digest} when asked for {reference}")
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        return Descriptor(media_type, digest, len(data)), RemoteBlobs(self, reference)

    def get(self, reference: Reference, path: str, headers: dict[str, str]) -> Any:
        """The response to GET of a path in the repository of `reference`, not read yet.

        Raises `RegistryError` for every answer but success.
        """
        url = f"{_base(reference.domain)}/v2/{reference.path}/{path}"
        response = self._request(reference, url, headers)
        if response.status == 401:
            challenge = response.headers.get("WWW-Authenticate", "")
            response.release_conn()
            self._authorise(reference, challenge)
            response = self._request(reference, url, headers)
        if response.status != 200:
            response.release_conn()
            raise _refusal(reference, response)
        return response

    def _request(self, reference: Reference, url: str, headers: dict[str, str]) -> Any:
        authorization = self._tokens.get(reference.name)
        if authorization:
            headers = headers | {"Authorization": authorization}
        try:
            return self._pool.request("GET", url, headers=headers, preload_content=False)
        except self._errors as error:
            raise RegistryError(
                f"the registry {reference.domain} cannot be reached: {_reason(error)}",
                hint="check the network and the name; an image from a file needs no registry: "
                "minibuild image load FILE",
            ) from error

    def _authorise(self, reference: Reference, challenge: str) -> None:
        """Answer a challenge (RFC 9110, 11.6.1): with a token, or with name and password."""
        scheme, _, rest = challenge.partition(" ")
        basic = self._credentials.basic(reference.domain)
        if scheme.lower() == "basic" and basic:
            self._tokens[reference.name] = basic
            return
        parameters = dict(_PARAMETER.findall(rest))
        realm = parameters.get("realm", "")
        if scheme.lower() != "bearer" or not realm.startswith(("https://", "http://")):
            raise RegistryError(
                f"{reference.domain} wants a login",
                hint=f"docker login {reference.domain} writes one to ~/.docker/config.json",
            )
        fields = {
            "service": parameters.get("service", ""),
            "scope": parameters.get("scope") or f"repository:{reference.path}:pull",
        }
        try:
            answer = self._pool.request(
                "GET",
                realm,
                fields=fields,
                headers={"Authorization": basic} if basic else {},
                preload_content=False,
            )
            data = answer.read(_MAX_TOKEN_BYTES)
        except self._errors as error:
            raise RegistryError(f"no token from {realm}: {_reason(error)}") from error
        if answer.status != 200:
            raise _refusal(reference, answer)
        value = parse_json(data, f"the token of {realm}")
        token = value.get("token") or value.get("access_token")
        if not isinstance(token, str):
            raise RegistryError(f"{realm} answered without a token")
        self._tokens[reference.name] = f"Bearer {token}"


class RemoteBlobs:
    """The blobs of one repository, as a `BlobSource`."""

    def __init__(self, registry: Registry, reference: Reference) -> None:
        self._registry = registry
        self._reference = reference

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """See `BlobSource.open`."""
        kind = (
            "manifests"
            if "config" not in descriptor.media_type and _is_document(descriptor.media_type)
            else "blobs"
        )
        headers = {"Accept": _ACCEPT} if kind == "manifests" else {"Accept-Encoding": "identity"}
        response = self._registry.get(self._reference, f"{kind}/{descriptor.digest}", headers)
        return cast(BinaryIO, _Body(response, self._reference.domain, self._registry._errors))


class _Body:
    """A response as a file whose errors are ours."""

    def __init__(self, response: Any, domain: str, errors: type[Exception]) -> None:
        self._response, self._domain, self._errors = response, domain, errors

    def read(self, size: int = -1) -> bytes:
        try:
            data: bytes = self._response.read(None if size < 0 else size)
        except self._errors as error:
            raise RegistryError(
                f"{self._domain} broke off a transfer: {_reason(error)}", hint="try again"
            ) from error
        return data

    def close(self) -> None:
        self._response.release_conn()

    def __enter__(self) -> "_Body":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_document(media_type: str) -> bool:
    return media_type in (OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST)


def _base(domain: str) -> str:
    if domain == DEFAULT_DOMAIN:
        return f"https://{_DOCKER_HUB}"
    host = domain.rpartition(":")[0] if re.search(r":\d+$", domain) else domain
    # As for Docker, a registry on this very machine may do without TLS.
    local = host == "localhost" or host.startswith("127.") or host == "[::1]"
    return f"{'http' if local else 'https'}://{domain}"


def _reason(error: Exception) -> str:
    """The innermost cause, without the layers that libraries wrap around it."""
    inner: object = error
    while isinstance(found := getattr(inner, "reason", None), Exception):
        inner = found
    text = str(inner)
    return text.rpartition(": ")[2] or text


def _refusal(reference: Reference, response: Any) -> RegistryError:
    status = response.status
    if status == 404:
        return RegistryError(
            f"{reference}: not found in its registry", hint="check the name and the tag"
        )
    if status in (401, 403):
        return RegistryError(
            f"{reference.domain} denies access to {reference.path} ({status})",
            hint=f"does it exist? docker login {reference.domain} writes a login to "
            "~/.docker/config.json",
        )
    if status == 429:
        wait = response.headers.get("Retry-After", "")
        return RegistryError(
            f"{reference.domain} allows no more requests for now (429)",
            hint=f"try again in {wait} seconds" if wait.isdigit() else "try again later, or log in",
        )
    return RegistryError(f"{reference.domain} answered {status} {response.reason or ''}".rstrip())
