"""Daemons that are reached by a program: in containers, in pods, on machines behind ssh.

Comes in: an address. Goes out: a socket of ours, and behind it the standard streams of a program
that carries bytes to the daemon's socket where that is: `buildctl dial-stdio`.
Rules: moby/buildkit `client/connhelper`.
Read next: `connection`.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

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
def dialled(command: Sequence[str]) -> Iterator[tuple[str, Callable[[], str]]]:
    """A socket whose one connection is the standard streams of a program; and what asks why that
    program ended."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="minibuild-builder-") as folder:
        dial = _Dial(command, folder)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(dial.path)
            listener.listen(1)
            threading.Thread(target=dial.accept, args=(listener,), daemon=True).start()
            try:
                yield dial.path, dial.reason
            finally:
                dial.end()


class _Dial:
    """The program of one connection."""

    def __init__(self, command: Sequence[str], folder: str) -> None:
        from subprocess import Popen

        self.path = os.path.join(folder, "s")
        self._command = command
        self._errors = os.path.join(folder, "errors")
        self._process: Popen[bytes] | None = None
        self._failure = ""

    def accept(self, listener: socket.socket) -> None:
        """Take the connection, and start the program on it."""
        from subprocess import Popen

        with suppress(OSError):  # it was closed
            connection, _ = listener.accept()
            with connection, open(self._errors, "wb") as errors:
                try:
                    # In a session of its own: Ctrl-C asks the daemon to stop, over this connection.
                    self._process = Popen(
                        self._command,
                        stdin=connection.fileno(),
                        stdout=connection.fileno(),
                        stderr=errors.fileno(),
                        start_new_session=True,
                    )
                except OSError as error:
                    self._failure = f"cannot run {self._command[0]}: {error.strerror}"

    def reason(self) -> str:
        """Why the program ended, in its own words; empty while it runs."""
        if self._failure or self._process is None or self._process.poll() is None:
            return self._failure
        with open(self._errors, encoding="utf-8", errors="replace") as file:
            lines = [line for line in file.read().splitlines() if line.strip()]
        ended = f"{self._command[0]} ended with {self._process.returncode}"
        return lines[-1].strip() if lines else ended

    def end(self) -> None:
        """End the program; it ends by itself when the connection does."""
        from subprocess import TimeoutExpired

        if self._process is not None:
            try:
                self._process.wait(_END_S)
            except TimeoutExpired:
                self._process.kill()
                self._process.wait()
