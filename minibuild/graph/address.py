"""Addresses of sources, and the credentials in them: `https://user:token@host/path`.

Comes in: a URL. Goes out: the part that people, other programs, the cache and the image may see,
and the other part. Rules: RFC 3986, section 3.2.1.
"""

from minibuild.startup.regex import regex

_USER = regex(r"\A(?P<scheme>https?://)(?P<user>[^/?#]*)@")


def without_credentials(url: str) -> str:
    """The address without the user and password in it. Only http has such a user: that of an ssh
    address is none of its secrets, and stays."""
    return _USER.sub(r"\g<scheme>", url, count=1)


def credentials(url: str) -> str:
    """The user and password in an address, as `user:password`; empty if there are none."""
    from urllib.parse import unquote

    found = _USER.match(url)
    if found is None:
        return ""
    user, _, password = found["user"].partition(":")
    return f"{unquote(user)}:{unquote(password)}"
