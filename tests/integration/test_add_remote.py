"""ADD from the web: names, modes, times, checksums, validators, tokens, archives by content."""

import gzip
import hashlib
import os
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.integration.built import Built, tarred, zstd
from tests.support.webserver import WebServer

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]

TIME = "Thu, 02 Jan 2020 03:04:05 GMT"


def add(build: Built, line: str, *flags: str, code: int = 0) -> str:
    """Build an image of one ADD."""
    return build(*flags, "-", stdin=f"FROM scratch\nADD {line}\n".encode(), code=code)


def test_name_mode_and_time(build: Built, web: WebServer) -> None:
    url = web.put("/some/file.txt", b"x", modified=TIME)
    add(build, f"{url}?a=b /d/")
    assert build.files == {"d/file.txt"}
    status = os.stat(f"{build.out}{build.count}/d/file.txt")
    assert (status.st_mode & 0o777, status.st_mtime) == (0o600, 1577934245)
    add(build, f"--chmod=644 {url} /other")
    assert os.stat(f"{build.out}{build.count}/other").st_mode & 0o777 == 0o644


def test_what_a_server_stores_compressed(build: Built, web: WebServer) -> None:
    """The server compressed it unasked, and says so: the file is what was compressed."""
    url = web.put("/f", gzip.compress(b"text"))
    web.files["/f"][1]["Content-Encoding"] = "gzip"
    add(build, f"{url} /")
    assert build.text("f") == "text"
    web.put("/f", gzip.compress(b"text" * 99)[:-9])
    web.files["/f"][1]["Content-Encoding"] = "gzip"
    assert "the download broke off: it ended early" in add(build, f"{url} /", code=4)


@pytest.mark.parametrize("validators", [{"etag": '"1"'}, {"modified": TIME}])
def test_what_did_not_change_is_not_sent_again(
    build: Built, web: WebServer, validators: dict[str, str]
) -> None:
    url = web.put("/f", b"one", **validators)
    add(build, f"{url} /")
    assert "CACHED" in add(build, f"{url} /")
    assert [status for _, status in web.seen] == [200, 304]
    later = {"etag": '"2"'} if "etag" in validators else {"modified": TIME.replace("2020", "2021")}
    web.put("/f", b"two", **later)
    add(build, f"{url} /")
    assert build.text("f") == "two"


def test_without_validators_it_is_asked_again(build: Built, web: WebServer) -> None:
    url = web.put("/f", b"one")
    add(build, f"{url} /")
    web.put("/f", b"two")
    add(build, f"{url} /")
    assert build.text("f") == "two"


def test_checksum(build: Built, web: WebServer) -> None:
    url = web.put("/f", b"one")
    digest = "sha256:" + hashlib.sha256(b"one").hexdigest()
    add(build, f"--checksum={digest} {url} /")
    count = len(web.seen)
    add(build, f"--checksum={digest} {url} /")
    assert len(web.seen) == count  # what is known by its digest cannot have changed
    said = add(build, f"--checksum=sha256:{'0' * 64} {url} /", code=6)
    assert f"digest mismatch {digest}" in said
    assert "invalid checksum digest format:" in add(build, f"--checksum=md5:0 {url} /", code=6)


def test_a_token_for_the_host_alone(build: Built, web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken")
    url = web.put("/f", b"one")
    add(build, f"{url} /", f"--secret=id=HTTP_AUTH_TOKEN_127.0.0.1,src={tmp_path}/token")
    assert web.headers[-1]["Authorization"] == "Bearer t0ken"
    add(
        build, f"{url} /", f"--secret=id=HTTP_AUTH_HEADER_127.0.0.1:{web.port},src={tmp_path}/token"
    )
    assert web.headers[-1]["Authorization"] == "t0ken"
    add(build, f"{url} /", f"--secret=id=HTTP_AUTH_TOKEN_example.org,src={tmp_path}/token")
    assert "Authorization" not in web.headers[-1]


def test_credentials_in_the_address(build: Built, web: WebServer) -> None:
    url = web.put("/f", b"one")
    add(build, f"{url.replace('http://', 'http://me:pass%40word@')} /")
    assert build.text("f") == "one"
    assert web.headers[-1]["Authorization"] == "Basic bWU6cGFzc0B3b3Jk"


@pytest.mark.parametrize(("bypass", "code"), [("", 0), ("files.invalid", 4)])
def test_by_way_of_a_proxy(
    cli: Cli, web: WebServer, tmp_path: Path, bypass: str, code: int
) -> None:
    web.put("http://files.invalid/f", b"one")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nADD http://files.invalid/f /\n")
    env = {"http_proxy": web.url(""), "no_proxy": bypass}
    done = cli("build", f"--output={tmp_path}/out", str(tmp_path), env=env, code=code)
    if code:
        assert "there is no host files.invalid, or no name server knows it" in done.stderr
    else:
        assert (tmp_path / "out/f").read_text() == "one"


@pytest.mark.needs("git")
def test_a_repository_by_way_of_a_proxy(cli: Cli, web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nADD http://files.invalid/r.git /\n")
    env = {"HTTP_PROXY": web.url("")}
    done = cli("build", str(tmp_path), env=env, code=4)
    assert [path for path, _ in web.seen] == ["http://files.invalid/r.git/info/refs"]
    assert "repository 'http://files.invalid/r.git/' not found" in done.stderr


def test_a_download_that_breaks_off(build: Built, web: WebServer) -> None:
    url = web.put("/f", b"half of it")
    web.files["/f"][1]["Content-Length"] = "20"
    said = add(build, f"{url} /", code=4)
    assert f"cannot fetch {url}: the download broke off" in said
    assert "Dockerfile:2" in said or "2 | >>>" in said
    del web.files["/f"][1]["Content-Length"]
    add(build, f"{url} /")
    assert build.text("f") == "half of it"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zstd"])
def test_archives_by_content(build: Built, web: WebServer, mode: str, tmp_path: Path) -> None:
    files = {"a": "a", "d/b": "b"}
    data = zstd(tarred(files)) if mode == "zstd" else tarred(files, mode)
    url = web.put("/no-suffix", data)
    add(build, f"{url} /x/")
    assert build.files == {"x/no-suffix"}  # as it came
    add(build, f"--unpack {url} /x/")
    assert build.files == {"x/a", "x/d/b"}
    folder = tmp_path / "ctx"
    folder.mkdir()
    (folder / "picture.png").write_bytes(data)
    (folder / "Dockerfile").write_text(
        "FROM scratch\nADD picture.png /un/\nADD --unpack=false picture.png /as/\n"
    )
    build(str(folder))
    assert build.files == {"un/a", "un/d/b", "as/picture.png"}


def test_an_archive_that_ends_early(build: Built, web: WebServer) -> None:
    url = web.put("/x.tgz", tarred({"a": os.urandom(60_000).hex()}, "w:gz")[:40_000])
    said = add(build, f"--unpack {url} /", code=7)
    assert "error:" in said


def test_a_name_that_leads_out(build: Built, web: WebServer) -> None:
    url = web.put("/x/..%2F..%2Fevil", b"x")
    add(build, f"{url} /d/")
    assert all(name.startswith("d/") for name in build.files)
