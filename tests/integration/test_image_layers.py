"""`minibuild image tree` and `image layer`, on images that were built here and others."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from minibuild.cli.main import entry
from minibuild.errors import HostError
from tests.conftest import Cli
from tests.imagetools.test_squash import tar_of

pytestmark = [pytest.mark.integration, pytest.mark.needs("overlay", "busybox")]

DOCKERFILE = """\
FROM busybox AS base
RUN mkdir /d && echo old > /d/old
FROM base
COPY big /d/big
COPY --link other /d/linked
RUN dd if=/dev/zero of=/tmp/cache bs=1000 count=500 2>/dev/null
RUN chmod 700 /d/big
RUN rm /tmp/cache /d/linked && rm -r /d && mkdir /d && echo new > /d/new
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, busybox_tar: str) -> Cli:
    """A store with the image `app`, and the archive `app.tar` beside it; read only."""
    folder = tmp_path_factory.mktemp("layers")
    cli = Cli(str(folder / "root"))
    cli("image", "import", busybox_tar, "busybox:latest")
    context = folder / "context"
    context.mkdir()
    (context / "big").write_text("b" * 200_000)
    (context / "other").write_text("other")
    (context / "Dockerfile").write_text(DOCKERFILE)
    cli("build", "-t", "app", str(context))
    cli("image", "save", "app", "-o", str(folder / "app.tar"))
    return cli


def archive(cli: Cli) -> str:
    return os.path.join(os.path.dirname(cli.root), "app.tar")


def tree(cli: Cli, image: str, *flags: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("image", "tree", image, "--format=json", *flags).stdout)
    return found


def test_the_line_to_mend(built: Cli) -> None:
    found = tree(built, "app")
    assert [layer["line"] for layer in found["layers"]] == [1, 2, 4, 5, 6, 7, 8]
    assert [layer["kind"] for layer in found["layers"][:3]] == ["base", "run", "copy"]
    wasted = {(w["line"], w["by_line"], w["how"], w["same_size"]): w for w in found["wasted"]}
    assert wasted[(6, 8, "deleted", False)]["paths"] == ["tmp/cache"]
    assert wasted[(4, 7, "replaced", True)]["paths"] == ["d/big"]
    assert wasted[(7, 8, "deleted", False)]["bytes"] == 200_000
    assert wasted[(4, 7, "replaced", True)]["advice"].startswith("perhaps only its mode")
    assert found["hidden"] == 500_000 + 2 * 200_000 + len("old\nother")
    places = {place["path"]: place for place in found["places"]}
    assert places["d"]["bytes"] == 4 and "tmp" not in places


def test_as_text(built: Cli) -> None:
    text = built("image", "tree", "app").stdout
    assert "hidden by later layers (" in text.splitlines()[0]
    assert "of layer 4 (line 6), deleted by layer 6 (line 8)" in text
    assert "remove it in line 6 itself, or write it to a RUN --mount=type=cache" in text
    assert "     8  RUN rm /tmp/cache /d/linked && rm -r /d" in text
    only = built("image", "tree", "app", "--wasted").stdout
    assert "hidden\n" in only and "INSTRUCTION" not in only and "SHARE" not in only


def test_directories_as_a_tree(built: Cli) -> None:
    """Each level is indented; of a directory with many files the largest are shown."""
    lines = built("image", "tree", "app", "-L", "2").stdout.splitlines()
    header, *rows = lines[lines.index("", lines.index("hidden")) + 1 :]
    table = [row[header.index("PATH") :] for row in rows]
    assert table[0].startswith("/bin/ ") and table[1].startswith("  ")
    assert any(line.startswith("/d/ ") for line in table)
    assert any(line.startswith("  new ") and "(line 8)" in line for line in table)


@pytest.mark.parametrize(
    ("limit", "code"),
    [("5%", 1), ("100%", 0), ("0%", 1), ("2m", 0), ("899k", 0), ("800k", 1), ("33.5%", 0)],
)
def test_a_limit_for_ci(built: Cli, limit: str, code: int) -> None:
    done = built("image", "tree", "app", "--max-waste", limit, code=code)
    assert ("more than --max-waste" in done.stderr) == bool(code)
    assert "INSTRUCTION" in done.stdout


@pytest.mark.parametrize("words", [["--max-waste=x%"], ["--max-waste=200%"], ["--max-waste=many"],
                                   ["-L0"]])  # fmt: skip
def test_limits_that_make_no_sense(built: Cli, words: list[str]) -> None:
    built("image", "tree", "app", *words, code=2)


def test_an_archive_is_known_by_its_digest(built: Cli, cli: Cli) -> None:
    assert tree(built, archive(built))["layers"] == tree(built, "app")["layers"]
    # Elsewhere there is no record: the history tells, and no line.
    found = tree(cli, archive(built))
    assert not any(layer["line"] for layer in found["layers"])
    assert [layer["kind"] for layer in found["layers"][1:3]] == ["run", "copy"]
    assert found["wasted"][0]["advice"].startswith("remove it in layer 4 itself")
    assert "remove it in layer 4 itself" in cli("image", "tree", archive(built)).stdout


def test_an_image_that_is_none(built: Cli) -> None:
    assert "no image nowhere" in built("image", "tree", "nowhere", code=7).stderr
    assert "no image nowhere" in built("image", "layer", "nowhere", "0", code=7).stderr


# --- image layer ---


def layer(cli: Cli, image: str, number: int, *flags: str) -> dict[str, Any]:
    words = ("image", "layer", image, str(number), "--format=json", *flags)
    found: dict[str, Any] = json.loads(cli(*words).stdout)
    return {path["path"]: path for path in found["paths"]}


def test_a_layer_three_ways(built: Cli) -> None:
    rows = layer(built, "app", 6)
    cache, linked, new = rows["tmp/cache"], rows.get("d/linked"), rows["d/new"]
    assert [e["name"] for e in cache["tar"]] == ["tmp/.wh.cache"]
    assert cache["upperdir"]["whiteout"] and cache["upperdir"]["device"] == "0:0"
    assert cache["merge"] == [{"action": "removed", "reason": "nothing lies below"}]
    # A directory that was removed and made again is opaque in the upperdir. The layer is about
    # what was there: a deletion for each name.
    assert rows["d"]["upperdir"]["opaque"] is True
    assert linked is not None and linked["upperdir"] is None
    assert [e["name"] for e in linked["tar"]] == ["d/.wh.linked"]
    assert rows["d/old"]["merge"][0]["action"] == "whiteout"
    assert new["merge"] == [{"action": "linked", "reason": ""}]
    assert list(rows) == ["d", "d/big", "d/linked", "d/new", "d/old", "tmp", "tmp/cache"]


def test_a_layer_of_a_chain_is_put_on_its_own_tree(built: Cli) -> None:
    found = json.loads(built("image", "layer", "app", "1", "--format=json").stdout)
    assert "none in this image" in found["merge"]
    acts = {p["path"]: [act["action"] for act in p["merge"]] for p in found["paths"]}
    assert acts == {"d": ["made"], "d/old": ["linked"]}
    base = layer(built, "app", 0, "--path", "/bin/sh")
    assert [act["action"] for act in base["bin/sh"]["merge"]] == ["linked"]


def test_a_layer_as_text(built: Cli) -> None:
    text = built("image", "layer", "app", "6").stdout
    assert "AS A TAR" in text and "AS LINKS IN A MERGE" in text
    assert re.search(r"tmp/.wh.cache +tmp/cache  c 0:0", text)
    assert "removed: nothing lies below" in text and "d/  opaque" in text
    assert "see them with --all" in built("image", "layer", "app", "0").stdout
    assert "no path is like that" in built("image", "layer", "app", "1", "--path=x").stdout


def test_a_layer_of_an_archive(built: Cli, cli: Cli) -> None:
    found = layer(cli, archive(built), 6)
    # From elsewhere, all layers are a chain; the kernel's opaque directory is none any more.
    assert found["tmp/cache"]["upperdir"]["whiteout"]
    assert [act["action"] for act in found["tmp/cache"]["merge"]] == ["whiteout"]
    assert cli("image", "ls", "-q").stdout == "", "nothing of it stays in the store"
    assert os.listdir(f"{cli.root}/ingest") == []


def test_an_opaque_directory_in_a_tar(cli: Cli, busybox_tar: str, tmp_path: Path) -> None:
    """Other builders mark it by a file, which is about the directory that it lies in."""
    marked = tmp_path / "marked.tar"
    marked.write_bytes(tar_of([("dir", "bin", ""), ("opaque", "bin", ""), ("file", "bin/x", "1")]))
    cli("image", "import", busybox_tar, "busybox:latest")
    cli("image", "append", "busybox", "marked", "-f", str(marked))
    rows = layer(cli, "marked", 1)
    assert [e["name"] for e in rows["bin"]["tar"]] == ["bin", "bin/.wh..wh..opq"]
    assert rows["bin"]["upperdir"]["opaque"] is True
    assert rows["bin/sh"]["tar"] == [] and rows["bin/sh"]["merge"][0]["action"] == "whiteout"
    assert (
        "bin/  0755, bin/.wh..wh..opq  bin/  opaque" in cli("image", "layer", "marked", "1").stdout
    )


@pytest.mark.parametrize("word", ["7", "-1", "x", "1.5"])
def test_numbers_that_no_layer_has(built: Cli, word: str) -> None:
    assert "there is no layer" in built("image", "layer", "app", "--", word, code=2).stderr


def test_without_snapshots_the_tar_is_shown(
    built: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refused() -> str:
        raise HostError("this account may not make user namespaces")

    monkeypatch.setattr("minibuild.cli.lab_try.enter", refused)
    monkeypatch.setenv("MINIBUILD_ROOT", str(tmp_path / "store"))
    assert entry(["image", "layer", archive(built), "6"]) == 0
    text = capsys.readouterr().out
    assert "tmp/.wh.cache" in text and "AS AN UPPERDIR" not in text
    assert "and there are none: this account may not make user namespaces" in text
    assert entry(["image", "tree", archive(built)]) == 0
