"""`minibuild buildkitd`: the server of `serve`, started the way BuildKit's daemon is.

Comes in: flags of `buildkitd` and its settings, a TOML file. Goes out: builds for the clients that
connect, until a signal. So what starts a `buildkitd`, such as a unit of systemd or BuildKit's own
test suites, can start this instead. Rules: moby/buildkit `cmd/buildkitd`. Read next:
`minibuild.serve.config`.
"""

import argparse
import os

from minibuild.cli.calls import CallOption, shown
from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.serve import add_addresses, certificates
from minibuild.serve.config import Config, daemon_config
from minibuild.serve.server import serve

_CONFIG = "/etc/buildkit/buildkitd.toml"
_ADDRESS = "unix:///run/buildkit/buildkitd.sock"


def _flags(made: Parser) -> None:
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
    made.add_argument("--oci-worker", choices=("true",), help="the one worker is always there")
    made.add_argument("--containerd-worker", choices=("false",), help="there is no other")
    made.add_argument("--oci-worker-gc", choices=("false",), help="`minibuild prune` removes")


def run(options: argparse.Namespace, session: Session) -> None:
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


COMMANDS = {"buildkitd": Command(_flags, run)}
