"""The way to a daemon: from its address to a connection.

Comes in: `unix:///path`, `tcp://host:port`, or a machine, container or pod: there a program,
`buildctl dial-stdio`, carries bytes to the daemon's socket, and its standard streams are the other
end of a socket here. Goes out: a connection. Over TCP there may be certificates, by
the names that buildx has for them: `tcp://host:port,cacert=FILE,cert=FILE,key=FILE`.
Rules: moby/buildkit `client/connhelper`, docker buildx's remote driver.
Read next: `session`.
"""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from minibuild.buildkit.http2 import Connection
from minibuild.buildkit.pump import pump_socket
from minibuild.errors import HostError, UsageError, os_errors_as
from minibuild.graph.literals import parse_uint
from minibuild.graph.spelling import one_of

if TYPE_CHECKING:
    import ssl
    from urllib.parse import SplitResult

    from minibuild.buildkit.secure import SecureSocket

_WAIT_S = 10.0
_TURN_S = 0.5
_HINT = (
    "write unix:///PATH, tcp://HOST:PORT, ssh://HOST, docker-container://NAME or kube-pod://NAME"
)
_NO_CERTIFICATE = "it ended the connection: it may want a certificate"
_TLS = ("cacert", "cert", "key", "servername")


@contextmanager
def connected(address: str) -> Iterator[Connection]:
    """A connection to the daemon. Raises `UsageError` and `HostError`."""
    from urllib.parse import urlsplit

    parts = urlsplit(address)
    command = dial_command(parts)
    if command is not None:
        with dial(command) as (carried, reason), _speaking(address, carried, reason) as made:
            yield made
        return
    secure = None
    try:
        if parts.scheme == "unix" and parts.path and not parts.netloc:
            plain = socket.socket(socket.AF_UNIX)
            plain.connect(parts.path)
        elif parts.scheme == "tcp" and parts.netloc:
            place, given = _place(address, parts)
            plain = socket.create_connection(place, _WAIT_S)
            secure = _secured(plain, given, place[0]) if given else None
        else:
            raise UsageError(f"invalid address of a builder: {address!r}", hint=_HINT)
    except OSError as error:
        raise _no_builder(address, _said(error)) from None
    if secure is None:
        with plain:
            plain.settimeout(None)
            with _speaking(address, plain) as connection:
                yield connection
        return
    from minibuild.buildkit.secure import SecureSocket

    with secure, _speaking(address, SecureSocket(secure), lambda: _NO_CERTIFICATE) as connection:
        yield connection


def _said(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or str(error)


def _no_builder(address: str, reason: str = "") -> HostError:
    hint = "is it running, and may you connect to it?"
    return HostError(f"there is no builder at {address}" + (reason and f": {reason}"), hint=hint)


@contextmanager
def _speaking(
    address: str, carried: "socket.socket | SecureSocket", reason: Callable[[], str] = str
) -> Iterator[Connection]:
    """A connection that has heard of the other side. `reason` says why one never will."""
    made, errors = Connection(), list[str]()

    def run() -> None:
        try:
            pump_socket(made, carried)
        except ConnectionResetError as error:  # A program that ended had said why.
            errors.append(reason() or _said(error))
        except OSError as error:
            errors.append(_said(error))

    carrying = threading.Thread(target=run, daemon=True)
    carrying.start()
    try:
        if not made.wait(_WAIT_S):
            carrying.join(_TURN_S)
            raise _no_builder(address, "".join(errors) or reason())
        yield made
    finally:
        made.close()
        carrying.join(_WAIT_S)


# --- TCP ---


def _place(address: str, parts: "SplitResult") -> tuple[tuple[str, int], dict[str, str]]:
    """Host and port, and the fields for TLS. Raises `UsageError`."""
    target, *words = f"{parts.netloc}{parts.path}".split(",")
    given = {key: value for key, _, value in (word.partition("=") for word in words)}
    if unknown := sorted(set(given) - set(_TLS)):
        hint = one_of(unknown[0], _TLS)
        raise UsageError(f"{address}: unknown field {unknown[0]!r}", hint=hint)
    host, _, number = target.rpartition(":")
    port = parse_uint(number, 0xFFFF)
    if not host or port < 0:
        raise UsageError(f"invalid address of a builder: {address!r}", hint="write tcp://HOST:PORT")
    return (host.strip("[]"), port), given


def _secured(plain: socket.socket, given: Mapping[str, str], host: str) -> "ssl.SSLSocket":
    """The socket with TLS. Raises `OSError`."""
    import ssl

    context = ssl.create_default_context(cafile=given.get("cacert") or None)
    if given.get("cert"):
        context.load_cert_chain(given["cert"], given.get("key") or None)
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(plain, server_hostname=given.get("servername") or host)


# --- Programs that carry bytes to a daemon ---


_DIAL = ("buildctl", "dial-stdio")
_CONTAINERS = {
    "docker-container": "docker",
    "podman-container": "podman",
    "nerdctl-container": "nerdctl",
}
_END_S = 5.0


def dial_command(parts: "SplitResult") -> list[str] | None:
    """The command that reaches a daemon; None if the address is none of these."""
    from urllib.parse import parse_qsl

    given = dict(parse_qsl(parts.query))
    if not parts.hostname or parts.hostname.startswith("-"):
        return None
    if parts.scheme in _CONTAINERS:
        # `netloc` has the name as it is written; a host name has no capitals.
        chosen = [f"--context={given['context']}"] if given.get("context") else []
        return [_CONTAINERS[parts.scheme], *chosen, "exec", "-i", parts.netloc, *_DIAL]
    if parts.scheme == "kube-pod":
        chosen = [f"--{name}={given[name]}" for name in ("context", "namespace") if given.get(name)]
        inside = [f"--container={given['container']}"] if given.get("container") else []
        return ["kubectl", *chosen, "exec", *inside, "-i", parts.netloc, "--", *_DIAL]
    if parts.scheme == "ssh" and not parts.password:
        user = ["-l", parts.username] if parts.username else []
        port = ["-p", str(parts.port)] if parts.port else []
        place = ["--addr", f"unix://{parts.path}"] if parts.path.strip("/") else []
        return ["ssh", *user, *port, "--", parts.hostname, _DIAL[0], *place, *_DIAL[1:]]
    return None


@contextmanager
def dial(command: Sequence[str]) -> Iterator[tuple[socket.socket, Callable[[], str]]]:
    """A socket to the standard streams of a program; and what asks why that program ended."""
    from subprocess import Popen, TimeoutExpired
    from tempfile import TemporaryFile

    here, there = socket.socketpair()
    with here, TemporaryFile() as errors:
        with there, os_errors_as(HostError, f"cannot run {command[0]}"):
            # In a session of its own: Ctrl-C asks the daemon to stop, over this connection.
            process = Popen(
                command,
                stdin=there.fileno(),
                stdout=there.fileno(),
                stderr=errors,
                start_new_session=True,
            )

        def reason() -> str:
            """In its own words."""
            with suppress(TimeoutExpired):
                process.wait(_END_S)
            errors.seek(0)
            lines = errors.read().decode("utf-8", "replace").splitlines()
            said = [line.strip() for line in lines if line.strip()]
            return said[-1] if said else f"{command[0]} ended with {process.returncode}"

        try:
            yield here, reason
        finally:
            here.close()  # The program ends by itself when the connection does.
            try:
                process.wait(_END_S)
            except TimeoutExpired:
                process.kill()
                process.wait()
