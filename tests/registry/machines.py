"""Machines that never built, and a project to build: for tests of caches that travel."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import Cli

Stores = Callable[[str], Cli]
Project = Callable[..., str]

# What a RUN writes says when it ran: a step that was done twice would show.
NOW = "cat /proc/uptime /proc/sys/kernel/random/uuid"
DOCKERFILE = f"""\
FROM busybox AS build
COPY src /src
RUN mkdir /out && {NOW} > /out/prog
FROM busybox
RUN {NOW} > /first
COPY --link link /link
COPY --from=build /out/prog /bin/prog
COPY last /last
RUN {NOW} > /built && rm /last
"""
FILES = {"Dockerfile": DOCKERFILE, "src": "src", "link": "link", "last": "last"}


def built(cli: Cli, tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """Build quietly; returns the metadata."""
    path = str(tmp_path / "metadata.json")
    cli("build", "-q", "--metadata-file", path, *arguments)
    with open(path) as file:
        found: dict[str, Any] = json.load(file)
    return found


def layers_in(cli: Cli, busybox_store: str) -> int:
    """How many layers a store has, besides those that it began with."""
    folders = (f"{root}/blobs/sha256" for root in (cli.root, busybox_store))
    new, old = ({name for name in os.listdir(folder)} for folder in folders)
    count = 0
    for name in new - old:
        with open(f"{cli.root}/blobs/sha256/{name}", "rb") as file:
            count += file.read(1) != b"{"
    return count


def blobs_fetched(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("GET") and "/blobs/" in line]


def executed(output: str) -> list[str]:
    """The beginnings of the steps that were run."""
    states: dict[str, tuple[str, bool]] = {}
    for line in output.splitlines():
        number, _, rest = line.partition(" ")
        if rest.startswith("[") and "internal" not in rest:
            states[number] = (rest.partition("] ")[2], True)
        elif rest == "CACHED" and number in states:
            states[number] = (states[number][0], False)
    names = [name for name, ran in states.values() if ran]
    return sorted(name for name in names if not name.startswith(("LINK", "FROM")))
