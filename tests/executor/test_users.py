"""USER, looked up in the files of an image, which may say anything."""

import pytest

from minibuild.errors import DefinitionError
from minibuild.executor.users import Group, ProcessUser, parse_group, parse_passwd, resolve

PASSWD = (
    b"""\
root:x:0:0:root:/root:/bin/sh
app:x:1500:1600::/home/app:/bin/sh
# comment
short:x:7
nohome:x:8:9
stays:x:4294967295:0::/:/bin/sh
shared:x:10:4294967295::/:/bin/sh
long:x:"""
    + b"9" * 5000
    + b""":0::/:/bin/sh
minus:x:-1:0::/:/bin/sh
padded:x:0000000000000000011:12::/:
word:x:no:3::/w:
"""
)
GROUP = b"users:x:1600:\nextra:x:1700:app,other\nbad:x:4294967295:app\nworse:x::app\n# c:x:5:\n"


def test_what_is_no_number_counts_as_0() -> None:
    """As with BuildKit. What the kernel has no id for is left out."""
    found = {entry.name: (entry.uid, entry.gid, entry.home) for entry in parse_passwd(PASSWD)}
    assert found == {
        "root": (0, 0, "/root"),
        "app": (1500, 1600, "/home/app"),
        "# comment": (0, 0, ""),
        "short": (7, 0, ""),
        "nohome": (8, 9, ""),
        "padded": (11, 12, "/"),
        "word": (0, 3, "/w"),
    }
    assert parse_group(GROUP) == [
        Group("users", 1600, ("",)),
        Group("extra", 1700, ("app", "other")),
        Group("worse", 0, ("app",)),
    ]


@pytest.mark.parametrize(
    ("user", "group", "expected"),
    [
        ("", "", ProcessUser(0, 0, (0,), "/root")),
        ("app", "", ProcessUser(1500, 1600, (1600, 1700, 0), "/home/app")),
        ("1500", "", ProcessUser(1500, 1600, (1600, 1700, 0), "/home/app")),
        ("app", "extra", ProcessUser(1500, 1700, (1700,), "/home/app")),
        ("77", "", ProcessUser(77, 0, (0,), "/")),
        ("77", "88", ProcessUser(77, 88, (88,), "/")),
        ("+1500", "+3", ProcessUser(1500, 3, (3,), "/home/app")),
        ("word", "", ProcessUser(0, 3, (3,), "/root")),
        ("short", "", ProcessUser(7, 0, (0,), "")),
        ("root", "root", ProcessUser(0, 0, (0,), "/root")),
        ("2147483647", "", ProcessUser(2147483647, 0, (0,), "/")),
    ],
)
def test_resolve(user: str, group: str, expected: ProcessUser) -> None:
    assert resolve(user, group, parse_passwd(PASSWD), lambda: parse_group(GROUP)) == expected


@pytest.mark.parametrize(
    ("user", "group", "says"),
    [
        ("stays", "", "unable to find user stays"),
        ("long", "", "unable to find user long"),
        ("app", "bad", "unable to find group bad"),
        ("4294967295", "", "out of range"),
        ("2147483648", "", "out of range"),
        ("9" * 5000, "", "out of range"),
        ("1", "9" * 5000, "out of range"),
        ("-1", "", "uids and gids must be in range 0-2147483647"),
        ("none", "root", "unable to find user none"),
    ],
)
def test_nobody_becomes_what_is_no_id(user: str, group: str, says: str) -> None:
    """2^32-1 would mean to setresuid(2) that the step stays root."""
    with pytest.raises(DefinitionError, match=says):
        resolve(user, group, parse_passwd(PASSWD), lambda: parse_group(GROUP))


@pytest.mark.parametrize(
    ("text", "home"), [(b"", "/"), (b"b:x:0:7::/b", "/b"), (b"# c\nb:x:0:7::/b", "")]
)
def test_root_and_a_number_need_no_files(text: bytes, home: str) -> None:
    expected = ProcessUser(0, 5, (5,), home)
    assert resolve("root", "5", parse_passwd(text), lambda: []) == expected
    assert resolve("root", "root", parse_passwd(text), list) == ProcessUser(0, 0, (0,), home)
