"""Expressions that are compiled late: like those of `re`, but later."""

import re

import pytest

from minibuild.startup.regex import regex


def test_like_that_of_re() -> None:
    """Every method of one, asked first, answers as the compiled one does."""
    source, text = r"(?P<word>[a-z]+)(\d*)", "ab12 c d34"
    ready = re.compile(source, re.IGNORECASE)

    def late() -> re.Pattern[str]:
        return regex(source, re.IGNORECASE)

    assert late().findall(text) == ready.findall(text)
    assert [m.span() for m in late().finditer(text)] == [m.span() for m in ready.finditer(text)]
    assert str(late().match("AB1")) == str(ready.match("AB1"))
    assert str(late().fullmatch("AB1")) == str(ready.fullmatch("AB1"))
    assert str(late().search(text, 4)) == str(ready.search(text, 4))
    assert late().split(text) == ready.split(text)
    assert late().sub("-", text, count=1) == ready.sub("-", text, count=1)
    assert late().subn("-", text) == ready.subn("-", text)
    for name in ("flags", "groups", "groupindex", "pattern"):
        assert getattr(late(), name) == getattr(ready, name)


def test_compiled_once_and_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when it is made, and not again."""
    compiled: list[str] = []
    really = re.compile

    def counting(source: str, flags: int = 0) -> re.Pattern[str]:
        compiled.append(source)
        return really(source, flags)

    monkeypatch.setattr(re, "compile", counting)
    one = regex("a+")
    assert compiled == []
    assert one.match("aa") and one.match("a") and one.search("ba")
    assert compiled == ["a+"]


def test_mistakes() -> None:
    """What is wrong with an expression is said at its first use."""
    wrong = regex("(")
    with pytest.raises(re.error):
        wrong.match("a")
    with pytest.raises(AttributeError):
        _ = regex("a").colour  # type: ignore[attr-defined]
