"""The image of the demo in the hands of others: skopeo, umoci, runc and crun, buildah."""

import json
import os
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.integration.conftest import Builds
from tests.support.probes import able
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]
DEMO = str(CHECKOUT / "testdata/whiteout-hardlink")


def call(*command: str, **variables: str) -> str:
    """Run a program; its output. A failure shows what it said."""
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **variables}, timeout=PATIENCE_S
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
    )
    return done.stdout


@pytest.mark.needs("skopeo")
@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_skopeo_inspects(builds: Builds, tmp_path: Path, kind: str) -> None:
    """In each form that is written."""
    out = str(tmp_path / "image")
    output = {
        "oci": f"type=oci,tar=false,dest={out}",
        "oci-archive": f"type=oci,dest={out}",
        "docker-archive": f"type=docker,dest={out}",
    }[kind]
    builds.cli("build", "-t", "demo:1", "-o", output, DEMO)
    tag = "" if kind == "docker-archive" else ":1"
    found = json.loads(call("skopeo", "inspect", f"{kind}:{out}{tag}", HOME=str(tmp_path)))
    config = json.loads(
        call("skopeo", "inspect", "--config", f"{kind}:{out}{tag}", HOME=str(tmp_path))
    )
    assert len(found["Layers"]) == len(config["rootfs"]["diff_ids"]) == 6
    assert found["Os"] == "linux"


@pytest.mark.needs("skopeo")
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_skopeo_copies(builds: Builds, tmp_path: Path, compression: str) -> None:
    """From a layout into a directory of blobs, and back in; the layers stay what they are."""
    out, there, back = (str(tmp_path / name) for name in ("layout", "dir", "back"))
    output = f"type=oci,tar=false,dest={out},compression={compression},force-compression=true"
    builds.cli("build", "-t", "demo:1", "-o", output, DEMO)
    call("skopeo", "copy", "-q", "--insecure-policy", f"oci:{out}:1", f"dir:{there}")
    call("skopeo", "copy", "-q", "--insecure-policy", f"dir:{there}", f"oci:{back}:1")
    layers = [json.loads(call("skopeo", "inspect", f"oci:{d}:1"))["Layers"] for d in (out, back)]
    assert layers[0] == layers[1]
    assert "is sound" in builds.cli("image", "validate", back).stdout


@pytest.mark.needs("buildah")
def test_buildah_loads_and_runs(builds: Builds, tmp_path: Path) -> None:
    """What `podman load` reads, by the library that both have; and a command in it."""
    if not (able("root") or able("subids")):
        pytest.skip("buildah needs more than one id")
    archive = str(tmp_path / "image.tar")
    builds.cli("build", "-t", "demo:1", "-o", f"type=docker,dest={archive}", DEMO)
    folders = ("--root", str(tmp_path / "storage"), "--runroot", str(tmp_path / "run"))
    buildah = ("buildah", *folders, "--storage-driver", "vfs")
    call(*buildah, "pull", "-q", f"docker-archive:{archive}")
    listed = json.loads(call(*buildah, "images", "--json"))
    assert [image["names"] for image in listed] == [["localhost/demo:1"]]
    container = call(*buildah, "from", "--pull=never", "demo:1").strip()
    try:
        said = call(*buildah, "run", "--isolation=chroot", container, "cat", "/file3")
        assert "still there" in said
        names = call(*buildah, "run", "--isolation=chroot", container, "ls", "/").split()
        assert not {"file1", "file2"} & set(names)
    finally:
        call(*buildah, "rm", container)


@pytest.mark.needs("podman")
def test_podman_gets_the_image_by_load(builds: Builds, tmp_path: Path) -> None:
    """`--load` with the real program: its id is ours, its files and their owners are ours."""
    if not (able("root") or able("subids")):
        pytest.skip("podman needs more than one id")
    storage = tmp_path / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "vfs"\nrunroot = "{tmp_path}/run"\ngraphroot = "{tmp_path}/graph"\n'
    )
    env = {
        "CONTAINERS_STORAGE_CONF": str(storage),
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(
        "FROM busybox\nRUN echo hi > /hi && chown 5:6 /hi && rm /bin/sleep\nENV A=b\nCMD cat /hi\n"
    )
    built = builds.cli("build", "-q", "-t", "app:1", "--load=podman", str(context), env=env)
    (found,) = json.loads(call("podman", "image", "inspect", "app:1", **env))
    assert f"sha256:{found['Id']}" == built.stdout.strip()
    assert "A=b" in found["Config"]["Env"]
    container = call("podman", "create", "--pull=never", "--network=none", "app:1", **env).strip()
    try:
        call("podman", "export", "-o", f"{tmp_path}/files.tar", container, **env)
    finally:
        call("podman", "rm", container, **env)
        call("podman", "rmi", "app:1", **env)
        # Without root podman leaves a process that holds its user namespace.
        pause = tmp_path / "libpod/tmp/pause.pid"
        if pause.exists():
            os.kill(int(pause.read_text()), signal.SIGKILL)
    with tarfile.open(tmp_path / "files.tar") as archive:
        member = archive.getmember("hi")
        assert (member.uid, member.gid, member.size) == (5, 6, 3)
        assert "bin/sleep" not in archive.getnames()


@pytest.mark.needs("umoci", "runc", "crun", "trusted_xattr")
@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_umoci_unpacks_and_a_runtime_runs(builds: Builds, tmp_path: Path, runtime: str) -> None:
    """As root, and rootless with a rootless runtime."""
    layout, bundle = str(tmp_path / "layout"), str(tmp_path / "bundle")
    builds.cli("build", "-t", "demo:1", "-o", f"type=oci,tar=false,dest={layout}", DEMO)
    rootless = ["--rootless"] if os.geteuid() else []
    call("umoci", "unpack", *rootless, "--image", f"{layout}:1", bundle)
    rootfs = Path(bundle, "rootfs")
    assert not (rootfs / "file1").exists() and not (rootfs / "file2").exists()
    assert (rootfs / "file3").read_text() == Path(DEMO, "file3").read_text()

    settings = json.loads(Path(bundle, "config.json").read_text())
    settings["process"]["terminal"] = False
    settings["process"]["args"] = ["sh", "-c", "ls / && cat /file3"]
    Path(bundle, "config.json").write_text(json.dumps(settings))
    state = str(tmp_path / "state")
    name = f"minibuild-{os.getpid()}"
    command = (runtime, "--root", state, "run", "--bundle", bundle, name)
    if runtime == "crun" and Path("/sys/fs/cgroup/unified").exists():
        pytest.skip("crun does not run where both versions of cgroups are mounted")
    said = call(*command, XDG_RUNTIME_DIR=str(tmp_path))
    assert "still there" in said
    assert not {"file1", "file2"} & set(said.split())
