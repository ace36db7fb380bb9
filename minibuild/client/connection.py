"""The way to a daemon: from its address to a channel of gRPC.

Comes in: `unix:///path`, `tcp://host:port`, or a machine, container or pod in which a program
carries bytes to the daemon's socket. Goes out: a channel. Over TCP there may be certificates, by
the names that buildx has for them: `tcp://host:port,cacert=FILE,cert=FILE,key=FILE`.
Rules: moby/buildkit `client/connhelper`, docker buildx's remote driver.
Read next: `dialled`, `session`.
"""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from minibuild.buildkit.rpc import OPTIONS
from minibuild.client.dialled import dialled, dialler
from minibuild.errors import HostError, UsageError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_WAIT_S = 10.0
_TURN_S = 0.1
_HINT = (
    "write unix:///PATH, tcp://HOST:PORT, ssh://HOST, docker-container://NAME or kube-pod://NAME"
)
_TLS = ("cacert", "cert", "key", "servername")
_LOCALHOST = ("grpc.default_authority", "localhost")


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """A channel to the daemon. Raises `UsageError` and `HostError`."""
    from urllib.parse import urlsplit

    parts = urlsplit(address)
    if parts.scheme == "unix" and parts.path and not parts.netloc:
        _try(address, parts.path)
        with _channel(address, f"unix:{parts.path}") as channel:
            yield channel
    elif parts.scheme == "tcp" and parts.netloc:
        with _over_tcp(address, parts) as channel:
            yield channel
    elif (command := dialler(parts)) is not None:
        with dialled(command) as (path, reason), _channel(address, f"unix:{path}", reason) as made:
            yield made
    else:
        raise UsageError(f"invalid address of a builder: {address!r}", hint=_HINT)


def _try(address: str, place: str | tuple[str, int]) -> None:
    """gRPC dials again and again; a socket that is not there will not come."""
    try:
        if isinstance(place, tuple):
            socket.create_connection(place, _WAIT_S).close()
            return
        with socket.socket(socket.AF_UNIX) as tried:
            tried.connect(place)
    except OSError as error:
        raise _no_builder(address, error.strerror or str(error)) from None


def _no_builder(address: str, reason: str = "") -> HostError:
    hint = "is it running, and may you connect to it?"
    return HostError(f"there is no builder at {address}" + (reason and f": {reason}"), hint=hint)


@contextmanager
def _channel(
    address: str,
    target: str,
    reason: Callable[[], str] = str,
    credentials: Any = None,
    name: str = "",
) -> Iterator[Any]:
    """A channel that is ready. `reason` says why it will never be, if that is known."""
    import grpc

    if credentials is None:
        made = grpc.insecure_channel(target, options=[*OPTIONS, _LOCALHOST])
    else:
        named = [("grpc.ssl_target_name_override", name)] if name else []
        made = grpc.secure_channel(target, credentials, options=[*OPTIONS, *named])
    with made as channel:
        ready = grpc.channel_ready_future(channel)
        for _ in range(int(_WAIT_S / _TURN_S)):
            try:
                ready.result(_TURN_S)
                break
            except grpc.FutureTimeoutError:
                if reason():
                    break
        if not ready.done():
            ready.cancel()
            raise _no_builder(address, reason())
        yield channel


# --- TCP ---


@contextmanager
def _over_tcp(address: str, parts: "SplitResult") -> Iterator[Any]:
    import grpc

    target, *words = f"{parts.netloc}{parts.path}".split(",")
    given = {key: value for key, _, value in (word.partition("=") for word in words)}
    if unknown := sorted(set(given) - set(_TLS)):
        raise UsageError(
            f"{address}: unknown field {unknown[0]!r}", hint=f"there are {', '.join(_TLS)}"
        )
    host, _, port = target.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"invalid address of a builder: {address!r}", hint="write tcp://HOST:PORT")
    if not given:
        _try(address, (host.strip("[]"), int(port)))
        with _channel(address, target) as channel:
            yield channel
        return
    _shake_hands(address, host.strip("[]"), int(port), given)
    authority, cert, key = (_read(given.get(name, "")) for name in ("cacert", "cert", "key"))
    credentials = grpc.ssl_channel_credentials(authority, key, cert)
    with _channel(address, target, str, credentials, given.get("servername", "")) as channel:
        yield channel


def _read(path: str) -> bytes | None:
    if not path:
        return None
    with open(path, "rb") as file:
        return file.read()


def _shake_hands(address: str, host: str, port: int, given: Mapping[str, str]) -> None:
    """Connect once with Python's own TLS, since gRPC does not say why a connection failed."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=given.get("cacert") or None)
        if given.get("cert"):
            context.load_cert_chain(given["cert"], given.get("key") or None)
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, port), _WAIT_S) as plain,
            context.wrap_socket(plain, server_hostname=given.get("servername") or host) as secure,
        ):
            # A server that wants another certificate ends after the handshake; else it speaks.
            if not secure.recv(1):
                raise _no_builder(address, "it ended the connection: it may want a certificate")
    except ssl.SSLError as error:
        raise _no_builder(address, error.reason or str(error)) from None
    except OSError as error:
        raise _no_builder(address, error.strerror or str(error)) from None
