"""docs/cli.md names every command and every flag: a page that is read must not be behind."""

import re

import pytest

from minibuild.cli.catalogue import CATALOGUE
from tests.conftest import CHECKOUT
from tests.support.flags import flags

_COMMON = {"--help"}


def section(command: str) -> str:
    """The part of the page about a command, or about its family (`image ls`: `image`)."""
    page = (CHECKOUT / "docs/cli.md").read_text()
    found = re.search(rf"^## minibuild {command.split()[0]}$(.*?)(?=^## |\Z)", page, re.M | re.S)
    return found.group(1) if found else ""


@pytest.mark.parametrize("command", CATALOGUE)
def test_the_page_has_each_command_and_flag(command: str) -> None:
    text = section(command)
    assert text, f"docs/cli.md has no section about `minibuild {command}`"
    assert " " not in command or f"`minibuild {command}" in text
    names = {flag[-1] for flag in flags(command)} - _COMMON
    missing = [name for name in sorted(names) if not re.search(rf"{name}\b", text)]
    assert not missing, f"docs/cli.md: section `minibuild {command.split()[0]}` lacks {missing}"


def test_the_page_names_no_flag_that_is_gone() -> None:
    for command in CATALOGUE:
        family = [name for name in CATALOGUE if name.split()[0] == command.split()[0]]
        known = {name for member in family for flag in flags(member) for name in flag}
        # Options of instructions (RUN --mount) are named beside those of the program.
        named = set(re.findall(r"`(--[a-z-]+)", section(command)))
        assert named <= known | {"--mount", "--from"}, command
