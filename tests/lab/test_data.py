"""Exhibits as data, and how what was seen is judged: nothing of this needs a mount."""

import os
import re
from pathlib import Path

import pytest

from minibuild.errors import UsageError
from minibuild.lab.evidence import (
    MergeRun,
    MountRow,
    Observation,
    Showing,
    VariationResult,
    look,
    obstacle,
    one_inode_a_mount,
)
from minibuild.lab.exhibit import Variation, quote, text_of
from minibuild.lab.exhibits import EXHIBITS, exhibit
from minibuild.snapshot.api import MergePolicy, Strategy
from minibuild.snapshot.defects import DEFECTS, OLD_NAMES, policy_for
from minibuild.snapshot.upperdir import UpperEntry
from tests.conftest import CHECKOUT

WHITEOUT = EXHIBITS["whiteout-hardlink"]
FAILED = MergeRun(
    "without the fix",
    "failed to hardlink during apply: link /fs/file1 /fs/file2: no such file or directory",
)
PASSED = MergeRun("with the fix", "")


def instructions(dockerfile: str) -> list[str]:
    return [line for line in dockerfile.splitlines() if line and not line.startswith("#")]


def test_the_exhibit_is_the_dockerfile_of_testdata() -> None:
    text = (CHECKOUT / "testdata/whiteout-hardlink/Dockerfile").read_text()
    assert instructions(text) == instructions(text_of(WHITEOUT.recipe))


@pytest.mark.parametrize("name", EXHIBITS)
def test_the_page_tells_the_story(name: str) -> None:
    page = (CHECKOUT / "docs/lab.md").read_text()
    assert f"## {name}\n" in page
    for variation in EXHIBITS[name].variations:
        assert f"| {variation.name} |" in page, "the table of what was seen on both has each"


@pytest.mark.parametrize("name", EXHIBITS)
def test_an_exhibit_is_whole(name: str) -> None:
    made = exhibit(name)
    assert made.name == name and name in DEFECTS
    numbers = range(1, len(made.conditions) + 1)
    broken = {number for variation in made.variations for number in variation.breaks}
    assert broken == set(numbers), "each condition is broken by some variation"
    for text in map(text_of, (made.recipe, *(v.recipe for v in made.variations))):
        copied = set(re.findall(r"^COPY (?:--link )?([^-/]\S+) ", text, re.M))
        assert copied <= made.files.keys()


def test_each_defect_has_its_exhibit() -> None:
    assert list(EXHIBITS) == list(DEFECTS)


@pytest.mark.parametrize("name", EXHIBITS)
def test_the_condition_is_quoted_from_the_source(name: str) -> None:
    """With the line where it is, and the name of its switch."""
    file, number, text = quote(EXHIBITS[name].condition)
    first = text.splitlines()[0]
    assert (CHECKOUT / file).read_text().splitlines()[number - 1].strip() == first.strip()
    assert f'"{name}"' in text


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_one_switch(name: str) -> None:
    """The two runs of an exhibit differ in one field."""
    old, new = policy_for(name), MergePolicy(Strategy.HARDLINK)
    assert old == new._replace(defect=name)  # type: ignore[arg-type]
    assert not old.is_normal and policy_for("") == MergePolicy()


@pytest.mark.parametrize("name", OLD_NAMES)
def test_a_name_from_before_is_understood(name: str) -> None:
    assert policy_for(name) == policy_for(OLD_NAMES[name])
    assert exhibit(name) is exhibit(OLD_NAMES[name])


def test_names_that_are_none() -> None:
    with pytest.raises(UsageError, match="no exhibit 'x'"):
        exhibit("x")
    with pytest.raises(UsageError, match="no defect 'x'"):
        policy_for("x")


def test_looking_into_an_upperdir(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    os.link(tmp_path / "a", tmp_path / "b")
    os.mkfifo(tmp_path / "c")
    one, two, three = look(str(tmp_path), ["a", "b", "c", "missing"], "trusted")
    assert one == UpperEntry("a", "file", "", os.stat(tmp_path / "a").st_ino, 2)
    assert two == one._replace(path="b")
    assert (three.type, three.links) == ("fifo", 1)


def test_what_cannot_be_seen_is_not_pretended() -> None:
    one = UpperEntry("file1", "char device", "0:0", 7, 3)
    two = one._replace(path="file2")
    assert obstacle(WHITEOUT, [one, two], "overlay") == ""
    assert "do not share" in obstacle(WHITEOUT, [one, two._replace(inode=8)], "overlay")
    assert "no whiteouts" in obstacle(WHITEOUT, [one, two._replace(device="1:3")], "overlay")
    assert "no whiteouts" in obstacle(WHITEOUT, [], "overlay")
    assert obstacle(EXHIBITS["type-mask"], [], "overlay") == ""
    assert "not overlays" in obstacle(EXHIBITS["type-mask"], [], "native")


def mounts(*inodes: int) -> tuple[MountRow, ...]:
    """Two whiteouts of one mount, two of the next."""
    made = UpperEntry("a", "char device", "0:0", 0, 1)
    return tuple(MountRow(n // 2 + 1, made._replace(inode=i)) for n, i in enumerate(inodes))


@pytest.mark.parametrize(
    ("inodes", "expected"),
    [((7, 7, 8, 8), True), ((7, 7, 7, 7), False), ((7, 9, 8, 8), False), ((), True)],
)
def test_one_inode_a_mount(inodes: tuple[int, ...], expected: bool) -> None:
    assert one_inode_a_mount(mounts(*inodes)) is expected


def showing(
    old: MergeRun,
    new: MergeRun,
    *varied: VariationResult,
    unable: str = "",
    inodes: tuple[int, ...] = (),
) -> Showing:
    return Showing(
        WHITEOUT, Observation("", "overlay", "", (), unable), mounts(*inodes), old, new, varied
    )


VERDICTS = {
    "as it should be": (showing(FAILED, PASSED), True),
    "no failure": (showing(PASSED, PASSED), False),
    "the fix does not help": (showing(FAILED, FAILED), False),
    "it fails in another way": (showing(FAILED._replace(error="the disk is full"), PASSED), False),
    "it cannot be seen": (showing(FAILED, PASSED, unable="why"), False),
    "one whiteout for two mounts": (showing(FAILED, PASSED, inodes=(7, 7, 7, 7)), False),
    "a variation passes": (
        showing(FAILED, PASSED, VariationResult(Variation("v", "", (1,)), PASSED, PASSED)),
        True,
    ),
    "a variation fails, though a condition is broken": (
        showing(FAILED, PASSED, VariationResult(Variation("v", "", (1,)), FAILED, PASSED)),
        False,
    ),
    "a variation passes, though none is": (
        showing(FAILED, PASSED, VariationResult(Variation("v", ""), PASSED, PASSED)),
        False,
    ),
    "a variation fails with the fix": (
        showing(FAILED, PASSED, VariationResult(Variation("v", ""), FAILED, FAILED)),
        False,
    ),
    "a variation that this account cannot run": (
        showing(FAILED, PASSED, VariationResult(Variation("v", ""), None, None, "needs root")),
        True,
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_verdicts(name: str) -> None:
    seen, expected = VERDICTS[name]
    assert seen.as_expected is expected
