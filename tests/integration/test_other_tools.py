"""The image of the demo in the hands of others: skopeo reads it, umoci unpacks it, runc runs it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.integration.conftest import Builds

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]
DEMO = str(CHECKOUT / "testdata/whiteout-hardlink")


def call(*command: str, **variables: str) -> str:
    """Run a program; its output. A failure shows what it said."""
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **variables}, timeout=60
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


@pytest.mark.needs("umoci", "runc", "trusted_xattr")
def test_umoci_unpacks_and_runc_runs(builds: Builds, tmp_path: Path) -> None:
    """As root, and rootless with rootless runc."""
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
    state = str(tmp_path / "runc")
    name = f"minibuild-{os.getpid()}"
    said = call(
        *("runc", "--root", state, "run", "--bundle", bundle, name), XDG_RUNTIME_DIR=str(tmp_path)
    )
    assert "still there" in said
    assert not {"file1", "file2"} & set(said.split())
