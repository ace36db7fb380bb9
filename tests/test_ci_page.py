"""docs/ci.md: its files are well-formed, its commands are taken, its lines are the doctor's."""

import re
import shlex
import tomllib
from typing import Any

import pytest

from minibuild.cli.catalogue import parser_of
from minibuild.linux.container import FORMS
from tests.conftest import CHECKOUT

PAGE = (CHECKOUT / "docs/ci.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def values(value: Any) -> list[Any]:
    """All members of a document, at any depth, with the document itself."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [value, *(found for one in inner for found in values(one))]


def documents() -> list[Any]:
    """All YAML of the page, that in TOML too."""
    yaml = pytest.importorskip("yaml")
    texts = blocks("yaml")
    for text in blocks("toml"):
        texts += [one["patch"] for one in values(tomllib.loads(text)) if "patch" in (one or ())]
    return [yaml.safe_load(text) for text in texts]


def test_the_page_has_all_kinds() -> None:
    assert len(blocks("yaml")) == 7 and len(blocks("toml")) == 2 and len(blocks("groovy")) == 1


def test_pods_have_what_the_doctor_advises() -> None:
    contexts = [
        value["securityContext"]
        for document in documents()
        for value in values(document)
        if isinstance(value, dict) and "securityContext" in value
    ]
    assert len(contexts) == 3
    for context in contexts:
        assert context["seccompProfile"] == context["appArmorProfile"] == {"type": "Unconfined"}


@pytest.mark.parametrize("kind", FORMS)
def test_the_lines_of_the_doctor_are_there(kind: str) -> None:
    parts = FORMS[kind].parts
    assert parts["seccomp"] in PAGE
    assert parts["apparmor"] in PAGE


def commands() -> list[list[str]]:
    """The words of each command of minibuild in the page's files."""
    found: list[str] = []
    for document in documents():
        for value in values(document):
            if isinstance(value, str):
                found += value.splitlines()
            if isinstance(value, dict) and value.get("command") == ["minibuild"]:
                found.append(shlex.join(["minibuild", *value["args"]]))
    for text in blocks("groovy"):
        found += re.findall(r"sh '([^']*)'", text)
    # Those by hand are indented, and go on behind a backslash.
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    found += re.findall(r"^ {4}(.*)$", prose.replace("\\\n", ""), re.MULTILINE)
    lines = [re.sub(r"\$\{\{.*?\}\}", "X", line) for line in found]
    calls = [re.search(r"(?:^| )minibuild ((?:build|login) .*)$", line) for line in lines]
    return [shlex.split(call[1]) for call in calls if call]


def test_its_commands_are_taken() -> None:
    found = commands()
    assert len(found) > 12
    for name, *words in found:
        options = parser_of(name).options(words)
        if name == "login":
            assert options.password_stdin and options.username and options.registry
        else:
            assert options.tags and options.path
