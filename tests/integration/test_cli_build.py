"""`minibuild build` and its kin as a person runs them: the installed program, real builds."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.support.processes import with_word
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

DOCKERFILE = """\
FROM base
RUN echo out; echo err >&2
COPY --link file /file
"""
FAILING = """\
FROM base
ENV A=1
RUN echo before; \\
    flase
CMD ["sh"]
"""


@pytest.fixture
def context(tmp_path: Path, cli: Cli, busybox_tar: str) -> Path:
    """A context to build, in a store that has `base`."""
    cli("image", "import", busybox_tar, "base")
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "Failing").write_text(FAILING)
    (folder / "file").write_text("x")
    return folder


def test_a_build_tells_its_story(cli: Cli, context: Path) -> None:
    done = cli("build", "-t", "app:1", str(context))
    assert done.stdout == ""
    assert re.search(r"^#\d+ \[2/3\] RUN echo out", done.stderr, re.M)
    assert re.search(r"^#\d+ \d\.\d{3} out$", done.stderr, re.M)
    assert "image     app:1" in done.stderr
    assert re.search(r"COPY file /file +\(link\)", done.stderr)
    assert "minibuild run app:1 COMMAND" in done.stderr
    again = cli("build", "-t", "app:1", str(context))
    assert len(re.findall(r"^#\d+ CACHED$", again.stderr, re.M)) >= 2


def test_a_failure_shows_where_and_why(cli: Cli, context: Path) -> None:
    for progress in ("plain", "quiet", "rawjson", "auto"):
        done = cli(
            "build", f"--progress={progress}", "-f", "context/Failing", "context",
            code=5, cwd=str(context.parent),
        )  # fmt: skip
        assert "context/Failing:3\n" in done.stderr
        assert "   3 | >>> RUN echo before; \\\n   4 | >>>     flase\n" in done.stderr
        assert "exit code: 127" in done.stderr
        log = done.stderr.partition("------\n > [2/2] RUN echo before;")[2]
        assert re.search(r"\d before\n\d\.\d{3} /bin/sh: flase: not found\n------\n", log)
        assert done.stdout == ""


def test_ids_and_metadata(cli: Cli, context: Path, tmp_path: Path) -> None:
    iid, metadata = tmp_path / "iid", tmp_path / "metadata"
    files = ("--iidfile", str(iid), "--metadata-file", str(metadata))
    done = cli("build", "-q", "-t", "app:1", *files, str(context))
    assert done.stderr == ""
    (shown,) = json.loads(cli("image", "inspect", "--format=json", "app:1").stdout)
    assert done.stdout.strip() == iid.read_text() == shown["images"][0]["id"]
    data = json.loads(metadata.read_text())
    assert data["containerimage.digest"] == shown["digest"]
    assert data["containerimage.config.digest"] == shown["images"][0]["id"]
    cli("build", "-q", "--iidfile", str(iid), "-f", str(context / "Failing"), str(context), code=5)
    assert not iid.exists(), "the id of another build must not stay"
    (link := tmp_path / "link").symlink_to(metadata)  # as /dev/stdout is
    cli("build", "-q", "--iidfile", str(link), str(context))
    assert link.is_symlink() and metadata.read_text() == shown["images"][0]["id"]


def test_rawjson_is_json_and_nothing_else(cli: Cli, context: Path) -> None:
    done = cli("build", "--progress=rawjson", str(context))
    names = set()
    for line in done.stderr.splitlines():
        data = json.loads(line)
        names |= {vertex.get("name") for vertex in data.get("vertexes", ())}
    assert any(str(name).startswith("[2/3] RUN echo out") for name in names)


def test_a_dockerfile_on_standard_input(cli: Cli, context: Path) -> None:
    def build(text: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [cli.program, "build", "--progress=plain", *words],
            input=text, capture_output=True, text=True, env=cli.environment,
        )  # fmt: skip

    assert build(DOCKERFILE, "-f", "-", str(context)).returncode == 0
    assert build("FROM base\nRUN true\n", "-").returncode == 0
    nothing = build("FROM base\nCOPY file /\n", "-")
    assert nothing.returncode == 6 and "Dockerfile:2" in nothing.stderr
    assert build(DOCKERFILE, "-f", "-", "-").returncode == 2


def test_a_tar_on_standard_output(cli: Cli, context: Path) -> None:
    done = subprocess.run(
        [cli.program, "build", "-o", "-", str(context)], capture_output=True, env=cli.environment
    )
    assert done.returncode == 0
    assert done.stdout[257:262] == b"ustar"


def test_environment_of_progress(cli: Cli, context: Path) -> None:
    quiet = cli("build", str(context), env={"BUILDKIT_PROGRESS": "quiet"})
    assert quiet.stderr == "" and quiet.stdout.startswith("sha256:")
    wrong = cli("build", str(context), code=2, env={"BUILDKIT_PROGRESS": "loud"})
    assert "BUILDKIT_PROGRESS is 'loud'" in wrong.stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_a_build_at_once(cli: Cli, context: Path, number: int, code: int) -> None:
    """To the whole group, as a terminal does it."""
    mark = f"600.{os.getpid()}{number:d}"
    (context / "Dockerfile").write_text(f"FROM base\nRUN echo started; sleep {mark}\n")
    process = cli.start("build", str(context))
    assert process.stderr is not None
    while "started" not in (line := process.stderr.readline()) or "RUN" in line:
        assert line, "the build ended too early"
    began = time.monotonic()
    os.killpg(process.pid, number)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - began < PATIENCE_S / 4  # the step takes ten minutes
    assert process.returncode == code
    assert "cancelled" in stderr and "error:" not in stderr
    assert not with_word(mark)


def test_run(cli: Cli, context: Path) -> None:
    cli("build", "-q", "-t", "app", str(context))
    assert cli("run", "app", "cat", "/file").stdout == "x"
    assert cli("run", "app", "sh", "-c", "echo out; echo err >&2; exit 3", code=3).stderr == "err\n"
    cli("run", "app", "sh", "-c", "rm /file; echo > /new")
    assert cli("run", "app", "sh", "-c", "ls /file; ls /new", code=1).stdout == "/file\n"
    options = ("-e", "A=1", "-e", "FROM_OUTSIDE", "-w", "/tmp")
    done = cli("run", *options, "app", "sh", "-c", "echo $A $FROM_OUTSIDE $PWD",
               env={"FROM_OUTSIDE": "yes", "A": "no"})  # fmt: skip
    assert done.stdout == "1 yes /tmp\n"
    cli("run", "nothing.invalid/x", "true", code=4)
    (shown,) = json.loads(cli("image", "inspect", "--format=json", "app").stdout)
    assert cli("run", shown["images"][0]["id"][7:20], "echo", "-n", "hi").stdout == "hi"


def test_du_and_prune(cli: Cli, context: Path) -> None:
    cli("build", "-q", "-t", "app", str(context))
    kinds = {holding["kind"] for holding in json.loads(cli("du", "--format=json").stdout)}
    assert kinds == {"record", "image"}
    assert "records:" in cli("du").stdout
    cli("prune", "--keep-duration", "1h")
    again = cli("build", "-t", "app", str(context))
    assert "CACHED" in again.stderr
    cli("prune", "--all", "--force")
    left = [h["kind"] for h in json.loads(cli("du", "--format=json").stdout)]
    assert set(left) == {"image"}
    assert cli("run", "app", "cat", "/file").stdout == "x", "an image with a name stays whole"
    cli("prune", "--keep-duration", "soon", code=2)


@pytest.mark.parametrize(
    ("text", "code", "more"),
    [
        ("FROM scratch as base\nMAINTAINER x\nFROM base\nCOPY --from=nowhere:1 / /\n", 4, ()),
        ("# check=error=true\nFROM scratch as base\nMAINTAINER x\n", 6, ()),
        (
            "FROM scratch as base\nMAINTAINER x\nFROM base:\n",
            6,
            ("invalid-default-arg-in-from",),
        ),
        ("FROM scratch as base\nMAINTAINER x\nRUX y\nMAINTAINER z\n", 6, ()),
    ],
)
def test_warnings_come_before_the_error(
    cli: Cli, tmp_path: Path, text: str, code: int, more: tuple[str, ...]
) -> None:
    """In the stream of events too, which `rawjson` shows."""
    (tmp_path / "Dockerfile").write_text(text)
    words = ("build", "--pull=never", str(tmp_path))
    said = cli(*words, code=code).stderr
    assert f"{2 + len(more)} warnings found" in said
    assert (
        said.index("FromAsCasing: ") < said.index("MaintainerDeprecated: ") < said.index("error:")
    )
    events = cli(*words, "--progress=rawjson", code=code).stderr
    lines = [json.loads(line) for line in events.splitlines() if line.startswith("{")]
    warnings = [warning["url"] for line in lines for warning in line.get("warnings", ())]
    rules = [url.rstrip("/").rpartition("/")[2] for url in warnings]
    assert sorted(rules) == ["from-as-casing", *more, "maintainer-deprecated"]
    if "# check" not in text:
        assert f"{2 + len(more)} warnings found" in cli(*words, "--call=outline", code=code).stderr


def test_variables_of_docker(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    env = {
        "DOCKER_HOST": "tcp://x:1",
        "BUILDX_BUILDER": "b",
        "DOCKER_DEFAULT_PLATFORM": "linux/s390x",
    }
    said = cli("build", "-t", "other", str(tmp_path), env=env).stderr
    note = "note: BUILDX_BUILDER, DOCKER_HOST are set and not used"
    assert said.count(note) == 1 and said.count("DOCKER_HOST") == 1
    assert "linux/s390x" in cli("image", "inspect", "other").stdout
    assert cli("build", "-q", str(tmp_path), env=env).stderr == ""
    assert "DOCKER_HOST" not in cli("build", "--check", str(tmp_path), env=env).stderr
    assert cli("verify", str(tmp_path), env=env).stderr.count(note) == 1
