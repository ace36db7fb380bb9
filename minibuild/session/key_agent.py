"""An ssh agent with the keys of files, for as long as a build runs: `--ssh default=KEY`.

Comes in: the paths of private keys. Goes out: the socket of an agent that holds them, in memory
only. The agent is OpenSSH's own program (ssh-agent(1)), so every kind of key works that it knows.
It is started when a step asks for it, and ends with this process, however that ends: a guard
waits for the end of a pipe that only we hold, and ends the agent then.
Read next: `secrets`, `session.ssh_agent`.
"""

import os
import sys
from collections.abc import Sequence

from minibuild.errors import DefinitionError, HostError, UsageError, os_errors_as

MAX_BYTES = 100 * 1024
"""The limit that buildx sets for a key."""

# Says that all is ready, lives as long as its standard input, and takes all with it then. Python,
# because minibuild's own image has no shell.
_GUARD = """
import os, shutil, sys

os.write(1, b"ready\\n")
sys.stdin.buffer.read()
os.kill(int(os.environ["SSH_AGENT_PID"]), 15)
# The agent may be removing its socket at the same time.
shutil.rmtree(os.path.dirname(os.environ["SSH_AUTH_SOCK"]), ignore_errors=True)
"""


class KeyAgent:
    """A running agent. `socket` is its path."""

    def __init__(self, name: str, paths: Sequence[str]) -> None:
        from subprocess import PIPE, Popen
        from tempfile import mkdtemp

        keys = [_read(name, path) for path in paths]
        folder = mkdtemp(prefix="minibuild-ssh-")
        self.socket = os.path.join(folder, "keys")
        try:
            self._guard = Popen(
                ["ssh-agent", "-a", self.socket, sys.executable, "-I", "-S", "-c", _GUARD],
                stdin=PIPE,
                stdout=PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            os.rmdir(folder)
            raise _no_program("ssh-agent") from error
        try:
            assert self._guard.stdout is not None
            if not self._guard.stdout.readline():
                raise HostError(f"ssh agent {name}: ssh-agent did not start")
            for path, key in zip(paths, keys, strict=True):
                self._add(name, path, key)
        except BaseException:
            self.close()
            raise

    def _add(self, name: str, path: str, key: bytes) -> None:
        from shutil import which
        from subprocess import run

        program = which("ssh-add")
        if program is None:
            raise _no_program("ssh-add")
        environment = {
            "SSH_AUTH_SOCK": self.socket,
            "SSH_ASKPASS_REQUIRE": "never",
            "LC_ALL": "C",
        }
        # By standard input: of a file ssh-add wants more than that we can read it. In a session of
        # its own there is no terminal on which it could ask for a passphrase.
        done = run(
            [program, "-q", "-"],
            input=key,
            capture_output=True,
            env=environment,
            start_new_session=True,
            check=False,
        )
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [""]
            raise DefinitionError(
                f"ssh agent {name}: cannot load the key {path}: {said[-1]}",
                hint="a key with a passphrase has to be in an agent: "
                f"ssh-add FILE, then --ssh {name}",
            )

    def close(self) -> None:
        """End the agent."""
        assert self._guard.stdin is not None and self._guard.stdout is not None
        self._guard.stdin.close()
        self._guard.wait()
        self._guard.stdout.close()


def _read(name: str, path: str) -> bytes:
    problem = os_errors_as(UsageError, f"ssh agent {name}: cannot read {path}")
    with problem, open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(f"ssh agent {name}: {path} is larger than {MAX_BYTES // 1024} KiB")
    return data


def _no_program(program: str) -> HostError:
    return HostError(
        f"keys of --ssh need the program {program}, which is not installed",
        hint="apt install openssh-client, or the like",
    )
