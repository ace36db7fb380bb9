"""Images made from images in registries: what is transferred, counted by the registry's own log."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from minibuild.oci.model import OCI_MANIFEST
from tests.conftest import Cli
from tests.support.registry import Registry as Server

pytestmark = [pytest.mark.integration, pytest.mark.needs("docker-registry", "openssl")]
LAYER_BYTES = 300_000


@pytest.fixture
def layer(tmp_path: Path) -> Callable[[str], str]:
    """`layer("name")` writes a tar with a file of that name."""

    def write(name: str) -> str:
        path = tmp_path / f"{name}.tar"
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo(name)
            info.size = LAYER_BYTES
            data = (name * LAYER_BYTES)[:LAYER_BYTES].encode()
            archive.addfile(info, io.BytesIO(data))
        return str(path)

    return write


@pytest.fixture
def images(cli: Cli, plain: Server, layer: Callable[[str], str], tmp_path: Path) -> str:
    """In the registry: tools/base:1 and :2, and tools/app:1 on the first; the store is empty."""
    prefix = f"{plain.address}/{tmp_path.name.replace('_', '-').lower()}"
    for number in "12":
        cli("image", "import", layer(f"base{number}"), f"{prefix}/base:{number}")
        cli("image", "push", "-q", f"{prefix}/base:{number}")
    cli("image", "append", f"{prefix}/base:1", f"{prefix}/app:1", "-f", layer("app"))
    cli("image", "push", "-q", f"{prefix}/app:1")
    cli("image", "rm", *cli("image", "ls", "-q").stdout.split())
    cli("prune", "-a", "-f")
    assert not list(Path(cli.root, "blobs/sha256").glob("*"))
    return prefix


def manifest(name: str) -> dict[str, Any]:
    address, _, path = name.partition("/")
    repository, _, tag = path.rpartition(":")
    url = f"http://{address}/v2/{repository}/manifests/{tag}"
    with urlopen(Request(url, headers={"Accept": OCI_MANIFEST})) as answer:
        return json.load(answer)


def layers(name: str) -> list[str]:
    return [layer["digest"] for layer in manifest(name)["layers"]]


def test_a_rebase_transfers_documents_only(cli: Cli, plain: Server, images: str) -> None:
    """No layer is read or sent: those of the new base are mounted, the others are there."""
    before = len(plain.requests())
    flags = ("--push", "--from", f"{images}/base:1", "--onto", f"{images}/base:2")
    cli("image", "rebase", f"{images}/app:1", f"{images}/app:2", *flags)
    assert layers(f"{images}/app:2") == layers(f"{images}/base:2") + layers(f"{images}/app:1")[1:]
    asked = plain.requests()[before:]
    # Three configs are read; one config and one manifest are written; one layer is mounted.
    configs = {manifest(f"{images}/{n}")["config"]["digest"] for n in ("base:1", "base:2", "app:1")}
    read = [r for r in asked if r.startswith("GET") and "/blobs/" in r]
    assert {r.split()[1].rpartition("/")[2] for r in read} == configs and len(read) == 3
    assert [r.split()[2] for r in asked if r.startswith("POST")].count("201") == 1
    puts = [r.split()[1] for r in asked if r.startswith("PUT")]
    assert len(puts) == 2 and sum("/manifests/2" in path for path in puts) == 1
    assert len(asked) < 25
    # And none is kept here.
    assert not list(Path(cli.root, "blobs/sha256").glob("*"))


def test_the_base_that_an_image_names(cli: Cli, images: str) -> None:
    flags = ("--push", "--from", f"{images}/base:1", "--onto", f"{images}/base:2")
    cli("image", "rebase", f"{images}/app:1", f"{images}/app:2", *flags)
    cli(
        "image",
        "rebase",
        f"{images}/app:2",
        f"{images}/app:3",
        "--push",
        "--onto",
        f"{images}/base:1",
    )
    assert layers(f"{images}/app:3") == layers(f"{images}/app:1")


def test_an_append_sends_its_own_layer(
    cli: Cli, plain: Server, images: str, layer: Callable[[str], str]
) -> None:
    before = len(plain.requests())
    words = (f"{images}/app:1", f"{images}/app:2", "--push", "-f", layer("more"))
    cli("image", "append", *words)
    made = layers(f"{images}/app:2")
    assert made[:-1] == layers(f"{images}/app:1") and len(made) == 3
    puts = [r for r in plain.requests()[before:] if r.startswith("PUT")]
    assert len(puts) == 3  # the layer, the config, the manifest
    cli("image", "pull", "-q", f"{images}/app:2")
    assert "is sound" in cli("image", "validate", f"{images}/app:2").stdout


def test_what_is_not_there(cli: Cli, images: str) -> None:
    words = (f"{images}/app:1", f"{images}/app:9", "--push", "--onto", f"{images}/base:9")
    said = cli("image", "rebase", *words, "--from", f"{images}/base:1", code=4).stderr
    assert "base:9" in said
    said = cli("image", "rebase", *words[:2], "--insecure", *words[3:], code=2).stderr
    assert "--push" in said
