"""What a client lends its build: logins, secrets, ssh agents.

Comes in: the session, and what a definition asks for. Goes out: values for a request. A login or a
secret is fetched once, before the build. An agent is a socket of ours, whose connections are
carried to the client's.
Rules: moby/buildkit `session/auth`, `session/secrets`, `session/sshforward`.
Read next: `build`.
"""

import os
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

from minibuild.buildkit.rpc import Failure, api_type
from minibuild.errors import DefinitionError
from minibuild.graph.reference import parse_reference
from minibuild.serve.session import ClientSession, is_absent
from minibuild.session.request import BuildRequest, Secret, SshAgent
from minibuild.session.ssh_agent import listening
from minibuild.startup.regex import regex

if TYPE_CHECKING:
    from minibuild.serve.build import Build

_CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
_SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
_CHECK = "/moby.sshforward.v1.SSH/CheckAgent"
_FORWARD = "/moby.sshforward.v1.SSH/ForwardAgent"
_DOCKER_HUB = "docker.io"
_ITS_REGISTRY = "registry-1.docker.io"
_CHUNK_BYTES = 32 << 10
# What may name an image in a Dockerfile; a word too many costs a question to the client.
_IMAGE = regex(r"(?:^\s*FROM\s+(?:--\S+\s+)*|from=)([^\s,]+)")


def image_names(dockerfile: str) -> Iterator[str]:
    """The words of a Dockerfile that may be names of images."""
    for line in dockerfile.splitlines():
        yield from _IMAGE.findall(line)


def logins(session: ClientSession, names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The client's user and password for the registries of these images. A name with a variable in
    it is taken for one of Docker Hub."""
    if not session.offers(_CREDENTIALS):
        return {}
    named = set[str]()
    for name in names:
        try:
            named.add(parse_reference(name.removeprefix("docker-image://")).domain)
        except DefinitionError:
            named.add(_DOCKER_HUB)
    hosts = sorted(named)
    request = api_type("CredentialsRequest")
    asked = [request(Host=_ITS_REGISTRY if host == _DOCKER_HUB else host) for host in hosts]
    answers = session.calls(_CREDENTIALS, asked, "CredentialsResponse")
    found = zip(hosts, answers, strict=True)
    return {host: (one.Username, one.Secret) for host, one in found if one.Secret}


def with_logins(build: "Build", made: BuildRequest, images: Iterable[str]) -> BuildRequest:
    """The request with the client's logins for the registries that it may talk to."""
    asked = build.asked
    names = [name for e in asked.Exporters for name in e.Attrs.get("name", "").split(",")]
    names += [c.Attrs.get("ref", "") for c in (*asked.Cache.Exports, *asked.Cache.Imports)]
    found = logins(build.session, [*images, *filter(None, names)])
    passwords = {**made.registries.passwords, **found}
    return made._replace(registries=made.registries._replace(passwords=passwords))


def secrets(session: ClientSession, ids: Iterable[str]) -> tuple[Secret, ...]:
    """The secrets that the client has of these. Raises `Failure`."""
    found = []
    for name in sorted(set(ids)) if session.offers(_SECRET) else ():
        asked = api_type("GetSecretRequest")(ID=name)
        try:
            answer = session.call(_SECRET, asked, "GetSecretResponse")
        except Failure as failure:
            if is_absent(failure):
                continue
            raise
        found.append(Secret(name, value=answer.data))
    return tuple(found)


def agents(
    session: ClientSession, ids: Iterable[str], folder: str, resources: ExitStack
) -> tuple[SshAgent, ...]:
    """A socket for each agent that the client has of these, for as long as the resources live."""
    found = []
    for number, name in enumerate(sorted(set(ids)) if session.offers(_CHECK) else ()):
        asked = api_type("CheckAgentRequest")(ID=name)
        try:
            session.call(_CHECK, asked, "Empty")
        except Failure:
            continue  # The step says that there is no such agent.
        path = os.path.join(folder, f"agent-{number}")
        resources.enter_context(listening(path, 0o600, partial(_carry, session, name)))
        found.append(SshAgent(name, (path,)))
    return tuple(found)


def _carry(session: ClientSession, name: str, connection: socket.socket) -> None:
    """Carry one connection to an agent of the client."""
    kind = api_type("BytesMessage")
    with connection, suppress(OSError, Failure):
        call = session.open(_FORWARD, "BytesMessage", [("buildkit.ssh.id", name)])

        def read() -> None:
            with suppress(OSError):
                while data := connection.recv(_CHUNK_BYTES):
                    call.send(kind(data=data))
            call.finish()

        threading.Thread(target=read, daemon=True).start()
        for message in call:
            connection.sendall(message.data)
