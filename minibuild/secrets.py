"""Values that a step may see and nobody else: secrets, and sockets of ssh agents.

They are read when a step asks, stay in memory, and take no part in any key, layer, log or report.
"""

import os
import stat
from collections.abc import Sequence

from minibuild.errors import DefinitionError, UsageError
from minibuild.request import Secret, SshAgent

MAX_BYTES = 500 * 1024
"""The limit that `docker build` sets for a secret."""


class SecretReader:
    """Looks up secrets by id: `reader(id)` is the value, or None for an unknown id."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._secrets = {secret.id: secret for secret in secrets}

    def __call__(self, secret_id: str) -> bytes | None:
        secret = self._secrets.get(secret_id)
        if secret is None:
            return None
        if secret.env:
            # The one value of the environment that is read here: because the request names it.
            found = os.environb.get(os.fsencode(secret.env))
            if found is None:
                raise DefinitionError(
                    f"secret {secret_id}: the variable {secret.env} is not set",
                    hint=f"export {secret.env}, or give a file with src=",
                )
            return found
        try:
            with open(secret.path or secret.id, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise DefinitionError(
                f"secret {secret_id}: cannot read {error.filename}: {error.strerror}"
            ) from error
        if len(data) > MAX_BYTES:
            raise DefinitionError(f"secret {secret_id} is larger than {MAX_BYTES // 1024} KiB")
        return data


class SshReader:
    """Looks up ssh agents by id: `reader(id)` is the path of a socket, or None."""

    def __init__(self, agents: Sequence[SshAgent]) -> None:
        self._agents = {agent.id: agent for agent in agents}

    def __call__(self, agent_id: str) -> str | None:
        agent = self._agents.get(agent_id)
        if agent is None:
            return None
        path = agent.paths[0] if agent.paths else os.environ.get("SSH_AUTH_SOCK", "")
        if not path:
            raise UsageError(
                f"ssh agent {agent_id}: SSH_AUTH_SOCK is not set",
                hint=f"start an agent, or name its socket: --ssh {agent_id}=/path/to/socket",
            )
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            raise UsageError(f"ssh agent {agent_id}: {path}: {error.strerror}") from error
        if not stat.S_ISSOCK(mode):
            raise UsageError(
                f"ssh agent {agent_id}: {path} is not the socket of an agent",
                hint="load the key into an agent: ssh-add FILE, then --ssh " + agent_id,
            )
        return path
