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

from minibuild.cli.main import entry
from minibuild.errors import HostError
from minibuild.lab.exhibits import EXHIBITS
from tests.conftest import CHECKOUT, Cli
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "overlay", "busybox")]

PATCHED = """\
import sys
from minibuild.cli.main import entry
from minibuild.lab import exhibit_builder, exhibits
from minibuild.snapshot.api import MergePolicy, Strategy
made = exhibits.EXHIBITS["whiteout-hardlink"]
exhibits.EXHIBITS["whiteout-hardlink"] = made._replace(variations=made.variations[2:3])
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
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
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


SHOWN: dict[str, dict[str, Any]] = {}


@pytest.fixture(params=EXHIBITS)
def shown(request: pytest.FixtureRequest, lab: Cli) -> dict[str, Any]:
    """What each exhibit showed; each is performed once."""
    name = request.param
    if name == "whiteout-hardlink":
        SHOWN[name] = request.getfixturevalue("whiteouts")
    elif name not in SHOWN:
        SHOWN[name] = show(lab, name)
    return SHOWN[name]


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


LAST_STEP = {
    "whiteout-hardlink": r"link \S+/file1 \S+/file2: no such file or directory$",
    "type-mask": r"create \S+/x: file exists$",
    "opaque-copied": r"test -e /d/base. did not complete successfully: exit code: 1$",
    "link-followed": r"mkdir \S+/x: not a directory$",
    "early-times": r"did not complete successfully: exit code: 1$",
    "owner-last": r"test -u /x. did not complete successfully: exit code: 1$",
}


def test_each_exhibit_fails_in_its_own_words_and_passes_with_the_fix(shown: dict[str, Any]) -> None:
    assert shown["as_expected"]
    old, new = shown["without_fix"], shown["with_fix"]
    assert re.search(LAST_STEP[shown["exhibit"]], old["error"].replace('"', "."))
    assert (old["outcome"], new["outcome"], new["error"]) == ("fails", "passes", None)
    assert old["merge"] == new["merge"], "both merge the same"
    assert all(diff["made_by"] for diff in new["merge"]["diffs"])
    assert {entry["path"] for entry in shown["entries"]} == set(EXHIBITS[shown["exhibit"]].paths)


def test_each_variation_was_run_and_did_as_its_conditions_say(shown: dict[str, Any]) -> None:
    made = EXHIBITS[shown["exhibit"]]
    assert [v["name"] for v in shown["variations"]] == [v.name for v in made.variations]
    for varied in shown["variations"]:
        if varied["unable"]:
            assert "needs root" in varied["unable"]
            continue
        expected = "passes" if varied["breaks"] else "fails"
        outcomes = varied["without_fix"]["outcome"], varied["with_fix"]["outcome"]
        assert outcomes == (expected, "passes"), varied["name"]
    # A merge is what the others have, and these have not.
    merged = {v["name"]: bool(v["with_fix"]["merge"]) for v in shown["variations"] if v["with_fix"]}
    lacks = {"no second link", "no step after it"}
    assert {name for name, was in merged.items() if not was} == lacks & merged.keys()


def test_what_the_defects_do_to_the_tree(shown: dict[str, Any]) -> None:
    """Where the merge passes, the fates may be the same, and the tree is not."""
    name, old, new = shown["exhibit"], shown["without_fix"], shown["with_fix"]
    if name == "type-mask":
        assert ("x", "copied") in fates(new)
    elif name == "opaque-copied":
        assert (fates(old)[0], fates(new)[0]) == (("d", "opaque"), ("d", "made"))
        assert shown["entries"][0]["opaque"] is True
    elif name in ("early-times", "owner-last"):
        assert fates(old) == fates(new)


def test_two_mounts_two_inodes(whiteouts: dict[str, Any]) -> None:
    inodes = [row["inode"] for row in whiteouts["mounts"]]
    assert [row["mount"] for row in whiteouts["mounts"]] == [1, 1, 2, 2]
    assert inodes[0] == inodes[1] != inodes[2] == inodes[3]


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
    assert re.search(r"the pull request's own test, a Diff +none +fails +passes$", text, re.M)
    assert "the condition: minibuild/snapshot/apply.py, line " in text
    assert "in BuildKit: overlayChanges in snapshot/diffapply_linux.go" in text
    assert "  error: failed to hardlink during apply: link snapshots/" in text
    assert lab.root not in text
    assert re.search(r"no second link +5 +passes, no merge", text)


def test_nothing_is_left_unless_kept(lab: Cli) -> None:
    before = lab("image", "ls", "--digests").stdout, lab("du", "--verbose").stdout
    show(lab, "early-times")
    assert os.listdir(f"{lab.root}/ingest") == []  # Right now: the next command would sweep it.
    assert (lab("image", "ls", "--digests").stdout, lab("du", "--verbose").stdout) == before
    assert not os.path.exists(f"{lab.root}/lab")


def test_what_is_kept_can_be_looked_at(lab: Cli) -> None:
    seen = show(lab, "whiteout-hardlink", "--keep")
    assert seen["kept"] == f"{lab.root}/lab/whiteout-hardlink-1/store"
    found = os.lstat(f"{seen['upperdir']}/file1")
    assert stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
    assert found.st_ino == seen["entries"][0]["inode"]
    for number in (1, 2):
        lines = lab("lab", "early-times", "--keep").stdout.splitlines()
        assert f"kept: {lab.root}/lab/early-times-{number}/store/snapshots" in lines
    assert os.listdir(f"{lab.root}/ingest") == []
    place = Path(lab.root) / "lab/whiteout-hardlink-1"
    text = (place / "MAP.txt").read_text()
    for words in (
        "FROM busybox",
        "RUN rm /file1 /file2",
        "needs, with the fix",
        "half-made-merge/: the same merge",
    ):
        assert words in text
    # It stopped where it failed: /file1 was removed again, and nothing came after it.
    assert os.listdir(place / "half-made-merge") == []
    kept = Cli(str(place / "store"))
    traced = kept("merge-trace", "RUN test").stdout
    assert "file2" in traced and "whiteout written: linked to that of the diff" in traced


def test_a_pause_after_each_part(lab: Cli) -> None:
    """Each part waits for a line: what comes after it is not written before."""
    pipe = subprocess.PIPE
    words = [lab.program, "lab", "early-times", "--slow"]
    with subprocess.Popen(
        words, env=lab.environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stderr.readline() == "-- Enter --\n"
        for line in process.stdout:
            assert line != "the Dockerfile\n", "this is the next part"
            if line.startswith("the time is set when the merge leaves"):
                break
        rest, errors = process.communicate("\n" * 4, timeout=PATIENCE_S)
    assert process.returncode == 0
    assert rest.index("the Dockerfile") < rest.index("without the fix") < rest.index("as expected")
    assert errors.count("-- Enter --") == 4, "where the input ends, the rest comes at once"


def test_the_table_of_variations_is_one_part(lab: Cli) -> None:
    done = subprocess.run(
        [lab.program, "lab", "opaque-copied", "--slow"], env=lab.environment, input="\n" * 20,
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.count("  passes") == 6
    # The graph, the condition, the upperdir, the merge, two runs, the conditions, the verdict.
    assert done.stderr.count("-- Enter --") == 8


@pytest.mark.usefixtures("whiteouts")
def test_a_defect_that_does_not_show_is_told(lab: Cli) -> None:
    patch = "exhibit_builder.policy_for = lambda name: MergePolicy(Strategy.HARDLINK)"
    done = patched(lab, patch)
    assert done.returncode == 1, done.stderr
    assert "without the fix: it passes" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("NOT as expected")
    again = patched(lab, patch, "--json")
    assert again.returncode == 1
    assert json.loads(again.stdout)["as_expected"] is False


@pytest.mark.usefixtures("whiteouts")
def test_a_fix_that_does_not_help_is_told(lab: Cli) -> None:
    done = patched(
        lab,
        "defaults = (Strategy.HARDLINK, 'whiteout-hardlink', None, None)\n"
        "MergePolicy.__new__.__defaults__ = defaults",
    )
    assert done.returncode == 1, done.stderr
    assert "with the fix: it fails" in done.stdout
    assert "NOT as expected" in done.stdout


@pytest.mark.usefixtures("whiteouts")
def test_whiteouts_with_inodes_of_their_own_are_told(lab: Cli) -> None:
    patch = (
        "look = exhibit_builder.look\n"
        "exhibit_builder.look = lambda *a: tuple(\n"
        "    e._replace(inode=n) for n, e in enumerate(look(*a)))"
    )
    done = patched(lab, patch)
    assert done.returncode == 3, done.stderr
    assert "cannot be seen here: whiteouts do not share an inode" in done.stdout.splitlines()[-1]


def test_a_store_with_an_odd_name(tmp_path: Path, busybox_tar: str) -> None:
    odd = Cli(str(tmp_path / "a:b, c\\d é" / "root"))
    odd("image", "import", busybox_tar, "busybox:latest")
    assert show(odd, "opaque-copied")["as_expected"]


def test_snapshots_that_are_full_copies_are_told(lab: Cli) -> None:
    patch = (
        "from minibuild.snapshot import native, select\n"
        "select.open_snapshotter = lambda store, _: native.NativeSnapshotter(store)"
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


def test_where_nothing_can_be_shown_the_story_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refused() -> str:
        raise HostError("this account may not make user namespaces")

    monkeypatch.setattr("minibuild.cli.lab.enter", refused)
    monkeypatch.setenv("MINIBUILD_ROOT", str(tmp_path / "store"))
    assert entry(["lab", "opaque-copied"]) == HostError.exit_code
    told = capsys.readouterr()
    assert "the condition: minibuild/snapshot/apply.py" in told.out and "the graph" in told.out
    assert "may not make user namespaces" in told.err


def test_a_reader_that_leaves_early_leaves_nothing_behind(lab: Cli) -> None:
    """As `| head` does: what was being made is removed before the program ends."""
    process = lab.start("lab", "owner-last")
    assert process.stdout is not None
    for line in process.stdout:
        if line == "the Dockerfile\n":
            break
    process.stdout.close()
    process.stdout = None
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 141
    assert os.listdir(f"{lab.root}/ingest") == []
