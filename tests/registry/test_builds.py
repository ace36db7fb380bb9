"""Whole builds between registries: what is fetched, and what never leaves its registry."""

import io
import json
import os
import signal
import tarfile
from collections.abc import Callable, Iterator, Mapping
from glob import glob
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from minibuild.digest import digest_bytes
from minibuild.oci.model import OCI_INDEX
from tests.conftest import Cli
from tests.support.faulty import Fault, Faulty
from tests.support.registry import Registry as Server
from tests.support.waiting import comes

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("docker-registry", "openssl", "mount", "busybox"),
]
Project = Callable[[Mapping[str, str]], str]


@pytest.fixture(scope="session")
def base(plain: Server, busybox_tar: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A userland in the registry, of two layers; as REGISTRY/base/busybox:1."""
    folder = tmp_path_factory.mktemp("base")
    cli = Cli(str(folder / "store"))
    cli("image", "import", busybox_tar, "busybox")
    (folder / "Dockerfile").write_text("FROM busybox\nCOPY Dockerfile /etc/base\n")
    name = f"{plain.address}/base/busybox:1"
    cli("build", "--push", "-t", name, str(folder))
    return name


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """`project({"Dockerfile": ...})` writes a build context and returns its path."""

    def write(files: Mapping[str, str]) -> str:
        folder = tmp_path / "context"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        return str(folder)

    return write


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    with Faulty() as running:
        yield running


def layers_of(server: Server, name: str) -> list[str]:
    """The digests of an image's layers, as the registry's own files have them."""
    repository, _, tag = name.partition("/")[2].rpartition(":")
    top = f"{server.folder}/data/docker/registry/v2"
    with open(f"{top}/repositories/{repository}/_manifests/tags/{tag}/current/link") as file:
        digest = file.read().partition(":")[2]
    with open(f"{top}/blobs/sha256/{digest[:2]}/{digest}/data") as file:
        return [layer["digest"] for layer in json.load(file)["layers"]]


def blobs_in(cli: Cli) -> set[str]:
    return {"sha256:" + name for name in os.listdir(f"{cli.root}/blobs/sha256")}


def test_a_base_that_is_only_extended_stays_in_its_registry(
    cli: Cli, plain: Server, base: str, project: Project
) -> None:
    context = project({"Dockerfile": f"FROM {base}\nCOPY --link a /a\n", "a": "a"})
    before = len(plain.requests())
    cli("build", "--push", "-t", f"{plain.address}/lazy/app:1", context)
    lines = plain.requests()[before:]
    below = layers_of(plain, base)
    assert layers_of(plain, f"{plain.address}/lazy/app:1")[:2] == below
    assert not [line for line in lines if line.startswith("GET") and any(b in line for b in below)]
    assert lines.count("POST /v2/lazy/app/blobs/uploads/ 201") == 2  # both layers: mounted
    assert not blobs_in(cli) & set(below)


def test_a_base_of_another_registry_goes_past_the_store(
    cli: Cli, plain: Server, base: str, project: Project, faulty: Faulty
) -> None:
    context = project({"Dockerfile": f"FROM {base}\nCOPY --link a /a\n", "a": "a"})
    cli("build", "--push", "-t", f"{faulty.address}/app:1", context)
    below = set(layers_of(plain, base))
    assert below <= set(faulty.blobs)
    assert not blobs_in(cli) & below


def test_layers_are_fetched_when_a_step_needs_them(
    cli: Cli, plain: Server, base: str, project: Project
) -> None:
    context = project(
        {
            "Dockerfile": f"FROM {base} AS unused\nRUN exit 1\n"
            f"FROM {base}\nCOPY a /a\nRUN cat /a /etc/base\n",
            "a": "a",
        }
    )
    before = len(plain.requests())
    cli("build", "-t", "app", context)
    lines = plain.requests()[before:]
    for layer in layers_of(plain, base):
        assert lines.count(f"GET /v2/base/busybox/blobs/{layer} 200") == 1
        assert layer in blobs_in(cli)
    before = len(plain.requests())
    cli("build", "-t", "app", context)
    asked = [line for line in plain.requests()[before:] if line != "GET /v2/ 200"]
    assert asked == ["HEAD /v2/base/busybox/manifests/1 200"]


def test_a_pinned_base_is_asked_for_once(
    cli: Cli, plain: Server, base: str, project: Project
) -> None:
    digest = cli("image", "pull", "-q", base).stdout.strip()
    cli("image", "rm", base)
    context = project({"Dockerfile": f"FROM {base}@{digest}\nRUN true\n"})
    before = len(plain.requests())
    cli("build", context)
    assert [line for line in plain.requests()[before:] if "base" in line] == []


def test_an_image_in_the_store_and_in_a_registry(
    cli: Cli, plain: Server, base: str, project: Project
) -> None:
    context = project({"Dockerfile": f"FROM {base}\nCOPY a /a\n", "a": "a"})
    names = f"{plain.address}/both/one:1,{plain.address}/both/two:1"
    cli("build", f'--output=type=image,push=true,"name={names}"', context)
    listed = cli("image", "ls", "-q").stdout.split()
    assert listed == names.split(",")
    assert layers_of(plain, listed[0]) == layers_of(plain, listed[1])
    assert set(layers_of(plain, listed[0])) <= blobs_in(cli)


def test_by_digest_no_tag_is_set(cli: Cli, plain: Server, base: str, project: Project) -> None:
    context = project({"Dockerfile": f"FROM {base}\nCOPY --link a /a\n", "a": "b"})
    name = f"{plain.address}/untagged/app"
    metadata = f"{context}.json"
    cli(
        "build", f"--output=type=registry,name={name},push-by-digest=true",
        f"--metadata-file={metadata}", context,
    )  # fmt: skip
    with open(metadata) as file:
        digest = json.load(file)["containerimage.digest"]
    cli("image", "pull", f"{name}@{digest}")
    assert "404" in cli("image", "pull", name, code=4).stderr


def test_push_pull_and_copy(cli: Cli, plain: Server, busybox_tar: str, faulty: Faulty) -> None:
    cli("image", "import", busybox_tar, "busybox")
    first, second = f"{plain.address}/tools/a:1", f"{plain.address}/tools/b:1"
    digest = cli("image", "push", "-q", "busybox", first).stdout.strip()
    before = len(plain.requests())
    cli("image", "copy", first, second, f"{faulty.address}/c:1")
    # Within the registry by mounts, to the other one by one request for each blob.
    lines = plain.requests()[before:]
    assert [line for line in lines if line.startswith("PATCH")] == []
    assert digest in faulty.manifests
    other = Cli(cli.root + "-other")
    said = other("image", "pull", second).stdout
    assert said == f"pulled {second}  {digest}\n"
    assert other("image", "ls", "-q").stdout.split() == [second]


def test_only_this_platform_unless_all_are_wanted(
    cli: Cli, plain: Server, project: Project
) -> None:
    context = project(
        {"Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY a /a-$TARGETARCH\n", "a": "a"}
    )
    name = f"{plain.address}/many/app:1"
    cli("build", "--platform=linux/amd64,linux/arm64", "--push", "-t", name, context)

    def platforms() -> list[str]:
        listed = json.loads(cli("image", "ls", "--format=json").stdout)
        return sorted(listed[0]["platforms"])

    cli("image", "pull", "--platform=linux/arm64", name)
    assert platforms() == ["linux/arm64"]
    cli("image", "pull", "--all-platforms", name)
    assert platforms() == ["linux/amd64", "linux/arm64"]


def test_an_image_without_an_index_is_taken_for_any_platform(
    cli: Cli, base: str, project: Project
) -> None:
    text = f"FROM --platform=darwin/arm64 {base} AS mac\nFROM scratch\nCOPY --from=mac /etc /\n"
    done = cli("build", "-t", "app", project({"Dockerfile": text}))
    assert 'was pulled with platform "linux/amd64", expected "darwin/arm64"' in done.stderr


def test_attestations_come_along(cli: Cli, plain: Server, project: Project) -> None:
    """A pull keeps what is said of the image that it takes, and of no other."""
    context = project({"Dockerfile": "FROM scratch\nCOPY a /a\n", "a": "a"})
    one, two = f"{plain.address}/said/one:1", f"{plain.address}/said/two:1"
    cli("build", "--provenance", "--sbom", "--push", "-t", one, context)
    both = "--platform=linux/amd64,linux/arm64"
    cli("build", "--provenance", both, "--push", "-t", two, context)
    other = Cli(cli.root + "-other")
    there = digest_of(one)
    assert other("image", "pull", "-q", one).stdout == f"{there}\n"  # the index as it is
    assert other("image", "attestations", one).stdout.count("https://") == 2
    other("image", "pull", "--platform=linux/arm64", two)
    listed = json.loads(other("image", "inspect", "--format=json", two).stdout)[0]
    assert [image["platform"] for image in listed["images"]] == ["linux/arm64"]
    assert [said["of"] for said in listed["attestations"]] == [listed["images"][0]["digest"]]
    other("image", "validate", one, two)
    other("image", "pull", "--all-platforms", two)
    assert other("image", "attestations", two).stdout.count("https://slsa.dev") == 2
    # What was taken of an index can be given on, and be built on.
    other("image", "copy", "--platform=linux/arm64", two, f"{plain.address}/said/three:1")
    other("image", "pull", "--platform=linux/arm64", f"{plain.address}/said/three:1")
    assert "slsa" in other("image", "attestations", f"{plain.address}/said/three:1").stdout
    other("image", "push", f"{plain.address}/said/three:1", f"{plain.address}/said/four:1")
    other("build", project({"Dockerfile": f"FROM {one}\nCOPY a /b\n", "a": "a"}))


def digest_of(name: str) -> str:
    address, _, path = name.partition("/")
    repository, _, tag = path.rpartition(":")
    url = f"http://{address}/v2/{repository}/manifests/{tag}"
    with urlopen(Request(url, headers={"Accept": OCI_INDEX})) as answer:
        return str(digest_bytes(answer.read()))


def test_the_session_at_the_top_of_the_page(cli: Cli, plain: Server, project: Project) -> None:
    """docs/attestations.md, line by line, with a registry that is there."""
    context = project({"Dockerfile": "FROM scratch\nCOPY a /a\n", "a": "a"})
    text = (Path(__file__).parents[2] / "docs/attestations.md").read_text()
    lines = [line.split() for line in text.partition("|")[0].splitlines() if line[:4] == "    "]
    assert len(lines) == 4
    for program, *words in lines:
        assert program == "minibuild"
        here = [word.replace("registry.example", f"{plain.address}/page") for word in words]
        said = cli(*(context if word == "." else word for word in here)).stdout
    assert json.loads(said)["predicateType"] == "https://spdx.dev/Document"


def test_one_sentence_and_the_exit_code_of_registries(
    cli: Cli, plain: Server, project: Project
) -> None:
    context = project({"Dockerfile": f"FROM {plain.address}/nothing/here\n"})
    for arguments in (("build", context), ("image", "pull", f"{plain.address}/nothing/here")):
        lines = cli(*arguments, code=4).stderr.splitlines()
        errors = [line for line in lines if line.startswith(("error", "hint"))]
        assert "has no nothing/here:latest (404" in errors[0]
        assert len(errors) == 2


def test_a_pull_that_was_killed_goes_on(cli: Cli, faulty: Faulty) -> None:
    layer = os.urandom(3_000_000)
    name = faulty.image("app", layer)
    blob = next(digest for digest, data in faulty.blobs.items() if data == layer)
    faulty.faults += [Fault(blob, "cut", at=1_000_000), Fault(blob, "hang")]
    process = cli.start("image", "pull", name)
    assert comes(lambda: f"GET /v2/app/blobs/{blob} bytes=1000000-" in faulty.asked)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    faulty.asked.clear()
    cli("image", "pull", name)
    asked = [line for line in faulty.asked if blob in line]
    assert asked == [f"GET /v2/app/blobs/{blob} bytes=1000000-"]


def test_a_wrong_layer_stops_the_build(cli: Cli, faulty: Faulty, project: Project) -> None:
    layer = os.urandom(5000)
    name = faulty.image("app", layer)
    blob = next(digest for digest, data in faulty.blobs.items() if data == layer)
    faulty.faults += [Fault(blob, "wrong")]
    context = project({"Dockerfile": f"FROM {name}\nRUN true\n"})
    cli("build", context, code=7)
    assert blob not in blobs_in(cli)
    assert not os.listdir(f"{cli.root}/partial")


def test_settings_and_logins_come_from_the_environment(
    cli: Cli, plain: Server, base: str, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[registries."docker.io"]\nmirrors = ["{plain.address}/base"]\n')
    # docker.io/busybox is library/busybox there, and the mirror has no such folder.
    cli("image", "copy", base, f"{plain.address}/base/library/busybox:1")
    cli("image", "pull", "busybox:1", env={"MINIBUILD_CONFIG": str(config)})
    config.write_text('[registries."docker.io"]\nmirror = "x"\n')
    lines = cli("image", "pull", "busybox:1", env={"MINIBUILD_CONFIG": str(config)}, code=2).stderr
    assert "unknown key 'mirror'" in lines


def test_a_layer_is_unpacked_while_it_arrives(cli: Cli, faulty: Faulty, project: Project) -> None:
    """The second half comes when a file of the first is there."""
    first, rest = io.BytesIO(b"early"), io.BytesIO(os.urandom(3_000_000))
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for name, data in (("early", first), ("late", rest)):
            member = tarfile.TarInfo(name)
            member.size = len(data.getvalue())
            archive.addfile(member, data)
    name = faulty.image("app", layer.getvalue())
    seen: list[str] = []

    def look() -> None:
        assert comes(lambda: glob(f"{cli.root}/snapshots/**/early", recursive=True))
        seen.append("early")

    faulty.halfway = look
    context = project(
        {"Dockerfile": f"FROM {name} AS base\nFROM scratch\nCOPY --from=base /late /\n"}
    )
    cli("build", context)
    assert seen == ["early"]


def test_from_python(cli: Cli, plain: Server, base: str, project: Project) -> None:
    import minibuild

    context = project({"Dockerfile": f"FROM {base}\nCOPY --link a /a\n", "a": "python"})
    name = f"{plain.address}/python/app:1"
    result = minibuild.build(
        context,
        tags=[name],
        root=cli.root,
        outputs=(minibuild.Output("registry"),),
        registries=minibuild.RegistryAccess(),
    )
    assert cli("image", "pull", "-q", name).stdout.strip() == result.digest


def test_prune_removes_what_was_never_finished(cli: Cli, faulty: Faulty) -> None:
    layer = os.urandom(100_000)
    name = faulty.image("app", layer)
    blob = next(digest for digest, data in faulty.blobs.items() if data == layer)
    faulty.faults += [Fault(blob, "cut", at=50_000), Fault(blob, 403)]
    assert "denies access" in cli("image", "pull", name, code=4).stderr
    assert os.listdir(f"{cli.root}/partial")
    cli("prune", "--all", "--force")
    assert not os.listdir(f"{cli.root}/partial")
