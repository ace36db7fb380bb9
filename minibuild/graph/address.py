"""Addresses taken apart: which host they lead to, and the credentials in them.

Comes in: a URL, `https://user:token@host:port/path`. Goes out: its host; or the part that people,
other programs, the cache and the image may see, and the other part. Rules: RFC 3986, section 3.2.
"""

from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

_USER = regex(r"\A(?P<scheme>https?://)(?P<user>[^/?#]*)@")
_USERS = regex(r"(?P<scheme>https?://)[^/?#@\s\"']+@")
_PORTS = {"http": 80, "https": 443}


def without_credentials(url: str) -> str:
    """The address without the user and password in it. The user of an ssh address is no secret, and
    stays."""
    return _USER.sub(r"\g<scheme>", url, count=1)


def masked(url: str) -> str:
    """The address with `xxxxx` in the place of a user and of a password, as BuildKit shows it."""
    found = _USER.match(url)
    if found is None or not found["user"]:
        return url
    mask = "xxxxx:xxxxx" if ":" in found["user"] else "xxxxx"
    return f"{found['scheme']}{mask}@{url[found.end() :]}"


def credentials(url: str) -> str:
    """The user and password in an address, as `user:password`; empty if there are none."""
    from urllib.parse import unquote

    found = _USER.match(url)
    if found is None:
        return ""
    user, _, password = found["user"].partition(":")
    return f"{unquote(user)}:{unquote(password)}"


def without_passwords(text: str) -> str:
    """A text that may have addresses in it, as it may be shown: their users and passwords, which
    a log in CI would keep for everybody, are `****`."""
    return _USERS.sub(r"\g<scheme>****@", text) if "://" in text else text


class Address(NamedTuple):
    """Where a URL leads to. `host` is in small letters, an IPv6 address in brackets; `port` is 0
    where the URL names none; `login` says whether there is a user in it."""

    scheme: str
    host: str
    port: int = 0
    login: bool = False

    @property
    def place(self) -> str:
        """`HOST[:PORT]`."""
        return f"{self.host}:{self.port}" if self.port else self.host

    @property
    def is_loopback(self) -> bool:
        """Whether it leads to this very machine, whatever name servers say."""
        if self.host == "localhost":
            return True
        from ipaddress import ip_address

        try:
            return ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False


def parse_address(url: str) -> Address:
    """The parts of a URL, or of `//HOST[:PORT]`. Raises ValueError if there is no host in it.

    The library that connects splits it, too: two parsers may find two hosts in one text.
    """
    from urllib3.util import parse_url

    parts = parse_url(url)
    if not parts.host:
        raise ValueError("it names no host")
    return Address(parts.scheme or "", parts.host, parts.port or 0, parts.auth is not None)


def same_host(one: str, other: str) -> bool:
    """Whether two URLs lead to the same host and port by the same scheme. Raises ValueError."""
    first, second = (parse_address(url) for url in (one, other))
    ports = [a.port or _PORTS.get(a.scheme, 0) for a in (first, second)]
    return (first.scheme, first.host, ports[0]) == (second.scheme, second.host, ports[1])


def is_ip_address(text: str) -> bool:
    """Whether a text is an IPv4 or an IPv6 address, the latter without brackets."""
    import socket

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False
