"""Each output and each of its attributes, by its effect on what is written."""

import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli
from tests.support.images import blob, read_image

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]
Project = Callable[[Mapping[str, str]], str]
EPOCH = 1_000_000_000


@pytest.fixture
def context(project: Project) -> str:
    """Two layers of text that compresses well."""
    text = "".join(f"line {number}\n" for number in range(20_000))
    folder = project({"Dockerfile": "FROM scratch\nCOPY a /a\nCOPY b /d/b\n", "a": text, "b": "b"})
    Path(folder, "b").chmod(0o640)
    return folder


class Layout:
    """The one image of a layout, with its documents."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = str(folder)
        self.index = json.loads(Path(folder, "index.json").read_text())
        self.descriptor = self.index["manifests"][0]
        self.manifest = json.loads(blob(self.folder, self.descriptor["digest"]))

    def layer(self, number: int) -> bytes:
        return blob(self.folder, self.manifest["layers"][number]["digest"])

    @property
    def layer_types(self) -> set[str]:
        return {layer["mediaType"].rpartition("layer.v1.")[2] for layer in self.manifest["layers"]}


@pytest.fixture
def build(cli: Cli, context: str, tmp_path: Path) -> Callable[..., Layout]:
    """Build to a layout with these attributes and flags."""
    count = 0

    def call(attributes: str = "", *flags: str, kind: str = "oci", **env: str) -> Layout:
        nonlocal count
        count += 1
        dest = tmp_path / f"layout{count}"
        output = f"type={kind},tar=false,dest={dest}{attributes and ',' + attributes}"
        cli("build", "-q", "-o", output, *flags, context, env=env)
        return Layout(dest)

    return call


Build = Callable[..., Layout]


def test_several_outputs_of_one_build(cli: Cli, context: str, tmp_path: Path) -> None:
    out = {name: str(tmp_path / name) for name in ("oci", "docker", "local", "layout")}
    done = cli(
        *("build", "-q", "-t", "app:1", context, "-o", "type=image", "-o", out["local"]),
        *("-o", f"type=oci,dest={out['oci']}", "-o", f"type=docker,dest={out['docker']}"),
        *("-o", f"type=oci,tar=false,dest={out['layout']}", "-o", "type=cacheonly"),
    )
    assert Path(out["local"], "d/b").read_text() == "b"
    with tarfile.open(out["oci"]) as oci, tarfile.open(out["docker"]) as docker:
        assert set(docker.getnames()) - set(oci.getnames()) == {"manifest.json"}
        (entry,) = json.load(docker.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert entry["RepoTags"] == ["app:1"]
    assert entry["Config"].rpartition("/")[2] in done.stdout
    assert cli("image", "ls", "-q").stdout == "app:1\n"
    assert read_image(out["layout"], "1").text("d/b") == "b"


@pytest.mark.parametrize("kind", ["oci", "docker", "tar"])
def test_an_archive_on_standard_output(cli: Cli, context: str, tmp_path: Path, kind: str) -> None:
    """It is the file that would have been written."""
    command = [cli.program, "build", "-q", "-o", f"type={kind},dest=-", context]
    written = subprocess.run(command, env=cli.environment, capture_output=True, check=True).stdout
    cli("build", "-q", "-o", f"type={kind},dest={tmp_path / 'file'}", context)
    assert written == (tmp_path / "file").read_bytes()
    done = cli("build", *["-o", f"type={kind},dest=-"] * 2, context, code=2)
    assert "standard output can take one output" in done.stderr


def test_names(build: Build, cli: Cli) -> None:
    """Those of the output and those of --tag. A layout without any has a `latest`."""
    (unnamed,) = build().index["manifests"]
    assert unnamed["annotations"] == {"org.opencontainers.image.ref.name": "latest"}
    made = build('"name=a:1,example.com/b:2"', "-t", "c:3")
    names = [m["annotations"]["io.containerd.image.name"] for m in made.index["manifests"]]
    assert names == ["docker.io/library/c:3", "docker.io/library/a:1", "example.com/b:2"]
    assert len({m["digest"] for m in made.index["manifests"]}) == 1


@pytest.mark.parametrize(
    ("attributes", "types", "start"),
    [
        ("", {"tar+gzip"}, b"\x1f\x8b"),
        ("compression=gzip", {"tar+gzip"}, b"\x1f\x8b"),
        ("compression=zstd", {"tar+zstd"}, b"\x28\xb5\x2f\xfd"),
        ("compression=uncompressed", {"tar"}, b""),
    ],
)
def test_compression(build: Build, attributes: str, types: set[str], start: bytes) -> None:
    made = build(attributes)
    assert made.layer_types == types
    assert made.layer(0).startswith(start)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compression_level(build: Build, compression: str) -> None:
    """Another level makes another blob of the same layer."""
    digests, diff_ids = set(), set()
    for level in (1, 9):
        made = build(f"compression={compression},compression-level={level},force-compression=true")
        digests.add(made.manifest["layers"][0]["digest"])
        config = json.loads(blob(made.folder, made.manifest["config"]["digest"]))
        diff_ids.add(tuple(config["rootfs"]["diff_ids"]))
    assert (len(digests), len(diff_ids)) == (2, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        "compression=lzma",
        "compression-level=10",
        "tar=perhaps",
    ],
)
def test_a_wrong_attribute_is_wrong_use(cli: Cli, context: str, tmp_path: Path, wrong: str) -> None:
    done = cli("build", "-q", "-o", f"type=oci,dest={tmp_path}/x,{wrong}", context, code=2)
    assert wrong.partition("=")[0] in done.stderr
    assert not (tmp_path / "x").exists()


def test_force_compression_is_about_the_base(build: Build, cli: Cli, project: Project) -> None:
    """Its layers stay as they came, unless they are to be converted too."""
    below = project({"Dockerfile": "FROM scratch\nCOPY Dockerfile /base\n"})
    cli("build", "-q", "-t", "below", below)
    above = project({"Dockerfile": "FROM below\nCOPY Dockerfile /above\n"})

    def types(attributes: str) -> list[str]:
        dest = Path(above).parent / f"forced{len(attributes)}"
        cli("build", "-q", "-o", f"type=oci,tar=false,dest={dest},{attributes}", above)
        return [x["mediaType"].rpartition("+")[2] for x in Layout(dest).manifest["layers"]]

    assert types("compression=zstd") == ["gzip", "zstd"]
    assert types("compression=zstd,force-compression=true") == ["zstd", "zstd"]
    assert types("force-compression=true") == ["gzip", "gzip"]


def test_media_types_of_docker(build: Build) -> None:
    made = build("oci-mediatypes=false")
    types = [part["mediaType"] for part in (made.manifest["config"], *made.manifest["layers"])]
    assert made.manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert all(kind.startswith("application/vnd.docker.") for kind in types)
    assert build("oci-mediatypes=true").manifest["mediaType"].startswith("application/vnd.oci.")


def times(data: bytes) -> set[int]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as archive:
        return {int(member.mtime) for member in archive}


def test_rewrite_timestamp(build: Build, context: str) -> None:
    """Later times become the epoch, earlier ones stay; without it, all stay."""
    os.utime(Path(context, "b"), (EPOCH - 5, EPOCH - 5))
    epoch = {"SOURCE_DATE_EPOCH": str(EPOCH)}
    kept, clamped = build("", **epoch), build("rewrite-timestamp=true", **epoch)
    assert times(kept.layer(0)) != {EPOCH} == times(clamped.layer(0))
    assert times(clamped.layer(1)) == {EPOCH, EPOCH - 5}
    own = build(f"rewrite-timestamp=true,source-date-epoch={EPOCH - 7}")
    assert times(own.layer(1)) == {EPOCH - 7}
    config = json.loads(blob(own.folder, own.manifest["config"]["digest"]))
    assert config["created"] == "2001-09-09T01:46:33Z"
    assert {entry["created"] for entry in config["history"]} == {"2001-09-09T01:46:33Z"}


def test_rewrite_timestamp_leaves_the_base_alone(cli: Cli, project: Project) -> None:
    """Its layers are other people's; those of a link and with whiteouts are ours."""
    cli("build", "-q", "-t", "below", project({"Dockerfile": "FROM scratch\nCOPY * /\n", "x": ""}))
    above = project({"Dockerfile": "FROM below\nCOPY x /x\nCOPY --link x /y\n", "x": "2"})

    def layout(attributes: str) -> Layout:
        dest = Path(above).parent / f"out{len(attributes)}"
        env = {"SOURCE_DATE_EPOCH": str(EPOCH)}
        cli("build", "-q", "-o", f"type=oci,tar=false,dest={dest}{attributes}", above, env=env)
        return Layout(dest)

    kept, clamped = layout(""), layout(",rewrite-timestamp=true")
    assert clamped.layer(0) == kept.layer(0) and times(clamped.layer(0)) != {EPOCH}
    assert times(clamped.layer(1)) == times(clamped.layer(2)) == {EPOCH}
    # BuildKit says of each layer that it rewrote, when; Docker's types have no place for that.
    mark = {"buildkit/rewritten-timestamp": str(EPOCH)}
    assert marks(clamped) == [{}, mark, mark]
    assert marks(layout(",rewrite-timestamp=true,source-date-epoch=7"))[1] == {
        "buildkit/rewritten-timestamp": "7"
    }
    assert marks(kept) == marks(layout(",rewrite-timestamp=true,oci-mediatypes=false")) == [{}] * 3


def marks(layout: Layout) -> list[dict[str, str]]:
    """The annotations of the layers."""
    return [layer.get("annotations", {}) for layer in layout.manifest["layers"]]


def test_annotations(build: Build) -> None:
    """Those of an output win over those of all; each has its place."""
    made = build(
        "annotation.own=1,annotation.both=output,annotation-manifest-descriptor.at=2,"
        "annotation[linux/s390x].never=3",
        *("--annotation", "both=flag", "--annotation", "manifest,manifest-descriptor:two=4"),
    )
    assert made.manifest["annotations"] == {"own": "1", "both": "output", "two": "4"}
    found = made.descriptor["annotations"]
    assert (found["at"], found["two"]) == ("2", "4")


def test_annotations_of_an_index(build: Build, cli: Cli, context: str, tmp_path: Path) -> None:
    made = build("", "--platform=linux/amd64,linux/arm64", "--annotation", "index:k=v")
    index = json.loads(blob(made.folder, made.descriptor["digest"]))
    assert index["annotations"] == {"k": "v"} and len(index["manifests"]) == 2
    done = cli("build", "--annotation", "index:k=v", context, code=2)
    assert "annotations of an index need an index" in done.stderr
    done = cli("build", "--annotation", "layer:k=v", context, code=2)
    assert "unknown annotation type 'layer'" in done.stderr


def test_one_platform_in_the_form_of_several(
    build: Build, cli: Cli, context: str, tmp_path: Path
) -> None:
    asked = "--build-arg=BUILDKIT_MULTI_PLATFORM=true"
    made = build("", asked, "--annotation", "index:k=v")
    index = json.loads(blob(made.folder, made.descriptor["digest"]))
    assert index["annotations"] == {"k": "v"}
    (manifest,) = index["manifests"]
    dest = tmp_path / "split"
    cli("build", "-q", asked, "-o", str(dest), context)
    platform = manifest["platform"]
    assert os.listdir(dest) == [f"{platform['os']}_{platform['architecture']}"]
    done = cli("build", asked, "-o", f"type=docker,dest={tmp_path}/d.tar", context, code=2)
    assert "does not currently support exporting manifest lists" in done.stderr
    done = cli("build", asked.replace("true", "maybe"), context, code=2)
    assert "invalid boolean value for BUILDKIT_MULTI_PLATFORM: maybe" in done.stderr


def test_what_is_stored(cli: Cli, context: str) -> None:
    """`store`, `name-canonical` and `dangling-name-prefix`."""
    cli("build", "-q", "-t", "a", "-o", "type=image,store=false", context)
    assert cli("image", "ls", "-q").stdout == ""
    cli("build", "-q", "-o", "type=image,dangling-name-prefix=untitled", context)
    (name,) = cli("image", "ls", "-q").stdout.splitlines()
    assert name.startswith("untitled@sha256:")
    cli("build", "-q", "-t", "a", "-o", "type=image,name-canonical=true", context)
    names = cli("image", "ls", "-q").stdout.splitlines()
    assert {n.partition("@")[0] for n in names} == {"untitled", "a", "a:latest"}
    cli("image", "rm", *names)
    assert cli("image", "ls", "-q").stdout == ""


def test_unpack(cli: Cli, context: str) -> None:
    """The files are laid out in the store before anybody runs them."""
    cli("build", "-q", "-t", "a", context)
    before = len(os.listdir(f"{cli.root}/snapshots"))
    cli("build", "-q", "-t", "a", "-o", "type=image,unpack=true", context)
    assert len(os.listdir(f"{cli.root}/snapshots")) > before


def test_a_directory_that_mirrors_the_result(cli: Cli, context: str, tmp_path: Path) -> None:
    """mode=delete removes what the result does not have; mode=copy leaves it."""
    dest = tmp_path / "out"
    (dest / "d/old").mkdir(parents=True)
    (dest / "extra").symlink_to(tmp_path)
    cli("build", "-q", "-o", f"type=local,dest={dest},mode=copy", context)
    assert sorted(os.listdir(dest)) == ["a", "d", "extra"]
    cli("build", "-q", "-o", f"type=local,dest={dest},mode=delete", context)
    assert sorted(os.listdir(dest)) == ["a", "d"] and os.listdir(dest / "d") == ["b"]
    for precious in (".", "/usr"):
        done = cli("build", "-o", f"type=local,dest={precious},mode=delete", context, code=2)
        assert "would remove everything else" in done.stderr


def test_platform_split(cli: Cli, context: str, tmp_path: Path) -> None:
    dest = str(tmp_path / "out")
    cli("build", "-q", "-o", f"type=local,dest={dest},platform-split=true", context)
    (folder,) = os.listdir(dest)
    assert folder.startswith("linux_") and os.listdir(f"{dest}/{folder}/d") == ["b"]


def test_the_epoch_of_the_folder_of_a_platform(cli: Cli, context: str, tmp_path: Path) -> None:
    flags = ("--platform=linux/amd64,linux/arm64", "--build-arg=SOURCE_DATE_EPOCH=7")
    outputs = ("-o", f"type=local,dest={tmp_path}/out", "-o", f"type=tar,dest={tmp_path}/tar")
    cli("build", "-q", *flags, *outputs, context)
    assert {path.stat().st_mtime for path in (tmp_path / "out").iterdir()} == {7}
    with tarfile.open(tmp_path / "tar") as tar:
        assert {member.mtime for member in tar} == {7}


@pytest.mark.parametrize("kind", ["local", "tar"])
def test_platforms_in_one_folder(cli: Cli, tmp_path: Path, kind: str) -> None:
    """A file of one platform never takes the place of another's: nothing is written then."""
    dest = str(tmp_path / "out")
    output = f"type={kind},dest={dest},platform-split=false"
    flags = ("--platform=linux/amd64,linux/arm64", "-o", output, str(tmp_path))
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH\n")
    cli("build", "-q", *flags)
    assert _names(dest) == ["amd64", "arm64"]
    dockerfile.write_text("FROM scratch\nCOPY Dockerfile /d/same\n")
    done = cli("build", "-q", *flags, code=2)
    assert "cannot overwrite d/same from linux/amd64 with that from linux/arm64" in done.stderr
    assert _names(dest) == ["amd64", "arm64"]


def _names(dest: str) -> list[str]:
    if os.path.isdir(dest):
        return sorted(os.listdir(dest))
    with tarfile.open(dest) as tar:
        return sorted(tar.getnames())


def test_metadata(cli: Cli, context: str, tmp_path: Path) -> None:
    """The names and the form of BuildKit's."""
    path = tmp_path / "metadata.json"
    flags = ("--metadata-file", str(path), "--annotation", "manifest-descriptor:k=v")
    cli("build", "-q", "-t", "a:1", "-o", "type=image,name=b:2", *flags, context)
    data: dict[str, Any] = json.loads(path.read_text())
    inspected = json.loads(cli("image", "inspect", "--format=json", "a:1").stdout)[0]
    assert data["image.name"] == "docker.io/library/a:1,docker.io/library/b:2"
    assert data["containerimage.digest"] == inspected["digest"]
    assert data["containerimage.config.digest"] == inspected["images"][0]["id"]
    found = data["containerimage.descriptor"]
    assert found["annotations"] == {"k": "v"} and found["digest"] == inspected["digest"]
    assert set(found["platform"]) == {"os", "architecture"}
    cli("build", "-q", "--platform=linux/amd64,linux/arm64", *flags[:2], context)
    data = json.loads(path.read_text())
    assert "containerimage.config.digest" not in data
    assert data["containerimage.descriptor"]["mediaType"].endswith("index.v1+json")
