"""The session of a client: what it lends a builder, as services in a connection of its own.

Comes in: a request, and folders for outputs. Goes out: services, and the call `Control/Session`.
Inside of this call runs a whole connection, in which the builder is the client.
Rules: moby/buildkit `session/grpc.go`. Read next: `folders`, `layouts`.
"""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from minibuild.buildkit.dispatch import CallHandler, ServerCall, answer_call, services
from minibuild.buildkit.http2 import Connection
from minibuild.buildkit.messages import ClientCall
from minibuild.buildkit.pump import pump_call
from minibuild.buildkit.rpc import NOT_FOUND, Failure, api_type
from minibuild.buildkit.stream import Stream
from minibuild.registry.credentials import Credentials, Login
from minibuild.session.secrets import SecretReader, SshReader
from minibuild.startup.tuples import NamedTuple

_SESSION = "/moby.buildkit.v1.Control/Session"
_CHUNK_BYTES = 32 << 10
_END_S = 2.0
_DOCKER_HUB = {"registry-1.docker.io": "docker.io", "https://index.docker.io/v1/": "docker.io"}

Services = Mapping[str, Mapping[str, CallHandler]]
"""Methods by their names, by the names of services."""


@contextmanager
def open_session(
    connection: Connection, name: str, lent: Services, shared_key: str
) -> Iterator[None]:
    """Offer services to the builder under the session's id, until the block ends. By the shared key
    the builder knows folders that it has seen before."""
    methods, answering = dict(services(lent)), list[threading.Thread]()

    def accept(stream: Stream) -> None:
        arguments = methods, stream
        answering.append(threading.Thread(target=answer_call, args=arguments, daemon=True))
        answering[-1].start()

    metadata = [("uuid", name), ("sharedkey", shared_key)]
    metadata += [("grpc-method", path) for path in methods]
    words = [(f"x-docker-expose-session-{key}", value) for key, value in metadata]
    inner = Connection(accept)
    call = ClientCall(connection, _SESSION, words, "BytesMessage")
    threading.Thread(target=pump_call, args=(inner, call), daemon=True).start()
    try:
        yield
    finally:
        inner.close()
        call.cancel()
        for thread in answering:  # What they were writing is removed.
            thread.join(_END_S)


def session_services(secrets: SecretReader, agents: SshReader, logins: Credentials) -> Services:
    """Secrets, agents and logins."""
    lend = _Lending(secrets, agents, logins)
    forward = CallHandler(lend.forward_agent, "BytesMessage", streams=True, takes_many=True)
    return {
        "moby.buildkit.secrets.v1.Secrets": {
            "GetSecret": CallHandler(lend.secret, "GetSecretRequest")
        },
        "moby.sshforward.v1.SSH": {
            "CheckAgent": CallHandler(lend.check_agent, "CheckAgentRequest"),
            "ForwardAgent": forward,
        },
        "moby.filesync.v1.Auth": {
            "Credentials": CallHandler(lend.credentials, "CredentialsRequest")
        },
        "grpc.health.v1.Health": {"Check": CallHandler(lend.health, "Empty")},
    }


class _Lending(NamedTuple):
    """The calls of these services."""

    secrets: SecretReader
    agents: SshReader
    logins: Credentials

    def secret(self, request: Any, call: ServerCall) -> Any:
        value = self.secrets(request.ID)
        if value is None:
            raise Failure(f"secret {request.ID}: not found", NOT_FOUND)
        return api_type("GetSecretResponse")(data=value)

    def check_agent(self, request: Any, call: ServerCall) -> None:
        self._socket(request.ID)

    def credentials(self, request: Any, call: ServerCall) -> Any:
        login = self.logins.login(_DOCKER_HUB.get(request.Host, request.Host)) or Login()
        secret = login.identity or login.password
        return api_type("CredentialsResponse")(Username=login.user, Secret=secret)

    def health(self, request: Any, call: ServerCall) -> Any:
        return api_type("HealthResponse")(status=1)

    def _socket(self, name: str) -> str:
        """The socket of an agent; no name is the default one. Raises `Failure`."""
        found = self.agents(name or "default")
        if found is None:
            raise Failure(f"unset ssh forward key {name or 'default'}", NOT_FOUND)
        return found.path

    def forward_agent(self, _: None, call: ServerCall) -> Iterator[Any]:
        """One connection to an agent."""
        path = self._socket(call.metadata.get("buildkit.ssh.id", [""])[0])
        with socket.socket(socket.AF_UNIX) as agent:
            agent.connect(path)

            def up() -> None:
                with suppress(OSError, Failure):  # It is over.
                    for message in call:
                        agent.sendall(message.data)
                with suppress(OSError):
                    agent.shutdown(socket.SHUT_WR)

            threading.Thread(target=up, daemon=True).start()
            while data := agent.recv(_CHUNK_BYTES):
                yield api_type("BytesMessage")(data=data)
