"""The table of merges, rules 1 to 72 of `docs/merge.md`: each has a test that names its number.

A test says so by its name: `test_c2_18_...` is about rule 18, of part 2 of the table.
"""

import re

from tests.conftest import CHECKOUT

PARTS = {1: (1, 15), 2: (16, 34), 3: (35, 44), 4: (45, 50), 5: (51, 60), 6: (61, 72)}
"""The parts of the table with their first and last rule."""


def by_rule() -> dict[int, list[str]]:
    """The tests of each rule."""
    found: dict[int, list[str]] = {}
    for path in sorted((CHECKOUT / "tests").rglob("test_*.py")):
        for part, number, rest in re.findall(
            r"^def test_c(\d)_(\d\d)_(\w+)", path.read_text(), re.M
        ):
            first, last = PARTS[int(part)]
            assert first <= int(number) <= last, f"rule {number} is not in part {part}: {rest}"
            found.setdefault(int(number), []).append(f"{path.name}::test_c{part}_{number}_{rest}")
    return found


def test_every_rule_has_a_test() -> None:
    missing = sorted(set(range(1, 73)) - by_rule().keys())
    assert not missing, f"no test is named after rules {missing}: see tests/snapshot"


def test_the_page_has_the_rules_in_order() -> None:
    page = (CHECKOUT / "docs/merge.md").read_text()
    numbers = [int(n) for n in re.findall(r"^\| (\d+) \|", page, re.M)]
    assert numbers == list(range(1, 73))
