"""Exhibits as data, and how what was seen is judged: nothing of this needs a mount."""

import os
import re
from pathlib import Path

import pytest

from minibuild.errors import UsageError
from minibuild.lab.catalogue import EXHIBITS, exhibit
from minibuild.lab.evidence import Run, Showing, UpperEntry, Varied, look, obstacle
from minibuild.lab.exhibit import Variation
from minibuild.snapshot.api import MergePolicy, Strategy
from minibuild.snapshot.defects import DEFECTS, policy_for
from tests.conftest import CHECKOUT

WHITEOUT = EXHIBITS["whiteout-hardlink"]
FAILED = Run(
    "failed to hardlink during apply: link /fs/file1 /fs/file2: no such file or directory", None, ()
)
PASSED = Run("", None, ())


def instructions(dockerfile: str) -> list[str]:
    return [line for line in dockerfile.splitlines() if line and not line.startswith("#")]


def test_the_exhibit_is_the_dockerfile_of_testdata() -> None:
    text = (CHECKOUT / "testdata/whiteout-hardlink/Dockerfile").read_text()
    assert instructions(text) == instructions(WHITEOUT.dockerfile)


@pytest.mark.parametrize("name", EXHIBITS)
def test_the_page_tells_the_story(name: str) -> None:
    page = (CHECKOUT / "docs/lab.md").read_text()
    assert f"## {name}\n" in page
    assert EXHIBITS[name].defect in page


@pytest.mark.parametrize("name", EXHIBITS)
def test_an_exhibit_is_whole(name: str) -> None:
    made = exhibit(name)
    assert made.name == name and made.defect in DEFECTS
    numbers = range(1, len(made.conditions) + 1)
    broken = {number for variation in made.variations for number in variation.breaks}
    assert broken == set(numbers), "each condition is broken by some variation"
    for text in (made.dockerfile, *(v.dockerfile for v in made.variations)):
        copied = set(re.findall(r"^COPY (?:--link )?(\S+)", text, re.M))
        assert copied <= made.files.keys()


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_one_switch(name: str) -> None:
    """The two runs of an exhibit differ in one field."""
    old, new = policy_for(name), MergePolicy(Strategy.HARDLINK)
    assert [f for f in old._fields if getattr(old, f) != getattr(new, f)] == [
        name.replace("-", "_")
    ]
    assert not old.is_normal and policy_for("") == MergePolicy()


def test_names_that_are_none() -> None:
    with pytest.raises(UsageError, match="no exhibit 'x'"):
        exhibit("x")
    with pytest.raises(UsageError, match="no defect 'x'"):
        policy_for("x")


def test_looking_into_an_upperdir(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    os.link(tmp_path / "a", tmp_path / "b")
    os.mkfifo(tmp_path / "c")
    one, two, three = look(str(tmp_path), ["a", "b", "c", "missing"])
    assert one == UpperEntry("a", "file", "", os.stat(tmp_path / "a").st_ino, 2)
    assert two == one._replace(path="b")
    assert (three.type, three.links) == ("fifo", 1)


def test_what_cannot_be_seen_is_not_pretended() -> None:
    one = UpperEntry("file1", "char device", "0:0", 7, 3)
    two = one._replace(path="file2")
    assert obstacle(WHITEOUT, [one, two]) == ""
    assert "do not share" in obstacle(WHITEOUT, [one, two._replace(inode=8)])
    assert "no whiteouts" in obstacle(WHITEOUT, [one, two._replace(device="1:3")])
    assert "no whiteouts" in obstacle(WHITEOUT, [])
    assert obstacle(EXHIBITS["type-mask"], []) == ""


def showing(old: Run, new: Run, *varied: Varied, unable: str = "") -> Showing:
    return Showing(WHITEOUT, "", "overlay", "", (), unable, old, new, varied)


VERDICTS = {
    "as it should be": (showing(FAILED, PASSED), True),
    "no failure": (showing(PASSED, PASSED), False),
    "the fix does not help": (showing(FAILED, FAILED), False),
    "it fails in another way": (showing(Run("the disk is full", None, ()), PASSED), False),
    "it cannot be seen": (showing(FAILED, PASSED, unable="why"), False),
    "a variation passes": (
        showing(FAILED, PASSED, Varied(Variation("v", "", (1,)), PASSED, PASSED)),
        True,
    ),
    "a variation fails, though a condition is broken": (
        showing(FAILED, PASSED, Varied(Variation("v", "", (1,)), FAILED, PASSED)),
        False,
    ),
    "a variation passes, though none is": (
        showing(FAILED, PASSED, Varied(Variation("v", ""), PASSED, PASSED)),
        False,
    ),
    "a variation fails with the fix": (
        showing(FAILED, PASSED, Varied(Variation("v", ""), FAILED, FAILED)),
        False,
    ),
    "a variation that this account cannot run": (
        showing(FAILED, PASSED, Varied(Variation("v", ""), None, None, "needs root")),
        True,
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_verdicts(name: str) -> None:
    seen, expected = VERDICTS[name]
    assert seen.as_expected is expected
