"""A registry whose own files are damaged: one sentence, and what to do about it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.support.registry import Registry as Server

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("docker-registry", "openssl", "mount"),
]


def overwritten(data: bytes) -> bytes:
    return data[:100] + bytes(len(data) - 100)


@pytest.mark.parametrize(
    ("damage", "code", "sentence", "hint"),
    [
        (lambda data: None, 4, "(404: blob unknown to registry)", "is not complete there"),
        (lambda data: data[:100], 4, "has 100 of the ", "is damaged there: push it again"),
        (overwritten, 7, "has the digest", "nothing of it was kept"),
    ],
    ids=["gone", "cut", "overwritten"],
)
def test_a_damaged_blob(
    cli: Cli,
    plain: Server,
    tmp_path: Path,
    damage: Callable[[bytes], bytes | None],
    code: int,
    sentence: str,
    hint: str,
) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Dockerfile").write_text("FROM scratch\nCOPY noise /\n")
    (tmp_path / "context/noise").write_bytes(os.urandom(5000))
    name, metadata = f"{plain.address}/damage/app:1", tmp_path / "metadata.json"
    cli("build", "--push", "-t", name, f"--metadata-file={metadata}", f"{tmp_path}/context")
    blobs = Path(plain.folder, "data/docker/registry/v2/blobs/sha256")

    def data_of(digest: str) -> Path:
        hexadecimal = digest.partition(":")[2]
        return blobs / hexadecimal[:2] / hexadecimal / "data"

    manifest = json.loads(
        data_of(json.loads(metadata.read_text())["containerimage.digest"]).read_text()
    )
    layer = manifest["layers"][0]["digest"]
    left = damage(data_of(layer).read_bytes())
    data_of(layer).unlink()
    if left is not None:
        data_of(layer).write_bytes(left)
    fresh = Cli(cli.root + "-fresh")
    lines = fresh("image", "pull", "-q", name, code=code).stderr.splitlines()
    assert sentence in lines[0] and hint in lines[1]
    assert not os.path.exists(f"{fresh.root}/blobs/sha256/{layer.partition(':')[2]}")
