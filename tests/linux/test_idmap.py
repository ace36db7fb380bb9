"""Which ids stand for which in a user namespace, and which an account could be given."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from minibuild.linux import capabilities, idmap, syscalls
from minibuild.linux.descriptors import read_text
from minibuild.linux.idmap import (
    Account,
    IdMapPlan,
    Range,
    account_names,
    find_helpers,
    free_here,
    free_range,
    has_subordinate_ids,
    parse_id_map,
    parse_subordinate,
    plan,
    plan_id_maps,
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
        (
            # Ranges are stacked without a gap, and none hides another.
            PLAIN._replace(subordinate_uids=((100000, 10), (500000, 20), (7, 1))),
            IdMapPlan(
                "helpers",
                (
                    *(Range(0, 1000, 1), Range(1, 100000, 10)),
                    *(Range(11, 500000, 20), Range(31, 7, 1)),
                ),
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
        ("you:1:1\n# me\nme:x:1\nme:1:x\nme:1\nme:1:0\nme:-1:5\nme:1:1:1\n", ()),
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
        ("me:400000:x\nme:x:400000\nme:1:400000:5\nyou:300000:5\n", "300005-365540"),
    ],
)
def test_a_free_range_is_nobody_elses(text: str, expected: str) -> None:
    assert free_range(text) == expected


def test_the_map_of_a_process() -> None:
    """As /proc/PID/uid_map is set out: columns that are filled with spaces."""
    text = "         0       1000          1\n         1     100000      65536\n\n"
    assert parse_id_map(text) == (Range(0, 1000, 1), Range(1, 100000, 65536))


# --- This machine and this account ---


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The texts of the files that an account is described by; those that are missing are empty."""
    texts: dict[str, str] = {}
    monkeypatch.setattr(idmap, "read_text", lambda path: texts.get(path, ""))
    return texts


@pytest.fixture
def account(files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """User 4242, of which /etc/passwd knows nothing, in group 43."""
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr(os, "getegid", lambda: 43)
    monkeypatch.setattr(capabilities, "has", lambda names: False)
    monkeypatch.setattr(idmap, "account_names", lambda uid: ["me", str(uid)])
    monkeypatch.setattr(idmap, "find_helpers", lambda: HELPERS)


@pytest.mark.usefixtures("account")
def test_the_plan_of_an_account_with_subordinate_ids(files: dict[str, str]) -> None:
    """Those of its users and those of its groups are not mixed up."""
    files["/etc/subuid"] = "me:100000:10\nyou:1:1\n"
    files["/etc/subgid"] = "4242:200000:20\n"
    assert plan_id_maps() == IdMapPlan(
        "helpers",
        (Range(0, 4242, 1), Range(1, 100000, 10)),
        (Range(0, 43, 1), Range(1, 200000, 20)),
        HELPERS,
    )


@pytest.mark.usefixtures("account")
def test_no_new_privs_takes_the_helpers_away(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be started as what they are, and without a privilege."""
    files |= {"/etc/subuid": "me:100000:10\n", "/etc/subgid": "me:200000:20\n"}
    monkeypatch.setattr(syscalls, "prctl", lambda asked: asked == syscalls.PR_GET_NO_NEW_PRIVS)
    assert plan_id_maps() == IdMapPlan("single", (Range(0, 4242, 1),), (Range(0, 43, 1),))


@pytest.mark.usefixtures("account")
def test_the_plan_of_a_privileged_process(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root in a container: all ids that exist there, and what the kernel asks for is looked up."""
    asked: list[Sequence[str]] = []
    monkeypatch.setattr(capabilities, "has", lambda names: not asked.append(names))
    files["/proc/self/uid_map"] = "0 100000 1000\n"
    files["/proc/self/gid_map"] = "0 200000 2000\n"
    assert plan_id_maps() == IdMapPlan("direct", (Range(0, 0, 1000),), (Range(0, 0, 2000),))
    assert asked == [("SETUID", "SETGID", "SETFCAP")]


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("subuid", "subgid", "expected"),
    [
        ("me:1:1", "me:1:1", True),
        ("me:1:1", "you:1:1", False),
        ("you:1:1", "me:1:1", False),
        ("", "", False),
    ],
)
def test_subordinate_ids_are_needed_for_users_and_for_groups(
    files: dict[str, str], subuid: str, subgid: str, expected: bool
) -> None:
    files |= {"/etc/subuid": subuid, "/etc/subgid": subgid}
    assert has_subordinate_ids() is expected


def test_a_free_range_is_free_for_users_and_for_groups(files: dict[str, str]) -> None:
    files |= {"/etc/subuid": "me:300000:5\n", "/etc/subgid": "me:200000:5\n"}
    assert free_here() == "300005-365540"
    files |= {"/etc/subuid": "me:200000:5\n", "/etc/subgid": "me:300000:5\n"}
    assert free_here() == "300005-365540"


def test_both_helpers_are_taken_from_the_first_folder_that_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them is not enough, nor a file that cannot be executed."""
    made = {"none": (), "half": ("newuidmap",), "first": idmap.HELPERS, "second": idmap.HELPERS}
    for folder, names in (made | {"dead": idmap.HELPERS}).items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch(0o644 if folder == "dead" else 0o755)
    search = [str(tmp_path / name) for name in ("gone", "none", "half", "dead", "first", "second")]
    monkeypatch.setattr(idmap, "_SEARCH", search)
    first = tmp_path / "first"
    assert find_helpers() == (str(first / "newuidmap"), str(first / "newgidmap"))
    monkeypatch.setattr(idmap, "_SEARCH", search[:4])
    assert find_helpers() is None


def test_the_names_of_an_account() -> None:
    """A number that no account has is its only name."""
    assert account_names(0) == ["root", "0"]
    assert account_names(4_294_967_294) == ["4294967294"]


def test_a_file_that_cannot_be_read_grants_nothing(tmp_path: Path) -> None:
    """And a name that is not UTF-8 hides no line behind it."""
    file = tmp_path / "subuid"
    file.write_bytes(b"\xff:1:1\nme:2:3\n")
    assert parse_subordinate(read_text(str(file)), ["me"]) == ((2, 3),)
    assert read_text(str(tmp_path / "gone")) == ""
