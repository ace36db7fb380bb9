"""HTTP for registries: requests that are tried again, and failures in one sentence.

Comes in: a method and a URL. Goes out: a response, not read yet. HTTP, TLS and connection pools are
urllib3's. Redirects are followed here: the body of one is not waited for, an address with a user in
it is refused, and another host gets no login (RFC 9110, 15.4). What is temporary is tried again
after a pause that doubles, or after the time that the server asks for (`Retry-After`, RFC 9110,
10.2.3). Read next: `auth`.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, BinaryIO

from minibuild.errors import BuildError, RegistryError
from minibuild.graph.address import parse_address, same_host
from minibuild.graph.literals import parse_uint
from minibuild.registry.hosts import Tls
from minibuild.registry.patience import Attempts, Patience
from minibuild.registry.unreachable import (
    Unreachable,
    explain,
    host_of,
    no_address,
    reason,
    stalled,
)

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

Body = Callable[[], BinaryIO] | bytes | None
"""What to send; a function opens it again for each attempt."""

TEMPORARY = (408, 429, 500, 502, 503, 504)
_REDIRECTS = 8
_CONNECTIONS = 8
_BLOCK_BYTES = 128 << 10
_PRIVATE = ("authorization", "proxy-authorization", "cookie")


class Transport:
    """Connections to many hosts. Safe in threads, as urllib3's pools are."""

    def __init__(
        self,
        patience: Patience = Patience(),  # noqa: B008
        proxies: Mapping[str, str] | None = None,
    ) -> None:
        self.patience = patience
        self._proxies = proxies or {}
        self._pools: dict[tuple[Tls | None, str], PoolManager] = {}
        self._making = threading.Lock()

    def request(
        self,
        method: str,
        url: str,
        tls: Tls,
        headers: Mapping[str, str],
        body: Body = None,
        *,
        most: int = 0,
    ) -> "BaseHTTPResponse":
        """The answer to a request, whatever it says. Raises `Unreachable` if there is none.

        A status that is temporary is only returned when all attempts gave one (`most` of them, if
        that is given), or when the server asks for more patience than there is.
        """
        attempts = Attempts(self.patience, most)
        while True:
            try:
                response = self._once(method, url, tls, headers, body)
            except Unreachable as error:
                if not error.temporary or not attempts.failed(silent=error.silent):
                    raise
                attempts.pause()
                continue
            if response.status not in TEMPORARY or not attempts.failed():
                return response
            asked_s = retry_after_s(response)
            if asked_s > self.patience.longest_pause_s:
                return response
            discard(response)
            attempts.pause(asked_s)

    def _once(
        self, method: str, url: str, tls: Tls, headers: Mapping[str, str], body: Body
    ) -> "BaseHTTPResponse":
        """The answer to one request, through its redirects."""
        asked = url
        for _ in range(_REDIRECTS + 1):
            try:
                response = self._sent(method, url, tls, headers, body)
                # An upload goes where the registry said; it cannot be sent twice from one stream.
                location = None if callable(body) else response.get_redirect_location()
                if not location:
                    response.url = url  # urllib3 knows the path alone
                    return response
                discard(response)
                url, before = redirect_target(url, location), url
            except ValueError as error:  # of urllib, about an address
                raise no_address(host_of(asked), reason(error)) from None
            if response.status == 303:
                method, body = "GET", None
            if not same_host(url, before):
                headers = {k: v for k, v in headers.items() if k.lower() not in _PRIVATE}
        raise Unreachable(
            f"{host_of(asked)} redirects from one address to the next without end", temporary=False
        )

    def _sent(
        self, method: str, url: str, tls: Tls, headers: Mapping[str, str], body: Body
    ) -> "BaseHTTPResponse":
        import urllib3

        pool = self._pool(tls, url)
        opened = body() if callable(body) else body
        stores = method in ("PUT", "PATCH")
        patience = self.patience._replace(read_s=self.patience.store_s) if stores else self.patience
        try:
            return pool.request(
                method,
                url,
                headers={"User-Agent": "minibuild", **headers},
                body=opened,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=patience.connect_s, read=patience.read_s),
                preload_content=False,
                decode_content=False,
            )
        except BuildError:
            raise  # the source of an upload failed, not the registry
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise explain(error, url, patience) from None
        finally:
            if opened is not None and not isinstance(opened, bytes):
                opened.close()

    def _pool(self, tls: Tls, url: str) -> "PoolManager":
        proxy = self.proxy(url)
        # Reading the system's authorities takes 20 ms, which plain http can do without.
        trusted = None if url.startswith("http://") and not proxy else tls
        with self._making:
            if (trusted, proxy) not in self._pools:
                self._pools[trusted, proxy] = self._made(trusted, proxy)
            return self._pools[trusted, proxy]

    def _made(self, tls: Tls | None, proxy: str) -> "PoolManager":
        import urllib3

        if tls is not None and not tls.verify:
            # The user asked for it, and need not hear so at each request.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        settings = {
            "maxsize": _CONNECTIONS,
            "ssl_context": None if tls is None else _context(tls),
            "blocksize": _BLOCK_BYTES,
        }
        made = urllib3.PoolManager(**settings)  # type: ignore[arg-type]
        if proxy:
            made = urllib3.ProxyManager(proxy, **settings)  # type: ignore[arg-type]
        if self.patience.cancelled is not None:
            from minibuild.registry.connection import pools

            patience = self.patience
            made.pool_classes_by_scheme = pools(
                self.patience.cancelled, patience.stall_s, patience.report
            )
        return made

    def proxy(self, url: str) -> str:
        """The proxy for a URL, by the variables that the caller passed on."""
        if not self._proxies:
            return ""
        address = parse_address(url)
        proxy = self._proxies.get(address.scheme, "")
        if not proxy:
            return ""
        from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

        bypassed = proxy_bypass_environment(address.place, {"no": self._proxies.get("no", "")})
        return "" if bypassed else proxy


def _context(tls: Tls) -> object:
    import ssl

    from minibuild.registry.connection import TlsSocket

    context = ssl.create_default_context()
    context.sslsocket_class = TlsSocket
    try:
        for authority in tls.authorities:
            context.load_verify_locations(authority)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(filter(None, (*tls.authorities, tls.certificate)))
        raise RegistryError(f"cannot read the certificates {named}: {error.strerror}") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def discard(response: "BaseHTTPResponse") -> None:
    """Be done with a response; its connection is used again if that costs nothing."""
    import urllib3

    try:
        response.read(_BLOCK_BYTES)
        response.release_conn()
    except (urllib3.exceptions.HTTPError, OSError, ValueError):
        response.close()


def redirect_target(url: str, location: str) -> str:
    """Where a redirect leads to. Raises ValueError."""
    from urllib.parse import urljoin

    target = urljoin(url, location)
    if parse_address(target).login:
        raise ValueError("it has a user in it")
    return target


def read_all(response: "BaseHTTPResponse", limit: int, host: str) -> bytes:
    """The body of a response, which must not be longer than `limit` bytes."""
    import urllib3

    data = b""
    try:
        # To the end: only there does the library notice that something is missing.
        while len(data) <= limit and (part := response.read(limit + 1 - len(data))):
            data += part
        if len(data) <= limit:
            response.release_conn()
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        # A ValueError is a chunk of a negative length, here and in all that reads bodies.
        response.close()
        if stall := stalled(error, host):
            raise stall from None
        silent = isinstance(error, urllib3.exceptions.ReadTimeoutError)
        raise Unreachable(f"{host} broke off its answer: {reason(error)}", silent=silent) from None
    if len(data) <= limit and response.headers.get("Content-Encoding", "") == "gzip":
        data = _inflated(data, limit, host)
    if len(data) > limit:
        response.close()
        raise RegistryError(f"{host} sent an answer of more than {limit} bytes")
    return data


def _inflated(data: bytes, limit: int, host: str) -> bytes:
    """A document that something on the way has compressed, unasked."""
    import zlib

    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, limit + 1)
    except zlib.error as error:
        raise RegistryError(f"{host} sent an answer that is not gzip as it says: {error}") from None


def retry_after_s(response: "BaseHTTPResponse") -> float:
    """How long the server wants to be left alone."""
    text = response.headers.get("Retry-After", "").strip()
    if (seconds := parse_uint(text)) >= 0:
        return float(seconds)
    if not text:
        return 0.0
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
