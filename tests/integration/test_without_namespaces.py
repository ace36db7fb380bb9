"""Containers that may make no namespaces, and what is built there all the same.

Each account of the tests is in the container that it can have: root in one with the default profile
of docker, others in the strictest of pods. `none` is the host as it is. The images are the same:
their digests stand here.
"""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, Cli
from tests.integration.conftest import Builds

Project = Callable[[Mapping[str, str]], str]
KIND = "default" if os.geteuid() == 0 else "restricted"
pytestmark = pytest.mark.integration


class Pod(Cli):
    """The installed program in a container of this kind."""

    def start(
        self, *arguments: str, env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.pod", KIND, self.program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=cwd,
            env={**self.environment, "PYTHONPATH": str(CHECKOUT), **(env or {})},
            start_new_session=True,
        )


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(str(tmp_path / "pod-store"))


# --- The same images ------------------------------------------------------------------------------


CASES = {
    "the same copy again": (
        "FROM scratch\nCOPY a /x/a\nCOPY later /x/a\nCOPY . /y/\nCOPY dir /y/dir\n",
        "sha256:19ebae7ca8ad8448f66c128a0888054b989a24a16d2e97749baa8042c1675deb",
    ),
    "capabilities": (
        "FROM scratch AS t\nADD odd.tar /odd/\nFROM t\nCOPY a /a\nCOPY --from=t /odd /again/\n",
        "sha256:e4e95d04368f552f327a3a94bc4b84d51ff6d3ceaa3d1bc43e0bf598127763b4",
    ),
}
"""Dockerfiles, and the digest of what root makes of them on a host with namespaces."""

CAPABLE = b"\1\0\0\2\0\x20" + bytes(14)


def odd_archive() -> bytes:
    """What an ordinary account cannot make."""
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, mode, to in (
            ("suid", tarfile.REGTYPE, 0o4755, ""),
            ("fifo", tarfile.FIFOTYPE, 0o600, ""),
            ("hard", tarfile.LNKTYPE, 0o644, "suid"),
            ("null", tarfile.CHRTYPE, 0o666, ""),
            ("ping", tarfile.REGTYPE, 0o755, ""),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.linkname = kind, mode, to
            entry.mtime, entry.devmajor, entry.devminor = 1_600_000_000, 1, 3
            if name == "ping":
                capable = CAPABLE.decode("latin-1")
                entry.pax_headers = {"SCHILY.xattr.security.capability": capable}
            entry.size = 1 if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, BytesIO(b"x"))
    return made.getvalue()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of one account."""
    folder = tmp_path_factory.mktemp("odd")
    for name in ("a", "dir/b", "dir/sub/c"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "odd.tar").write_bytes(odd_archive())
    (folder / "later").write_text("a")
    os.utime(folder / "later", (1_800_000_000, 1_800_000_000))
    os.link(folder / "a", folder / "hard")
    os.symlink("a", folder / "sym")
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    return folder


@pytest.mark.parametrize("where", ["host", "pod"] if KIND == "default" else ["host"])
@pytest.mark.parametrize("case", CASES)
def test_images_are_the_same(
    cli: Cli, pod: Pod, context: Path, tmp_path: Path, case: str, where: str
) -> None:
    text, digest = CASES[case]
    (tmp_path / "Dockerfile").write_text(text)
    tool = cli if where == "host" else pod
    attributes = f"type=oci,dest={tmp_path}/out,tar=false,rewrite-timestamp=true"
    tool(
        *("build", "--platform=linux/amd64", f"--output={attributes},compression=uncompressed"),
        *(f"--file={tmp_path}/Dockerfile", "--build-arg=SOURCE_DATE_EPOCH=1700000000"),
        str(context),
    )
    image = json.loads((tmp_path / "out/index.json").read_text())["manifests"][0]
    assert image["digest"] == digest


# --- A RUN that has to run ------------------------------------------------------------------------


STEPS = {
    "the first": "FROM scratch\nRUN make\nCOPY a /a\n",
    "behind a new copy": "FROM scratch\nCOPY a /a\nWORKDIR /w\nRUN make\n",
    "in a stage": "FROM scratch AS s\nCOPY a /a\nRUN make\nFROM scratch\nCOPY --from=s /a /\n",
}


@pytest.mark.parametrize("where", STEPS)
def test_a_run_is_refused_before_anything_is_done(pod: Pod, project: Project, where: str) -> None:
    context = project({"Dockerfile": STEPS[where], "a": "a"})
    said = pod("build", "--progress=plain", context, code=3).stderr
    assert ">>> RUN make" in said
    assert "a RUN needs namespaces of its own, and this host refuses them" in said
    for kind in ("docker", "podman", "Kubernetes", "GitLab on docker", "GitLab on Kubernetes"):
        assert f"\n  {kind}: " in said
    assert "COPY a /a\n#" not in said, "a copy was done first"


def test_a_run_behind_a_new_stage_is_refused_in_its_turn(pod: Pod, project: Project) -> None:
    """What the stage has decides whether the step is known."""
    text = "FROM scratch AS s\nCOPY a /a\nFROM scratch\nCOPY --from=s /a /b\nRUN make\n"
    said = pod("build", "--progress=plain", project({"Dockerfile": text, "a": "a"}), code=3).stderr
    assert ">>> RUN make" in said and "a RUN needs namespaces of its own" in said


@pytest.mark.needs("busybox", "userns")
def test_a_run_that_is_cached_is_no_problem(builds: Builds, pod: Pod, project: Project) -> None:
    """By the same account in the same store, so the tree is one that the container can read."""
    context = project({"Dockerfile": "FROM busybox\nRUN echo >/made\nCOPY a /a\n", "a": "1"})
    flags = ("-o", f"type=oci,dest={builds.folder}/out.tar,tar=true")
    builds.cli("build", *flags, context)
    pod = Pod(builds.cli.root)
    assert "CACHED" in pod("build", "--progress=plain", *flags, context).stderr
    Path(context, "a").write_text("2")
    pod("build", *flags, context)
    Path(context, "Dockerfile").write_text("FROM busybox\nRUN echo other >/made\n")
    assert "a RUN needs namespaces" in pod("build", *flags, context, code=3).stderr


def test_the_doctor_says_so(pod: Pod) -> None:
    said = pod("doctor", code=3).stdout
    assert "all works but a RUN that is not cached" in said
    assert "Builds with a RUN cannot work here" in said
