"""Daemons that are reached by a program: in containers, in pods, on machines behind ssh.

Comes in: an address. Goes out: a socket, whose other end is the standard streams of a program that
carries bytes to the daemon's socket where that is: `buildctl dial-stdio`.
Rules: moby/buildkit `client/connhelper`.
Read next: `connection`.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from minibuild.errors import HostError, os_errors_as

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_DIAL = ("buildctl", "dial-stdio")
_CONTAINERS = {
    "docker-container": "docker",
    "podman-container": "podman",
    "nerdctl-container": "nerdctl",
}
_END_S = 5.0


def dialler(parts: "SplitResult") -> list[str] | None:
    """The command that reaches a daemon; None if the address is none of these."""
    from urllib.parse import parse_qsl

    given = dict(parse_qsl(parts.query))
    if not parts.hostname or parts.hostname.startswith("-"):
        return None
    if parts.scheme in _CONTAINERS:
        # `netloc` has the name as it is written; a host name has no capitals.
        chosen = [f"--context={given['context']}"] if given.get("context") else []
        return [_CONTAINERS[parts.scheme], *chosen, "exec", "-i", parts.netloc, *_DIAL]
    if parts.scheme == "kube-pod":
        chosen = [f"--{name}={given[name]}" for name in ("context", "namespace") if given.get(name)]
        inside = [f"--container={given['container']}"] if given.get("container") else []
        return ["kubectl", *chosen, "exec", *inside, "-i", parts.netloc, "--", *_DIAL]
    if parts.scheme == "ssh" and not parts.password:
        user = ["-l", parts.username] if parts.username else []
        port = ["-p", str(parts.port)] if parts.port else []
        place = ["--addr", f"unix://{parts.path}"] if parts.path.strip("/") else []
        return ["ssh", *user, *port, "--", parts.hostname, _DIAL[0], *place, *_DIAL[1:]]
    return None


@contextmanager
def dialled(command: Sequence[str]) -> Iterator[tuple[socket.socket, Callable[[], str]]]:
    """A socket to the standard streams of a program; and what asks why that program ended."""
    from subprocess import Popen, TimeoutExpired
    from tempfile import TemporaryFile

    here, there = socket.socketpair()
    with here, TemporaryFile() as errors:
        with there, os_errors_as(HostError, f"cannot run {command[0]}"):
            # In a session of its own: Ctrl-C asks the daemon to stop, over this connection.
            process = Popen(
                command,
                stdin=there.fileno(),
                stdout=there.fileno(),
                stderr=errors,
                start_new_session=True,
            )

        def reason() -> str:
            """In its own words."""
            with suppress(TimeoutExpired):
                process.wait(_END_S)
            errors.seek(0)
            lines = errors.read().decode("utf-8", "replace").splitlines()
            said = [line.strip() for line in lines if line.strip()]
            return said[-1] if said else f"{command[0]} ended with {process.returncode}"

        try:
            yield here, reason
        finally:
            here.close()  # The program ends by itself when the connection does.
            try:
                process.wait(_END_S)
            except TimeoutExpired:
                process.kill()
                process.wait()
