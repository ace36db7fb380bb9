"""`minibuild serve`: a builder for `docker buildx`, `docker compose build` and `buildctl`.

Comes in: an address. Goes out: builds for the clients that connect, until a signal or, if asked,
until there is nothing to do. Read next: `minibuild.serve`.
"""

import argparse
import os

from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.session.duration import duration


def parser() -> Parser:
    """The parser of `minibuild serve`."""
    made = Parser(
        "minibuild serve",
        description="Build for docker buildx, docker compose and buildctl.",
        epilog="docker buildx create --name minibuild --driver remote unix:///run/...\n"
        "The socket belongs to you alone. Ctrl-C ends the server and its builds.",
    )
    made.add_argument("--addr", default="", metavar="unix://PATH", help="where to listen")
    made.add_argument("--once", action="store_true", help="end after the first build")
    made.add_argument(
        "--idle-exit", default="", metavar="TIME", help="end when nothing was built for so long"
    )
    return made


def default_address(session: Session) -> str:
    """The socket of this account."""
    folder = session.environment.variables.get("XDG_RUNTIME_DIR", "")
    if not folder:
        folder = "/run" if session.environment.uid == 0 else session.root
    return f"unix://{os.path.join(folder, 'minibuild.sock')}"


def run(options: argparse.Namespace, session: Session) -> int:
    """Serve."""
    from minibuild.cli.calls import CallOption, shown
    from minibuild.serve.config import Config
    from minibuild.serve.server import serve

    address = options.addr or default_address(session)
    serve(
        address,
        Config(session.root, session.environment),
        lambda method, answer: shown(CallOption(method), answer, "Dockerfile"),
        ready=lambda: session.tell(f"listening at {address}"),
        idle_s=duration(options.idle_exit) if options.idle_exit else None,
        once=options.once,
    )
    return 0


COMMANDS = {"serve": Command(parser, run)}
