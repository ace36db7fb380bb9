"""USER, looked up in the files of an image, which may say anything."""

import pytest

from minibuild.errors import DefinitionError
from minibuild.executor.users import Group, Passwd, ProcessUser, parse_group, parse_passwd, resolve

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
"""
)
GROUP = b"users:x:1600:\nextra:x:1700:app,other\nbad:x:4294967295:app\nworse:x::app\n"


def test_only_sound_lines_count() -> None:
    names = [entry.name for entry in parse_passwd(PASSWD)]
    assert names == ["root", "app", "nohome", "padded"]
    assert parse_passwd(PASSWD)[3] == Passwd("padded", 11, 12, "/")
    assert parse_group(GROUP) == [
        Group("users", 1600, ("",)),
        Group("extra", 1700, ("app", "other")),
    ]


@pytest.mark.parametrize(
    ("user", "group", "expected"),
    [
        ("", "", ProcessUser(0, 0, (0,), "/root")),
        ("app", "", ProcessUser(1500, 1600, (1600, 1700), "/home/app")),
        ("1500", "", ProcessUser(1500, 1600, (1600, 1700), "/home/app")),
        ("app", "extra", ProcessUser(1500, 1700, (1700,), "/home/app")),
        ("77", "", ProcessUser(77, 0, (0,), "/")),
        ("77", "88", ProcessUser(77, 88, (88,), "/")),
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
        ("-1", "", "unable to find user -1"),
    ],
)
def test_nobody_becomes_what_is_no_id(user: str, group: str, says: str) -> None:
    """2^32-1 would mean to setresuid(2) that the step stays root."""
    with pytest.raises(DefinitionError, match=says):
        resolve(user, group, parse_passwd(PASSWD), lambda: parse_group(GROUP))
