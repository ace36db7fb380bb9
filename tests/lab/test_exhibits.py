"""`minibuild lab`: what is seen on real mounts, by whoever runs the tests."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minibuild.lab.catalogue import EXHIBITS
from tests.conftest import CHECKOUT, Cli

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "overlay", "busybox")]

PATCHED = """\
import sys
from minibuild.cli.main import entry
from minibuild.lab import evidence
from minibuild.snapshot import defects
from minibuild.snapshot.api import MergePolicy, Strategy
{patch}
sys.exit(entry(["lab", "whiteout-hardlink", *sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, busybox_tar: str) -> Cli:
    """A store with busybox:latest, for all tests here: they leave it as it is."""
    made = Cli(str(tmp_path_factory.mktemp("lab") / "root"))
    made("image", "import", busybox_tar, "busybox:latest")
    return made


def show(lab: Cli, name: str, *flags: str) -> dict[str, Any]:
    """What an exhibit shows; skips where this kernel cannot show it."""
    process = lab.start("lab", name, "--json", *flags)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode in (0, 3), stdout + stderr
    seen: dict[str, Any] = json.loads(stdout)
    if process.returncode == 3:
        assert seen["unable"]
        pytest.skip(seen["unable"])
    return seen


@pytest.fixture(scope="module")
def whiteouts(lab: Cli) -> dict[str, Any]:
    """What `whiteout-hardlink` showed."""
    return show(lab, "whiteout-hardlink")


@pytest.fixture(scope="module")
def types(lab: Cli) -> dict[str, Any]:
    """What `type-mask` showed."""
    return show(lab, "type-mask")


def fates(run: dict[str, Any]) -> list[tuple[str, str]]:
    """Paths with what was done to them."""
    return [(path["path"], path["action"]) for path in run["paths"] if path["path"]]


def patched(lab: Cli, patch: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """The exhibit in a process of its own, with something broken by hand."""
    return subprocess.run(
        [sys.executable, "-c", PATCHED.format(patch=patch), *flags],
        env=lab.environment,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )


def test_the_merge_of_the_pull_request(whiteouts: dict[str, Any]) -> None:
    seen = whiteouts
    one, two = seen["entries"]
    assert (one["type"], one["device"], one["path"]) == ("char device", "0:0", "file1")
    assert (two["type"], two["device"], two["path"]) == ("char device", "0:0", "file2")
    assert one["inode"] == two["inode"] and one["links"] >= 2
    old, new = seen["without_fix"], seen["with_fix"]
    words = r"failed to hardlink during apply: link \S+/file1 \S+/file2: no such file or directory"
    assert re.fullmatch(words, old["error"]) and old["error_as_expected"]
    assert fates(old) == [("file1", "linked"), ("file1", "removed")]
    assert new["outcome"] == "passes"
    assert fates(new) == [*fates(old), ("file2", "whiteout"), ("file3", "linked")]
    # Both runs merge the same diffs on the same base.
    assert old["merge"] == new["merge"]
    assert len(old["merge"]["lowerdirs"]) == 2 and len(old["merge"]["diffs"]) == 3
    assert seen["as_expected"] and seen["kept"] is None


def test_a_socket_over_a_directory(types: dict[str, Any]) -> None:
    seen = types
    assert [entry["type"] for entry in seen["entries"]] == ["socket"]
    assert re.search(r"create \S+/x: file exists$", seen["without_fix"]["error"])
    assert ("x", "copied") in fates(seen["with_fix"])
    assert seen["as_expected"]


@pytest.mark.parametrize("name", EXHIBITS)
def test_each_variation_was_run_and_did_as_its_conditions_say(
    name: str, request: pytest.FixtureRequest
) -> None:
    seen = request.getfixturevalue({"whiteout-hardlink": "whiteouts", "type-mask": "types"}[name])
    assert [v["name"] for v in seen["variations"]] == [v.name for v in EXHIBITS[name].variations]
    for varied in seen["variations"]:
        if varied["unable"]:
            assert "needs root" in varied["unable"]
            continue
        expected = "passes" if varied["breaks"] else "fails"
        outcomes = varied["without_fix"]["outcome"], varied["with_fix"]["outcome"]
        assert outcomes == (expected, "passes"), varied["name"]
    # A merge is what the others have, and these have not.
    merged = {v["name"]: bool(v["with_fix"]["merge"]) for v in seen["variations"] if v["with_fix"]}
    lacks = {"no second link", "no step after it"}
    assert {name for name, was in merged.items() if not was} == lacks & merged.keys()


@pytest.mark.usefixtures("whiteouts")
def test_the_story_in_words(lab: Cli) -> None:
    text = lab("lab", "whiteout-hardlink").stdout
    for words in (
        "without the fix: it fails",
        "with the fix: it passes",
        "removed; no whiteout, as no lower has it",
        "whiteout, cross-linked from the RUN's",
        "lowerdirs  snapshots/",
        "as expected: ",
    ):
        assert words in text
    assert re.search(r"names in the other order +4 +passes +passes$", text, re.M)
    assert re.search(r"no second link +5 +passes, no merge", text)


def test_nothing_is_left_unless_kept(lab: Cli) -> None:
    before = lab("image", "ls", "--digests").stdout, lab("du", "--verbose").stdout
    show(lab, "whiteout-hardlink")
    assert os.listdir(f"{lab.root}/ingest") == []  # Right now: the next command would sweep it.
    assert (lab("image", "ls", "--digests").stdout, lab("du", "--verbose").stdout) == before
    assert not os.path.exists(f"{lab.root}/lab")


def test_what_is_kept_can_be_looked_at(lab: Cli) -> None:
    seen = show(lab, "whiteout-hardlink", "--keep")
    assert seen["kept"] == f"{lab.root}/lab/whiteout-hardlink-1/store"
    found = os.lstat(f"{seen['upperdir']}/file1")
    assert stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
    assert found.st_ino == seen["entries"][0]["inode"]
    lines = lab("lab", "whiteout-hardlink", "--keep").stdout.splitlines()
    assert f"kept: {lab.root}/lab/whiteout-hardlink-2/store/snapshots" in lines
    assert os.listdir(f"{lab.root}/ingest") == []


@pytest.mark.usefixtures("whiteouts")
def test_a_defect_that_does_not_show_is_told(lab: Cli) -> None:
    patch = "defects.DEFECTS['whiteout-links'] = MergePolicy(Strategy.HARDLINK)"
    done = patched(lab, patch)
    assert done.returncode == 1, done.stderr
    assert "without the fix: it passes" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("NOT as expected")
    again = patched(lab, patch, "--json")
    assert again.returncode == 1
    assert json.loads(again.stdout)["as_expected"] is False


@pytest.mark.usefixtures("whiteouts")
def test_a_fix_that_does_not_help_is_told(lab: Cli) -> None:
    done = patched(lab, "MergePolicy.__new__.__defaults__ = (Strategy.HARDLINK, True, False, None)")
    assert done.returncode == 1, done.stderr
    assert "with the fix: it fails" in done.stdout
    assert "NOT as expected" in done.stdout


@pytest.mark.usefixtures("whiteouts")
def test_whiteouts_with_inodes_of_their_own_are_told(lab: Cli) -> None:
    patch = (
        "look = evidence.look\n"
        "evidence.look = lambda d, p: tuple(\n"
        "    e._replace(inode=n) for n, e in enumerate(look(d, p)))"
    )
    done = patched(lab, patch)
    assert done.returncode == 3, done.stderr
    assert "cannot be seen here: whiteouts do not share an inode" in done.stdout.splitlines()[-1]


def test_a_store_with_an_odd_name(tmp_path: Path, busybox_tar: str) -> None:
    odd = Cli(str(tmp_path / "a:b, c\\d é" / "root"))
    odd("image", "import", busybox_tar, "busybox:latest")
    assert show(odd, "whiteout-hardlink")["as_expected"]


def test_snapshots_that_are_full_copies_are_told(lab: Cli) -> None:
    patch = (
        "from minibuild.snapshot import native, select\n"
        "select.open_snapshotter = lambda store: native.NativeSnapshotter(store)"
    )
    done = patched(lab, patch)
    assert done.returncode == 3, done.stderr
    assert "these snapshots are not overlays" in done.stdout.splitlines()[-1]
    # The base was linked as well, and that is no part of the story.
    assert "  /file1  diff 0  linked\n  /file1  diff 1  removed" in done.stdout
    assert "/bin/sh" not in done.stdout


def test_the_list_and_names_that_are_none(cli: Cli) -> None:
    lines = cli("lab").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(EXHIBITS)
    listed = json.loads(cli("lab", "--json").stdout)
    assert [found["name"] for found in listed] == list(EXHIBITS)
    done = cli("lab", "whiteout", code=2)
    assert "whiteout-hardlink" in done.stderr
