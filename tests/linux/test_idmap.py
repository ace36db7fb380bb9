"""Which ids stand for which in a user namespace, and which an account could be given."""

import pytest

from minibuild.linux.idmap import (
    Account,
    IdMapPlan,
    Range,
    free_range,
    parse_subordinate,
    plan,
)

HELPERS = ("/usr/bin/newuidmap", "/usr/bin/newgidmap")
ALL = (Range(0, 0, 4294967295),)
PLAIN = Account(1000, 100, False, ALL, ALL, ((100000, 65536),), ((200000, 65536),), HELPERS)
SINGLE = IdMapPlan("single", (Range(0, 1000, 1),), (Range(0, 100, 1),))


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        (
            PLAIN,
            IdMapPlan(
                "helpers",
                (Range(0, 1000, 1), Range(1, 100000, 65536)),
                (Range(0, 100, 1), Range(1, 200000, 65536)),
                HELPERS,
            ),
        ),
        (PLAIN._replace(helpers=None), SINGLE),
        (PLAIN._replace(subordinate_uids=()), SINGLE),
        (PLAIN._replace(subordinate_gids=()), SINGLE),
        (
            PLAIN._replace(may_map_any=True, own_uids=(Range(0, 500, 10), Range(20, 600, 1))),
            IdMapPlan("direct", (Range(0, 0, 10), Range(20, 20, 1)), (Range(0, 0, 4294967295),)),
        ),
    ],
)
def test_plan(account: Account, expected: IdMapPlan) -> None:
    assert plan(account) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("me:100000:65536\n", ((100000, 65536),)),
        ("1000:5:1\nme:100000:65536", ((5, 1), (100000, 65536))),
        ("you:1:1\n# me\nme:x:1\nme:1\nme:1:0\nme:-1:5\n", ()),
    ],
)
def test_lines_of_an_account(text: str, expected: tuple[tuple[int, int], ...]) -> None:
    assert parse_subordinate(text, ["me", "1000"]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "100000-165535"),
        ("me:1000:10\n", "100000-165535"),
        ("me:100000:65536\n", "165536-231071"),
        ("me:100000:65536\nyou:300000:5\nbroken\nx:y:z\n", "300005-365540"),
    ],
)
def test_a_free_range_is_nobody_elses(text: str, expected: str) -> None:
    assert free_range(text) == expected
