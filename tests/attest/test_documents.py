"""Statements, SPDX documents and provenance have the members that their readers look for."""

import base64
import json

import pytest
from minibuild_dockerfile import DockerfileFrontend

from minibuild.attest.packages import FoundPackages, Package
from minibuild.attest.provenance import BuildFacts, provenance
from minibuild.attest.sbom import purl, sbom
from minibuild.attest.statement import (
    Predicate,
    attach,
    image_subjects,
    package_url,
    statement,
)
from minibuild.digest import Digest
from minibuild.errors import SourceText, Span
from minibuild.graph.frontend import Built
from minibuild.graph.image import ImageConfig
from minibuild.graph.op import (
    Copy,
    Exec,
    File,
    GitSource,
    HttpSource,
    ImageSource,
    LocalSource,
    SecretMount,
)
from minibuild.graph.platform import Platform
from minibuild.graph.reference import parse_reference
from minibuild.graph.vertex import Note, Vertex
from minibuild.oci.content import ContentStore
from minibuild.oci.model import OCI_MANIFEST, Descriptor
from minibuild.session.request import Attestations, BuildRequest
from minibuild.store.layout import Store

AMD64 = Platform("linux", "amd64")
SHA = "ab" * 32
IMAGE = Descriptor(OCI_MANIFEST, Digest("sha256:" + SHA), 7, {}, AMD64)

BASE = Vertex(ImageSource("docker.io/library/busybox:1.36", Digest("sha256:" + "11" * 32), AMD64))
FILE = Vertex(HttpSource("https://me:topsecret@example.org/f", "f"))
REPO = Vertex(GitSource("https://topsecret@example.org/r.git", "v1"))
LOCAL = Vertex(LocalSource("context"))
RUN = Vertex(
    Exec(
        ("/bin/sh", "-c", "make"), mounts=(SecretMount("tok"), SecretMount("need", required=True))
    ),
    [BASE],
    Note("[2/3] RUN make", Span("Dockerfile", 2, 3)),
)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("busybox", "pkg:docker/busybox@latest?platform=linux%2Famd64"),
        ("me/app:1", "pkg:docker/me/app@1?platform=linux%2Famd64"),
        ("localhost:5000/a:b", "pkg:docker/localhost%3A5000/a@b?platform=linux%2Famd64"),
        (f"x@sha256:{SHA}", f"pkg:docker/x?digest=sha256%3A{SHA}&platform=linux%2Famd64"),
    ],
)
def test_package_urls_of_images(name: str, url: str) -> None:
    assert package_url(parse_reference(name), AMD64) == url


def test_a_statement_names_the_image_by_its_digest() -> None:
    subjects = image_subjects(IMAGE, [parse_reference("app:1")])
    assert json.loads(statement(subjects, Predicate("urn:x", {"a": 1}))) == {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "urn:x",
        "subject": [{"name": "pkg:docker/app@1?platform=linux%2Famd64", "digest": {"sha256": SHA}}],
        "predicate": {"a": 1},
    }
    assert image_subjects(IMAGE, [])[0].name == "_"


@pytest.mark.parametrize("artifact", [True, False])
def test_the_manifest_of_attestations(artifact: bool, store: Store) -> None:
    """An OCI artifact about the image, or an image in form only; BuildKit writes both."""
    content = ContentStore(store)
    said = attach(content, IMAGE, [], [Predicate("urn:x", {})], artifact=artifact)
    assert said.platform == Platform("unknown", "unknown")
    assert said.annotations == {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": IMAGE.digest,
    }
    manifest = json.loads(content.read(said.digest))
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.in-toto+json"
    assert layer["annotations"] == {"in-toto.io/predicate-type": "urn:x"}
    config = content.read(manifest["config"]["digest"])
    if artifact:
        assert list(manifest) == [
            "schemaVersion", "mediaType", "artifactType", "config", "layers", "subject",
        ]  # fmt: skip
        assert manifest["artifactType"] == "application/vnd.docker.attestation.manifest.v1+json"
        assert manifest["subject"] == {
            "mediaType": OCI_MANIFEST, "digest": IMAGE.digest, "size": IMAGE.size,
        }  # fmt: skip
        assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
        assert (config, manifest["config"]["data"]) == (b"{}", "e30=")
    else:
        assert "artifactType" not in manifest and "subject" not in manifest
        assert json.loads(config)["rootfs"]["diff_ids"] == [layer["digest"]]


@pytest.mark.parametrize(
    ("package", "url"),
    [
        (
            Package("deb", "g++", "4:12.2", "debian", "amd64"),
            "pkg:deb/debian/g%2B%2B@4%3A12.2?arch=amd64",
        ),
        (Package("npm", "b", "2", "@a"), "pkg:npm/%40a/b@2"),
        (Package("pypi", "x", "1"), "pkg:pypi/x@1"),
    ],
)
def test_package_urls(package: Package, url: str) -> None:
    assert purl(package) == url


def test_an_sbom_is_whole_and_the_same_each_time() -> None:
    packages = (
        Package("apk", "musl", "1", "alpine", "x86_64", "MIT", "A B <a@b>", "musl-src"),
        Package("pypi", "odd", "2", licence="All rights reserved, and more\nof it"),
    )
    found = FoundPackages(packages, (), "Alpine 3")
    made = sbom(found, "app:1", "2020-01-01T00:00:00Z", "minibuild-0")
    assert made == sbom(found, "app:1", "2020-01-01T00:00:00Z", "minibuild-0")
    root, musl, odd = made.content["packages"]
    assert musl["supplier"] == "Person: A B (a@b)"
    assert musl["licenseDeclared"] == "MIT" and odd["licenseDeclared"] == "NOASSERTION"
    assert musl["externalRefs"][0]["referenceLocator"] == "pkg:apk/alpine/musl@1?arch=x86_64"
    contained = {
        r["relatedSpdxElement"]
        for r in made.content["relationships"]
        if r["spdxElementId"] == root["SPDXID"]
    }
    assert contained == {musl["SPDXID"], odd["SPDXID"]}
    assert made.content["SPDXID"] == "SPDXRef-DOCUMENT"


def _told(mode: str, *inputs: Vertex, **more: object) -> dict[str, object]:
    top = Vertex(File((Copy(0, ("/",), "/"),)), [RUN, *inputs])
    request = BuildRequest(
        build_args={"TOKEN": "hush"},
        target="app",
        attestations=Attestations(mode, builder_id="me"),  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )
    pins = {FILE.digest: "sha256:" + "22" * 32, REPO.digest: "33" * 20}
    build = BuildFacts(
        request, SourceText("Dockerfile", "FROM x\n"), DockerfileFrontend(), pins, "abc", 0.0, 60.0
    )
    said = provenance(build, Built(AMD64, top, ImageConfig(AMD64, {})))
    assert said.type == "https://slsa.dev/provenance/v1"
    return json.loads(json.dumps(said.content))  # type: ignore[no-any-return]


def test_what_came_from_elsewhere_is_pinned() -> None:
    told = _told("min", FILE, REPO)
    definition = told["buildDefinition"]
    assert definition["resolvedDependencies"] == [  # type: ignore[index]
        {
            "uri": "pkg:docker/busybox@1.36?platform=linux%2Famd64",
            "digest": {"sha256": "11" * 32},
        },
        {"uri": "https://example.org/f", "digest": {"sha256": "22" * 32}},
        {"uri": "https://example.org/r.git#v1", "digest": {"sha1": "33" * 20}},
    ]
    metadata = told["runDetails"]["metadata"]  # type: ignore[index]
    assert metadata["startedOn"] == "1970-01-01T00:00:00Z"
    assert metadata["finishedOn"] == "1970-01-01T00:01:00Z"
    assert metadata["buildkit_completeness"] == {"request": False, "resolvedDependencies": True}
    assert metadata["buildkit_hermetic"] is False


def test_min_tells_no_values_and_no_steps() -> None:
    text = json.dumps(_told("min", LOCAL))
    assert "hush" not in text and "make" not in text and "tok" not in text
    assert '"resolvedDependencies": false' in text  # a folder has no digest


@pytest.mark.parametrize("mode", ["min", "max"])
def test_no_credentials_of_addresses(mode: str) -> None:
    context = "https://topsecret@example.org/context.git"
    text = json.dumps(_told(mode, FILE, REPO, context=context))
    assert "topsecret" not in text and "https://example.org/context.git" in text


def test_max_tells_what_was_asked_and_done() -> None:
    told = _told("max", LOCAL)
    definition = told["buildDefinition"]
    request = definition["externalParameters"]["request"]  # type: ignore[index]
    assert request["args"] == {"build-arg:TOKEN": "hush", "target": "app"}
    assert request["secrets"] == [{"id": "need"}, {"id": "tok", "optional": True}]
    assert request["locals"] == [{"name": "context"}, {"name": "dockerfile"}]
    steps = definition["internalParameters"]["buildConfig"]["definition"]  # type: ignore[index]
    run = next(step for step in steps if step["name"] == "[2/3] RUN make")
    assert run["inputs"] == ["step0"] and run["op"]["args"] == ["/bin/sh", "-c", "make"]
    source = told["runDetails"]["metadata"]["buildkit_metadata"]["source"]  # type: ignore[index]
    assert base64.b64decode(source["infos"][0]["data"]) == b"FROM x\n"
    assert source["locations"][run["id"]]["locations"][0]["ranges"] == [
        {"start": {"line": 2}, "end": {"line": 3}}
    ]
