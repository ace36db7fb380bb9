"""`minibuild builds`: lists, logs, records as files; and what a record never is: in the way."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from minibuild.record.records import BuildRecords
from tests.conftest import Cli
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

DOCKERFILE = """\
FROM busybox
ARG API_TOKEN
COPY a /
RUN echo from the first step; cat a
RUN --mount=type=secret,id=s cat /run/secrets/s; echo "token $API_TOKEN"
"""


@pytest.fixture
def context(cli: Cli, tmp_path: Path, busybox_store: str) -> str:
    cli.has_busybox(busybox_store)
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "a").write_text("a\n")
    return str(folder)


def listed(cli: Cli, *words: str) -> Any:
    return json.loads(cli("builds", *words, "--format", "json").stdout)


def test_logs_are_shown_again(cli: Cli, context: str) -> None:
    """Also those of cached steps, from the build in which they ran."""
    cli("build", "-q", context)
    first = cli("builds", "logs", "^0", "4", cwd=context).stdout.splitlines()
    assert first[0].endswith("RUN echo from the first step; cat a")
    assert [line.split(maxsplit=2)[2] for line in first[1:3]] == ["from the first step", "a"]
    assert first[-1].startswith("#1 DONE")
    (before,) = listed(cli)
    Path(context, "Dockerfile").write_text(DOCKERFILE + "RUN true\n")
    cli("build", "-q", context)
    again = cli("builds", "logs", "^0", "4", cwd=context).stdout
    assert f"#1 it ran in build {before['id']}:" in again
    assert "from the first step" in again
    assert again.endswith("#1 CACHED\n")
    for line in cli("builds", "logs", "--format", "json", cwd=context).stdout.splitlines():
        json.loads(line)


def test_words_for_builds(cli: Cli, context: str, tmp_path: Path) -> None:
    assert "there is no record of a build" in cli("builds", "show", code=2, cwd=context).stderr
    cli("build", "-q", "-t", "one", context)
    Path(context, "a").write_text("b\n")
    cli("build", "-q", "-t", "two", context)
    newest, oldest = listed(cli, "ls", "--here")
    assert (newest["tags"], newest["back"], oldest["back"]) == (["two"], 0, 1)
    file = tmp_path / "one.json"
    cli("builds", "export", "^1", "-o", str(file), cwd=context)
    for word in ("^1", oldest["id"], oldest["id"][:5], str(file)):
        shown = json.loads(cli("builds", "show", word, "--format", "json", cwd=context).stdout)
        assert shown["id"] == oldest["id"]
    for wrong in ("^7", "nothing", "^x", context + "/a"):
        assert "Traceback" not in cli("builds", "show", wrong, code=2, cwd=context).stderr
    table = cli("builds", cwd=context).stdout
    assert [line.split()[:2] for line in table.splitlines()[1:]] == [
        ["^0", newest["id"]],
        ["^1", oldest["id"]],
    ]
    assert "/a: contents" in cli("builds", "diff", cwd=context).stdout


def test_a_record_explains_on_another_machine(cli: Cli, context: str, tmp_path: Path) -> None:
    """The other store never saw the build that it compares with."""
    cli("build", "-q", context)
    file = tmp_path / "ci.json"
    cli("builds", "export", "-o", str(file), cwd=context)
    other = Cli(str(tmp_path / "other"))
    cli("image", "save", "busybox", "-o", str(tmp_path / "busybox.oci"))
    other("image", "load", "-i", str(tmp_path / "busybox.oci"))
    Path(context, "a").write_text("b\n")
    other("build", "-q", context)
    story = json.loads(other("why", "--against", str(file), "--format", "json", cwd=context).stdout)
    found = {step["line"]: [c["text"] for c in step["causes"]] for step in story["ran"]}
    assert found[3] == ["/a: contents"]
    assert found[4] == []


def test_no_secret_is_kept(cli: Cli, context: str, tmp_path: Path) -> None:
    """Searched for in all that there is of records, and in what is exported and shown."""
    secret, token = "the-value-of-the-secret", "the-value-of-the-token"
    path = tmp_path / "secret"
    path.write_text(secret + "\n")
    cli("build", "-q", "--secret", f"id=s,src={path}", "--build-arg", f"API_TOKEN={token}", context)
    texts = [json.dumps(build.data) for build in BuildRecords(cli.root).all()]
    texts.append(cli("builds", "export", cwd=context).stdout)
    texts.append(cli("builds", "logs", cwd=context).stdout)
    texts.append(cli("builds", "show", cwd=context).stdout)
    assert len(texts) == 4
    for text in texts:
        assert secret not in text
        assert token not in text
    assert "token sha256:" in texts[2]
    cli("build", "-q", "--build-arg", "API_TOKEN=another-value", context)
    told = cli("why", cwd=context).stdout
    assert "API_TOKEN: another value, which is not shown" in told
    assert token not in told


@pytest.mark.parametrize("way", ["flag", "variable"])
def test_no_record(way: str, cli: Cli, context: str) -> None:
    flags = ["--no-record"] if way == "flag" else []
    env = {"MINIBUILD_RECORD": "0"} if way == "variable" else {}
    cli("build", "-q", *flags, context, env=env)
    assert not Path(cli.root, "builds").exists()
    assert "no record" in cli("why", code=2, cwd=context).stderr


def test_builds_at_once(cli: Cli, context: str) -> None:
    """Both of the same place leave a record; neither is torn."""
    both = [
        cli.start("build", "-q", "--no-cache", context, "--build-arg", f"API_TOKEN={n}")
        for n in "12"
    ]
    assert [process.wait(PATIENCE_S) for process in both] == [0, 0]
    assert len(list(BuildRecords(cli.root).all())) == 2


def test_a_killed_build_leaves_the_records_whole(cli: Cli, context: str) -> None:
    cli("build", "-q", context)
    for delay_s in (0.1, 0.2, 0.3):
        process = cli.start("build", "-q", "--no-cache", context)
        time.sleep(delay_s)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    cli("build", "-q", "--no-cache", context)
    assert all(build.steps for build in BuildRecords(cli.root).all())
    assert cli("why", cwd=context).stdout


def test_a_folder_that_cannot_be_written_stops_no_build(cli: Cli, context: str) -> None:
    Path(cli.root, "builds").write_text("in the way")
    cli("build", "-q", context)
    assert listed(cli) == []
