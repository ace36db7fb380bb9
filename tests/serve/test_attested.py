"""The attestations of an image, as a client of `minibuild serve` gets them."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minibuild.digest import digest_bytes
from tests.conftest import Cli
from tests.support import registry as support
from tests.support.buildkit_client import TYPES, Client

pytestmark = [pytest.mark.integration, pytest.mark.needs("docker-registry", "mount")]
SLSA = "https://slsa.dev/provenance/v1"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[support.Registry]:
    (tmp_path / "registry").mkdir()
    with support.registry(str(tmp_path / "registry")) as running:
        yield running


def put(registry: support.Registry, name: str, media_type: str, value: Any) -> dict[str, Any]:
    """Push a manifest. Returns its descriptor."""
    data = json.dumps(value).encode()
    url = f"http://{registry.address}/v2/app/manifests/{name or digest_bytes(data)}"
    asked = urllib.request.Request(url, data, {"Content-Type": media_type}, method="PUT")
    urllib.request.urlopen(asked).close()
    return {"mediaType": media_type, "digest": digest_bytes(data), "size": len(data)}


def test_the_chain_of_an_image(
    cli: Cli, client: Client, context: Path, registry: support.Registry
) -> None:
    """The index, the attestations, the statements that are wanted, and what signs them."""
    image = f"{registry.address}/app:1"
    cli("build", "--provenance", "--sbom", "--push", "-t", image, str(context))
    asked = TYPES["ResolveSourceMetaRequest"](ResolveMode="pull")
    asked.Source.identifier = f"docker-image://{image}"
    asked.Image.ResolveAttestations.append(SLSA)
    found: list[Any] = []

    def look(call: Any, ref: str) -> None:
        answer = call("ResolveSourceMeta", asked, "ResolveSourceMetaResponse").Image
        found.append(answer.AttestationChain)
        assert answer.Digest == answer.AttestationChain.Root

    client.build({}, look=look)
    (chain,) = found
    attestations = json.loads(chain.Blobs[chain.AttestationManifest].data)
    (provenance,) = (
        layer for layer in attestations["layers"]
        if layer["annotations"]["in-toto.io/predicate-type"] == SLSA
    )  # fmt: skip
    digests = {chain.Root, chain.AttestationManifest, provenance["digest"]}
    assert set(chain.Blobs) == digests and not chain.SignatureManifests
    said = json.loads(chain.Blobs[provenance["digest"]].data)
    assert said["subject"][0]["digest"]["sha256"] == chain.ImageManifest.removeprefix("sha256:")

    # Its signature, under the tag for registries that cannot list what is about a manifest.
    signature = {"schemaVersion": 2, "mediaType": MANIFEST, "config": attestations["config"]}
    kind = put(registry, "", MANIFEST, {**signature, "layers": [provenance]})
    other = put(registry, "", MANIFEST, {**signature, "layers": []})
    listed = [{**other, "artifactType": "text/plain"}, {**kind, "artifactType": BUNDLE}]
    tag = chain.AttestationManifest.replace(":", "-")
    put(registry, tag, INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})
    asked.Image.ResolveAttestations[:] = []
    asked.Image.AttestationChain = asked.Image.NoConfig = True
    client.build({}, look=look)
    assert list(found[1].SignatureManifests) == [kind["digest"]]
    assert set(found[1].Blobs) == digests | {kind["digest"]}

    # An image of the store is asked of no registry.
    cli("build", "--provenance", "-t", "kept:1", str(context))
    asked.Source.identifier, asked.ResolveMode = "docker-image://kept:1", ""
    client.build({}, look=look)
    assert set(found[2].Blobs) == {found[2].Root, found[2].AttestationManifest}
