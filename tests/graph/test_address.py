"""Credentials in addresses are taken out of them."""

import pytest

from minibuild.graph.address import (
    Address,
    credentials,
    parse_address,
    same_host,
    without_credentials,
    without_passwords,
)


@pytest.mark.parametrize(
    ("url", "shown", "own"),
    [
        ("https://example.org/x", "https://example.org/x", ""),
        ("https://u:p@example.org:8443/x?q#f", "https://example.org:8443/x?q#f", "u:p"),
        ("https://token@example.org/x.git", "https://example.org/x.git", "token:"),
        ("http://u%40x:p%3Aq@h/", "http://h/", "u@x:p:q"),
        ("http://u:p@q@h/a@b", "http://h/a@b", "u:p@q"),
        ("https://h/a@b?c=https://u:p@x", "https://h/a@b?c=https://u:p@x", ""),
        ("https://h?u@x", "https://h?u@x", ""),
        ("ssh://git@example.org/x.git", "ssh://git@example.org/x.git", ""),
        ("git@example.org:x.git", "git@example.org:x.git", ""),
        ("https://@h/x", "https://h/x", ":"),
    ],
)
def test_credentials(url: str, shown: str, own: str) -> None:
    assert (without_credentials(url), credentials(url)) == (shown, own)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ADD https://ada:b@h/x http://tok@h/y /z", "ADD https://****@h/x http://****@h/y /z"),
        ('RUN curl "http://a:b@c"', 'RUN curl "http://****@c"'),
        (
            "ADD https://h/x@1 git@h:x ssh://git@h/y a@b",
            "ADD https://h/x@1 git@h:x ssh://git@h/y a@b",
        ),
        ("https://h 'x@y'", "https://h 'x@y'"),
        ("COPY a b", "COPY a b"),
    ],
)
def test_passwords_are_not_shown(text: str, shown: str) -> None:
    assert without_passwords(text) == shown


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://a.example/x", Address("https", "a.example")),
        ("HTTP://A.example:80", Address("http", "a.example", 80)),
        ("//[::1]:5000", Address("", "[::1]", 5000)),
        ("http://127.0.0.1:80@evil.example/", Address("http", "evil.example", 0, True)),
        ("http://evil.example\\@127.0.0.1/", Address("http", "evil.example")),
        ("http://a@b@evil.example/", Address("http", "evil.example", 0, True)),
    ],
)
def test_where_an_address_leads_to(url: str, parts: Address) -> None:
    """The host is the one that the library connects to."""
    assert parse_address(url) == parts


@pytest.mark.parametrize(
    "url", ["", "//", "http:///x", "http://[::1/", "http://h:99999/", "file:/x"]
)
def test_addresses_that_lead_nowhere(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_address(url)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://a/x", "http://A:80/y", True),
        ("https://a", "https://a:443/", True),
        ("http://a/", "https://a/", False),
        ("http://a/", "http://a.b/", False),
        ("http://a:1/", "http://a:2/", False),
        ("http://a@b/", "http://a/", False),
    ],
)
def test_the_same_host(one: str, other: str, same: bool) -> None:
    assert same_host(one, other) is same
