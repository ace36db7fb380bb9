"""One request: what counts as an answer, and a body that is what the server has."""

import gzip
import threading

import pytest

from minibuild.errors import RegistryError
from minibuild.session.request import RegistryAccess
from minibuild.source.web import body, get, own_authorization
from tests.support.webserver import WebServer


def read(url: str, **headers: str) -> bytes:
    """The body behind an address."""
    return b"".join(body(get(url, headers, RegistryAccess(), threading.Event()), url))


def test_what_is_not_there_is_an_error_with_the_hint(web: WebServer) -> None:
    with pytest.raises(RegistryError, match="invalid response status 404") as caught:
        get(web.url("/none"), {}, RegistryAccess(), threading.Event(), "look there")
    assert caught.value.hint == "look there"


def test_not_modified_is_an_answer_to_those_who_asked(web: WebServer) -> None:
    url = web.put("/f", b"x", etag='"1"')
    asked = {"If-None-Match": '"1"'}
    assert get(url, asked, RegistryAccess(), threading.Event()).status == 304
    assert read(url) == b"x"
    with pytest.raises(RegistryError, match="invalid response status 304"):
        read(url, **{"if-none-match": '"1"'})  # The server is asked, and `get` is not told so.


def test_an_error_does_not_show_a_password(web: WebServer) -> None:
    url = web.url("/none").replace("//", "//ada:lovelace@")
    with pytest.raises(RegistryError) as caught:
        read(url)
    assert "lovelace" not in str(caught.value)
    assert own_authorization(url) == "Basic YWRhOmxvdmVsYWNl"
    assert own_authorization(web.url("/none")) == ""


@pytest.mark.parametrize(
    "data",
    [gzip.compress(b"text" * 99), gzip.compress(b"text" * 90) + gzip.compress(b"text" * 9)],
    ids=["one member", "two members"],
)
def test_what_a_server_compressed_is_undone(web: WebServer, data: bytes) -> None:
    url = web.put("/f", data)
    web.files["/f"][1]["Content-Encoding"] = "gzip"
    assert read(url) == b"text" * 99


@pytest.mark.parametrize(
    ("data", "says"),
    [(gzip.compress(b"text" * 99)[:-9], "it ended early"), (b"text", "what it calls gzip is none")],
)
def test_what_is_compressed_and_broken(web: WebServer, data: bytes, says: str) -> None:
    url = web.put("/f", data)
    web.files["/f"][1]["Content-Encoding"] = "gzip"
    with pytest.raises(RegistryError, match=f"the download broke off: {says}"):
        read(url)


def test_a_chunk_of_a_negative_length(web: WebServer) -> None:
    url = web.put("/f", b"-5\r\nxx")
    web.files["/f"][1]["Transfer-Encoding"] = "chunked"
    with pytest.raises(RegistryError, match="broke off"):
        read(url)
