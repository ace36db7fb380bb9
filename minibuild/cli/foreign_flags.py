"""Flags of docker, kaniko, buildah and podman that are not here: what to write in their place.

The table is data: foreign_flags.toml, read when a flag is refused. Read next: `build_flags`, which
has the flags that are here.
"""

import os
import tomllib
from collections import ChainMap
from collections.abc import Mapping


def _by_flag(answers: Mapping[str, str]) -> dict[str, str]:
    return {flag: instead for flags, instead in answers.items() for flag in flags.split()}


with open(os.path.join(os.path.dirname(__file__), "foreign_flags.toml"), "rb") as file:
    _DATA: Mapping[str, Mapping[str, Mapping[str, str]]] = tomllib.load(file)

TOOLS = {tool: _by_flag(answers) for tool, answers in _DATA["tool"].items()}
"""The flags of builds by tool."""

_BUILD = dict(ChainMap(*TOOLS.values()))

FOREIGN: Mapping[str, Mapping[str, str]] = {
    "build": _BUILD,
    "verify": _BUILD,
    **{
        command: _by_flag(answers)
        for commands, answers in _DATA["command"].items()
        for command in commands.split(", ")
    },
}
"""By command, then by flag."""
