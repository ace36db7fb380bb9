"""One request to a web server, for files that a build names by their address.

Comes in: an address, and what the person said about networks. Goes out: a response that is not
read yet, or a `RegistryError` in one sentence. What is true for registries is true here: proxies,
certificates, patience with servers that are busy. Read next: `registry.transport`.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from minibuild.errors import RegistryError
from minibuild.events import Report, silent
from minibuild.graph.address import credentials, parse_address, without_credentials
from minibuild.registry.credentials import basic
from minibuild.registry.hosts import Hosts
from minibuild.registry.patience import patient
from minibuild.registry.transport import Transport
from minibuild.registry.unreachable import Unreachable, reason, stalled
from minibuild.session.request import RegistryAccess
from minibuild.session.secrets import AgentSocket

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse


CHUNK_BYTES = 1 << 18
_NOT_MODIFIED = 304
_ANSWERS = range(200, 400)
"""What counts as an answer, as in BuildKit; redirects with an address were followed before."""


class Client(Protocol):
    """What it takes to ask other machines: the settings, what authorises us, and an end."""

    @property
    def registries(self) -> RegistryAccess:
        """The settings for networks."""

    @property
    def secret(self) -> Callable[[str], bytes | None]:
        """The value of a secret by its id."""

    @property
    def ssh(self) -> Callable[[str], AgentSocket | None]:
        """Where an ssh agent listens, by its id."""

    @property
    def report(self) -> Report:
        """Hears of what is waited for."""

    @property
    def cancelled(self) -> threading.Event:
        """Set when the answer is no longer waited for."""


def own_authorization(url: str) -> str:
    """The value of an Authorization header from the credentials in an address; "" without any."""
    own = credentials(url)
    return basic(own.encode()) if own else ""


def get(
    url: str,
    headers: Mapping[str, str],
    access: RegistryAccess,
    cancelled: threading.Event,
    hint: str = "open the address in a browser",
    report: Report = silent,
) -> "BaseHTTPResponse":
    """The answer to a GET; 304 only if the headers ask for that. Raises `RegistryError`, with the
    hint where the server answered an error."""
    shown = without_credentials(url)
    transport = Transport(patient(cancelled, access.stall_s, report), access.proxies)
    try:
        # What is said of all registries is not said of the web.
        named = tuple(name for name in access.insecure if name != "*")
        tls = Hosts(access._replace(insecure=named)).tls(parse_address(shown).place)
        response = transport.request("GET", shown, tls, headers)
    except (Unreachable, ValueError) as error:
        raise RegistryError(
            f"cannot fetch {shown}: {error}", hint="check the address and the network"
        ) from error
    unasked = response.status == _NOT_MODIFIED and not any(n.startswith("If-") for n in headers)
    if response.status not in _ANSWERS or unasked:
        response.release_conn()
        raise RegistryError(
            f"cannot fetch {shown}: invalid response status {response.status} {response.reason}",
            hint=hint,
        )
    return response


def is_compressed(response: "BaseHTTPResponse") -> bool:
    """Whether the body is longer than what the server sends."""
    return response.headers.get("Content-Encoding", "").lower() == "gzip"


def body(response: "BaseHTTPResponse", url: str) -> Iterator[bytes]:
    """The body, piece by piece. A connection that ends before it does is an error.

    Some servers store files compressed, and send them so to those who did not ask for it. What
    `Content-Encoding: gzip` says is undone, as in BuildKit.
    """
    import urllib3

    try:
        pieces = response.stream(CHUNK_BYTES, decode_content=False)
        yield from _inflated(pieces) if is_compressed(response) else pieces
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        stall = stalled(error, "the server")
        raise RegistryError(
            f"cannot fetch {without_credentials(url)}: "
            + (stall.message if stall else f"the download broke off: {reason(error)}"),
            hint=stall.hint
            if stall
            else "run the build again; nothing of the part that came is kept",
        ) from error


def _inflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What gzip made of the pieces, never much at once. urllib3 would not say that the end is
    missing."""
    import zlib

    made = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        for data in pieces:
            while data:
                if made.eof:  # members may follow each other (RFC 1952)
                    made = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
                yield made.decompress(data, CHUNK_BYTES)
                data = made.unused_data if made.eof else made.unconsumed_tail
        yield made.flush()
    except zlib.error as error:
        raise OSError("what it calls gzip is none") from error
    if not made.eof:
        raise OSError("it ended early")
