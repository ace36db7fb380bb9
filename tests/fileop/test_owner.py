"""--chown: what each text means in a tree with users and groups, and in an empty one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibuild.errors import DefinitionError
from minibuild.fileop.owner import lookup_owner

PASSWD = """root:x:77:78:root:/root:/bin/sh
# app:x:1:1
app:x:101:102::/home/app:/bin/sh
app:x:201:202
  spaced:x:103:104  
5:x:105:106
4294967290:x:107:108
odd:x:what:109
short:x
signed:x:+11:-2
huge:x:99999999999999999999:1
"""
GROUP = "root:x:79:\napp:x:301:\nodd:x:what:\nshort\n"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


NUMBERS = [
    ("7", (7, 7)),
    ("7:8", (7, 8)),
    ("007:+8", (7, 8)),
    ("7:", (7, 0)),
    (":8", (0, 8)),
    (":", (0, 0)),
    ("root", (0, 0)),
    ("root:root", (0, 0)),
    ("7:root", (7, 0)),
    ("2147483647", (2147483647, 2147483647)),
    ("-1", (0, 0)),
    ("-2:-1", (4294967294, 0)),
]
NAMES = [
    ("app", (101, 102)),
    ("app:", (101, 0)),
    ("app:app", (101, 301)),
    ("app:9", (101, 9)),
    ("app:nosuch", (101, 102)),
    ("7:nosuch", (7, 7)),
    (":app", (0, 301)),
    ("nosuch", (0, 0)),
    ("nosuch:app", (0, 301)),
    ("spaced", (103, 104)),
    ("4294967290", (107, 108)),
    ("4294967291", (0, 0)),
    ("2147483648:5", (0, 5)),
    ("odd:odd", (0, 0)),
    ("odd", (0, 109)),
    ("short:short", (0, 0)),
    ("signed", (11, 4294967294)),
    ("huge", (0, 1)),
    ("app:app:app", (101, 102)),
    ("# app", (1, 1)),
    ("App", (0, 0)),
]


@pytest.mark.parametrize(("text", "ids"), NUMBERS + NAMES)
def test_owner(root: int, text: str, ids: tuple[int, int]) -> None:
    assert lookup_owner(root, text) == ids


@pytest.mark.parametrize(("text", "ids"), NUMBERS)
def test_numbers_need_no_tree(text: str, ids: tuple[int, int]) -> None:
    assert lookup_owner(-1, text, names=False) == ids


@pytest.mark.parametrize("text", [text for text, _ in NAMES])
def test_names_need_a_tree(text: str) -> None:
    with pytest.raises(DefinitionError, match="invalid user index: -1"):
        lookup_owner(-1, text, names=False)
