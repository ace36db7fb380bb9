"""Containers that may make no namespaces, and what is built there all the same.

Each account of the tests is in the container that it can have: root in one with the default profile
of docker, others in the strictest of pods. `none` is the host as it is. The images are the same:
their digests stand here.
"""

import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, Cli
from tests.integration.conftest import Builds
from tests.support.registry import registry

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
    "copied": (
        "FROM scratch\n"
        "COPY --chown=5:6 --chmod=0400 a /x/a\n"
        "COPY --chmod=0000 a /x/zero\n"
        "COPY . /all/\n"
        "COPY later /all/a\n"
        "COPY --chmod=u=rwxs,go=rx tool /bin/tool\n"
        "LABEL a=b\nUSER 12:13\nWORKDIR /w/x\nCOPY --chown=1 a a\nCOPY --chown=1 a a\nCMD x\n",
        "sha256:0fd993577a76f9eb7e9d5aea56093be4a8d205581a70377e18743d7dcfda2144",
    ),
    "stages": (
        "FROM scratch AS one\n"
        "COPY --chown=7:8 . /src/\n"
        "COPY --chmod=0000 --chown=9 a /src/zero\n"
        "FROM scratch AS two\n"
        "COPY --from=one --chown=3:4 /src/dir /two/\n"
        "COPY --from=one /src /keep/\n"
        "FROM two\n"
        "COPY --from=one /src/zero /z\n"
        "COPY --from=two --parents /keep/./closed /p/\n",
        "sha256:8f528b933ceffc20af3085ff9fd8d5ca7e0dd637ed9b92dd5e8ebdf29a259c48",
    ),
    "merged": (
        "FROM scratch AS base\n"
        "ADD odd.tar /o/\n"
        "COPY --chown=5:6 dir /d/\n"
        "FROM base AS m\n"
        "COPY --link --chown=9:9 a /o/ro/new\n"
        "COPY --link dir /o/none/\n"
        "COPY --link --from=base /o/fifo /l/\n"
        "FROM m\n"
        "COPY a /o/none/sub/a\n"
        "COPY --from=m /o /copied/\n",
        "sha256:b34c3260366933e7396120e4225f85bd4e77e63c83f2d60a56a5a0ab79a38396",
    ),
    "unpacked": (
        "FROM scratch AS t\n"
        "ADD odd.tar /odd/\n"
        "FROM t\n"
        "ADD --chown=5:5 odd.tar /odd2/\n"
        "COPY --from=t /odd /odd2/again/\n",
        "sha256:3547456d21e821648edb89cf83b91fdd86756f24ff00ddd717dec5d05e23da3a",
    ),
    "on an image": (
        "FROM base:1 AS built\n"
        "COPY a /none/b\n"
        "COPY --link --from=base:1 /none /linked\n"
        "FROM scratch\n"
        "COPY --from=built / /\n"
        "COPY --from=base:1 --chown=1:2 / /copied/\n",
        "sha256:5137a1cc79644d2db60c809567e65fbf7ddb86a8610aff9bc698cd43566440d2",
    ),
}
"""Dockerfiles, and the digest of what root makes of them on a host with namespaces."""

CAPABLE = b"\1\0\0\2\0\x20" + bytes(14)


Member = tuple[str, bytes, int, int, int, str]
"""Name, type, mode, owner, group, and what it links to."""

ODD: tuple[Member, ...] = (
    ("ro", tarfile.DIRTYPE, 0o555, 11, 12, ""),
    ("ro/f", tarfile.REGTYPE, 0o400, 13, 0, ""),
    ("none", tarfile.DIRTYPE, 0, 14, 15, ""),
    ("none/g", tarfile.REGTYPE, 0, 16, 0, ""),
    ("none/sub", tarfile.DIRTYPE, 0o300, 1, 1, ""),
    ("none/sub/deep", tarfile.REGTYPE, 0o200, 0, 0, ""),
    ("suid", tarfile.REGTYPE, 0o4755, 0, 0, ""),
    ("sgid", tarfile.REGTYPE, 0o2755, 0, 50, ""),
    ("sdir", tarfile.DIRTYPE, 0o2775, 0, 20, ""),
    ("sdir/x", tarfile.REGTYPE, 0o644, 0, 20, ""),
    ("link", tarfile.SYMTYPE, 0o777, 17, 18, "/nowhere"),
    ("fifo", tarfile.FIFOTYPE, 0o600, 19, 20, ""),
    ("hard", tarfile.LNKTYPE, 0o4711, 0, 0, "suid"),
    ("hard0", tarfile.LNKTYPE, 0, 16, 0, "none/g"),
    ("null", tarfile.CHRTYPE, 0o066, 21, 22, ""),
    ("ping", tarfile.REGTYPE, 0o555, 3, 0, ""),
)
"""What an ordinary account cannot own, read or make. /ping has a capability."""

ABOVE: tuple[Member, ...] = (
    ("none/.wh.g", tarfile.REGTYPE, 0, 0, 0, ""),
    ("ro/.wh..wh..opq", tarfile.REGTYPE, 0, 0, 0, ""),
    ("ro/new", tarfile.REGTYPE, 0o444, 5, 5, ""),
    ("none/sub", tarfile.DIRTYPE, 0o500, 2, 2, ""),
    (".wh.suid", tarfile.REGTYPE, 0, 0, 0, ""),
)
"""A layer that takes some of it away."""


def archive(members: tuple[Member, ...]) -> bytes:
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, mode, uid, gid, to in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.linkname = kind, mode, to
            entry.uid, entry.gid, entry.mtime = uid, gid, 1_600_000_000
            entry.devmajor, entry.devminor = 1, 3
            if name == "ping":
                capable = CAPABLE.decode("latin-1")
                entry.pax_headers = {"SCHILY.xattr.security.capability": capable}
            entry.size = 1 if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, BytesIO(b"x"))
    return made.getvalue()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Also with what only root may write to."""
    folder = tmp_path_factory.mktemp("odd")
    for name in ("a", "dir/b", "dir/sub/c", "tool", "closed/f"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "odd.tar").write_bytes(archive(ODD))
    (folder / "later").write_text("a")
    os.utime(folder / "later", (1_800_000_000, 1_800_000_000))
    os.link(folder / "a", folder / "hard")
    os.symlink("a", folder / "sym")
    modes = {"a": 0o400, "tool": 0o4755, "closed": 0o555, "dir": 0o755, "dir/sub": 0o755}
    for path in [folder / name for name in ("odd.tar", "later", "dir/b", "dir/sub/c", "closed/f")]:
        path.chmod(0o644)
    for name, mode in modes.items():
        (folder / name).chmod(mode)
    return folder


def import_base(tool: Cli, folder: Path) -> None:
    """The image base:1, whose upper layer takes things away."""
    for name, members in (("odd", ODD), ("above", ABOVE)):
        (folder / f"{name}.tar").write_bytes(archive(members))
    env = {"SOURCE_DATE_EPOCH": "1700000000"}
    tool("image", "import", "--platform=linux/amd64", f"{folder}/odd.tar", "odd:1", env=env)
    tool("image", "append", "-f", f"{folder}/above.tar", "odd:1", "base:1", env=env)


@pytest.mark.parametrize("where", ["host", "pod"])
@pytest.mark.parametrize("case", CASES)
def test_images_are_the_same(
    cli: Cli, pod: Pod, context: Path, tmp_path: Path, case: str, where: str
) -> None:
    text, digest = CASES[case]
    (tmp_path / "Dockerfile").write_text(text)
    tool = cli if where == "host" else pod
    if "base:1" in text:
        import_base(tool, tmp_path)
    attributes = f"type=oci,dest={tmp_path}/out,tar=false,rewrite-timestamp=true"
    tool(
        *("build", "--platform=linux/amd64", f"--output={attributes},compression=uncompressed"),
        *(f"--file={tmp_path}/Dockerfile", "--build-arg=SOURCE_DATE_EPOCH=1700000000"),
        str(context),
    )
    image = json.loads((tmp_path / "out/index.json").read_text())["manifests"][0]
    assert image["digest"] == digest


# --- Other outputs, registries ---------------------------------------------------------

SHOWN = "FROM scratch AS t\nADD odd.tar /\nFROM t\nCOPY --chown=7:8 --chmod=0005 a /none/a\n"


def test_trees_as_outputs(pod: Pod, context: Path, tmp_path: Path) -> None:
    """The tar has all that the image has; files that are written belong to this account, and have
    their modes. Twice: the second time they are there, closed."""
    (tmp_path / "Dockerfile").write_text(SHOWN)
    build = ("build", f"--file={tmp_path}/Dockerfile", str(context))
    pod(*build, "-o", f"type=tar,dest={tmp_path}/out.tar", "-o", f"type=local,dest={tmp_path}/out")
    with tarfile.open(tmp_path / "out.tar") as tar:
        found = {
            entry.name.rstrip("/"): (entry.type, entry.mode, entry.uid, entry.gid)
            for entry in tar
            if not entry.islnk()
        }
    # Of several names the first has the data, and a link has the metadata of its last entry.
    expected = {name: (kind, mode, uid, gid) for name, kind, mode, uid, gid, _ in ODD}
    for first, later in (("hard", "suid"), ("hard0", "none/g")):
        expected[first] = (tarfile.REGTYPE, *expected[first][1:])
        del expected[later]
    assert found == expected | {"none/a": (tarfile.REGTYPE, 0o005, 7, 8)}
    pod(*build, "-o", f"type=local,dest={tmp_path}/out")
    for name, (kind, mode, *_) in expected.items():
        if "none/" not in name and kind in (tarfile.REGTYPE, tarfile.DIRTYPE):
            assert stat.S_IMODE((tmp_path / "out" / name).lstat().st_mode) == mode


@pytest.mark.needs("docker-registry")
def test_registries(cli: Cli, pod: Pod, context: Path, tmp_path: Path) -> None:
    """An image and a cache that go there and come back, into another store, are the same."""
    other = Pod(str(tmp_path / "other-store"))
    (tmp_path / "Dockerfile").write_text(SHOWN)
    build = ("build", f"--file={tmp_path}/Dockerfile", str(context))
    with registry(str(tmp_path / "registry")) as server:
        name, cache = f"{server.address}/odd:1", f"type=registry,ref={server.address}/cache"
        pod(*build, f"--tag={name}", "--push", f"--cache-to={cache},mode=max")
        said = other(*build, "--progress=plain", f"--cache-from={cache}", f"--tag={name}").stderr
        assert said.count("CACHED") == 2
        (tmp_path / "Dockerfile").write_text(f"FROM scratch\nCOPY --from={name} / /\n")
        digests = []
        for tool in (pod, other, cli):
            tool("pull", name)
            digests.append(tool(*build, "--quiet", env={"SOURCE_DATE_EPOCH": "1"}).stdout)
    assert digests[0] == digests[1] == digests[2]


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
