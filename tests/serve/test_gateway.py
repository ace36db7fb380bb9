"""What a client of `minibuild serve` asks about results and sources before it wants outputs."""

import hashlib
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.serve.clients import client_of
from tests.support.buildkit_client import TYPES, Client
from tests.support.webserver import serving

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]


def test_looking_into_a_result(client: Client) -> None:
    """Files are read before the outputs are made; a warning of the client's is shown."""
    seen: dict[str, Any] = {}

    def look(call: Any, ref: str) -> None:
        read = TYPES["ReadFileRequest"](Ref=ref, FilePath="d/a")
        seen["a"] = call("ReadFile", read, "ReadFileResponse").Data
        read = TYPES["ReadDirRequest"](Ref=ref, DirPath="/d")
        seen["d"] = [entry.path for entry in call("ReadDir", read, "ReadDirResponse").entries]
        read = TYPES["StatFileRequest"](Ref=ref, Path="d")
        seen["mode"] = call("StatFile", read, "StatFileResponse").stat.mode
        call("Warn", TYPES["WarnRequest"](short=b"take care", level=2), "Empty")
        asked = TYPES["ResolveSourceMetaRequest"]()
        with pytest.raises(grpc.RpcError, match="source is required"):
            call("ResolveSourceMeta", asked, "ResolveSourceMetaResponse")

    client.build({}, [("local", {})], look=look)
    assert seen["a"] == b"a\n" and seen["d"] == ["a", "b"]
    assert seen["mode"] == 1 << 31 | 0o755
    assert (client.received / "output-0/d/a").read_text() == "a\n"
    warnings = [w for s in client.statuses for w in s.warnings]
    assert [(w.short, w.level) for w in warnings] == [(b"take care", 2)]


NAMES = [
    ("", "f"),
    ('attachment; filename="a b"', "a b"),
    ('attachment; filename="../../e"', "e"),
    ("attachment; filename*=UTF-8''%C3%A4", "ä"),
    ('attachment; filename=".."', "f"),
]


def test_files_from_the_web(server: str, tmp_path: Path, context: Path) -> None:
    """The client's headers and secrets go with the request, and the server says the file's name."""
    client = client_of(server, tmp_path / "c", context, secrets={"s": b"Bearer x\n"})
    asked = TYPES["ResolveSourceMetaRequest"]()
    asked.Source.attrs.update({"http.header.accept": "a/b", "http.authheadersecret": "s"})

    def look(call: Any, ref: str) -> None:
        for number, (header, name) in enumerate(NAMES):
            asked.Source.identifier = web.url(f"/{number}/f")  # it is asked once in a build
            web.files[f"/{number}/f"] = b"data", {"Content-Disposition": header}
            found = call("ResolveSourceMeta", asked, "ResolveSourceMetaResponse").HTTP
            assert found.Filename == name

    with serving() as web:
        client.build({}, [], look=look)
        assert web.headers[0]["Accept"] == "a/b" and web.headers[0]["Authorization"] == "Bearer x"
        llb = TYPES["Definition"]()
        asked.Source.attrs.update({"http.uid": "7", "http.filename": "g"})
        last = TYPES["Op"](source=asked.Source).SerializeToString()
        end = TYPES["Op"]()
        end.inputs.add(digest=f"sha256:{hashlib.sha256(last).hexdigest()}")
        getattr(llb, "def").extend([last, end.SerializeToString()])
        client.build({}, [("tar", {})], llb.SerializeToString())
    with tarfile.open(client.received / "output-0") as archive:
        assert [(entry.name, entry.uid, entry.mode) for entry in archive] == [("g", 7, 0o600)]


@pytest.mark.needs("git")
def test_what_sources_are(server: str, tmp_path: Path, context: Path) -> None:
    """A file's digest, name and time, and what a tag of a repository is."""
    folder = tmp_path / "repository"
    identity = ("-c", "user.name=a", "-c", "user.email=a@x")

    def git(*words: str) -> str:
        line = ["git", "-C", str(folder), *identity, *words]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()

    folder.mkdir()
    git("init", "-q", "-b", "trunk")
    git("commit", "-q", "--allow-empty", "-m", "one")
    git("tag", "-a", "v1", "-m", "first")
    with serving() as web:
        url = web.put("/f", b"data", modified="Sat, 01 Jan 2000 00:00:00 GMT")
        repository = web.git("/r.git", folder)

        def look(call: Any, ref: str) -> None:
            asked = TYPES["ResolveSourceMetaRequest"]()
            asked.Source.identifier = url
            found = call("ResolveSourceMeta", asked, "ResolveSourceMetaResponse").HTTP
            assert found.Checksum == f"sha256:{hashlib.sha256(b'data').hexdigest()}"
            assert (found.Filename, found.LastModified.seconds) == ("f", 946684800)
            for name in ("", "#v1"):
                asked.Source.identifier = f"git://{repository.removeprefix('http://')}{name}"
                asked.Source.attrs["git.fullurl"] = repository
                asked.Git.ReturnObject = bool(name)
                found = call("ResolveSourceMeta", asked, "ResolveSourceMetaResponse").Git
                assert found.Ref == ("refs/tags/v1" if name else "refs/heads/trunk")
                assert found.Checksum == git("rev-parse", name.strip("#") or "HEAD")
                assert found.CommitChecksum == (git("rev-parse", "HEAD") if name else "")
            assert found.TagObject.decode() == git("cat-file", "tag", "v1") + "\n"
            assert found.CommitObject.decode() == git("cat-file", "commit", "HEAD") + "\n"

        client_of(server, tmp_path / "c", context).build({}, [], look=look)
