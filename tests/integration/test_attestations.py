"""Attestations hang beside their image, everybody finds the image, and secrets stay secret."""

import hashlib
import json
import os
import stat
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Builds
from tests.support.images import blob

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]
Project = Callable[[Mapping[str, str]], str]

STATUS = "Package: hello\nStatus: install ok installed\nVersion: 2.10-3\nArchitecture: all\n"
FILES = {
    "Dockerfile": (
        "FROM busybox\nARG V=1\n"
        "RUN --mount=type=secret,id=tok,env=TOK echo ${#TOK} $V > /v\n"
        "COPY status /var/lib/dpkg/status\n"
    ),
    "status": STATUS,
}


def top_of(layout: str) -> str:
    with open(f"{layout}/index.json", encoding="utf-8") as file:
        return json.load(file)["manifests"][0]["digest"]


def index_of(layout: str) -> dict[str, Any]:
    return json.loads(blob(layout, top_of(layout)))


def said_in(layout: str, entry: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The statements of an attestation manifest, by the type of what is said."""
    manifest = json.loads(blob(layout, entry["digest"]))
    found = {}
    for layer in manifest["layers"]:
        statement = json.loads(blob(layout, layer["digest"]))
        assert layer["annotations"]["in-toto.io/predicate-type"] == statement["predicateType"]
        found[statement["predicateType"]] = statement
    return found


@pytest.fixture
def layout(builds: Builds, project: Project, tmp_path: Path) -> str:
    """An image with all that can be said of it, in the store and as a layout."""
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t-value")
    out = str(tmp_path / "out")
    builds.cli(
        *("build", "-t", "app:1", "--provenance=mode=max", "--sbom", "--build-arg=V=2"),
        *(f"--secret=id=tok,src={secret}", "-o", "type=image"),
        *("-o", f"type=oci,tar=false,dest={out}", project(FILES)),
    )
    return out


def test_beside_the_image(layout: str) -> None:
    image, attestation = index_of(layout)["manifests"]
    assert image["platform"]["os"] == "linux"
    assert attestation["platform"] == {"architecture": "unknown", "os": "unknown"}
    assert attestation["annotations"] == {
        "vnd.docker.reference.digest": image["digest"],
        "vnd.docker.reference.type": "attestation-manifest",
    }
    said = said_in(layout, attestation)
    for statement in said.values():
        assert statement["subject"][0]["digest"] == {"sha256": image["digest"][7:]}
    packages = said["https://spdx.dev/Document"]["predicate"]["packages"]
    assert [p["name"] for p in packages][1:] == ["hello"]
    definition = said["https://slsa.dev/provenance/v1"]["predicate"]["buildDefinition"]
    (base,) = definition["resolvedDependencies"]
    assert (
        base["uri"].startswith("pkg:docker/busybox@latest") and len(base["digest"]["sha256"]) == 64
    )
    request = definition["externalParameters"]["request"]
    assert request["args"] == {"build-arg:V": "2"}
    assert request["secrets"] == [{"id": "tok", "optional": True}]
    for folder, _, names in os.walk(layout):
        for name in names:
            assert b"s3cr3t" not in Path(folder, name).read_bytes()


def test_the_image_is_found_as_ever(
    layout: str, builds: Builds, project: Project, tmp_path: Path
) -> None:
    cli, metadata = builds.cli, tmp_path / "metadata"
    assert cli("run", "app:1", "cat", "/v").stdout == "12 2\n"
    assert "unknown" not in cli("image", "ls").stdout
    assert "is sound" in cli("image", "validate", "app:1").stdout
    assert "https://slsa.dev/provenance/v1" in cli("image", "inspect", "app:1").stdout
    files = {"Dockerfile": "FROM app:1\nRUN cat /v > /w\n"}
    on_top = builds.image(project(files))
    assert on_top.text("w") == "12 2\n"
    flags = ("--provenance", f"--metadata-file={metadata}", "-o", "type=cacheonly")
    cli("build", *flags, project(files))
    said = json.loads(metadata.read_bytes())["buildx.build.provenance"]["buildDefinition"]
    (base,) = said["resolvedDependencies"]
    assert f"sha256:{base['digest']['sha256']}" == top_of(layout), "the digest that the name has"
    cli("prune", "--all", "--force")
    assert "is sound" in cli("image", "validate", "app:1").stdout
    table = cli("image", "attestations", "app:1").stdout
    assert "https://spdx.dev/Document" in table and "provenance" in table
    shown = json.loads(cli("image", "attestations", "app:1", "--type=sbom").stdout)
    assert shown["predicateType"] == "https://spdx.dev/Document"
    assert "nothing is said" in cli("image", "attestations", "busybox", code=7).stderr


@pytest.mark.needs("skopeo")
def test_another_tool_finds_the_image_too(layout: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["skopeo", "inspect", "--config", f"oci:{layout}"], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["os"] == "linux"


def read_statement(text: str | bytes) -> dict[str, str]:
    """The subjects of a statement, by name, with their digests."""
    value = json.loads(text)
    assert value["_type"] == "https://in-toto.io/Statement/v1"
    return {subject["name"]: subject["digest"]["sha256"] for subject in value["subject"]}


@pytest.mark.parametrize("kind", ["local", "tar"])
@pytest.mark.parametrize(
    ("flags", "attributes", "names"),
    [
        (("--provenance",), "", ["provenance.json"]),
        (("--provenance=mode=max", "--sbom"), "", ["provenance.json", "sbom.spdx.json"]),
        (("--provenance", "--sbom"), ",attestation-prefix=x.",
         ["x.provenance.json", "x.sbom.spdx.json"]),
        (("--provenance=mode=min,filename=p.json",), "", ["p.json"]),
        (("--provenance=mode=min,inline-only=true",), "", []),
        (("--provenance",), ",platform-split=true", ["linux_amd64/provenance.json"]),
        (("--provenance", "--platform=linux/amd64,linux/arm64"), "",
         ["linux_amd64/provenance.json", "linux_arm64/provenance.json"]),
        (("--provenance", "--platform=linux/amd64,linux/arm64"), ",platform-split=false",
         ["provenance.linux_amd64.json", "provenance.linux_arm64.json"]),
    ],
)  # fmt: skip
def test_files_get_their_attestations_as_files(
    kind: str,
    flags: tuple[str, ...],
    attributes: str,
    names: list[str],
    builds: Builds,
    project: Project,
    tmp_path: Path,
) -> None:
    """As BuildKit names them: about each file of the output, by its name and digest."""
    out = tmp_path / "out"
    dest = f"type={kind},dest={out}{attributes}"
    text = "FROM scratch\nARG TARGETARCH\nCOPY a /dir/a-$TARGETARCH\n"
    context = project({"Dockerfile": text, "a": "abc"})
    builds.cli("build", "--build-arg=SOURCE_DATE_EPOCH=5", *flags, "-o", dest, context)
    if kind == "tar":
        (tmp_path / "tree").mkdir()
        subprocess.run(["tar", "-xpf", out, "-C", tmp_path / "tree"], check=True)
        out = tmp_path / "tree"
    found = sorted(str(p.relative_to(out)) for p in out.rglob("*.json"))
    assert found == names
    for name in names:
        subjects = read_statement((out / name).read_bytes())
        arch = "arm64" if "arm64" in name else "amd64"
        assert subjects == {f"dir/a-{arch}": hashlib.sha256(b"abc").hexdigest()}
        status = (out / name).stat()
        assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o600, 5)


def test_an_attestation_takes_the_place_of_a_file_and_follows_no_link(
    builds: Builds, project: Project, tmp_path: Path
) -> None:
    """Whatever the result or the destination has under that name."""
    out, victim = tmp_path / "out", tmp_path / "victim"
    victim.write_text("untouched")
    out.mkdir()
    (out / "sbom.spdx.json").symlink_to(victim)
    context = Path(project({"Dockerfile": "FROM scratch\nCOPY in /\n"}))
    (context / "in").mkdir()
    (context / "in/provenance.json").symlink_to(victim)
    flags = ("--provenance", "--sbom", "-o", f"type=local,dest={out}")
    builds.cli("build", *flags, str(context))
    assert victim.read_text() == "untouched"
    for name in ("provenance.json", "sbom.spdx.json"):
        assert not (out / name).is_symlink()
        assert read_statement((out / name).read_text()) == {}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--provenance=mode=min,filename=../x",), "is no name of a file"),
        (("--provenance", "-o", "type=local,dest=x,attestation-prefix=a/"), "has a slash"),
        (("--provenance=capture-usage=true",), "is not measured"),
        (("--provenance=complete-materials=true",), "no digest pins context, dockerfile"),
    ],
)
def test_slips(words: tuple[str, ...], says: str, builds: Builds, project: Project) -> None:
    files = {"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}
    done = builds.cli("build", *words, project(files), code=2)
    assert says in done.stderr


@pytest.mark.parametrize(
    ("asked", "output", "attached"),
    [
        ("inline-only=true", "type=oci", False),
        ("inline-only=true", "type=oci,attestation-inline=true", True),
        ("inline-only=false", "type=oci", True),
    ],
)
def test_an_archive_gets_what_is_not_for_registries_alone(
    asked: str, output: str, attached: bool, builds: Builds, project: Project, tmp_path: Path
) -> None:
    flags = (f"--provenance=mode=min,{asked}", "-o", f"{output},dest={tmp_path}/out,tar=false")
    builds.cli("build", *flags, project(FILES))
    (top,) = json.loads((tmp_path / "out/index.json").read_bytes())["manifests"]
    assert top["mediaType"].endswith(".index.v1+json") == attached


def test_where_there_is_no_place_there_are_none(
    builds: Builds, project: Project, tmp_path: Path
) -> None:
    done = builds.cli("build", "--sbom", "-o", f"type=docker,dest={tmp_path}/out", project(FILES))
    assert "no attestations: type=docker has no place" in done.stderr
    flags = ("--provenance=inline-only=true", "-o", f"type=docker,dest={tmp_path}/out")
    assert "no attestations" not in builds.cli("build", *flags, project(FILES)).stderr
    # Scripts that were written for buildx switch off what it does unasked.
    assert len(builds.image(project(FILES), "--provenance=false", "--sbom=false").layers) == 3


SCANNER = """FROM busybox
COPY <<"X" /scan
set -e
if touch "$BUILDKIT_SCAN_SOURCE/new"; then exit 9; fi
cat > $BUILDKIT_SCAN_DESTINATION/sbom.spdx.json <<Y
{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://spdx.dev/Document",
 "predicate": {"name": "$BUILDKIT_SCAN_NAME $(cat $BUILDKIT_SCAN_SOURCE/a)",
  "files": [{"fileName": "a"}, {"fileName": "/gone"}, {"fileName": "b", "comment": "kept"}]}}
Y
for tree in ${BUILDKIT_SCAN_SOURCE_EXTRAS:-/none}/*; do
  test -d $tree || continue
  cat > $BUILDKIT_SCAN_DESTINATION/${tree##*/}.spdx.json <<Y
{"predicateType": "https://spdx.dev/Document", "predicate": "$(echo $(ls $tree))"}
Y
done
X
ENTRYPOINT ["sh"]
CMD ["/scan"]
"""


def test_an_image_scans(builds: Builds, project: Project, tmp_path: Path) -> None:
    """It sees the result and what else is asked for, and what it writes is said of the image; with
    the layers of the files, if it lists files."""
    builds.cli("build", "-t", "scanner", project({"Dockerfile": SCANNER}))
    files = {
        "Dockerfile": (
            "ARG BUILDKIT_SBOM_SCAN_CONTEXT=true\n"
            "FROM scratch AS first\nARG BUILDKIT_SBOM_SCAN_STAGE=first\nCOPY b /\n"
            "FROM scratch AS unused\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN false\n"
            "FROM scratch\nCOPY --from=first b /b\nCOPY a /\n"
        ),
        "a": "A",
        "b": "B",
    }
    out, context = tmp_path / "out", project(files)
    flags = ("--sbom=generator=scanner,name=x", "-o", f"type=local,dest={tmp_path}/files")
    builds.cli("build", *flags, "-o", f"type=oci,tar=false,dest={out}", context)
    image, attestation = index_of(str(out))["manifests"]
    manifest = json.loads(blob(str(out), attestation["digest"]))
    core, *extras = [json.loads(blob(str(out), la["digest"])) for la in manifest["layers"]]
    assert core["subject"][0]["digest"] == {"sha256": image["digest"][7:]}
    assert core["predicate"]["name"] == "x A"
    layers = [la["digest"] for la in json.loads(blob(str(out), image["digest"]))["layers"]]
    assert [file.get("comment", "") for file in core["predicate"]["files"]] == [
        f"layerID: {layers[1]}", "", "kept",
    ]  # fmt: skip
    assert [extra["predicate"].split() for extra in extras] == [["Dockerfile", "a", "b"], ["b"]]
    found = sorted(path.name for path in (tmp_path / "files").glob("*.json"))
    assert found == ["sbom-context.spdx.json", "sbom-first.spdx.json", "sbom.spdx.json"]
    subjects = read_statement((tmp_path / "files/sbom.spdx.json").read_text())
    assert subjects == {name: hashlib.sha256(name.upper().encode()).hexdigest() for name in "ab"}


def test_a_scanner_has_to_say_what_to_run(builds: Builds, project: Project) -> None:
    nothing = project({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
    builds.cli("build", "-t", "nothing", nothing)
    done = builds.cli("build", "--sbom=generator=nothing", nothing, code=2)
    assert "the scanner nothing does not say what to run" in done.stderr
