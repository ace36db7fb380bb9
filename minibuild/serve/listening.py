"""Where a server listens: sockets of its own, and those that systemd opened for it.

Comes in: addresses, and the files of certificates. Goes out: sockets that listen. A unix socket
belongs to the one who started the server (0600): who may connect may build, and so read and write
the store. A port of TCP is open to all, so there both sides show a certificate (mutual TLS).
Rules: sd_listen_fds(3); moby/buildkit `cmd/buildkitd`.
Read next: `server`.
"""

import os
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from minibuild.errors import HostError, UsageError, os_errors_as
from minibuild.graph.literals import parse_uint
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from ssl import SSLContext

_MAX_PATH_BYTES = 107  # unix(7), and a zero behind it
_FIRST_FD = 3
_QUEUED = 128
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

    def context(self) -> "SSLContext":
        """How to speak TLS. Raises `UsageError`."""
        import ssl

        for path in self:
            with os_errors_as(UsageError, f"cannot read {path}"):
                open(path, "rb").close()
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            made.load_cert_chain(self.cert, self.key)
            made.load_verify_locations(self.authority)
        except ssl.SSLError as error:
            raise UsageError(
                f"{', '.join(self)} are no certificates for TLS: {error.reason or error}"
            ) from None
        made.verify_mode = ssl.CERT_REQUIRED
        made.set_alpn_protocols(["h2"])
        return made


class ListeningSocket(NamedTuple):
    """A socket that listens, its address, and TLS for what connects to it."""

    socket: socket.socket
    address: str
    tls: "SSLContext | None" = None


@contextmanager
def listening(
    addresses: Sequence[str], certificates: Certificates, variables: Mapping[str, str]
) -> Iterator[list[ListeningSocket]]:
    """Sockets at these addresses, which are taken away at the end. Raises `UsageError` and
    `HostError`."""
    with ExitStack() as resources:
        found = []
        for address in addresses:
            scheme, _, rest = address.partition("://")
            if scheme == "unix" and rest.startswith("/"):
                _check_length(rest)
                _claim(rest)
                found.append(ListeningSocket(resources.enter_context(_at_path(rest)), address))
                resources.callback(_unlink, rest)
            elif scheme == "tcp" and rest:
                certificates.check(address)
                listener = resources.enter_context(_at_port(rest))
                name = f"tcp://{rest.rpartition(':')[0]}:{listener.getsockname()[1]}"
                found.append(ListeningSocket(listener, name, certificates.context()))
            elif address == HANDED_OVER:
                for listener in handed_over(variables):
                    resources.enter_context(listener)
                    found.append(_secured(listener, certificates))
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


def _at_path(path: str) -> socket.socket:
    before = os.umask(0o177)  # the socket is ours alone from its first moment
    try:
        made = socket.socket(socket.AF_UNIX)
        made.bind(path)
    except OSError as error:
        made.close()
        raise HostError(f"cannot listen at unix://{path}: {error.strerror}") from None
    finally:
        os.umask(before)
    made.listen(_QUEUED)
    return made


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _at_port(place: str) -> socket.socket:
    host, _, number = place.rpartition(":")
    port = parse_uint(number, 0xFFFF)
    if not host or port < 0:
        raise UsageError(f"invalid address 'tcp://{place}'", hint="write tcp://HOST:PORT")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=_QUEUED)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error
        raise HostError(f"cannot listen at tcp://{place}: {reason}") from None


# --- Sockets that systemd opened ---


def is_handed_over(variables: Mapping[str, str]) -> bool:
    """Whether this process was given sockets."""
    return variables.get("LISTEN_PID") == str(os.getpid())


def handed_over(variables: Mapping[str, str]) -> list[socket.socket]:
    """The sockets that this process was given. Raises `UsageError`."""
    count = parse_uint(variables.get("LISTEN_FDS", "")) if is_handed_over(variables) else 0
    if count < 1:
        raise UsageError(
            "there is no socket of systemd here",
            hint="fd:// is for a service with a .socket unit; it sets LISTEN_FDS",
        )
    found = []
    for fd in range(_FIRST_FD, _FIRST_FD + count):
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


def _secured(listener: socket.socket, certificates: Certificates) -> ListeningSocket:
    name = _name(listener)
    if listener.family == socket.AF_UNIX:
        return ListeningSocket(listener, name)
    certificates.check(name)
    return ListeningSocket(listener, name, certificates.context())
