"""`minibuild login` and `logout`: the logins for registries.

Comes in: a registry, a name, a password from the terminal or from standard input. Goes out: a login
that the registry took, where `docker login` would keep it. Read next: `minibuild.registry.logins`.
"""

import argparse
import sys

from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.registry_flags import (
    access_of,
    add_registry_flags,
    ask_password,
    insist_on_terminal,
)
from minibuild.errors import UsageError
from minibuild.registry.credentials import Credentials
from minibuild.registry.logins import drop, keep, parse_account
from minibuild.registry.pull import connect
from minibuild.session.registries import registry_access

_MOST_BYTES = 64 << 10


def _login_flags(made: Parser) -> None:
    made.description = "Log in to a registry: ask it, and keep the login for later commands."
    made.word("[REGISTRY]", "default: Docker Hub")
    made.value("-u --username USER", "the name of the user")
    made.value("-p --password PASSWORD", "the password")
    made.switch("--password-stdin", "read the password from standard input")
    add_registry_flags(made, creds=False)


def _login(options: argparse.Namespace, session: Session) -> None:
    account = parse_account(options.registry)
    # The file need not be there yet.
    file = _file(options, session)
    options.authfile = ""
    user, password = _asked(options, session)
    access = access_of(options, session.environment, [account.domain])
    access = access._replace(passwords={account.domain: (user, password)})
    connect(access, session.cancelled).client.check_login(account.domain)
    helper = keep(file, account, user, password)
    if not helper:
        session.tell(f"warning: the password is stored unencrypted in {file}")
        session.tell('hint: a credential helper ("credsStore" in that file) keeps it encrypted')
    session.say("Login Succeeded")


def _asked(options: argparse.Namespace, session: Session) -> tuple[str, str]:
    """The name and the password, from wherever they are to come. Raises `UsageError`."""
    user: str = options.username
    if options.password_stdin:
        if options.password:
            raise UsageError("--password and --password-stdin contradict each other")
        if not user:
            raise UsageError("--password-stdin needs --username", hint="add -u USER")
        data = sys.stdin.buffer.read(_MOST_BYTES)
        password = data.decode(errors="replace").removesuffix("\n").removesuffix("\r")
    else:
        if not user:
            insist_on_terminal()
            session.stderr.write("Username: ")
            session.stderr.flush()
            user = sys.stdin.readline().strip()
        password = options.password
        if password:
            session.tell(
                "warning: a password on the command line can be read by others: `ps` shows"
            )
            session.tell("it, and the shell may keep it. Use --password-stdin")
        else:
            password = ask_password()
    if not user or ":" in user:
        raise UsageError(f"{user!r} is no name of a user", hint="say who with -u USER")
    if not password:
        raise UsageError("the password is empty")
    return user, password


def _logout_flags(made: Parser) -> None:
    made.word("[REGISTRY]", "default: Docker Hub")
    made.value("--authfile FILE", "file of logins")


def _logout(options: argparse.Namespace, session: Session) -> None:
    account = parse_account(options.registry)
    file = _file(options, session)
    if drop(file, account):
        session.say(f"Removed the login for {account} from {file}")
    else:
        session.tell(f"Not logged in to {account}: {file} has no login for it")
    for other in registry_access(session.environment).logins:
        found = Credentials((str(other),)).login(account.domain, account.path)
        if found is not None and not options.authfile:
            session.tell(f"note: {other} has one too: `--authfile {other}` removes it")


def _file(options: argparse.Namespace, session: Session) -> str:
    """The file that keeps logins: the one that was named, else the first that is read."""
    files = registry_access(session.environment).logins
    if not options.authfile and not files:
        raise UsageError("there is no home folder for logins", hint="name a file with --authfile")
    return str(options.authfile or files[0])


COMMANDS = {
    "login": Command(_login_flags, _login),
    "logout": Command(_logout_flags, _logout),
}
