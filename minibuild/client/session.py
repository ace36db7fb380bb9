"""The session of a client: what it lends a builder, as services of gRPC in its own connection.

Comes in: a request, and folders for outputs. Goes out: services, and the call `Control/Session`
that carries them. The services are a server on a socket of ours; the bytes of the builder's
connection go to and fro between that and the call. Rules: moby/buildkit `session/grpc.go`. Read
next: `folders`, `outputs`.
"""

import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from minibuild.buildkit.rpc import OPTIONS, Types
from minibuild.session.scratch import scratch_folder

_SESSION = "/moby.buildkit.v1.Control/Session"
_CHUNK_BYTES = 32 << 10
_THREADS = 16

Services = Mapping[str, Mapping[str, Any]]
"""Handlers by the names of services and of their methods."""


@contextmanager
def open_session(
    channel: Any, types: Types, name: str, services: Services, shared_key: str
) -> Iterator[None]:
    """Offer services to the builder under the session's id, until the block ends. By the shared key
    the builder knows folders that it has seen before."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    with scratch_folder("minibuild-session-") as folder:
        path = os.path.join(folder, "s")
        server = grpc.server(ThreadPoolExecutor(_THREADS), options=OPTIONS)
        for service, handlers in services.items():
            made = grpc.method_handlers_generic_handler(service, handlers)
            server.add_generic_rpc_handlers([made])
        server.add_insecure_port(f"unix:{path}")
        server.start()
        methods = [f"/{service}/{m}" for service, found in services.items() for m in found]
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                call = _carry(channel, types, connection, _metadata(name, shared_key, methods))
                try:
                    yield
                finally:
                    call.cancel()
        finally:
            server.stop(None).wait()


def _metadata(name: str, shared_key: str, methods: Sequence[str]) -> list[tuple[str, str]]:
    metadata = [("uuid", name), ("sharedkey", shared_key)]
    metadata += [("grpc-method", method) for method in methods]
    return [(f"x-docker-expose-session-{key}", value) for key, value in metadata]


def _carry(channel: Any, types: Types, connection: socket.socket, metadata: Any) -> Any:
    """Carry bytes between the call and our server, in two threads."""
    import grpc

    kind = types["BytesMessage"]
    outgoing: queue.Queue[Any] = queue.Queue(64)
    call = channel.stream_stream(_SESSION, kind.SerializeToString, kind.FromString)(
        iter(outgoing.get, None), metadata=metadata
    )

    def down() -> None:
        with suppress(grpc.RpcError, OSError):
            for message in call:
                connection.sendall(message.data)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def up() -> None:
        with suppress(OSError):
            while data := connection.recv(_CHUNK_BYTES):
                outgoing.put(kind(data=data))
        outgoing.put(None)

    for function in (down, up):
        threading.Thread(target=function, daemon=True).start()
    return call


def lending(
    types: Types,
    secret: Callable[[str], bytes | None],
    agent: Callable[[str], str | None],
    login: Callable[[str], tuple[str, str] | None],
) -> Services:
    """Secrets, agents and logins. Each is found by its id, or is None."""
    from minibuild.buildkit.rpc import two_way, unary

    lend = _Lending(types, secret, agent, login)
    empty, data = types["Empty"], types["BytesMessage"]
    return {
        "moby.buildkit.secrets.v1.Secrets": {
            "GetSecret": unary(lend.secret, types["GetSecretRequest"], types["GetSecretResponse"])
        },
        "moby.sshforward.v1.SSH": {
            "CheckAgent": unary(lend.check_agent, types["CheckAgentRequest"], empty),
            "ForwardAgent": two_way(lend.forward_agent, data, data),
        },
        "moby.filesync.v1.Auth": {
            "Credentials": unary(
                lend.credentials, types["CredentialsRequest"], types["CredentialsResponse"]
            )
        },
        "grpc.health.v1.Health": {"Check": unary(lend.health, empty, types["HealthResponse"])},
    }


class _Lending:
    """The calls of these services."""

    def __init__(self, types: Types, secret: Any, agent: Any, login: Any) -> None:
        self._types = types
        self._secret = secret
        self._agent = agent
        self._login = login

    def secret(self, request: Any, context: Any) -> Any:
        value = self._secret(request.ID)
        if value is None:
            _not_found(context, f"secret {request.ID}: not found")
        return self._types["GetSecretResponse"](data=value)

    def check_agent(self, request: Any, context: Any) -> Any:
        if self._agent(request.ID or "default") is None:
            _not_found(context, f"unset ssh forward key {request.ID or 'default'}")
        return self._types["Empty"]()

    def credentials(self, request: Any, context: Any) -> Any:
        user, secret = self._login(request.Host) or ("", "")
        return self._types["CredentialsResponse"](Username=user, Secret=secret)

    def health(self, request: Any, context: Any) -> Any:
        return self._types["HealthResponse"](status=1)

    def forward_agent(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        """One connection to an agent."""
        name = dict(context.invocation_metadata()).get("buildkit.ssh.id", "") or "default"
        path = self._agent(name)
        if path is None:
            _not_found(context, f"unset ssh forward key {name}")
        with socket.socket(socket.AF_UNIX) as agent:
            agent.connect(path)

            def up() -> None:
                with suppress(Exception):  # gRPC raises its own kinds; all mean "it is over"
                    for message in requests:
                        agent.sendall(message.data)
                with suppress(OSError):
                    agent.shutdown(socket.SHUT_WR)

            threading.Thread(target=up, daemon=True).start()
            while data := agent.recv(_CHUNK_BYTES):
                yield self._types["BytesMessage"](data=data)


def _not_found(context: Any, message: str) -> None:
    import grpc

    context.abort(grpc.StatusCode.NOT_FOUND, message)
