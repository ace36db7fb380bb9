"""docs/errors.md holds what the program prints today, and each of these errors helps."""

import re
import subprocess
import sys

import pytest

from tests.conftest import CHECKOUT
from tests.errors_page import PAGE, cases
from tests.support.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def printed() -> str:
    """The page, made anew."""
    command = [sys.executable, "-m", "tests.errors_page", "--print"]
    return subprocess.run(
        command, cwd=CHECKOUT, check=True, capture_output=True, text=True, timeout=PATIENCE_S
    ).stdout


def test_the_page_is_up_to_date(printed: str) -> None:
    assert printed == PAGE.read_text(), "run: python -m tests.errors_page"


def test_each_error_has_a_place_a_cause_and_what_to_do(printed: str) -> None:
    found = re.findall(r"^```console\n\$ (.*?)\n(.*?)^```$", printed, re.M | re.S)
    assert len(found) == len(cases()) >= 40
    without_place = 0
    for command, text in found:
        assert re.search(r"^error: .", text, re.M), command + text
        assert re.search(r"^hint: .", text, re.M), command + text
        if text.startswith("error:"):
            without_place += 1
        else:
            # The place is where the instruction begins; the mark is at what is wrong in it.
            place = re.match(r"Dockerfile:(\d+)\n-{20}\n(?:(?!.*>>>).*\n)* +(\d+) \| >>> ", text)
            assert place and int(place[1]) <= int(place[2]), text
    assert without_place == 4, "a target, a file and a flag have no line"


def test_every_case_has_a_folder_and_every_folder_a_case() -> None:
    folders = {path.name for path in (CHECKOUT / "testdata/errors").iterdir() if path.is_dir()}
    assert folders == {case.name for case in cases()}
