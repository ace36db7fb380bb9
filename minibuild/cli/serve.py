"""`minibuild serve` and `buildkitd`: a builder for `docker buildx`, `docker compose build` and
`buildctl`; with its own flags, or with the flags and settings of BuildKit's daemon.

Comes in: an address, and for `buildkitd` a TOML file. Goes out: builds for the clients that
connect, until a signal or, if asked, until there is nothing to do. What starts a `buildkitd`, such
as a unit of systemd or BuildKit's own test suites, can start this instead. Rules: moby/buildkit
`cmd/buildkitd`. Read next: `minibuild.serve`, `minibuild.serve.config`.
"""

import argparse
import os

from minibuild.cli.calls import CallOption, shown
from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.serve.config import Config, daemon_config
from minibuild.serve.listening import HANDED_OVER, Certificates, is_handed_over
from minibuild.serve.server import serve
from minibuild.session.duration import duration


def _flags(made: Parser) -> None:
    made.epilog = (
        "docker buildx create --name minibuild --driver remote unix:///run/...\n"
        "The socket belongs to you alone. Ctrl-C ends the server and its builds."
    )
    add_addresses(made)
    made.switch("--once", "end after the first build")
    made.value("--idle-exit TIME", "end when nothing was built for this long")


def add_addresses(made: Parser) -> None:
    """The flags that say where a server listens."""
    made.values(
        "--addr ADDRESS",
        "where to listen: unix://PATH, tcp://HOST:PORT, or fd:// for sockets of systemd",
    )
    made.value("--tlscert FILE", "certificate for tcp://")
    made.value("--tlskey FILE", "key of the certificate")
    made.value("--tlscacert FILE", "authority of the certificates of clients")


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


def _serve(options: argparse.Namespace, session: Session) -> None:
    """Serve."""
    serve(
        options.addr or [default_address(session)],
        Config(session.root, session.environment),
        lambda method, answer: shown(CallOption(method), answer, "Dockerfile"),
        ready=lambda addresses: session.tell(f"listening at {', '.join(addresses)}"),
        certificates=certificates(options),
        idle_s=duration(options.idle_exit, "--idle-exit") if options.idle_exit else None,
        once=options.once,
    )


_CONFIG = "/etc/buildkit/buildkitd.toml"
_ADDRESS = "unix:///run/buildkit/buildkitd.sock"


def _daemon_flags(made: Parser) -> None:
    made.description = "Serve as `minibuild serve` does, with flags and settings of buildkitd."
    made.epilog = (
        "Of the settings it uses registries, entitlements and labels: see docs/buildkit.md."
    )
    add_addresses(made)
    made.value("--config FILE", f"settings; else {_CONFIG}")
    made.values(
        "--allow-insecure-entitlement NAME",
        "what builds may ask for: network.host, security.insecure",
    )
    made.values("--oci-worker-labels KEY=VALUE", "labels of the worker")
    made.add_argument("--oci-worker", choices=("true",), help="accepted: there is one worker")
    made.add_argument(
        "--containerd-worker", choices=("false",), help="accepted: there is no such worker"
    )
    made.add_argument("--oci-worker-gc", choices=("false",), help="accepted: use `minibuild prune`")


def _daemon(options: argparse.Namespace, session: Session) -> None:
    """Serve."""
    path = options.config or (_CONFIG if os.path.exists(_CONFIG) else "")
    config = Config(session.root, session.environment, frozenset(), keeps_images=False)
    if path:
        config = daemon_config(path, session.root, session.environment)
    granted = config.entitlements | set(options.allow_insecure_entitlement)
    labels = dict(word.partition("=")[::2] for word in options.oci_worker_labels)
    serve(
        options.addr or [_ADDRESS],
        config._replace(entitlements=granted, labels={**config.labels, **labels}),
        lambda method, answer: shown(CallOption(method), answer, "Dockerfile"),
        ready=lambda addresses: session.tell(f"listening at {', '.join(addresses)}"),
        certificates=certificates(options),
    )


COMMANDS = {
    "serve": Command(_flags, _serve),
    "buildkitd": Command(_daemon_flags, _daemon),
}
