"""Answers to a registry's challenge: a token, or name and password.

Comes in: the WWW-Authenticate header of a 401. Goes out: the value of an Authorization header,
remembered for the repositories and actions it is good for. Rules: RFC 9110, 11.6.1; the
distribution project's token authentication ("spec/auth/token", "oauth"). Read next: `client`.
"""

import re
import threading

from minibuild.errors import RegistryError
from minibuild.graph.address import Address, parse_address
from minibuild.oci.document import parse_document
from minibuild.registry.credentials import Credentials, Login
from minibuild.registry.errors import refusal
from minibuild.registry.hosts import Endpoint, Hosts
from minibuild.registry.transport import Transport, read_all
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

_PARAMETER = regex(r'([a-zA-Z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_MAX_TOKEN_BYTES = 1 << 20
_CLIENT = "minibuild"


class Challenge(NamedTuple):
    """What a registry wants: `scheme` is `basic` or `bearer`; a bearer's token is at `realm`."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges of a WWW-Authenticate header that can be answered."""
    found = []
    starts = [m for m in re.finditer(r"(?:^|,)\s*(basic|bearer)(?=\s|$|,)", header, re.IGNORECASE)]
    for number, start in enumerate(starts):
        end = starts[number + 1].start() if number + 1 < len(starts) else len(header)
        values = {
            m[1].lower(): re.sub(r"\\(.)", r"\1", m[2]) if m[2] is not None else m[3]
            for m in _PARAMETER.finditer(header[start.end() : end])
        }
        named = (values.get(name, "") for name in ("realm", "service", "scope"))
        found.append(Challenge(start[1].lower(), *named))
    return found


class Authoriser:
    """Tokens and logins of one process. Safe in threads; no token is fetched twice."""

    def __init__(self, transport: Transport, credentials: Credentials, hosts: Hosts) -> None:
        self._transport = transport
        self._credentials = credentials
        self._hosts = hosts
        self._known: dict[tuple[str, tuple[str, ...]], str] = {}
        self._answering = threading.Lock()

    def known(self, domain: str, scopes: tuple[str, ...]) -> str:
        """The header that was good for these scopes before; empty if none was needed yet."""
        return self._known.get((domain, scopes), "")

    def has_login(self, endpoint: Endpoint) -> bool:
        """Whether there is a login for the registry, or for the repository."""
        return self._credentials.login(endpoint.domain, endpoint.repository) is not None

    def answer(self, endpoint: Endpoint, header: str, scopes: tuple[str, ...], refused: str) -> str:
        """The header to try next, or nothing; `refused` is the one that was just refused."""
        with self._answering:
            domain = endpoint.domain
            now = self.known(domain, scopes)
            if now and now != refused:
                return now  # another thread was faster
            login = self._credentials.login(domain, endpoint.repository)
            for challenge in parse_challenges(header):
                if challenge.scheme == "basic" and login is not None and login.user:
                    made = login.basic
                elif challenge.scheme == "bearer" and challenge.realm:
                    made = "Bearer " + self._token(domain, challenge, scopes, login)
                else:
                    continue
                if made == refused:
                    return ""
                self._known[domain, scopes] = made
                return made
        return ""

    def _token(
        self, domain: str, challenge: Challenge, scopes: tuple[str, ...], login: Login | None
    ) -> str:
        from urllib.parse import urlencode

        realm = _realm(domain, challenge.realm)
        host, tls = realm.place, self._hosts.tls(realm.place)
        plain = realm.scheme == "http" and not realm.is_loopback and tls.verify
        if plain and login is not None:
            raise RegistryError(
                f"{domain} sends its logins to {challenge.realm}, where anybody could read them",
                hint=f'[registries."{host}"] insecure = true in the settings allows it',
            )
        wanted = [*scopes, *(s for s in challenge.scope.split() if s and not _covered(s, scopes))]
        fields = [("service", challenge.service)] if challenge.service else []
        fields.append(("client_id", _CLIENT))
        if login is not None and login.identity:
            method, url = "POST", challenge.realm
            fields += [("grant_type", "refresh_token"), ("refresh_token", login.identity)]
            fields.append(("scope", " ".join(wanted)))
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            body = urlencode(fields).encode()
        else:
            method, headers, body = "GET", {}, b""
            fields += [("scope", scope) for scope in wanted]
            url = challenge.realm + ("&" if "?" in challenge.realm else "?") + urlencode(fields)
            if login is not None:
                headers = {"Authorization": login.basic}
        response = self._transport.request(method, url, tls, headers, body or None)
        if response.status != 200:
            raise refusal(response, domain, "a login", logged_in=login is not None)
        return token_in(read_all(response, _MAX_TOKEN_BYTES, host), host)


def _realm(domain: str, url: str) -> Address:
    """The place to log in at that a registry named."""
    try:
        realm = parse_address(url)
    except ValueError:
        realm = Address("", "")
    if realm.scheme not in ("http", "https") or realm.login:
        why = "it has a user in it" if realm.login else "that is no address to log in at"
        raise RegistryError(f"{domain} has its logins at {url!r}: {why}")
    return realm


def _covered(scope: str, scopes: tuple[str, ...]) -> bool:
    """Whether a scope that the registry named is among those that are asked for anyway."""
    name, _, actions = scope.rpartition(":")
    for other in scopes:
        other_name, _, other_actions = other.rpartition(":")
        if name == other_name and set(actions.split(",")) <= set(other_actions.split(",")):
            return True
    return False


def token_in(data: bytes, host: str) -> str:
    answer = parse_document(data, f"the answer of {host} to a login", error=RegistryError)
    token = answer["token"].text() or answer["access_token"].text()
    if not token or not token.isascii() or not token.isprintable():
        raise RegistryError(f"{host} answered a login without a token")
    return token
