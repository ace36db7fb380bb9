"""From the name of an image to the hosts that may have it, and how to speak to each.

Comes in: references, the `registries` section of the settings, folders of certificates. Goes out:
endpoints in the order in which they are to be asked: mirrors first, the registry itself last.

    [registries."docker.io"]
    mirrors = ["mirror.example.com", "http://cache.local:5000/hub"]
    [registries."registry.example.com/old"]
    location = "registry.example.com/new"
    [registries."lab.example.com:5000"]
    insecure = true
    ca = "/etc/ssl/lab.pem"

The longest name that fits an image counts. A registry on this very machine may do without TLS, as
for Docker. Certificates are found as in `dockerd`'s certs.d. Read next: `transport`.
"""

import os
import re
from typing import Any

from minibuild.errors import UsageError, os_errors_as
from minibuild.graph.address import parse_address
from minibuild.graph.reference import DEFAULT_DOMAIN, Reference
from minibuild.graph.spelling import one_of
from minibuild.session.request import RegistryAccess
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

_DOCKER_HUB = "registry-1.docker.io"
_PLACE = regex(r"(https?://)?(\[[0-9a-fA-F:]+\]|[^\s/:@\\\[\]]+)(:\d+)?(/\S*[^\s/])?")
_OURS = regex(r"(localhost|127(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}|\[::1\])(:\d{1,5})?", re.ASCII)
"""The usual names of this machine. They are known without the library that splits addresses, which
takes 30 ms to load; whatever does not fit is left to it."""
_KEYS = {"mirrors": list, "location": str, "insecure": bool, "ca": str}


class Tls(NamedTuple):
    """What to trust: authorities besides the system's, and a certificate to show."""

    authorities: tuple[str, ...] = ()
    certificate: str = ""
    key: str = ""
    verify: bool = True


class Endpoint(NamedTuple):
    """A host that may have a repository: `repository` is its path there.

    `schemes` are tried in order until one is answered. `domain` is the name for logins.
    """

    host: str
    repository: str
    domain: str
    schemes: tuple[str, ...] = ("https",)
    tls: Tls = Tls()


class HostRule(NamedTuple):
    """What the settings say about names that begin with `prefix`."""

    prefix: str
    mirrors: tuple[str, ...] = ()
    location: str = ""
    insecure: bool = False
    ca: str = ""


class Hosts:
    """The settings of one machine, read when first asked for."""

    def __init__(self, access: RegistryAccess) -> None:
        self._access = access
        self._rules: tuple[HostRule, ...] | None = None

    def for_pull(self, reference: Reference) -> list[Endpoint]:
        """Where to look for an image: mirrors, then the registry itself."""
        rule = self._rule(reference.name)
        rest = reference.name[len(rule.prefix) :]
        mirrors = [self.endpoint(mirror + rest) for mirror in rule.mirrors]
        return [*mirrors, self.for_push(reference)]

    def for_push(self, reference: Reference) -> Endpoint:
        """Where an image belongs: its registry, or where the settings say that it really is."""
        rule = self._rule(reference.name)
        if not rule.location:
            return self.endpoint(reference.name)
        return self.endpoint(rule.location + reference.name[len(rule.prefix) :])

    def tls(self, host: str) -> Tls:
        """What to trust when speaking to `host` (with its port, if it is not the usual one)."""
        rule = self._rule(host)
        authorities = [rule.ca] if rule.ca else []
        certificate = key = ""
        for folder in self._access.certificates:
            path = os.path.join(folder, host)
            for name in sorted(_listed(path)):
                file = os.path.join(path, name)
                if name.endswith(".crt"):
                    authorities.append(file)
                elif name.endswith(".cert") and os.path.exists(file[:-5] + ".key"):
                    certificate, key = file, file[:-5] + ".key"
        insecure = rule.insecure or not {host, "*"}.isdisjoint(self._access.insecure)
        return Tls(tuple(authorities), certificate, key, not insecure)

    def endpoint(self, url: str) -> Endpoint:
        """The endpoint at `[SCHEME://]HOST[:PORT][/REPOSITORY]`."""
        scheme, _, bare = url.rpartition("://")
        domain, _, repository = bare.partition("/")
        tls = self.tls(domain)
        schemes: tuple[str, ...] = ("https",)
        if scheme:
            schemes = (scheme,)
        elif not tls.verify:
            schemes = ("https", "http")
        elif is_loopback(domain):
            # A certificate for it means TLS; else plain, unless it insists on TLS.
            schemes = ("https", "http") if tls.authorities else ("http", "https")
        host = _DOCKER_HUB if domain == DEFAULT_DOMAIN else domain
        return Endpoint(host, repository, domain, schemes, tls)

    def _rule(self, name: str) -> HostRule:
        if self._rules is None:
            settings = os.fspath(self._access.settings)
            self._rules = read_rules(settings) if settings else ()
        fitting = [r for r in self._rules if name == r.prefix or name.startswith(r.prefix + "/")]
        return max(fitting, key=lambda rule: len(rule.prefix), default=HostRule(name))


def is_loopback(domain: str) -> bool:
    """Whether a registry, `HOST[:PORT]`, is on this very machine, by its name."""
    if _OURS.fullmatch(domain):
        return True
    try:
        return parse_address(f"//{domain}").is_loopback
    except ValueError:
        return False


def read_toml(path: str) -> dict[str, Any]:
    """The contents of a settings file. Raises `UsageError` if it cannot be read."""
    import tomllib

    with os_errors_as(UsageError, f"cannot read {path}"), open(path, "rb") as file:
        try:
            return tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} is not TOML: {error}") from None


def read_rules(path: str) -> tuple[HostRule, ...]:
    """The rules in a settings file. Raises `UsageError` for anything that it does not know."""
    value = read_toml(path)
    section = value.get("registries", {})
    if not isinstance(section, dict):
        raise UsageError(f"{path}: registries is not a table")
    return tuple(_rule(path, prefix, table) for prefix, table in section.items())


def _rule(path: str, prefix: str, table: Any) -> HostRule:
    where = f'{path}: registries."{prefix}"'
    if not isinstance(table, dict):
        raise UsageError(f"{where} is not a table", hint=f'write [registries."{prefix}"]')
    for key, value in table.items():
        if key not in _KEYS:
            raise UsageError(f"{where}: unknown key {key!r}", hint=one_of(key, _KEYS))
        if not isinstance(value, _KEYS[key]):
            raise UsageError(f"{where}: {key} is not a {_KEYS[key].__name__}")
    mirrors = table.get("mirrors", [])
    places = [*mirrors, *([table["location"]] if "location" in table else [])]
    for place in places:
        if not isinstance(place, str) or not _PLACE.fullmatch(place):
            raise UsageError(f"{where}: {place!r} is no place", hint="write HOST[:PORT][/PATH]")
    ca = table.get("ca", "")
    if ca and not os.path.isabs(ca):
        ca = os.path.join(os.path.dirname(path), os.path.expanduser(ca))
    return HostRule(
        prefix.rstrip("/"),
        tuple(mirrors),
        table.get("location", ""),
        table.get("insecure", False),
        ca,
    )


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
