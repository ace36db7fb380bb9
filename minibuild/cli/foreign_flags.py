"""Flags and commands of docker, kaniko, buildah and podman that are not here: what to write in
their place.

The table is data: foreign_flags.toml, read when one is refused. Read next: `build_flags`, which
has the flags that are here.
"""

import os
import tomllib
from collections import ChainMap
from collections.abc import Mapping
from typing import Any


def _by_word(answers: Mapping[str, str]) -> dict[str, str]:
    return {word: instead for words, instead in answers.items() for word in words.split()}


with open(os.path.join(os.path.dirname(__file__), "foreign_flags.toml"), "rb") as file:
    _DATA: Mapping[str, Any] = tomllib.load(file)

TOOLS = {tool: _by_word(answers) for tool, answers in _DATA["tool"].items()}
"""The flags of builds by tool."""

_BUILD = dict(ChainMap(*TOOLS.values()))

FOREIGN: Mapping[str, Mapping[str, str]] = {
    "build": _BUILD,
    "verify": _BUILD,
    **{
        command: _by_word(answers)
        for commands, answers in _DATA["command"].items()
        for command in commands.split(", ")
    },
}
"""By command, then by flag."""

COMMANDS = _by_word(_DATA["commands"])
