"""No answer, or half of one: what became of a connection, as a sentence for people.

Comes in: what urllib3 raised. Goes out: `Unreachable`, which says whether it is worth while to try
again. Read next: `transport`.
"""

from typing import cast

from minibuild.errors import RegistryError
from minibuild.graph.address import parse_address
from minibuild.registry.patience import Patience, Stalled


class Unreachable(RegistryError):
    """There was no answer at all. `temporary` says whether the next attempt may get one, `silent`
    whether this one took its time."""

    def __init__(
        self, message: str, *, hint: str = "", temporary: bool = True, silent: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.temporary = temporary
        self.silent = silent


def no_address(host: str, why: str) -> Unreachable:
    """The error for a server that sends us to what is no address of a server."""
    return Unreachable(f"{host} names an invalid address: {why}", temporary=False)


def host_of(url: str) -> str:
    """The host of a URL, for messages."""
    try:
        return parse_address(url).place
    except ValueError:
        return "the server"


def explain(error: Exception, url: str, patience: Patience) -> Unreachable:
    """The failure of a connection as a sentence for people."""
    from http.client import BadStatusLine, HTTPException, RemoteDisconnected

    import urllib3.exceptions as library

    host, inner = host_of(url), cast(object, error)
    while isinstance(found := getattr(inner, "reason", None), Exception):
        inner = found
    if stall := stalled(error, host):
        return stall
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
    garbage = _of_kind(HTTPException, inner)
    if garbage and not isinstance(garbage, RemoteDisconnected):
        fault = "it does not speak HTTP" if isinstance(garbage, BadStatusLine) else str(garbage)
        return Unreachable(f"{host} does not answer as a registry does: {fault}")
    return Unreachable(
        f"{host} cannot be reached: {reason(error)}",
        hint="check the name and the network",
    )


def stalled(error: Exception, host: str) -> Unreachable | None:
    """The failure, if it is a transfer that stalled: the next one would, too."""
    found = _of_kind(Stalled, error)
    if found is None:
        return None
    return Unreachable(
        f"{host} stalls: {found}",
        hint="--stall-timeout=TIME, or MINIBUILD_STALL_TIMEOUT, waits longer",
        temporary=False,
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
    from http.client import IncompleteRead

    inner: object = error
    while isinstance(found := getattr(inner, "reason", None) or _last_argument(inner), Exception):
        inner = found
    if isinstance(inner, IncompleteRead):
        return "it ended early"
    cause = getattr(inner, "__cause__", None)
    text = str(getattr(cause, "strerror", "") or getattr(inner, "strerror", "") or inner)
    return (text.rpartition(": ")[2] or text).lower().rstrip(".") if text else type(inner).__name__


def _last_argument(error: object) -> object:
    """Where urllib3's `ProtocolError` has what it stands for."""
    arguments = getattr(error, "args", ())
    return arguments[-1] if arguments else None
