"""A project that is edited and built again, and what `minibuild why` says of it."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.conftest import Cli

DOCKERFILE = """\
ARG VERSION=1.0
FROM busybox AS base
RUN mkdir /app && echo base > /app/base

FROM base AS build
ARG VERSION
ENV MODE=prod
COPY src/ /src/
RUN cat /src/* > /app/all; wc -c < /app/all > /app/size

FROM base
WORKDIR /srv
COPY --link --from=build /app/size /srv/size
COPY conf /etc/conf
RUN --mount=type=bind,source=src/a,target=/a cat /a > /srv/a
"""
# The lines of it.
BASE, SOURCES, JOIN, WORK, LINK, CONF, MOUNT = 3, 8, 9, 12, 13, 14, 15


class Project:
    """A build context that is edited and built again."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self.cli, self.folder = cli, folder
        self.restore()

    def restore(self) -> None:
        """Write the files as they were before all edits."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name, text in {
            "src/a": "a\n", "src/b": "b\n", "conf/x": "x\n", "Dockerfile": DOCKERFILE
        }.items():  # fmt: skip
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o644)

    def replace(self, old: str, new: str) -> None:
        text = (self.folder / "Dockerfile").read_text()
        assert old in text
        (self.folder / "Dockerfile").write_text(text.replace(old, new))

    def build(self, *flags: str, code: int = 0) -> None:
        self.cli("build", "-q", "-t", "app", *flags, str(self.folder), code=code)

    def why(self, *words: str) -> Any:
        done = self.cli("why", "--format", "json", *words, cwd=str(self.folder))
        return json.loads(done.stdout)
