"""`minibuild lab PATH`: any Dockerfile, with a defect and without."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from minibuild.errors import StepFailed
from tests.conftest import CHECKOUT, Cli
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "overlay", "busybox")]

STORY = str(CHECKOUT / "testdata/whiteout-hardlink")
OTHER_NAMES = """\
ARG IMAGE=none
FROM ${IMAGE} AS first
RUN mkdir /srv && echo b > /srv/b
COPY --link a /srv/a
RUN rm /srv/a /srv/b
COPY --link c /srv/c
RUN ls /srv
FROM first AS second
RUN echo more
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, busybox_tar: str) -> Cli:
    """A store with busybox:latest under another name, and a context beside it."""
    folder = tmp_path_factory.mktemp("both")
    made = Cli(str(folder / "root"))
    made("image", "import", busybox_tar, "busybox:latest")
    made("image", "tag", "busybox", "mine:1")
    (folder / "context").mkdir()
    for name in ("a", "c"):
        (folder / "context" / name).write_text(name)
    (folder / "context" / "Dockerfile").write_text(OTHER_NAMES)
    return made


def context(lab: Cli) -> str:
    return os.path.join(os.path.dirname(lab.root), "context")


def both(lab: Cli, path: str, *flags: str, code: int) -> dict[str, Any]:
    """What both builds came to; skips where whiteouts have inodes of their own."""
    process = lab.start("lab", path, "--format=json", *flags)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert stdout, stderr
    found: dict[str, Any] = json.loads(stdout)
    if code == 1 and found["defect"] == "whiteout-hardlink" and not found["differs"]:
        pytest.skip("this kernel does not share the inode of whiteouts")
    assert process.returncode == code, stdout + stderr
    return found


def test_the_story_of_the_pull_request(lab: Cli) -> None:
    found = both(lab, STORY, code=1)
    assert found["with_fix"] == {"error": None, "merges": 2}
    assert "failed to hardlink during apply" in found["without_fix"]["error"]
    assert [merge["needed_by"].partition("RUN ")[2][:4] for merge in found["merges"]] == [
        "rm /", "test",
    ]  # fmt: skip
    paths = {(p["path"], p["diff"]): p for p in found["merges"][1]["paths"]}
    assert paths["file1", 1]["differs"] is False
    assert paths["file2", 1]["with_fix"]["action"] == "whiteout"
    assert paths["file2", 1]["without_fix"] is None and paths["file2", 1]["differs"]
    made_by = [diff["made_by"].partition("] ")[2] for diff in found["merges"][1]["diffs"]]
    assert made_by[1] == "RUN rm /file1 /file2"
    assert os.listdir(f"{lab.root}/ingest") == [] and not os.path.exists(f"{lab.root}/lab")


def test_other_names_a_stage_and_an_argument(lab: Cli) -> None:
    flags = ("--build-arg", "IMAGE=mine:1", "--target", "first")
    found = both(lab, os.path.join(context(lab), "Dockerfile"), *flags, code=1)
    assert "link" in found["without_fix"]["error"] and "/srv/a" in found["without_fix"]["error"]
    text = lab("lab", context(lab), *flags, code=1).stdout
    assert "] RUN ls /srv needs\n" in text
    assert "did not come to it  <--" in text and lab.root not in text
    assert text.splitlines()[-1] == "the defect makes a difference to it"


def test_another_defect_makes_no_difference(lab: Cli) -> None:
    found = both(lab, STORY, "--defect=type-mask", code=0)
    assert not found["differs"] and not any(merge["differing"] for merge in found["merges"])
    text = lab("lab", STORY, "--defect=type-mask").stdout
    assert "<--" not in text and "makes no difference" in text


def test_trees_that_differ_though_all_went_well(lab: Cli, tmp_path: Path) -> None:
    """A set-user-id bit is lost, and no step looks."""
    (tmp_path / "a").write_text("a")
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nCOPY --link a /a\nRUN mkfifo /x && chmod 4755 /x\nCOPY --link a /b\nRUN ls\n"
    )
    found = both(lab, str(tmp_path), "--defect=owner-last", code=1)
    assert found["with_fix"]["error"] is None and found["without_fix"]["error"] is None
    assert found["merges"][-1]["differing"] == ["x"]
    assert (
        "the trees differ: /x" in lab("lab", f"{tmp_path}/", "--defect=owner-last", code=1).stdout
    )


def test_a_dockerfile_without_merges(lab: Cli, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo a > /a\n")
    found = both(lab, str(tmp_path), code=0)
    assert found["merges"] == []
    assert "no merges; the defect is" in lab("lab", str(tmp_path)).stdout


def test_a_dockerfile_that_fails_anyway(lab: Cli, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nCOPY --link a /a\nRUN touch /b\nCOPY --link a /c\nRUN false\n"
    )
    found = both(lab, str(tmp_path), code=StepFailed.exit_code)
    assert not found["differs"] and "exit code: 1" in found["with_fix"]["error"]
    # Before any merge, it is an ordinary failure.
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN false\n")
    assert "exit code: 1" in lab("lab", str(tmp_path), code=StepFailed.exit_code).stderr


def test_what_is_kept(lab: Cli) -> None:
    found = both(lab, STORY, "--defect=type-mask", "--keep", code=0)
    assert found["kept"] == f"{lab.root}/lab/type-mask-1/store"
    assert os.path.isdir(f"{found['kept']}/snapshots")


def test_words_that_make_no_sense(lab: Cli) -> None:
    assert "no file" in lab("lab", "./nowhere", code=2).stderr
    assert "there is no defect 'x'" in lab("lab", STORY, "--defect=x", code=2).stderr
    assert "it must be x=VALUE" in lab("lab", STORY, "--build-arg=x", code=2).stderr
    assert "for a Dockerfile" in lab("lab", "type-mask", "--defect=type-mask", code=2).stderr
