"""`--check` and `--call` build nothing: they work where a build could not, and leave no trace."""

import errno
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyseccomp
import pytest

from tests.conftest import Cli
from tests.integration.conftest import Builds
from tests.support.waiting import PATIENCE_S
from tests.support.webserver import WebServer, serving

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

Project = Callable[[Mapping[str, str]], str]
DOCKERFILE = """\
FROM busybox AS base
MAINTAINER x
RUN --network=host --security=insecure true
FROM base AS last
COPY a.log /
ARG LEVEL=1
RUN --mount=type=secret,id=token true
"""
FILES = {"Dockerfile": DOCKERFILE, ".dockerignore": "*.log\n", "a.log": ""}
NAMESPACES = ("unshare", "setns", "mount", "fsopen", "open_tree", "pivot_root", "chown")


def forbid_namespaces() -> None:
    """As pods and other sandboxes do it: the system calls are refused."""
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in NAMESPACES:
        rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
    rules.load()


def ask(
    cli: Cli, *words: str, stdin: bytes = b"", code: int = 0
) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [cli.program, "build", *words],
        input=stdin,
        capture_output=True,
        env=cli.environment,
        preexec_fn=forbid_namespaces,
        timeout=PATIENCE_S,
    )
    assert done.returncode == code, done
    return done


def answers(cli: Cli, *words: str, stdin: bytes = b"") -> dict[str, Any]:
    """What all questions give for a context."""
    found: dict[str, Any] = {}
    for method, code in (("check", 1), ("outline", 0), ("targets", 0), ("graph", 0)):
        done = ask(cli, f"--call={method},format=json", *words, stdin=stdin, code=code)
        found[method] = json.loads(done.stdout)
    return found


def check(found: Mapping[str, Any]) -> None:
    rules = [warning["ruleName"] for warning in found["check"]["warnings"]]
    assert rules == ["MaintainerDeprecated", "CopyIgnoredFile"], "the ignore file counts, too"
    assert "buildError" not in found["check"]
    assert [arg["name"] for arg in found["outline"]["args"]] == ["LEVEL"]
    assert [secret["name"] for secret in found["outline"]["secrets"]] == ["token"]
    assert [target["name"] for target in found["targets"]["targets"]] == ["base", "last"]
    assert len(found["graph"]["vertices"]) >= 4


def state(root: str) -> dict[str, tuple[int, int]]:
    """All files of a store, with their sizes and times."""
    found = {}
    for above, folders, files in os.walk(root):
        for name in (*folders, *files):
            status = os.lstat(os.path.join(above, name))
            found[os.path.join(above, name)] = (status.st_size, status.st_mtime_ns)
    return found


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serving() as server:
        yield server


def archive(context: str, path: Path) -> bytes:
    """A context as an archive that only root could unpack as it is."""
    with tarfile.open(path, "w:gz") as tar:

        def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
            entry.uid, entry.gid = 1234, 4321
            entry.mode = 0o555 if entry.isdir() else 0o000
            return entry

        tar.add(context, ".", filter=owned)
    return path.read_bytes()


@pytest.mark.parametrize("readonly", [True, False])
def test_a_store_that_is_there_is_not_touched(
    builds: Builds, project: Project, readonly: bool
) -> None:
    context, root = project(FILES), builds.cli.root
    folders = [root, *(f"{root}/{name}" for name in os.listdir(root))]
    modes = {path: os.stat(path).st_mode for path in folders if readonly and os.path.isdir(path)}
    before = state(root)
    try:
        for folder in modes:
            os.chmod(folder, 0o555)
        check(answers(builds.cli, context))
    finally:
        for folder, mode in modes.items():
            os.chmod(folder, mode & 0o7777)
    assert state(root) == before


def test_every_kind_of_context(
    builds: Builds, project: Project, tmp_path: Path, web: WebServer
) -> None:
    context = project(FILES)
    path = tmp_path / "context.tar.gz"
    data = archive(context, path)
    git = ["git", "-C", context, "-c", "user.name=n", "-c", "user.email=e"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "m"]):
        subprocess.run([*git, *words], check=True)
    before = state(builds.cli.root)
    check(answers(builds.cli, str(path)))
    check(answers(builds.cli, "-", stdin=data))
    check(answers(builds.cli, web.put("/c.tar.gz", data)))
    check(answers(builds.cli, web.git("/repository.git", Path(context))))
    only = web.put("/Dockerfile", DOCKERFILE.replace("COPY a.log /\n", "").encode())
    assert len(answers(builds.cli, only)["check"]["warnings"]) == 1
    missing = ask(builds.cli, "--check", "-f", "no/such", str(path), code=6)
    assert b"there is no no/such in the build context" in missing.stderr
    assert state(builds.cli.root) == before


def test_no_store_and_no_home(cli: Cli, project: Project, tmp_path: Path) -> None:
    text = "FROM scratch AS a\nMAINTAINER x\nCOPY . /\nFROM nowhere.invalid/x:1\n"
    context = project({"Dockerfile": text})
    done = ask(cli, "--check", "--target=a", context, code=1)
    assert b"MaintainerDeprecated" in done.stdout and done.stderr == b""
    assert not os.path.exists(cli.root)
    cli.environment["HOME"] = str(tmp_path / "nothing")
    del cli.environment["MINIBUILD_ROOT"]
    ask(cli, "--call=targets", context)
    done = ask(cli, "--check", "--pull=never", context, code=6)
    assert b"not found in the store" in done.stderr
    assert b"MaintainerDeprecated" in done.stdout, "what is above the mistake is checked"
