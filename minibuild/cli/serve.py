"""`minibuild serve`: a builder for `docker buildx`, `docker compose build` and `buildctl`.

Comes in: an address. Goes out: builds for the clients that connect, until a signal or, if asked,
until there is nothing to do. Read next: `minibuild.serve`.
"""

import argparse
import os

from minibuild.cli.calls import CallOption, shown
from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.serve.config import Config
from minibuild.serve.listening import HANDED_OVER, Certificates, is_handed_over
from minibuild.serve.server import serve
from minibuild.session.duration import duration


def _flags(made: Parser) -> None:
    made.description = "Build for docker buildx, docker compose and buildctl."
    made.epilog = (
        "docker buildx create --name minibuild --driver remote unix:///run/...\n"
        "The socket belongs to you alone. Ctrl-C ends the server and its builds."
    )
    add_addresses(made)
    made.switch("--once", "end after the first build")
    made.value("--idle-exit TIME", "end when nothing was built for so long")


def add_addresses(made: Parser) -> None:
    """The flags that say where a server listens."""
    made.values(
        "--addr ADDRESS",
        "where to listen: unix://PATH, tcp://HOST:PORT, or fd:// for sockets of systemd",
    )
    made.value("--tlscert FILE", "certificate for tcp://")
    made.value("--tlskey FILE", "the key of that")
    made.value("--tlscacert FILE", "who signs certificates of clients")


def certificates(options: argparse.Namespace) -> Certificates:
    """The files of these flags."""
    return Certificates(options.tlscert, options.tlskey, options.tlscacert)


def default_address(session: Session) -> str:
    """The socket of this account; or what systemd opened."""
    if is_handed_over(session.environment.variables):
        return HANDED_OVER
    folder = session.environment.variables.get("XDG_RUNTIME_DIR", "")
    if not folder:
        folder = "/run" if session.environment.uid == 0 else session.root
    return f"unix://{os.path.join(folder, 'minibuild.sock')}"


def run(options: argparse.Namespace, session: Session) -> None:
    """Serve."""
    serve(
        options.addr or [default_address(session)],
        Config(session.root, session.environment),
        lambda method, answer: shown(CallOption(method), answer, "Dockerfile"),
        ready=lambda addresses: session.tell(f"listening at {', '.join(addresses)}"),
        certificates=certificates(options),
        idle_s=duration(options.idle_exit) if options.idle_exit else None,
        once=options.once,
    )


COMMANDS = {"serve": Command(_flags, run)}
