"""The flags of `minibuild build`: those of `docker buildx build` that work here.

Comes in: nothing. Goes out: the parser. What a flag says goes to the option of `minibuild.build`
that its `dest` names, if there is one. Read next: `build_request`, which turns the options into a
request, and `foreign_flags` for what is missing.
"""

import argparse
from typing import get_args

from minibuild.cli.parser import Parser
from minibuild.cli.registry_flags import add_registry_flags
from minibuild.progress.select import MODES
from minibuild.session.request import OutputType

_HABITS = {
    "--compress": "",
    "--disable-content-trust": "signatures of images are not checked here",
    "--force-rm": "",
    "--rm": "a step leaves nothing to keep; --on-error=keep keeps the files of one that failed",
}
"""Flags whose meaning is always given here, and why the opposite cannot be had; "" if docker has no
use for that either."""

_EPILOG = """\
PATH is a directory, an archive, the URL of a git repository, an archive or a Dockerfile, or - for
an archive or a Dockerfile on standard input. Without -o the image is kept in the
store: see `minibuild image ls`. Exit codes: 2 wrong use, 3 this machine cannot, 4 image not found,
5 a step failed, 6 the Dockerfile is wrong, 7 a broken image, 8 the store, 130 interrupted."""


def flags(made: Parser) -> None:
    """What `minibuild build` takes."""
    made.usage = "minibuild build [flags] [PATH]"
    made.epilog = _EPILOG
    add_build_flags(made)
    made.switch("--plan", "show what would run, and why, and run nothing (--call=plan)")
    made.values("--if FILE", "--plan as if this file of the context had changed", dest="changed")
    made.switch("--links", "--plan, and where COPY --link would give the same tree")
    made.switch("--step", "stop before each step; ? lists the commands")
    made.value("--format KIND", "of --plan and --step: text or json")
    made.value("--report FILE", "write a page about the build to FILE", dest="report_file")


def add_build_flags(made: Parser) -> None:
    """The flags about what is built and how, and not about the build itself."""
    made.word("[PATH]", "the build context (default: .)", default=".")
    made.value("-f --file FILE", "Dockerfile (default: PATH/Dockerfile)")
    made.values("-t --tag NAME", "name of the image", dest="tags")
    made.value("--target STAGE", "stage to build (default: the last)")
    made.values("--build-arg K[=V]", "value of an ARG; K alone: from environment")
    made.values(
        "--build-context NAME=VALUE",
        "DIR, URL, oci-layout://DIR:TAG, docker-image://REF: what FROM and --from=NAME mean",
    )
    made.values("--label K=V", "label of the image")
    made.values(
        "--annotation [TYPE:]K=V", "annotation of the image's documents", dest="annotations"
    )
    made.switch("--no-cache", "run every step again")
    made.values("--no-cache-filter STAGE,...", "run the steps of stages again")
    types = ", ".join(get_args(OutputType))
    made.values("-o --output DEST", f"DIR, - (a tar), or type=TYPE,dest=PATH,...: {types}")
    made.switch("--squash", "one layer for all that is above the base")
    made.switch("--push", "push the image to its registry, as -o type=registry")
    said = "hand the image to a container engine of this machine"
    made.optional_value("--load [=docker|podman|nerdctl|ctr]", "true", said, default="false")
    # Habits of people who use docker: these ask for what is done anyway.
    for habit, reason in _HABITS.items():
        made.habit(habit, reason)
    _add_results(made)
    _add_steps(made)


def _add_results(made: Parser) -> None:
    """Flags about what is printed and written, and what is looked up."""
    made.value("--progress KIND", "|".join(MODES), choices=MODES, default=None)
    made.switch("-q --quiet", "print nothing but the image id")
    made.value("--iidfile FILE", "write the image id to FILE")
    made.value("--metadata-file FILE", "write what was built to FILE, as JSON")
    said = "whether to look for newer base images in registries"
    made.optional_value("--pull [=always|missing|never]", "always", said, default="missing")
    add_registry_flags(made)
    made.values("--platform OS/ARCH,...", "platforms to build for")
    made.value(
        "--call METHOD",
        "check, outline, targets, graph, llb, plan, with ,format=json: do not build",
    )
    made.switch("--check", "short for --call=check")
    form = "REF|type=registry,ref=REF|type=local,%s=DIR"
    made.values(f"--cache-from {form % 'src'}", "caches of other machines to read")
    form = form % "dest" + "|type=inline[,mode=max]"
    made.values(f"--cache-to {form}", "where to keep results of steps for other machines")
    said = "store how the images were made"
    made.optional_value("--provenance [=true|false|mode=min|max]", "true", said)
    said = "store which packages are in the images"
    made.optional_value("--sbom [=true|false]", "true", said)
    made.values("--attest type=provenance|sbom,...", "the long form of these two")
    form = "REF|type=registry,ref=REF|type=local,%s=DIR[,id=ID]"
    made.values(f"--cache-mount-from {form % 'src'}", "fill empty cache mounts from there")
    made.values(f"--cache-mount-to {form % 'dest'}", "keep cache mounts there for other machines")


def _add_steps(made: Parser) -> None:
    """Flags about the processes of RUN."""
    modes = ("default", "none", "host")
    made.choice("--network MODE", modes, "network of RUN: default, none or host")
    made.choice(
        "--isolation KIND",
        ("auto", "namespaces", "own-root"),
        "how RUN is isolated: auto, namespaces or own-root (docs/ci.md)",
    )
    made.values("--add-host HOST:IP", "line for /etc/hosts of RUN", dest="add_hosts")
    made.value("--shm-size SIZE", "size of /dev/shm of RUN, such as 64m")
    add_limits(made)
    made.values("--ulimit NAME=SOFT[:HARD]", "limit of RUN, such as nofile=1024", dest="ulimits")
    made.values("--secret id=ID,src=FILE|env=NAME", "secret for RUN --mount", dest="secrets")
    made.values("--ssh ID[=SOCKET|KEY,...]", "ssh agent, or keys, for RUN --mount")
    made.values("--allow ENTITLEMENT", "network.host, security.insecure")
    made.choice(
        "--on-error ACTION",
        ("exit", "keep", "shell"),
        "when a RUN fails: exit, keep its files for `run --failed`, or open a shell in them",
    )
    made.value("--builder ADDRESS", "build with a BuildKit daemon: unix://PATH", default=None)
    made.switch("--no-record", "keep no record for `why` and `builds`")
    made.value("--jobs N", "steps at the same time", type=int, default=0)
    made.value("--lab DEFECT", "merge with an old defect: see `lab`")


# Flags that are short for --resource KEY=VALUE, and what the help says of them; as with buildx,
# nothing of most.
_LIMITS = {
    "memory": ("-m", "limit of the memory of each RUN, such as 2g"),
    "memory-swap": ("", ""),
    "cpu-shares": ("-c", ""),
    "cpu-period": ("", ""),
    "cpu-quota": ("", ""),
    "cpuset-cpus": ("", ""),
    "cpuset-mems": ("", ""),
}


def add_limits(made: Parser) -> None:
    """Flags that limit what the process of a step uses."""
    for key, (short, said) in _LIMITS.items():
        made.value(f"{short} --{key} VALUE".strip(), said or argparse.SUPPRESS)
    made.value("--cpus N", "CPUs of each RUN, such as 1.5")
    said = f"limit of each RUN; keys: {', '.join(_LIMITS)}"
    made.values("--resource KEY=VALUE", said)


def limits(options: argparse.Namespace) -> list[str]:
    """What these flags ask for, as texts of --resource, which counts more than the short ones, as
    for buildx."""
    short = ((key, getattr(options, key.replace("-", "_"))) for key in (*_LIMITS, "cpus"))
    return [*(f"{key}={text}" for key, text in short if text), *options.resource]
