"""Where a server listens: sockets of its own, and those that systemd opened for it.

Comes in: addresses, and the files of certificates. Goes out: ports of a gRPC server. A unix socket
belongs to the one who started the server (0600): who may connect may build, and so read and write
the store. A port of TCP is open to all, so there both sides show a certificate (mutual TLS). gRPC
listens at addresses only, so what connects to a socket of systemd is carried to one of ours.
Rules: sd_listen_fds(3); moby/buildkit `cmd/buildkitd`.
Read next: `server`.
"""

import os
import socket
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from minibuild.errors import HostError, UsageError
from minibuild.startup.tuples import NamedTuple

_MAX_PATH_BYTES = 107  # unix(7), and a zero behind it
_FIRST_FD = 3
_CHUNK_BYTES = 64 << 10
_TURN_S = 0.2
HANDED_OVER = "fd://"
"""The address for all sockets that systemd opened."""


class Certificates(NamedTuple):
    """Files for TLS: the server's certificate and key, and who signs the certificates of
    clients."""

    cert: str = ""
    key: str = ""
    authority: str = ""

    def check(self, address: str) -> None:
        """Raise `UsageError` if something is missing."""
        if not all(self):
            raise UsageError(
                f"{address} is open to all who can reach it, so both sides need a certificate",
                hint="give --tlscert, --tlskey and --tlscacert; or listen at a unix socket",
            )

    def credentials(self) -> Any:
        """As gRPC takes them. Raises `UsageError`."""
        import ssl

        import grpc

        cert, key, authority = map(_read, (self.cert, self.key, self.authority))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:  # gRPC does not say what is wrong
            context.load_cert_chain(self.cert, self.key)
            context.load_verify_locations(self.authority)
        except ssl.SSLError as error:
            raise UsageError(
                f"{', '.join(self)} are no certificates for TLS: {error.reason or error}"
            ) from None
        return grpc.ssl_server_credentials([(key, cert)], authority, require_client_auth=True)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


@contextmanager
def listening(
    server: Any,
    addresses: Sequence[str],
    certificates: Certificates,
    variables: Mapping[str, str],
) -> Iterator[list[str]]:
    """Give a gRPC server its ports, and take them away at the end. Yields their addresses. Raises
    `UsageError` and `HostError`."""
    with ExitStack() as resources:
        found = []
        for address in addresses:
            scheme, _, rest = address.partition("://")
            if scheme == "unix" and rest.startswith("/"):
                _check_length(rest)
                _claim(rest)
                _unix_port(server, rest)
                resources.callback(_unlink, rest)
                found.append(address)
            elif scheme == "tcp" and rest:
                certificates.check(address)
                found.append(_tcp_port(server, rest, certificates))
            elif address == HANDED_OVER:
                for listener in handed_over(variables):
                    resources.enter_context(listener)
                    found.append(_name(listener))
                    _carried(server, listener, certificates, resources)
            else:
                raise UsageError(
                    f"invalid address {address!r}",
                    hint="write unix:///PATH, tcp://HOST:PORT, or fd:// for sockets of systemd",
                )
        yield found


# --- Sockets of our own ---


def _check_length(path: str) -> None:
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise UsageError(
            f"the path of a socket has {_MAX_PATH_BYTES} bytes at most, and {path} has more",
            hint="choose a shorter one with --addr",
        )


def _claim(path: str) -> None:
    """Remove a socket that a server left behind. Raises `UsageError` if one still listens."""
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    if not os.path.lexists(path):
        return
    with socket.socket(socket.AF_UNIX) as tried:
        try:
            tried.connect(path)
        except OSError:
            os.unlink(path)
            return
    raise UsageError(f"there is a server at {path} already", hint="give another one with --addr")


def _unix_port(server: Any, path: str, certificates: Certificates | None = None) -> None:
    before = os.umask(0o177)  # the socket is ours alone from its first moment
    try:
        _bound(server, f"unix:{path}", certificates)
    finally:
        os.umask(before)


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _tcp_port(server: Any, place: str, certificates: Certificates) -> str:
    host, _, number = place.rpartition(":")
    if not host or not number.isdecimal() or int(number) > 0xFFFF:
        raise UsageError(f"invalid address 'tcp://{place}'", hint="write tcp://HOST:PORT")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:  # gRPC does not say what is wrong
        socket.create_server((host.strip("[]"), int(number)), family=family).close()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error
        raise HostError(f"cannot listen at tcp://{place}: {reason}") from None
    return f"tcp://{host}:{_bound(server, place, certificates)}"


def _bound(server: Any, target: str, certificates: Certificates | None) -> int:
    """Listen at a target of gRPC. Returns the port."""
    try:
        if certificates is None:
            return int(server.add_insecure_port(target))
        return int(server.add_secure_port(target, certificates.credentials()))
    except RuntimeError as error:
        raise HostError(f"cannot listen at {target}: {error}") from None


# --- Sockets that systemd opened ---


def is_handed_over(variables: Mapping[str, str]) -> bool:
    """Whether this process was given sockets."""
    return variables.get("LISTEN_PID") == str(os.getpid())


def handed_over(variables: Mapping[str, str]) -> list[socket.socket]:
    """The sockets that this process was given. Raises `UsageError`."""
    count = variables.get("LISTEN_FDS", "") if is_handed_over(variables) else ""
    if not count.isdecimal() or not int(count):
        raise UsageError(
            "there is no socket of systemd here",
            hint="fd:// is for a service with a .socket unit; it sets LISTEN_FDS",
        )
    found = []
    for fd in range(_FIRST_FD, _FIRST_FD + int(count)):
        os.set_inheritable(fd, False)
        listener = socket.socket(fileno=fd)
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise UsageError(
                f"the socket {fd} of systemd does not listen", hint="its unit needs Accept=no"
            )
        _check_mode(listener)
        found.append(listener)
    return found


def _check_mode(listener: socket.socket) -> None:
    """Raise `UsageError` if all accounts could connect: systemd's default is a mode of 0666."""
    if listener.family != socket.AF_UNIX or not isinstance(listener.getsockname(), str):
        return
    path = listener.getsockname()
    with suppress(OSError):  # it may have been removed
        is_open = os.stat(path).st_mode & stat.S_IWOTH
        if is_open and os.stat(os.path.dirname(path) or ".").st_mode & stat.S_IXOTH:
            raise UsageError(
                f"all accounts of this machine can build by {path}",
                hint="its .socket unit needs SocketMode=0600",
            )


def _name(listener: socket.socket) -> str:
    if listener.family == socket.AF_UNIX:
        return f"unix://{listener.getsockname()}"
    host, port, *_ = listener.getsockname()
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def _carried(
    server: Any, listener: socket.socket, certificates: Certificates, resources: ExitStack
) -> None:
    """Carry the connections of a socket to a port of ours."""
    from tempfile import TemporaryDirectory

    stopped = threading.Event()
    is_open = listener.family != socket.AF_UNIX
    if is_open:
        certificates.check(_name(listener))
    folder = resources.enter_context(TemporaryDirectory(prefix="minibuild-serve-"))
    path = os.path.join(folder, "s")
    _unix_port(server, path, certificates if is_open else None)
    listener.settimeout(_TURN_S)
    accepting = threading.Thread(target=_accept, args=(listener, path, stopped), daemon=True)
    accepting.start()
    resources.callback(accepting.join)
    resources.callback(stopped.set)


def _accept(listener: socket.socket, path: str, stopped: threading.Event) -> None:
    """Take connections. What comes later waits in the socket's queue for the next server."""
    while not stopped.is_set():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        except OSError:
            return
        connection.settimeout(None)
        threading.Thread(target=_carry_both, args=(connection, path), daemon=True).start()


def _carry_both(connection: socket.socket, path: str) -> None:
    with connection, suppress(OSError), socket.socket(socket.AF_UNIX) as inner:
        inner.connect(path)
        back = threading.Thread(target=_carry, args=(inner, connection), daemon=True)
        back.start()
        _carry(connection, inner)
        back.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK_BYTES):
            target.sendall(data)
    # Both directions end together: HTTP/2 has no half-closed connections.
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
