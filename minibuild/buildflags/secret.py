"""Secrets and ssh agents: `id=token,src=file`, `default=/run/agent.sock`.

Comes in: the text of `--secret` or `--ssh`, and the caller's environment, in which some of them
have their values. Goes out: a `Secret` or an `SshAgent` that needs no environment any more. Files
are read when a step asks, and not here. Read next: `session.secrets`.
"""

import os

from minibuild.buildflags.attributes import attributes, truth
from minibuild.errors import UsageError
from minibuild.graph.spelling import one_of
from minibuild.session.environment import Environment
from minibuild.session.request import Secret, SshAgent


def secret(text: str) -> Secret:
    """`id=ID[,src=FILE][,env=NAME][,type=file|env]`; without a place, both paths are empty."""
    given = attributes(text, "secret")
    kind = given.pop("type", "")
    if kind not in ("", "file", "env"):
        raise UsageError(f"unsupported secret type {kind!r}", hint=one_of(kind, ("file", "env")))
    name = given.pop("id", "")
    path = given.pop("source", "") or given.pop("src", "")
    given.pop("src", None)
    variable = given.pop("env", "")
    if given:
        raise UsageError(
            f"unexpected key {next(iter(given))!r} in --secret {text}",
            hint=one_of(next(iter(given)), ("id", "src", "env", "type")),
        )
    if kind == "env" and not variable:
        path, variable = "", path
    if not name:
        raise UsageError(
            f"--secret {text} has no id", hint="write it like --secret id=token,src=token.txt"
        )
    return Secret(name, path, variable)


def ssh(text: str) -> SshAgent:
    """`default`, `ID`, `ID=SOCKET[,raw=true]` or `ID=KEY[,KEY...]`; no path stands for the
    caller's agent."""
    name, _, paths = text.partition("=")
    if not name:
        raise UsageError(f"--ssh {text} has no id", hint="write it like --ssh default")
    found, raw = [], False
    for path in filter(None, paths.split(",")):
        if path.startswith("raw="):
            raw = truth(path.removeprefix("raw="), "ssh raw")
        else:
            found.append(path)
    return SshAgent(name, tuple(found), raw)


def with_value(made: Secret, environment: Environment) -> Secret:
    """The secret with its value, or with the whole path of its file. Raises `UsageError`."""
    if made.value is not None:
        return made
    if not made.path and not made.env:
        # As buildx: a variable of that name, else a file of that name.
        variable = made.id in environment.variables
        made = made._replace(env=made.id) if variable else made._replace(path=made.id)
    if made.env:
        if made.env not in environment.variables:
            raise UsageError(
                f"secret {made.id}: the variable {made.env} is not set", hint=f"export {made.env}"
            )
        return made._replace(value=os.fsencode(environment.variables[made.env]))
    if made.path:
        path = os.path.expanduser(made.path)
        if not os.path.isfile(path) and not os.path.exists(path):
            raise UsageError(
                f"secret {made.id}: there is no file {made.path}",
                hint="give the file with src=, or a variable with env=",
            )
        made = made._replace(path=os.path.abspath(path))
    return made


def with_paths(made: SshAgent, environment: Environment) -> SshAgent:
    """The agent with whole paths, or with the socket of the caller's. Raises `UsageError`."""
    for path in made.paths:
        if not os.path.exists(path):
            raise UsageError(
                f"ssh agent {made.id}: there is no {path}",
                hint="give a socket, or the file of a key",
            )
    if made.paths:
        return made._replace(paths=tuple(os.path.abspath(path) for path in made.paths))
    if not environment.ssh_agent:
        raise UsageError(
            f"ssh agent {made.id}: SSH_AUTH_SOCK is not set",
            hint=f"start one with `eval $(ssh-agent)`, or name a socket: {made.id}=/path",
        )
    return made._replace(paths=(environment.ssh_agent,))
