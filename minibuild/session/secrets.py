"""Values for steps alone: secrets, and sockets of ssh agents.

They are read when a step asks, stay in memory, and take no part in any key, layer, log or report.
"""

import os
import stat
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from minibuild.errors import DefinitionError, UsageError, os_errors_as
from minibuild.session.request import Secret, SshAgent
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.session.key_agent import KeyAgent

MAX_BYTES = 500 * 1024
"""The limit that `docker build` sets for a secret."""


class AgentSocket(NamedTuple):
    """Where an ssh agent listens. `raw` is some other server, whose protocol is its own affair."""

    path: str
    raw: bool = False


class SecretReader:
    """Looks up secrets by id: `reader(id)` is the value, or None for an unknown id."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._secrets = {secret.id: secret for secret in secrets}

    def __call__(self, secret_id: str) -> bytes | None:
        secret = self._secrets.get(secret_id)
        if secret is None:
            return None
        if secret.value is not None:
            return secret.value
        path = secret.path or secret.id
        what = f"secret {secret_id}: cannot read {os.fspath(path)}"
        with os_errors_as(DefinitionError, what), open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise DefinitionError(f"secret {secret_id} is larger than {MAX_BYTES // 1024} KiB")
        return data


class SshReader:
    """Looks up ssh agents by id: `reader(id)` is where it listens, or None for an unknown id.

    Key files are loaded into an agent of ours when a step first asks; `close` ends those.
    """

    def __init__(self, agents: Sequence[SshAgent]) -> None:
        self._agents = {agent.id: agent for agent in agents}
        self._loaded: dict[str, KeyAgent] = {}
        self._loading = threading.Lock()

    def __call__(self, agent_id: str) -> AgentSocket | None:
        agent = self._agents.get(agent_id)
        if agent is None:
            return None
        paths = tuple(os.fspath(path) for path in agent.paths)
        if not paths:
            raise UsageError(
                f"ssh agent {agent_id} has no socket", hint="name its socket, or files of keys"
            )
        sockets = [path for path in paths if _is_socket(agent_id, path)]
        if not sockets:
            if agent.raw:
                raise UsageError(
                    f"ssh agent {agent_id}: raw needs a socket, and {paths[0]} is none"
                )
            return AgentSocket(self._keys(agent_id, paths))
        if len(paths) > 1:
            raise UsageError(
                f"ssh agent {agent_id}: {sockets[0]} is a socket, and stands beside other paths",
                hint="give one socket, or any number of key files",
            )
        return AgentSocket(paths[0], agent.raw)

    def _keys(self, agent_id: str, paths: Sequence[str]) -> str:
        with self._loading:
            if agent_id not in self._loaded:
                from minibuild.session.key_agent import KeyAgent

                self._loaded[agent_id] = KeyAgent(agent_id, paths)
            return self._loaded[agent_id].socket

    def close(self) -> None:
        """End the agents that were started."""
        for agent in self._loaded.values():
            agent.close()


def _is_socket(agent_id: str, path: str) -> bool:
    with os_errors_as(UsageError, f"ssh agent {agent_id}: {path}"):
        return stat.S_ISSOCK(os.stat(path).st_mode)
