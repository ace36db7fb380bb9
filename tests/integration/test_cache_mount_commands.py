"""`minibuild cache-mount`: mounts listed, exported, imported and removed without a build."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.integration.conftest import Builds

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

FILL = """\
FROM busybox
RUN --mount=type=cache,id=a,target=/a --mount=type=cache,target=/b \\
    head -c 100000 /dev/zero > /a/x && ln /a/x /a/y && touch /b/x
"""


def test_there_and_back(
    builds: Builds, project: Callable[[Mapping[str, str]], str], tmp_path: Path
) -> None:
    cli, place = builds.cli, f"type=local,KEY={tmp_path}/p"
    there, back = place.replace("KEY", "dest"), place.replace("KEY", "src")
    assert cli("cache-mount", "ls", "-q").stdout == ""
    cli("build", project({"Dockerfile": FILL}))
    assert cli("cache-mount", "ls", "-q").stdout.split() == ["/b", "a"]
    listed = json.loads(cli("cache-mount", "ls", "--format=json").stdout)
    assert 100_000 <= listed[1]["size_bytes"] < 200_000  # two names, one file
    shown = json.loads(cli("cache-mount", "show", "a", "--format=json").stdout)
    assert [(entry["path"], entry["files"]) for entry in shown] == [("x", 1), ("y", 1)]
    assert [entry["size_bytes"] > 90_000 for entry in shown] == [True, False]
    assert "x" in cli("cache-mount", "show", "a", "--depth=2").stdout
    assert "there are /b, a" in cli("cache-mount", "show", "c", code=8).stderr
    cli("cache-mount", "show", "a", "--depth=0", code=2)
    assert cli("cache-mount", "export", there, "a").stdout == "exported  a\n"
    said = cli("cache-mount", "export", there).stdout
    assert sorted(said.splitlines()) == ["exported  /b", "unchanged  a"]

    other = Cli(str(tmp_path / "other"))
    said = other("cache-mount", "import", back, "a").stdout
    assert said == "imported  a\n"
    assert other("cache-mount", "ls", "-q").stdout.split() == ["a"]
    said = other("cache-mount", "import", back).stdout
    assert sorted(said.splitlines()) == ["imported  /b", "kept  a"]
    assert other("cache-mount", "import", back + ",force=true", "a").stdout == "unchanged  a\n"

    for folder in (tmp_path / "other/cache-mounts").iterdir():
        # Others on this machine must not get at what steps leave, such as set-id programs.
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "other/ingest").iterdir()) == []

    assert other("cache-mount", "rm", "a").stdout == ""
    assert other("cache-mount", "ls", "-q").stdout.split() == ["/b"]
    assert "there are /b" in other("cache-mount", "rm", "a", code=8).stderr
    assert "has no cache mount c" in other("cache-mount", "import", back, "c", code=7).stderr
    nowhere = f"type=local,src={tmp_path}/nowhere"
    assert "no cache mounts at" in other("cache-mount", "import", nowhere, code=7).stderr
