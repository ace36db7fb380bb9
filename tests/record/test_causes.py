"""What is said of two keys that differ, word for word."""

from typing import Any

import pytest

from minibuild.record.causes import differences, fingerprint_difference
from minibuild.record.secrecy import hashed

A, B = "a" * 16, "b" * 16


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (f"file 0644 {A}", f"file 0644 {B}", "contents"),
        (f"file 0644 {A}", f"file 0755 {A}", "mode 0644 -> 0755"),
        (f"file 0644 {A}", f"file 0755 {B}", "contents, mode 0644 -> 0755"),
        (f"file 0644 1:1 {A}", f"file 0644 2:3 {A}", "owner 1:1 -> 2:3"),
        (f"file 0644 {A}", f"file 0644 2:3 {A}", "owner none -> 2:3"),
        ("dir 0755", "dir 0700", "mode 0755 -> 0700"),
        ("symlink a", "symlink b c", "target a -> b c"),
        ("symlink 1:1 a", "symlink 1:2 a", "owner 1:1 -> 1:2"),
        ("file 0644 hardlink x", "file 0644 hardlink y", "link x -> y"),
        (f"file 0644 {A}", "symlink a", "a file -> a symlink"),
        ("char 0644 1:3", "char 0644 1:5", "number 1:3 -> 1:5"),
        ("char 0644 0:0 1:3", "char 0644 0:1 1:3", "owner 0:0 -> 0:1"),
        (A, f"file 0644 {B}", "changed"),
        (f"dir; file 0644 {A}", f"dir; file 0644 {B}", "changed"),
    ],
)
def test_fingerprints(old: str, new: str, said: str) -> None:
    assert fingerprint_difference(old, new) == said


def parts(op: dict[str, Any], **read: Any) -> dict[str, Any]:
    named = {f"{n}: {name}": found for n, (name, found) in enumerate(read.items())}
    return {"op": op, "base": None, "parts": named}


def said(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [str(cause) for cause in differences(old, new)]


def test_secret_values_are_not_shown() -> None:
    old, new = ({"env": [["API_TOKEN", value], ["X", "1"]]} for value in ("first", "other"))
    (text,) = said(parts(old), parts(new))
    assert text == "API_TOKEN: another value, which is not shown"
    (text,) = said(parts({"env": []}), parts({"env": [["API_TOKEN", "first"]]}))
    assert text == "API_TOKEN is new"


def test_passwords_in_addresses_are_not_shown() -> None:
    old, new = "curl http://me:first-pw@host/", "curl http://me:other-pw@host/"
    (cause,) = differences(parts({"args": old}), parts({"args": new}))
    assert str(cause) == "command: another password in an address, which is not shown"
    for member in ({"args": f"{old}; true"}, {"env": [["ADDRESS", old]]}):
        (cause,) = differences(parts({"args": new, "env": [["ADDRESS", new]], **member}),
                               parts({"args": new, "env": [["ADDRESS", new]]}))  # fmt: skip
        assert "-pw" not in str(cause)
        assert "host" in str(cause)


def test_an_exported_secret_is_compared_by_its_digest() -> None:
    old = {"env": [["API_TOKEN", hashed("value")]]}
    assert said(parts(old), parts({"env": [["API_TOKEN", "value"]]})) == []
    assert said(parts(old), parts({"env": [["API_TOKEN", "other"]]})) != []


def test_the_text_of_a_file() -> None:
    """It may hold a secret, so it is not shown, and an exported record has its digest."""
    one, two, exported = (
        parts({"actions": [{"type": "Mkfile", "path": "/a", "data": {"bytes": text}}]})
        for text in ("6f6e65", "74776f", hashed("6f6e65"))
    )
    assert said(one, two) == ["the text of the file is another"]
    assert said(exported, one) == said(one, exported) == []
    assert said(exported, two) == ["the text of the file is another"]


def test_long_commands_are_shown_where_they_differ() -> None:
    old, new = ({"args": ["/bin/sh", "-c", "x" * 80 + end]} for end in ("-O1", "-O2"))
    assert said(parts(old), parts(new)) == [f"command '…{'x' * 10}-O1' -> '…{'x' * 10}-O2'"]


def test_members_that_came_and_went() -> None:
    mount = {"type": "CacheMount", "target": "/cache", "id": "a", "input": -1}
    assert said(parts({"mounts": []}), parts({"mounts": [mount]})) == ["cache mount /cache is new"]
    assert said(parts({"mounts": [mount]}), parts({"mounts": []})) == ["cache mount /cache is gone"]
    assert said(parts({"mounts": [mount]}), parts({"mounts": [{**mount, "id": "b"}]})) == [
        "cache mount /cache: id 'a' -> 'b'"
    ]
