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
from typing import TYPE_CHECKING, BinaryIO, cast

from minibuild.errors import BuildError, Cancelled, RegistryError
from minibuild.graph.address import parse_address, same_host
from minibuild.registry.hosts import Tls
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

Body = Callable[[], BinaryIO] | bytes | None
"""What to send; a function opens it anew for each attempt."""

TEMPORARY = (408, 429, 500, 502, 503, 504)
_REDIRECTS = 8
_CONNECTIONS = 8
_BLOCK_BYTES = 128 << 10
_PRIVATE = ("authorization", "proxy-authorization", "cookie")


class Patience(NamedTuple):
    """How long to wait for a registry before giving up. `sleep` may raise to stop waiting; all
    other waiting stops when `cancelled` is set.

    Silence is `connect_s` or `read_s` without a byte, and tried less often: `silences` times. What
    a registry has to store may take it `store_s` to answer to.
    """

    attempts: int = 5
    pause_s: float = 0.5
    longest_pause_s: float = 60.0
    connect_s: float = 10.0
    read_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    silences: int = 2
    store_s: float = 300.0
    cancelled: threading.Event | None = None


def patient(cancelled: threading.Event) -> Patience:
    """The usual patience, which ends at once when `cancelled` is set."""

    def sleep(seconds: float) -> None:
        if cancelled.wait(seconds):
            raise Cancelled("cancelled while waiting for a registry")

    return Patience(sleep=sleep, cancelled=cancelled)


class Unreachable(RegistryError):
    """There was no answer at all. `temporary` says whether the next attempt may get one, `silent`
    whether this one took its time."""

    def __init__(
        self, message: str, *, hint: str = "", temporary: bool = True, silent: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.temporary = temporary
        self.silent = silent


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
        attempts: int = 0,
    ) -> "BaseHTTPResponse":
        """The answer to a request, whatever it says. Raises `Unreachable` if there is none.

        A status that is temporary is only returned when all attempts gave one, or when the server
        asks for more patience than there is.
        """
        attempts, silences = attempts or self.patience.attempts, 0
        for attempt in range(1, attempts + 1):
            try:
                response = self._once(method, url, tls, headers, body)
            except Unreachable as error:
                silences += error.silent
                if attempt == attempts or not error.temporary or silences >= self.patience.silences:
                    raise
                self.pause(attempt)
                continue
            if response.status not in TEMPORARY or attempt == attempts:
                return response
            asked_s = retry_after_s(response)
            if asked_s > self.patience.longest_pause_s:
                return response
            discard(response)
            self.pause(attempt, asked_s)
        raise AssertionError("the last attempt returns or raises")

    def pause(self, attempt: int, asked_s: float = 0.0) -> None:
        """Wait before the next attempt: longer each time, and as long as the server asks."""
        pause_s = min(self.patience.pause_s * 2 ** (attempt - 1), self.patience.longest_pause_s)
        self.patience.sleep(max(pause_s, asked_s))

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
                raise no_address(_host(asked), reason(error)) from None
            if response.status == 303:
                method, body = "GET", None
            if not same_host(url, before):
                headers = {k: v for k, v in headers.items() if k.lower() not in _PRIVATE}
        raise Unreachable(
            f"{_host(asked)} redirects from one address to the next without end", temporary=False
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
            # Whoever asked for it need not be told so at each request.
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

            made.pool_classes_by_scheme = pools(self.patience.cancelled)
        return made

    def proxy(self, url: str) -> str:
        """The proxy for a URL, by the variables that the caller passed on."""
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
    except (urllib3.exceptions.HTTPError, OSError):
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
    except (urllib3.exceptions.HTTPError, OSError) as error:
        response.close()
        raise Unreachable(f"{host} broke off its answer: {reason(error)}") from None
    if len(data) <= limit and response.headers.get("Content-Encoding", "") == "gzip":
        data = _inflated(data, limit, host)
    if len(data) > limit:
        response.close()
        raise RegistryError(f"{host} sent an answer of more than {limit} bytes")
    return data


def _inflated(data: bytes, limit: int, host: str) -> bytes:
    """A document that something on the way has compressed, though nobody asked for that."""
    import zlib

    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, limit + 1)
    except zlib.error as error:
        raise RegistryError(f"{host} sent an answer that is not gzip as it says: {error}") from None


def retry_after_s(response: "BaseHTTPResponse") -> float:
    """How long the server wants to be left alone."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    if not text:
        return 0.0
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def no_address(host: str, why: str) -> Unreachable:
    """The error for a server that names an address that is none."""
    return Unreachable(f"{host} names an address that is none: {why}", temporary=False)


def _host(url: str) -> str:
    """The host of a URL, for messages."""
    try:
        return parse_address(url).place
    except ValueError:
        return "the server"


def explain(error: Exception, url: str, patience: Patience) -> Unreachable:
    """The failure of a connection as a sentence for people."""
    from http.client import BadStatusLine, RemoteDisconnected

    import urllib3.exceptions as library

    host, inner = _host(url), cast(object, error)
    while isinstance(found := getattr(inner, "reason", None), Exception):
        inner = found
    if about_tls := _explain_tls(error, inner, host):
        return about_tls
    if isinstance(inner, library.NameResolutionError):
        return Unreachable(
            f"there is no host {host.rpartition(':')[0] or host}, or no name server knows it",
            hint="check the name and the network",
            temporary=False,
        )
    refused = isinstance(inner, library.NewConnectionError)
    if isinstance(inner, library.ConnectTimeoutError) and not refused:
        return Unreachable(
            f"{host} cannot be reached within {patience.connect_s:g} seconds",
            hint="is there a firewall, or a proxy to go through? See docs/registries.md",
            silent=True,
        )
    if isinstance(inner, library.ReadTimeoutError):
        return Unreachable(
            f"{host} did not answer within {patience.read_s:g} seconds",
            hint="it is there, and overloaded or stuck: try again later",
            silent=True,
        )
    if isinstance(inner, library.LocationValueError):
        return no_address(host, reason(error))
    garbage = _of_kind(BadStatusLine, inner)
    if garbage and not isinstance(garbage, RemoteDisconnected):
        return Unreachable(f"{host} does not answer as a registry does: it does not speak HTTP")
    return Unreachable(
        f"{host} cannot be reached: {reason(error)}",
        hint="check the name and the network; an image from a file needs no registry: "
        "minibuild image load FILE",
    )


def _explain_tls(error: Exception, inner: object, host: str) -> Unreachable | None:
    """The failure, if it is one of TLS: a certificate, or no TLS at all."""
    import ssl

    if certificate := _of_kind(ssl.SSLCertVerificationError, inner):
        fault = getattr(certificate, "verify_message", "") or "it does not fit"
        return Unreachable(
            f"the certificate of {host} cannot be trusted: {fault}",
            hint=f"put the authority's certificate into ~/.docker/certs.d/{host}/ca.crt",
            temporary=False,
        )
    if _of_kind(ssl.SSLError, inner):
        return Unreachable(f"{host} does not speak TLS as expected: {reason(error)}")
    return None


def _of_kind(kind: type[Exception], error: object) -> Exception | None:
    """The error of that kind which the library wrapped, if there is one."""
    for candidate in (error, getattr(error, "__cause__", None), *getattr(error, "args", ())):
        if isinstance(candidate, kind):
            return candidate
    return None


def reason(error: BaseException) -> str:
    """The innermost cause, without the layers that libraries wrap around it."""
    inner: object = error
    while isinstance(found := getattr(inner, "reason", None), Exception):
        inner = found
    cause = getattr(inner, "__cause__", None)
    text = str(getattr(cause, "strerror", "") or getattr(inner, "strerror", "") or inner)
    return (text.rpartition(": ")[2] or text).lower().rstrip(".") if text else type(inner).__name__
