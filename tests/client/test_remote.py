"""`build --builder`: builds that another builder does. The other one is `minibuild serve`."""

import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minibuild.buildkit.rpc import api_type
from minibuild.client.session import session_services
from minibuild.registry.credentials import Credentials, Login
from minibuild.session.secrets import SecretReader, SshReader
from tests.conftest import Cli
from tests.support.processes import begun, gone
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]


@pytest.fixture
def builder(tmp_path: Path, short_folder: Path, cli: Cli) -> Iterator[str]:
    """The address of a builder with a store of its own."""
    address = f"unix://{short_folder}/s.sock"
    process = cli.start("serve", "--addr", address, env={"MINIBUILD_ROOT": str(tmp_path / "other")})
    assert process.stderr is not None
    assert process.stderr.readline() == f"listening at {address}\n"
    yield f"--builder={address}"
    process.terminate()
    process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "sub/deep").mkdir(parents=True)
    (folder / "a").write_text("a\n")
    (folder / "sub/deep/b.txt").write_text("b\n")
    (folder / "sub/no.log").write_text("")
    (folder / "sub/keep.log").write_text("kept\n")
    (folder / "link").symlink_to("sub/deep")
    (folder / ".dockerignore").write_text("**/*.log\n!sub/keep.log\n")
    (folder / "Dockerfile").write_text(
        "FROM scratch\nCOPY a /d/\nCOPY --link sub /sub/\nCOPY link/*.txt /l/\nLABEL x=y\n"
    )
    return folder


def test_outputs(cli: Cli, builder: str, context: Path, tmp_path: Path) -> None:
    """The same files and the same image as of a build here."""
    there, here, archive = tmp_path / "there", tmp_path / "here", tmp_path / "image.tar"
    there.mkdir()
    (there / "stays").write_text("")
    metadata = tmp_path / "metadata.json"
    words = ["-t", "x/y:1", "-o", str(there), "-o", f"type=oci,dest={archive}"]
    words += ["--build-arg", "SOURCE_DATE_EPOCH=0", "--metadata-file", str(metadata)]
    done = cli("build", builder, *words, str(context))
    assert "[1/3] COPY a /d/" in done.stderr
    cli("build", "-o", str(here), str(context))
    assert (there / "stays").exists()
    (there / "stays").unlink()
    assert subprocess.run(["diff", "-r", str(there), str(here)]).returncode == 0
    assert sorted(os.listdir(there / "sub")) == ["deep", "keep.log"]
    with tarfile.open(archive) as opened:
        index = json.load(opened.extractfile("index.json"))  # type: ignore[arg-type]
    described = json.loads(metadata.read_text())
    assert described["containerimage.digest"] == index["manifests"][0]["digest"]
    cli("image", "load", "-t", "back", str(archive))
    assert '"x": "y"' in cli("image", "inspect", "--format=json", "back").stdout


def test_layouts_and_caches(cli: Cli, builder: str, context: Path, tmp_path: Path) -> None:
    """An image in a layout, another that stands on it, and a cache that another builder reads."""
    layout, cache, last = tmp_path / "layout", tmp_path / "cache", tmp_path / "last"
    image = f"type=oci,tar=false,dest={layout}"
    cli(
        "build",
        builder,
        "-t",
        "x/y:7",
        "-o",
        image,
        f"--cache-to=type=local,dest={cache}",
        str(context),
    )
    (context / "Dockerfile.last").write_text("FROM base\nCOPY a /last\n")
    words = [
        "-f",
        str(context / "Dockerfile.last"),
        f"--build-context=base=oci-layout://{layout}:7",
    ]
    cli("build", builder, *words, "-o", str(last), str(context))
    assert (last / "last").read_text() == (last / "d/a").read_text() == "a\n"

    cli("prune", "--all", "--force", env={"MINIBUILD_ROOT": str(tmp_path / "other")})
    done = cli(
        "build", builder, f"--cache-from=type=local,src={cache}", "-o", str(last), str(context)
    )
    assert "CACHED" in done.stderr
    nothing = f"--cache-from=type=local,src={tmp_path}/nothing"
    cli("build", builder, nothing, str(context))


_CARRIER = """#!{python}
import os, socket, threading

def carry(read, write):
    while data := read(65536):
        write(data)

there = socket.socket(socket.AF_UNIX)
there.connect({path!r})
up = threading.Thread(target=carry, args=(lambda n: os.read(0, n), there.sendall), daemon=True)
up.start()
carry(there.recv, lambda data: os.write(1, data))
"""


def test_a_builder_in_a_container(cli: Cli, builder: str, context: Path, tmp_path: Path) -> None:
    """`docker exec` carries the bytes, which another program does here."""
    path = builder.partition("unix://")[2]
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text(_CARRIER.format(python=sys.executable, path=path))
    program.chmod(0o755)
    found = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    words = ["--builder=docker-container://b", "-o", str(tmp_path / "out")]
    cli("build", *words, str(context), env=found)
    assert (tmp_path / "out/d/a").read_text() == "a\n"


def test_attestations(cli: Cli, builder: str, context: Path, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    asked = "--provenance=mode=max,version=v0.2,builder-id=https://x.example"
    cli("build", builder, asked, "-o", f"type=oci,dest={archive}", str(context))
    with tarfile.open(archive) as opened:
        blobs = [opened.extractfile(m) for m in opened.getmembers() if m.size and m.isfile()]
        texts = [blob.read() for blob in blobs if blob is not None]
    assert any(
        b"https://x.example" in text and b"slsa.dev/provenance/v0.2" in text for text in texts
    )
    done = cli("build", builder, "--provenance=complete-materials=true", str(context), code=6)
    assert "provenance materials are incomplete" in done.stderr


def test_archives_and_several_platforms(
    cli: Cli, builder: str, context: Path, tmp_path: Path
) -> None:
    """An archive is a context, too, and nothing beside it is lent; and a named one."""
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a /\nCOPY --from=other a /o\n")
    main, other, there = tmp_path / "main.tar", tmp_path / "other.tar.gz", tmp_path / "there"
    with tarfile.open(main, "w") as archive:
        archive.add(context, ".")
    with tarfile.open(other, "w:gz") as archive:
        archive.add(context / "a", "a")
    words = [f"--build-context=other={other}", "--platform=linux/amd64,linux/386"]
    cli("build", builder, *words, "-o", str(there), str(main))
    for name in ("linux_amd64/a", "linux_amd64/o", "linux_386/a"):
        assert (there / name).read_text() == "a\n"
    epoch = "--build-arg=SOURCE_DATE_EPOCH=0"
    image = f"type=oci,dest={tmp_path}/image.tar,rewrite-timestamp=true"
    cli("build", builder, *words, epoch, "-o", image, "--cache-to=type=inline", str(main))
    with tarfile.open(tmp_path / "image.tar") as opened:
        index = json.load(opened.extractfile("index.json"))  # type: ignore[arg-type]
        (top,) = index["manifests"]
        blob = opened.extractfile(f"blobs/sha256/{top['digest'].partition(':')[2]}")
        platforms = [m["platform"]["architecture"] for m in json.load(blob)["manifests"]]  # type: ignore[arg-type]
    assert platforms == ["amd64", "386"]


@pytest.mark.needs("busybox")
def test_secrets_failures_and_a_stop(
    cli: Cli, builder: str, context: Path, tmp_path: Path, busybox_tar: str
) -> None:
    cli("image", "import", busybox_tar, "busybox")
    other = {"MINIBUILD_ROOT": str(tmp_path / "other")}
    cli("image", "import", busybox_tar, "busybox", env=other)
    nap = f"600.{os.getpid()}"
    (context / "Dockerfile").write_text(
        "FROM busybox AS secret\nRUN --mount=type=secret,id=s cat /run/secrets/s > /s\n"
        "FROM busybox AS failing\nRUN exit 7\n"
        f"FROM busybox AS sleeping\nRUN sleep {nap}\n"
        "FROM busybox AS host\nRUN --network=host true\n"
    )
    (tmp_path / "value").write_text("hush")
    secret = f"--secret=id=s,src={tmp_path}/value"
    cli("build", builder, secret, "--target=secret", "-o", str(tmp_path / "out"), str(context))
    assert (tmp_path / "out/s").read_text() == "hush"
    done = cli("build", builder, "--target=failing", "--progress=plain", str(context), code=5)
    assert "   4 | >>> RUN exit 7" in done.stderr and "exit code: 7" in done.stderr
    assert "--on-error" not in done.stderr
    done = cli("build", builder, "--target=host", str(context), code=6)
    assert "network.host is not allowed" in done.stderr and "--allow network.host" in done.stderr
    cli("build", builder, "--target=host", "--allow=network.host", str(context))
    process = cli.start("build", builder, "--target=sleeping", str(context))
    assert begun(nap)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert gone(nap)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--builder=unix:///nothing/here"], 3, "there is no builder at unix:///nothing/here"),
        (["--builder=ftp://x"], 2, "invalid address of a builder"),
        (["--builder=unix:///x", "-t", "a", "-o", "type=image"], 2, "stays with the builder"),
        (["--builder=unix:///x", "--target=none"], 6, "none"),
        (["--builder=unix:///x", "--target=host"], 6, "2 | >>> RUN --network=host true"),
        (["--builder=unix:///x", "--step"], 2, "--step is of no use here"),
        (["--builder=unix:///x", "--on-error=keep"], 2, "--on-error is of no use here"),
        (["--check", "--report=x.html"], 2, "--report is of no use here"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_cannot_be(cli: Cli, context: Path, words: Any, code: int, message: str) -> None:
    file = context / "Dockerfile"
    file.write_text(f"FROM scratch AS host\nRUN --network=host true\n{file.read_text()}")
    assert message in cli("build", *words, str(context), code=code).stderr


def test_a_token_is_lent_as_one(tmp_path: Path) -> None:
    """In the place of a password, and without a user: so BuildKit's clients say it."""
    file = tmp_path / "config.json"
    file.write_text('{"auths": {"one.example": {"identitytoken": "t"}}}')
    lent = session_services(SecretReader(()), SshReader(()), Credentials((str(file),)))
    asked = api_type("CredentialsRequest")(Host="one.example")
    call: Any = None
    said = lent["moby.filesync.v1.Auth"]["Credentials"].function(asked, call)
    heard = Credentials((), {"one.example": (said.Username, said.Secret)})
    assert heard.login("one.example") == Login(identity="t")
