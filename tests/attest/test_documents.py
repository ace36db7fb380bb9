"""Statements, SPDX documents and provenance have the members that their readers look for."""

import base64
import json
import sys
from typing import Any

import pytest
from minibuild_dockerfile import DockerfileFrontend

from minibuild.attest.materials import materials
from minibuild.attest.packages import FoundPackages, Package
from minibuild.attest.provenance import BuildFacts, local_definition, provenance
from minibuild.attest.sbom import purl, sbom
from minibuild.attest.statement import (
    Predicate,
    as_json,
    attach,
    image_subjects,
    package_url,
    statement,
)
from minibuild.attest.steps import Texts
from minibuild.cache.results import DiffKey, VertexResult
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
from minibuild.session.request import Attestations, BuildRequest, FrontendCall
from minibuild.store.layout import Store

AMD64 = Platform("linux", "amd64")
SHA = "ab" * 32
IMAGE = Descriptor(OCI_MANIFEST, Digest("sha256:" + SHA), 7, {}, AMD64)

BASE = Vertex(ImageSource("docker.io/library/busybox:1.36", Digest("sha256:" + "11" * 32), AMD64))
INDEX = Digest("sha256:" + "44" * 32)
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
    "value",
    [
        {},
        {"a": {}, "b": [], "c": [1, -2.5, None, True, "x"]},
        {'é\n"\\\x7f': [[{"d": ()}], ("e",)]},
    ],
)
def test_documents_are_indented_as_python_does_it(value: dict[str, Any]) -> None:
    assert as_json(value).decode() == json.dumps(value, indent=2, ensure_ascii=False)


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


def _told(
    mode: str,
    *inputs: Vertex,
    context: Vertex | None = None,
    calls: tuple[FrontendCall, ...] = (),
    version: str = "v1",
    **more: object,
) -> dict[str, Any]:
    top = Vertex(File((Copy(0, ("/",), "/"),)), [RUN, *inputs])
    request = BuildRequest(
        build_args={"TOKEN": "hush"},
        target="app",
        attestations=Attestations(
            mode,  # type: ignore[arg-type]
            builder_id="me",
            version=version,  # type: ignore[arg-type]
            calls=calls,
            environment={"site": "b"},
        ),
        **more,  # type: ignore[arg-type]
    )
    pins = {FILE: "sha256:" + "22" * 32, REPO: "33" * 20}
    done = {v.digest: VertexResult((), None, resolved_digest=pin) for v, pin in pins.items()}
    base, run, other = DiffKey(1), DiffKey(2), DiffKey(3)
    done[BASE.digest] = VertexResult((base,), None)
    done[RUN.digest] = VertexResult((base, run), None)
    done[top.digest] = VertexResult((base, other), None)
    texts = Texts((SourceText("Dockerfile", "FROM x\n"),), "Dockerfile", local_definition())
    frontend = DockerfileFrontend()
    build = BuildFacts(request, texts, context, frontend, done, "abc", 0.0, 60.5, lambda op: INDEX)
    layers = {base: IMAGE, run: IMAGE}
    said = provenance(build, Built(AMD64, top, ImageConfig(AMD64, {})), 0, layers)
    assert said.type == f"https://slsa.dev/provenance/{request.attestations.version}"
    return json.loads(json.dumps(said.content))


def test_what_came_from_elsewhere_is_pinned() -> None:
    told = _told("min", FILE, REPO)
    definition = told["buildDefinition"]
    assert definition["resolvedDependencies"] == [
        {
            "uri": "pkg:docker/busybox@1.36?platform=linux%2Famd64",
            "digest": {"sha256": "44" * 32},  # of the index
        },
        {"uri": "https://xxxxx@example.org/r.git#v1", "digest": {"sha1": "33" * 20}},
        {"uri": "https://xxxxx:xxxxx@example.org/f", "digest": {"sha256": "22" * 32}},
    ]
    metadata = told["runDetails"]["metadata"]
    assert metadata["startedOn"] == "1970-01-01T00:00:00Z"
    assert metadata["finishedOn"] == "1970-01-01T00:01:00.5Z"
    # The Dockerfile itself is a file of the client.
    assert metadata["buildkit_completeness"] == {"request": False, "resolvedDependencies": False}
    assert metadata["buildkit_hermetic"] is False


def test_min_tells_no_values_and_no_steps() -> None:
    text = json.dumps(_told("min", LOCAL))
    assert "hush" not in text and "make" not in text and "tok" not in text
    assert '"resolvedDependencies": false' in text  # a folder has no digest


@pytest.mark.parametrize("mode", ["min", "max"])
def test_no_credentials_of_addresses(mode: str) -> None:
    address = "https://topsecret@example.org/r.git#v1:src"
    attributes = {"context": address, "context:other": address, "vcs:source": address}
    call = FrontendCall("dockerfile.v0", attributes)
    told = _told(mode, FILE, REPO, calls=(call._replace(root=call, inputs={"x": call}),))
    assert "topsecret" not in json.dumps(told)
    external = told["buildDefinition"]["externalParameters"]
    masked = "https://xxxxx@example.org/r.git#v1:src"
    assert external["configSource"] == {"uri": masked, "digest": {"sha1": "33" * 20}}
    assert external["request"]["args"] == {"context:other": masked}
    metadata = told["runDetails"]["metadata"]["buildkit_metadata"]
    assert metadata["vcs"] == {"source": masked}


@pytest.mark.parametrize("protobuf", [True, False])
def test_max_tells_what_was_asked_and_done(protobuf: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps are LLB; without protobuf they are those of our own graph."""
    if not protobuf:
        monkeypatch.setitem(sys.modules, "google.protobuf", None)
    told = _told("max", LOCAL, context=LOCAL)
    definition = told["buildDefinition"]
    request = definition["externalParameters"]["request"]
    assert request["args"] == {"build-arg:TOKEN": "hush", "target": "app"}
    assert request["secrets"] == [{"id": "need"}, {"id": "tok", "optional": True}]
    assert request["locals"] == [{"name": "context"}, {"name": "dockerfile"}]
    config = definition["internalParameters"]["buildConfig"]
    metadata = told["runDetails"]["metadata"]["buildkit_metadata"]
    if protobuf:
        run = next(step for step in config["llbDefinition"] if "exec" in step["op"].get("Op", {}))
        assert run["inputs"] == ["step0:0"]
        assert run["op"]["Op"]["exec"]["meta"]["args"] == ["/bin/sh", "-c", "make"]
        (info,) = metadata["source"]["infos"]
        source = info["llbDefinition"][0]["op"]["Op"]["source"]
        assert source["identifier"] == "local://dockerfile"
        assert sorted(config["digestMapping"].values()) == [
            "step0",
            "step1",
            "step2",
            "step3",
            "step4",
        ]
        lines = [{"start": {"line": n}, "end": {"line": n}} for n in (2, 3)]
    else:
        run = next(step for step in config["definition"] if step["name"] == "[2/3] RUN make")
        assert run["inputs"] == ["step0"] and run["op"]["args"] == ["/bin/sh", "-c", "make"]
        lines = [{"start": {"line": 2}, "end": {"line": 3}}]
    source = metadata["source"]
    assert base64.b64decode(source["infos"][0]["data"]) == b"FROM x\n"
    assert source["locations"][run["id"]]["locations"] == [{"ranges": lines}]
    # What a step left is known by layers only if the image has them all.
    chains = {step: [len(chain) for chain in known] for step, known in metadata["layers"].items()}
    assert chains == {"step0:0": [1], f"{run['id']}:0": [2]}


def test_version_02_has_the_same_under_other_names() -> None:
    new, old = _told("max", FILE), _told("max", FILE, version="v0.2")
    definition, details = new["buildDefinition"], new["runDetails"]
    assert old["buildType"] == "https://mobyproject.org/buildkit@v1"
    assert old["materials"] == definition["resolvedDependencies"]
    assert old["invocation"]["parameters"] == definition["externalParameters"]["request"]
    assert old["invocation"]["configSource"] == {"entryPoint": "Dockerfile"}
    assert old["invocation"]["environment"]["site"] == "b"
    assert old["invocation"]["environment"]["platform"]
    assert old["buildConfig"] == definition["internalParameters"]["buildConfig"]
    assert old["builder"] == details["builder"] == {"id": "me"}
    metadata = old["metadata"]
    assert metadata["buildInvocationID"] == details["metadata"]["invocationId"] == "abc"
    assert metadata["completeness"]["environment"] is True
    assert metadata["https://mobyproject.org/buildkit@v1#metadata"]["layers"]


def test_calls_tell_values_only_where_all_is_asked_for() -> None:
    """Also those of calls that led to this one."""
    secret = {"build-arg:A": "hush", "label:b": "hush", "target": "t", "platform": "p"}
    before = FrontendCall("dockerfile.v0", secret)
    call = before._replace(inputs={"i": before}, root=before._replace(frontend=""))
    everything = _told("max", calls=(call,))
    requests = _requests(everything)
    assert [r["args"] for r in requests] == [
        {"build-arg:A": "hush", "label:b": "hush", "target": "t"}
    ] * 3
    least = _told("min", calls=(call,))
    assert [r["args"] for r in _requests(least)] == [{"target": "t"}] * 3
    complete = [t["runDetails"]["metadata"]["buildkit_completeness"] for t in (everything, least)]
    assert [one["request"] for one in complete] == [True, False]


def _requests(told: dict[str, Any]) -> list[dict[str, Any]]:
    top = told["buildDefinition"]["externalParameters"]["request"]
    return [top, top["inputs"]["i"]["request"], top["root"]["request"]]


def test_an_image_of_a_layout_has_the_name_of_its_context() -> None:
    base = Vertex(ImageSource("oci-layout:///dir:1", Digest(f"sha256:{SHA}"), AMD64))
    found = materials([base], {}, {"base": "oci-layout:///dir:1"})
    uri = f"pkg:oci/base?digest=sha256%3A{SHA}&platform=linux%2Famd64"
    assert found.images == [{"uri": uri, "digest": {"sha256": SHA}}]


def test_what_a_linked_build_took_is_taken() -> None:
    """Its image is no material, as it is nowhere else."""
    address = "oci-layout:///input:latest"
    linked = {address: (_told("max", FILE, REPO, LOCAL),)}
    image = Vertex(ImageSource(address, Digest(f"sha256:{SHA}"), AMD64))
    found = materials([image, BASE], {}, {"a": address}, linked)
    assert [one["uri"] for one in found.images] == [
        "pkg:docker/busybox@1.36?platform=linux%2Famd64"
    ]
    assert [one["uri"].rpartition("/")[2] for one in found.web] == ["r.git#v1", "f"]
    assert found.locals == ["context", "dockerfile"]
    assert found.secrets == {"need": True, "tok": False}
