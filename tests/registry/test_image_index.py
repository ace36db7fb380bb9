"""`minibuild image index`: parts that were pushed apart, as one name."""

import json
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.support.registry import Registry as Server
from tests.support.registry import skopeo

pytestmark = [pytest.mark.integration, pytest.mark.needs("docker-registry", "openssl", "mount")]


@pytest.fixture
def context(tmp_path: Path) -> str:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY a /$TARGETARCH\n")
    (folder / "a").write_text("a")
    return str(folder)


@pytest.mark.needs("skopeo")
def test_parts_of_two_repositories(cli: Cli, plain: Server, context: str, tmp_path: Path) -> None:
    """One by its name, one by its digest alone; no blob passes through this machine."""
    name, other = f"{plain.address}/index/app", f"{plain.address}/index/other"
    cli("build", "-q", "--platform=linux/amd64", "--push", "-t", f"{name}:amd", context)
    metadata = tmp_path / "metadata.json"
    output = f"--output=type=registry,push-by-digest=true,name={other}"
    cli("build", "-q", "--platform=linux/arm64", output, f"--metadata-file={metadata}", context)
    part = f"{other}@{json.loads(metadata.read_text())['containerimage.digest']}"
    before = len(plain.requests())
    said = cli("image", "index", "--push", "--annotation=a=b", f"{name}:1", f"{name}:amd", part)
    assert not [line for line in plain.requests()[before:] if line.startswith("PATCH")]
    digest = said.stdout.split()[-1]
    inspect = ("inspect", "--raw", "--tls-verify=false", f"docker://{name}:1")
    raw = skopeo(*inspect, home=str(tmp_path))
    found = json.loads(raw)
    assert [m["platform"]["architecture"] for m in found["manifests"]] == ["amd64", "arm64"]
    assert found["annotations"] == {"a": "b"}
    fresh = Cli(cli.root + "-fresh")
    assert fresh("image", "pull", "-q", "--all-platforms", f"{name}:1").stdout.strip() == digest
    assert "is sound" in fresh("image", "validate", f"{name}:1").stdout


def test_in_the_store(cli: Cli, context: str) -> None:
    for machine in ("amd64", "arm64"):
        cli("build", "-q", f"--platform=linux/{machine}", "-t", f"app:{machine}", context)
    cli("image", "index", "-q", "app:1", "app:amd64", "app:arm64")
    (listed,) = json.loads(cli("image", "ls", "--format=json", "app:1").stdout)
    assert sorted(listed["platforms"]) == ["linux/amd64", "linux/arm64"]
    cli("image", "index", "app:2", "app:nothing", code=7)
    cli("image", "index", "--insecure", "app:2", "app:1", code=2)
