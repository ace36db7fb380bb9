"""Documents of anybody: each wrong one is an error that names the document and the member."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from minibuild.errors import ImageError, RegistryError
from minibuild.oci import document as document_module
from minibuild.oci.document import MAX_DOCUMENT_BYTES, Member, parse_document, parse_value
from minibuild.oci.model import ConfigDocument, parse_config

D = "sha256:" + "0" * 64
BIG = json.dumps({"a": "x" * 100}).encode()


def document(**members: Any) -> Member:
    return parse_document(json.dumps(members).encode(), "it")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "it is not JSON: expecting value at line 1, column 1"),
        (b'{"a":\n 1,}', "it is not JSON: "),
        (b"[]", "it is a list, not an object"),
        (b"null", "it is missing"),
        (b'"\\ud800"', "it is a string, not an object"),
        (b'{"a": NaN}', "it is not JSON: NaN is no number"),
        (b'{"a": -Infinity}', "it is not JSON: -Infinity is no number"),
        (b'{"a": 1e999}', "it is not JSON: a number in it is too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "it is not JSON: a number in it is too large"),
        (b"[" * 200_000, "it is nested too deep"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "it is nested too deep"),
        (b" " * (MAX_DOCUMENT_BYTES + 1), f"it is larger than {MAX_DOCUMENT_BYTES} bytes"),
        ('{"a": 1}'.encode("utf-16"), "it is not JSON: "),
        (b'\xef\xbb\xbf{"a": 1}', "it is not JSON: "),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_document(data: bytes, says: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse_document(data, "it")
    assert caught.value.message.startswith(says)


def test_the_depth_is_that_of_a_document_and_not_of_the_stack() -> None:
    """So what is read somewhere can be walked, and written, anywhere."""
    assert parse_document(b'{"a":' * 99 + b"{}" + b"}" * 99, "it").value
    assert parse_value(b"[" * 100 + b"]" * 100, "it").value
    for data in (b"[" * 101 + b"]" * 101, b'{"a":' * 50 + b"[" * 51 + b"]" * 51 + b"}" * 50):
        with pytest.raises(ImageError, match="nested too deep"):
            parse_value(data, "it")


def test_numbers_may_have_so_many_digits() -> None:
    digits = document_module._MAX_DIGITS
    assert parse_value(b"9" * digits, "it").value == 10**digits - 1
    with pytest.raises(ImageError, match="too large"):
        parse_value(b"9" * (digits + 1), "it")


def test_an_error_is_of_the_kind_asked_for() -> None:
    with pytest.raises(RegistryError, match="the answer: token is a number, not a string"):
        parse_document(b'{"token": 5}', "the answer", error=RegistryError)["token"].text()


@pytest.mark.parametrize(
    ("value", "read", "says"),
    [
        (5, Member.text, "a is a number, not a string"),
        (True, Member.text, "a is true, not a string"),
        ([], Member.text, "a is a list, not a string"),
        ("x\0", Member.word, "a has a NUL character in it"),
        ("false", Member.flag, "a is a string, not true or false"),
        (0, Member.flag, "a is a number, not true or false"),
        (True, Member.whole, "a is true, not a whole number"),
        (1.5, Member.whole, "a is a number, not a whole number"),
        (-1, Member.whole, "a is -1: it must be a number from 0 to"),
        (10**200, Member.whole, "a is 1000"),
        (None, Member.whole, "a is missing: it must be a number"),
        ("5", Member.seconds, "a is a string, not a number"),
        (-1, Member.seconds, "a is -1, no moment"),
        (1e300, Member.seconds, "a is 1e+300, no moment"),
        (True, Member.seconds, "a is true, not a number"),
        (None, Member.digest, "a is missing, no sha256 digest"),
        ("sha256:../x", Member.digest, "a is 'sha256:../x', no sha256 digest"),
        ("yesterday", Member.time, "a is 'yesterday', no time"),
        ("99999-01-01T00:00:00Z", Member.time, "a is '99999-01-01T00:00:00Z', no time"),
        ("2020-13-01T00:00:00Z", Member.time, "no time"),
        ("x", Member.object, "a is a string, not an object"),
        ({"k": 1}, Member.strings, "a.k is a number, not a string"),
        ({"a b": 1}, Member.strings, "a['a b'] is a number, not a string"),
        ({"x" * 200: 1}, Member.strings, "a['xxxx"),
        ({"a": 1}, Member.texts, "a is an object, not a list"),
        ("abc", Member.texts, "a is a string, not a list"),
        (["x", 1], Member.texts, "a[1] is a number, not a string"),
        (["x", None], Member.texts, "a[1] is missing"),
        (["x\0"], Member.words, "a[0] has a NUL character in it"),
        ([["x"]], Member.texts, "a[0] is a list, not a string"),
        ([1, 2], lambda member: list(member.items(1)), "a has 2 members: 1 are the most"),
        (5, lambda member: member["b"]["c"], "a is a number, not an object"),
        ({"b": 5}, lambda member: member["b"]["c"], "a.b is a number, not an object"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_such_member(value: Any, read: Callable[[Member], object], says: str) -> None:
    with pytest.raises(ImageError) as caught:
        read(document(a=value)["a"])
    assert says in caught.value.message
    assert caught.value.message.startswith("it: a")
    assert len(caught.value.message) < 300


def test_what_is_such_a_member() -> None:
    assert [document(a=n)["a"].seconds() for n in (0, 5, 1.5)] == [0, 5, 1.5]
    assert [member.whole() for member in document(a=[1, 2])["a"].items(2)] == [1, 2]
    assert document(a="x y")["a"].word() == "x y"
    assert document(a=["x", "y"])["a"].words() == ["x", "y"]


def test_a_document_may_be_as_large_as_that() -> None:
    data = b'{"a": 1}'
    assert parse_document(data + b" " * (MAX_DOCUMENT_BYTES - len(data)), "it")["a"].whole() == 1


@pytest.mark.parametrize("missing", [{}, {"a": None}])
def test_null_is_missing(missing: dict[str, Any]) -> None:
    """As Go's decoder has it."""
    member = document(**missing)["a"]
    assert "a" not in document(**missing)
    assert (member.text(), member.text("x"), member.flag()) == ("", "x", False)
    assert (member.texts(), member.strings(), member.time()) == ([], {}, "")
    assert member["b"]["c"].value is None


def test_times() -> None:
    for text in ("2020-02-29T23:59:59Z", "0001-01-01T00:00:00Z", "2020-01-01T00:00:00.123+01:00"):
        assert document(a=text)["a"].time() == text


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (rb'{"a": "\ud800", "\udc00b": ["\udfff"]}', {"a": "\ufffd", "\ufffdb": ["\ufffd"]}),
        (rb'{"a": "\uD800", "n": 5, "t": true}', {"a": "\ufffd", "n": 5, "t": True}),
        (rb'{"a": "\uD83D\uDE00"}', {"a": "\U0001f600"}),
        (b'{"a": "\xff\xed\xa0\x80"}', {"a": "\ufffd" * 4}),
    ],
)
def test_what_is_no_text_is_replaced(data: bytes, value: dict[str, Any]) -> None:
    """By the sign for that; then it can be written again."""
    found = parse_document(data, "it").value
    assert found == value
    json.dumps(found, ensure_ascii=False).encode()


# --- Configs --------------------------------------------------------------------------------------

WRONG: dict[str, Any] = {
    "number": 5, "text": "a", "numbers": [1, None, {}], "null in a list": [None],
    "object": {"a": 1}, "true": True, "lists": [["a"]],
}  # fmt: skip
TEXTS, MAPS, SETS, TEXT = ("texts", "strings", "sets", "text")
RIGHT: dict[str, Any] = {TEXTS: ["a"], MAPS: {"a": "b"}, SETS: {"80/tcp": {}}, TEXT: "a"}
CONTAINER = {
    "Env": TEXTS, "Entrypoint": TEXTS, "Cmd": TEXTS, "OnBuild": TEXTS, "Shell": TEXTS,
    "Labels": MAPS, "ExposedPorts": SETS, "Volumes": SETS,
    "User": TEXT, "WorkingDir": TEXT, "StopSignal": TEXT,
}  # fmt: skip


def config(**members: Any) -> ConfigDocument:
    value = {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [D]}, **members}
    return parse_config(json.dumps(value).encode(), "config x", 1)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", [*CONTAINER, "ArgsEscaped", "Healthcheck"])
def test_wrong_members_of_a_container(name: str, wrong: str) -> None:
    """What starts in a container is of the type that it says, or refused by its name."""
    kind, value = CONTAINER.get(name), WRONG[wrong]
    fits = kind == TEXT and wrong == "text"
    fits |= (name, wrong) in (("ArgsEscaped", "true"), ("Healthcheck", "object"))
    if fits:
        assert config(config={name: value}).image.config.get(name) == value
        return
    with pytest.raises(ImageError, match=rf"^config x: config\.{name}"):
        config(config={name: value})


@pytest.mark.parametrize("name", CONTAINER)
def test_right_members_of_a_container(name: str) -> None:
    """Null is as good as nothing, and members without a name here are kept."""
    value = RIGHT[CONTAINER[name]]
    inner = {name: value, "Hostname": "x"}
    assert config(config=inner).image.config == inner
    assert config(config={name: None}).image.config == {}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(
    "name",
    ["config", "history", "rootfs", "created", "author", "os", "architecture", "variant",
     "os.version", "os.features"],
)  # fmt: skip
def test_wrong_members_of_a_config(name: str, wrong: str) -> None:
    fits = {"config": ("object",), "author": ("text",), "os": ("text",), "architecture": ("text",)}
    fits |= {"variant": ("text",), "os.version": ("text",), "history": ("null in a list",)}
    if wrong in fits.get(name, ()):
        assert config(**{name: WRONG[wrong]})
        return
    with pytest.raises(ImageError, match=f"^config x: {re.escape(name)}"):
        config(**{name: WRONG[wrong]})


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"config": {"Labels": {"a": 5}}}, "config.Labels.a is a number, not a string"),
        ({"config": {"Env": ["A=b\0c"]}}, "config.Env[0] has a NUL"),
        ({"config": {"Healthcheck": {"Test": "x"}}}, "config.Healthcheck.Test is a string"),
        ({"config": {"Healthcheck": {"Interval": "1s"}}}, "config.Healthcheck.Interval is a str"),
        ({"config": {"ExposedPorts": {"80": 1}}}, "config.ExposedPorts['80'] is a number"),
        ({"history": [{"created": 5}]}, "history[0].created is a number"),
        ({"history": [{"created_by": []}]}, "history[0].created_by is a list"),
        ({"history": [{"empty_layer": 1}]}, "history[0].empty_layer is a number"),
        ({"history": ["x"]}, "history[0] is a string"),
        ({"rootfs": {"type": 5, "diff_ids": [D]}}, "rootfs.type is a number"),
        ({"rootfs": {"diff_ids": [5]}}, "rootfs.diff_ids[0] is a number"),
        ({"rootfs": {"diff_ids": ["sha256:../x"]}}, "rootfs.diff_ids[0] is 'sha256:../x'"),
        ({"rootfs": {"diff_ids": [D, D]}}, "rootfs.diff_ids names 2 layers, and the manifest 1"),
        ({"rootfs": None}, "rootfs.diff_ids names 0 layers, and the manifest 1"),
    ],
)
def test_wrong_things_inside(members: dict[str, Any], says: str) -> None:
    with pytest.raises(ImageError) as caught:
        config(**members)
    assert caught.value.message.startswith(f"config x: {says}")


def test_a_config_keeps_what_has_no_name_here() -> None:
    found = config(history=[None, {"created_by": "x", "comment": "", "more": 1}], docker="y")
    assert found.image.history == ({}, {"created_by": "x", "more": 1})
    assert found.image.extra == {"docker": "y"}
    assert found.value["docker"] == "y"
    assert found.value["history"] == [{}, {"created_by": "x", "comment": "", "more": 1}]
    assert found.diff_ids == (D,)


@pytest.mark.parametrize("members", [{}, {"os": "windows"}, {"architecture": "arm64"}])
def test_the_platform_of_a_config_that_does_not_say_it(members: dict[str, str]) -> None:
    """That of most; `platform` is what it said."""
    found = config(**{"os": "", "architecture": "", **members})
    assert found.platform[:2] == (members.get("os", ""), members.get("architecture", ""))
    expected = members.get("os", "linux"), members.get("architecture", "amd64")
    assert found.image.platform[:2] == expected
