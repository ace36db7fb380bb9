"""Requests to a registry's API: with the login that it wants, over the scheme that it speaks.

Comes in: an endpoint and a path. Goes out: a response with one of the expected statuses; any other
is an error. Read next: `pull` and `push`, which know what to ask.
"""

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from minibuild.errors import RegistryError
from minibuild.graph.address import parse_address, same_host
from minibuild.graph.reference import Reference
from minibuild.registry.auth import Authoriser
from minibuild.registry.credentials import Credentials
from minibuild.registry.errors import refusal
from minibuild.registry.hosts import Endpoint, Hosts
from minibuild.registry.patience import Attempts, Patience
from minibuild.registry.transport import Body, Transport, discard, read_all
from minibuild.registry.unreachable import Unreachable, no_address, reason
from minibuild.session.request import RegistryAccess
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_TLS_WANTED = 400
"""What a server that wants TLS answers to plain http, if it answers at all."""


class RegistryRequest(NamedTuple):
    """A request. `path` is relative to the repository, or a URL that the registry gave.

    `push` and `also` (other repositories to read from) say which rights it takes; `what` names in
    errors what it is about. One that is sent `once` is not tried again: its sender has to
    find out first how far it came.
    """

    method: str
    path: str
    expected: tuple[int, ...] = (200,)
    headers: Mapping[str, str] = {}
    body: Body = None
    push: bool = False
    also: tuple[str, ...] = ()
    what: str = ""
    once: bool = False


class RegistryClient:
    """Connections, tokens and settings of one process. Safe in threads."""

    def __init__(self, access: RegistryAccess, patience: Patience) -> None:
        self.hosts = Hosts(access)
        self.transport = Transport(patience, access.proxies)
        paths = tuple(os.fspath(path) for path in access.logins)
        credentials = Credentials(paths, access.passwords)
        self._authoriser = Authoriser(self.transport, credentials, self.hosts)
        self._schemes: dict[str, str] = {}
        self._choosing = threading.Lock()

    def call(self, endpoint: Endpoint, call: RegistryRequest) -> "BaseHTTPResponse":
        """The response to a request in the repository of `endpoint`, if its status is expected.

        Raises `RegistryError`.
        """
        url = self.url(endpoint, call.path)
        scopes = _scopes(endpoint.repository, call.push, call.also)
        # A location elsewhere (a store of blobs) gets no login: it has one in its own query.
        ours, host = self._leads_to(url, endpoint)
        domain = endpoint.domain
        sent = self._authoriser.known(domain, scopes) if ours else ""
        for attempt in (1, 2, 3):
            given = {**call.headers, **({"Authorization": sent} if sent else {})}
            tls = endpoint.tls if ours else self.hosts.tls(host)
            response = self.transport.request(
                call.method, url, tls, given, call.body, most=1 if call.once else 0
            )
            if response.status in call.expected:
                return response
            # One that was redirected to has no say in where a login is sent.
            asked_here = ours and same_host(url, response.url or url)
            if response.status != 401 or not asked_here or attempt == 3:
                break
            # A token may have expired on the way: then one more is asked for, once.
            challenge = response.headers.get("WWW-Authenticate", "")
            sent = self._authoriser.answer(endpoint, challenge, scopes, sent)
            if not sent:
                break
            discard(response)
        logged_in = self._authoriser.has_login(endpoint)
        raise refusal(
            response, endpoint.host, call.what or endpoint.repository, logged_in=logged_in
        )

    def _leads_to(self, url: str, endpoint: Endpoint) -> tuple[bool, str]:
        """Whether a URL is one of the endpoint itself, and the host that it leads to."""
        base = f"{self._scheme(endpoint)}://{endpoint.host}"
        try:
            return same_host(url, base), parse_address(url).place
        except ValueError as error:
            raise no_address(endpoint.host, reason(error)) from None

    def check_login(self, domain: str) -> None:
        """Ask a registry whether it takes the login that there is. Raises `RegistryError`."""
        endpoint = self.hosts.endpoint(domain)
        discard(self.call(endpoint, RegistryRequest("GET", "/v2/", what="your account")))

    def document(
        self, endpoint: Endpoint, call: RegistryRequest, limit: int
    ) -> "tuple[BaseHTTPResponse, bytes]":
        """A response, and its body of up to `limit` bytes; one that is cut is asked for again."""
        attempts = self.attempts()
        while True:
            response = self.call(endpoint, call)
            try:
                return response, read_all(response, limit, endpoint.host)
            except Unreachable as error:
                if not error.temporary or not attempts.failed(silent=error.silent):
                    raise
            attempts.pause()

    def attempts(self) -> Attempts:
        """As many attempts as there is patience for."""
        return Attempts(self.transport.patience)

    def url(self, endpoint: Endpoint, path: str) -> str:
        """The whole URL of a path in a repository, or of a location that the registry gave."""
        base = f"{self._scheme(endpoint)}://{endpoint.host}"
        if "://" in path:
            return path
        if path.startswith("/"):
            return base + path
        return f"{base}/v2/{endpoint.repository}/{path}"

    def _scheme(self, endpoint: Endpoint) -> str:
        """The scheme that a host speaks; asked once where there is a choice."""
        if len(endpoint.schemes) == 1:
            return endpoint.schemes[0]
        with self._choosing:
            if endpoint.host not in self._schemes:
                self._schemes[endpoint.host] = self._choose(endpoint)
            return self._schemes[endpoint.host]

    def _choose(self, endpoint: Endpoint) -> str:
        failures: list[Unreachable] = []
        for scheme in endpoint.schemes:
            url = f"{scheme}://{endpoint.host}/v2/"
            try:
                response = self.transport.request("GET", url, endpoint.tls, {}, most=1)
            except Unreachable as error:
                failures.append(error)
                continue
            wants_tls = response.status == _TLS_WANTED and scheme == "http"
            discard(response)
            if not wants_tls or scheme == endpoint.schemes[-1]:
                return scheme
        # The one that says more than that nothing is there: a certificate that is not trusted.
        raise min(failures, key=lambda error: error.temporary)


def _scopes(repository: str, push: bool, also: tuple[str, ...]) -> tuple[str, ...]:
    if not repository:
        return ()  # no more than who one is
    actions = "pull,push" if push else "pull"
    return (
        f"repository:{repository}:{actions}",
        *(f"repository:{other}:pull" for other in also if other != repository),
    )


def first_answer(errors: list[RegistryError], reference: Reference) -> RegistryError:
    """The error to show when no endpoint of an image had it: that of the registry itself."""
    error = errors[-1]
    if len(errors) > 1:
        error.detail = "\n".join(f"mirror: {other.message}" for other in errors[:-1])
    if not error.hint:
        error.hint = f"is {reference.familiar} the right name?"
    return error
