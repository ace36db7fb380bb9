"""BuildKit as a peer: how it is found, and how it is called."""

import json
import os
from pathlib import Path

import pytest

from bench.builders import Order
from bench.buildkit import BuildKit
from bench.dockerd import Dockerd
from bench.peers import peer
from bench.run import main
from bench.tree import Lacking, Tree


class Fake(Tree):
    """A folder in which nothing can run; what the programs would say is known."""

    docker = "28.5.2"

    def says(self, *argv: str) -> str:
        """An answer of the kind that the real ones give."""
        return {
            "buildkitd": "buildkitd github.com/moby/buildkit v0.25.2 \n",
            "dockerd": f"Docker version {self.docker}, build 3ef3c07\n",
            "runc": "runc version 1.3.6\nspec: 1.2.1\n",
        }[argv[0]]


def install(folder: Path, *places: str) -> None:
    """Programs that answer when they are asked for their version."""
    for place in places:
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\necho github.com/docker/buildx 0.29.1 x\n")
        path.chmod(0o755)


@pytest.fixture
def debian(tmp_path: Path) -> Fake:
    """A tree with both kinds."""
    install(tmp_path, "usr/local/bin/buildctl", "usr/local/bin/buildkitd", "usr/sbin/dockerd")
    install(tmp_path, "usr/bin/docker", "usr/libexec/docker/cli-plugins/docker-buildx")
    return Fake(str(tmp_path))


def test_programs_of_a_folder_are_not_those_of_the_path(debian: Fake, tmp_path: Path) -> None:
    assert debian.find("buildctl") == str(tmp_path / "usr/local/bin/buildctl")
    assert debian.find("sh") is None
    assert Tree().find("sh") is not None


def test_buildkitd_keeps_its_result_unless_an_archive_is_wanted(debian: Fake) -> None:
    made = BuildKit(debian)
    assert made.version == "BuildKit v0.25.2 (buildkitd with runc 1.3.6, called by buildctl)"
    assert not any("output" in word for word in made.build(Order("/store", "/context")))
    command = made.build(Order("/store", "/context", "/out.tar", "zstd"))
    assert "--output=type=oci,dest=/out.tar,compression=zstd" in command
    assert "--local=context=/context" in command


def test_an_image_for_the_store_is_packed_and_not_unpacked(debian: Fake) -> None:
    for made in (BuildKit(debian), Dockerd(debian)):
        command = made.build(Order("/store", "/context", named=True))
        [output] = [word for word in command if word.startswith("--output")]
        assert output.startswith("--output=type=image,name=localhost/bench-result,")
        assert {"compression=gzip", "push=false", "unpack=false"} <= set(output.split(","))


def test_buildkitd_gets_the_base_image_from_the_client(debian: Fake, tmp_path: Path) -> None:
    made, store = BuildKit(debian), tmp_path / "store"
    store.mkdir()
    assert made.load(str(store), "a.tar", "x")[0] == "tar"
    image = {
        "digest": "sha256:12",
        "annotations": {"io.containerd.image.name": "localhost/base:latest"},
    }
    (store / "base" / "index.json").write_text(json.dumps({"manifests": [image]}))
    command = made.build(Order(str(store), "/context"))
    assert "--opt=context:localhost/base=oci-layout://base@sha256:12" in command
    assert f"--oci-layout=base={store}/base" in command


def test_dockerd_keeps_its_result_unless_an_archive_is_wanted(debian: Fake) -> None:
    made = Dockerd(debian)
    assert "dockerd 28.5.2 with runc 1.3.6, called by buildx 0.29.1" in made.version
    assert "--output=type=cacheonly" in made.build(Order("/store", "/context"))
    command = made.build(Order("/store", "/context", "/out.tar", "gzip"))
    assert "--output=type=oci,dest=/out.tar,compression=gzip" in command


def test_an_old_docker_is_refused(debian: Fake) -> None:
    debian.docker = "20.10.24"
    with pytest.raises(Lacking, match="too old"):
        Dockerd(debian)


def test_docker_stands_in_for_buildkitd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.peers.Tree", Fake)
    with pytest.raises(Lacking, match="there is no docker in"):
        peer("buildkit", root=str(tmp_path))
    install(tmp_path, "usr/bin/docker", "usr/libexec/docker/cli-plugins/docker-buildx")
    in_its_place = peer("buildkit", root=str(tmp_path))
    assert (type(in_its_place), in_its_place.name) == (Dockerd, "BuildKit")
    install(tmp_path, "usr/bin/buildctl", "usr/bin/buildkitd")
    assert isinstance(peer("buildkit", root=str(tmp_path)), BuildKit)
    # Beside it, Docker's is a peer like others: goals are judged by the name.
    assert peer("dockerd", root=str(tmp_path)).name == "dockerd"


def test_a_peer_that_is_not_there_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--vs", "buildkit", "--vs-root", str(tmp_path)]) == 2
    assert f"there is no docker in {tmp_path}" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
