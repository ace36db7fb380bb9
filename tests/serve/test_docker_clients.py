"""Docker's own clients, of Debian, with `minibuild serve` as their builder."""

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.support.dockerd_stub import dockerd
from tests.support.probes import DOCKER_CLIENTS
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox", "docker-clients")]


class Docker:
    """The client, with a builder called `minibuild` that is a `minibuild serve`."""

    def __init__(self, home: Path, daemon: Path, loaded: list[bytes]) -> None:
        self.loaded = loaded
        config = home / "docker"
        config.mkdir()
        (config / "cli-plugins").symlink_to(f"{DOCKER_CLIENTS}/usr/libexec/docker/cli-plugins")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(home),  # A Dockerfile from standard input stays there.
            "DOCKER_CONFIG": str(config),
            "DOCKER_HOST": f"unix://{daemon}",
            "BUILDX_BUILDER": "minibuild",
        }

    def __call__(
        self, *words: str, cwd: Path, code: int = 0, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [f"{DOCKER_CLIENTS}/usr/bin/docker", *words],
            input=stdin,
            capture_output=True,
            cwd=cwd,
            env=self._environment,
            timeout=PATIENCE_S,
        )
        assert done.returncode == code, done.stderr.decode()
        return done


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "a").write_text("a\n")
    (folder / "secret").write_text("hush")
    (folder / "Dockerfile").write_text(
        "FROM busybox AS base\nARG V=1\n"
        "RUN --mount=type=secret,id=s echo $V$(cat /run/secrets/s) > /v\n"
        "FROM base AS app\nCOPY a /a\nLABEL x=y\n"
        "FROM busybox AS failing\nRUN exit 7\n"
    )
    return folder


@pytest.fixture
def docker(
    cli: Cli, tmp_path: Path, short_folder: Path, context: Path, busybox_tar: str
) -> Iterator[Docker]:
    cli("image", "import", busybox_tar, "busybox")
    address = f"unix://{short_folder}/s.sock"
    server = cli.start("serve", "--addr", address)
    assert server.stderr is not None and server.stderr.readline().startswith("listening")
    try:
        with dockerd(str(short_folder / "d.sock")) as loaded:
            made = Docker(tmp_path, short_folder / "d.sock", loaded)
            create = ["buildx", "create", "--name=minibuild", "--driver=remote", address]
            made(*create, cwd=context)
            yield made
    finally:
        server.terminate()
        server.communicate(timeout=PATIENCE_S)


def test_buildx(docker: Docker, context: Path, tmp_path: Path) -> None:
    build = ["buildx", "build", "--progress=plain", "--secret=id=s,src=secret"]
    out, archive, metadata = tmp_path / "out", tmp_path / "x.tar", tmp_path / "metadata.json"
    docker(*build, "--target=app", "-o", str(out), ".", cwd=context)
    assert (out / "v").read_text() == "1hush\n" and (out / "a").read_text() == "a\n"
    oci = [f"--output=type=oci,dest={archive}", f"--metadata-file={metadata}", "-t", "x/y:1"]
    done = docker(*build, "--target=app", *oci, "--build-arg=V=2", ".", cwd=context)
    assert b"[base 2/2] RUN" in done.stderr
    with tarfile.open(archive) as opened:
        index = json.load(opened.extractfile("index.json"))  # type: ignore[arg-type]
    digest = json.loads(metadata.read_text())["containerimage.digest"]
    assert index["manifests"][0]["digest"] == digest
    docker(*build, "--target=app", "--load", "-t", "x/y:2", ".", cwd=context)
    with tarfile.open(fileobj=io.BytesIO(docker.loaded[-1])) as opened:
        assert "manifest.json" in opened.getnames()

    failed = docker(*build, "--target=failing", ".", cwd=context, code=1)
    assert b">>> RUN exit 7" in failed.stderr and b"exit code: 7" in failed.stderr
    text = b"FROM busybox\nCOPY a /from-stdin\n"
    docker("buildx", "build", "-f", "-", "-o", str(out), ".", cwd=context, stdin=text)
    assert (out / "from-stdin").exists()
    assert b"Total:" in docker("buildx", "du", cwd=context).stdout


def test_bake_and_compose(docker: Docker, context: Path, tmp_path: Path) -> None:
    """Targets that stand on others; services, which are loaded into Docker."""
    (context / "docker-bake.hcl").write_text(
        'target "first" {\n  dockerfile-inline = "FROM busybox\\nCOPY a /first"\n}\n'
        'target "default" {\n  contexts = { first = "target:first" }\n'
        '  dockerfile-inline = "FROM scratch\\nCOPY --from=first /first /second"\n'
        f'  output = ["{tmp_path}/baked"]\n}}\n'
    )
    docker("buildx", "bake", cwd=context)
    assert (tmp_path / "baked/second").read_text() == "a\n"
    (context / "compose.yaml").write_text(
        "services:\n  one: { image: x/one, build: { context: ., target: app, secrets: [s] } }\n"
        "  two:\n    image: x/two\n    build:\n      context: .\n"
        "      dockerfile_inline: |\n        FROM busybox\n        COPY a /\n"
        "secrets: { s: { file: secret } }\n"
    )
    docker("compose", "build", cwd=context)
    assert len(docker.loaded) == 2
