"""The flags of all commands that talk to registries, and the access that they ask for.

Comes in: options, and which registries the words of the command name. Goes out: a
`RegistryAccess`. The names of the flags are podman's and buildah's. Read next:
`minibuild.session.registries`.
"""

import argparse
import os
import sys
from collections.abc import Iterable

from minibuild.buildflags.attributes import truth
from minibuild.cli.parser import Parser
from minibuild.errors import UsageError
from minibuild.session.environment import Environment
from minibuild.session.registries import registry_access
from minibuild.session.request import RegistryAccess

ALL = ("*",)
"""For a command whose registries only a Dockerfile names."""


def add_registry_flags(made: Parser, *, creds: bool = True) -> None:
    """The flags about logins, TLS and patience."""
    if creds:
        made.value("--creds USER[:PASSWORD]", "login for this command alone")
    made.value("--authfile FILE", "file of logins to use and no other")
    said = "false: a registry may do without TLS, or with any certificate"
    made.optional_value("--tls-verify [=true|false]", "true", said, default="true")
    made.value(
        "--stall-timeout TIME",
        "stop waiting for a server that sends almost nothing for this long (default: 30s)",
    )


def access_of(
    options: argparse.Namespace, environment: Environment, domains: Iterable[str]
) -> RegistryAccess:
    """How this command reaches the registries that it names. Raises `UsageError`."""
    access = registry_access(environment, options.stall_timeout)
    named = tuple(sorted(set(domains)))
    if options.authfile:
        if not os.path.exists(options.authfile):
            raise UsageError(
                f"--authfile: there is no file {options.authfile}",
                hint="`minibuild login --authfile FILE` makes one",
            )
        access = access._replace(logins=(options.authfile,))
    given = vars(options)
    if given.get("insecure") or not truth(options.tls_verify, "tls-verify"):
        access = access._replace(insecure=named)
    if named != ALL and given.get("creds"):
        access = with_login(access, options.creds, named)
    return access


def insist_on_push(options: argparse.Namespace) -> None:
    """Refuse flags that a command has for what it does with registries, which is not asked for."""
    given = {**vars(options), "tls_verify": vars(options).get("tls_verify", "true") != "true"}
    for name in ("insecure", "tls_verify", "creds", "authfile", "stall_timeout"):
        if given.get(name):
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is about registries, and is of use with --push only")


def with_login(access: RegistryAccess, creds: str, domains: Iterable[str]) -> RegistryAccess:
    """The access with the login of --creds, which is sent to one registry and to no other."""
    named = sorted(domains)
    if len(named) != 1:
        found = f"these are {', '.join(named)}" if named else "the command line names none"
        raise UsageError(
            f"--creds is a login for one registry, and {found}",
            hint="`minibuild login REGISTRY` keeps a login for each",
        )
    return access._replace(passwords={named[0]: _pair(creds)})


def _pair(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not user:
        raise UsageError("--creds names no user", hint="write --creds USER:PASSWORD")
    return user, password if colon else ask_password()


def ask_password() -> str:
    """A password that is typed. Raises `UsageError` if there is no terminal."""
    insist_on_terminal()
    from getpass import getpass

    return getpass("Password: ")


def insist_on_terminal() -> None:
    """Raise `UsageError` if there is no terminal to ask at."""
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no password, and standard input is no terminal to ask for one",
            hint="pipe it in: `minibuild login -u USER --password-stdin REGISTRY`",
        )
