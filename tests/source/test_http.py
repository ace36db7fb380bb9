"""Files from the web: their names, times and digests, and what authorises a request."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from minibuild.errors import Cancelled, DefinitionError
from minibuild.graph.op import HttpSource
from minibuild.linux.descriptors import closing_fd
from minibuild.source.http import download, open_url
from tests.source.conftest import Asker
from tests.support.webserver import WebServer

Askers = Callable[..., Asker]
DATA = b"some text"
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


def fetched(asker: Asker, op: HttpSource, folder: Path) -> tuple[str, str]:
    """Download a source into a folder: the name and the digest."""
    response = open_url(asker, op, {})
    try:
        with closing_fd(os.open(folder, os.O_RDONLY | os.O_DIRECTORY)) as fd:
            return download(asker, op, response, fd, asker.progress)
    finally:
        response.release_conn()


@pytest.mark.parametrize(
    ("disposition", "filename", "name"),
    [
        ("", "", "in-the-address"),
        ('attachment; filename="said"', "", "said"),
        ('attachment; filename="said"', "asked", "asked"),
        ('attachment; filename="../../etc/passwd"', "", "passwd"),
        ('attachment; filename=".."', "", "in-the-address"),
        ('attachment; filename="a/"', "", "in-the-address"),
    ],
)
def test_the_name(
    asker: Askers, web: WebServer, tmp_path: Path, disposition: str, filename: str, name: str
) -> None:
    """What is asked for, else what the server says, else the end of the address."""
    url = web.put("/d/in-the-address", DATA)
    if disposition:
        web.files["/d/in-the-address"][1]["Content-Disposition"] = disposition
    assert fetched(asker(), HttpSource(url, filename), tmp_path) == (name, DIGEST)
    assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_bytes() == DATA


@pytest.mark.parametrize(
    ("modified", "time"), [("Thu, 02 Jan 2020 03:04:05 GMT", 1577934245), ("today", 0), ("", 0)]
)
def test_mode_and_time(
    asker: Askers, web: WebServer, tmp_path: Path, modified: str, time: int
) -> None:
    url = web.put("/f", DATA, modified=modified)
    fetched(asker(), HttpSource(url, "", mode=0o754), tmp_path)
    status = os.stat(tmp_path / "f")
    assert (status.st_mode & 0o7777, status.st_mtime) == (0o754, time)


def test_another_digest(asker: Askers, web: WebServer, tmp_path: Path) -> None:
    url = web.put("/f", DATA)
    assert fetched(asker(), HttpSource(url, "", DIGEST), tmp_path)[1] == DIGEST
    with pytest.raises(DefinitionError, match=f"digest mismatch {DIGEST}"):
        fetched(asker(), HttpSource(url, "other", "sha256:" + "0" * 64), tmp_path)


def test_a_file_that_is_there_is_not_written_over(
    asker: Askers, web: WebServer, tmp_path: Path
) -> None:
    (tmp_path / "f").symlink_to("elsewhere")
    with pytest.raises(FileExistsError):
        fetched(asker(), HttpSource(web.put("/f", DATA), ""), tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_it_stops_when_the_build_is_cancelled(
    asker: Askers, web: WebServer, tmp_path: Path
) -> None:
    client, op = asker(), HttpSource(web.put("/f", DATA), "")
    response = open_url(client, op, {})
    client.cancelled.set()
    with closing_fd(os.open(tmp_path, os.O_RDONLY)) as fd, pytest.raises(Cancelled):
        download(client, op, response, fd, client.progress)


@pytest.mark.parametrize(
    ("secrets", "header"),
    [
        (("own", "HTTP_AUTH_HEADER_{place}"), "own"),
        (("HTTP_AUTH_HEADER_{place}", "HTTP_AUTH_TOKEN_{place}"), "HTTP_AUTH_HEADER_{place}"),
        (("HTTP_AUTH_TOKEN_{place}", "HTTP_AUTH_HEADER_{host}"), "Bearer HTTP_AUTH_TOKEN_{place}"),
        (("HTTP_AUTH_TOKEN_{host}",), "Bearer HTTP_AUTH_TOKEN_{host}"),
        (("HTTP_AUTH_TOKEN_other.example",), "Basic YTpi"),
        ((), "Basic YTpi"),
    ],
)
def test_what_authorises_a_request(
    asker: Askers, web: WebServer, secrets: tuple[str, ...], header: str
) -> None:
    """The secret that the source names, those for its host, the address. Each secret here has its
    id as its value; the line feed is that of the file it is in."""
    url = web.put("/f", DATA)
    place = urlsplit(url).netloc
    ids = [one.format(place=place, host="127.0.0.1") for one in secrets]
    client = asker({one: f"{one}\n".encode() for one in ids})
    op = HttpSource(url.replace("//", "//a:b@"), "", authorization="own")
    open_url(client, op, {}).release_conn()
    assert web.headers[-1]["Authorization"] == header.format(place=place, host="127.0.0.1")


@pytest.mark.parametrize(
    "validators", [{"etag": '"1"'}, {"modified": "Thu, 02 Jan 2020 03:04:05 GMT"}]
)
def test_validators(asker: Askers, web: WebServer, validators: dict[str, str]) -> None:
    """A server is asked whether what it said the last time is still right."""
    op = HttpSource(web.put("/f", DATA, **validators), "")
    first = open_url(asker(), op, {})
    first.release_conn()
    again = open_url(asker(), op, dict(first.headers))
    again.release_conn()
    assert (first.status, again.status) == (200, 304)
