"""Credentials in addresses are taken out of them."""

import pytest

from minibuild.graph.address import credentials, without_credentials


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
