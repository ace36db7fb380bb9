"""What a graph takes from its client: paths of folders, secrets, agents, images.

Comes in: definitions of LLB, one for each platform. Goes out: what has to be asked of the client
before the build. Read next: `build`.
"""

import json
from collections.abc import Mapping
from typing import Any

from minibuild.buildkit.packets import Wanted
from minibuild.buildkit.rpc import Types

_NAMED = "context:"


class Needs:
    """What was found so far. `wanted` is by the names of contexts."""

    def __init__(self, types: Types) -> None:
        self._types = types
        self.wanted: dict[str, Wanted] = {}
        self.secrets: set[str] = set()
        self.agents: set[str] = set()
        self.images: set[str] = set()

    def add(self, definition: Any) -> None:
        """Read a definition."""
        for data in getattr(definition, "def"):
            op = self._types["Op"].FromString(data)
            self._source(op.source.identifier, op.source.attrs)
            self.secrets.update(variable.ID for variable in op.exec.secretenv)
            for mount in op.exec.mounts:
                if mount.HasField("secretOpt"):
                    self.secrets.add(mount.secretOpt.ID)
                if mount.HasField("SSHOpt"):
                    self.agents.add(mount.SSHOpt.ID or "default")

    def _source(self, identifier: str, attributes: Mapping[str, str]) -> None:
        scheme, _, rest = identifier.partition("://")
        if scheme == "local":
            paths = json.loads(attributes.get("local.followpaths", "[]"))
            exclude = json.loads(attributes.get("local.excludepatterns", "[]"))
            name = attributes.get("local.sharedkeyhint", rest).removeprefix(_NAMED)
            before = self.wanted.get(name)
            if before is not None:  # of another platform; no paths are all
                paths = sorted({*paths, *before.paths}) if paths and before.paths else []
            self.wanted[name] = Wanted(rest, paths, exclude)
        elif scheme == "docker-image":
            self.images.add(rest)
        elif scheme in ("git", "http", "https"):
            self._from_the_web(scheme, rest.partition("/")[0].rpartition("@")[2])
            if "git.mountsshsock" in attributes:
                self.agents.add("default")

    def _from_the_web(self, scheme: str, host: str) -> None:
        """Secrets that the client may have for what is fetched from a host."""
        kind, separator = ("GIT", ".") if scheme == "git" else ("HTTP", "_")
        for what in ("TOKEN", "HEADER"):
            self.secrets.update((f"{kind}_AUTH_{what}", f"{kind}_AUTH_{what}{separator}{host}"))
