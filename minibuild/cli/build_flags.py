"""The flags of `minibuild build`: those of `docker buildx build` that work here.

Comes in: nothing. Goes out: the parser. What a flag says goes to the option of `minibuild.build`
that its `dest` names, if there is one. Read next: `build_request`, which turns the options into a
request, and `foreign_flags` for what is missing.
"""

import argparse

from minibuild.cli.parser import Parser
from minibuild.cli.registry_flags import add_registry_flags
from minibuild.progress.select import MODES

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


def parser(
    kind: type[Parser] = Parser,
    prog: str = "minibuild build",
    description: str = "Build an image from a Dockerfile.",
    epilog: str = _EPILOG,
    usage: str = "minibuild build [flags] [PATH]",
) -> Parser:
    """The parser of `minibuild build`, or of a command that takes the same flags."""
    made = kind(prog, description=description, epilog=epilog, usage=usage)
    add = made.add_argument
    many = made.repeated
    add("path", nargs="?", default=".", metavar="PATH", help="the build context (default: .)")
    add("-f", "--file", default="", metavar="FILE", help="Dockerfile (default: PATH/Dockerfile)")
    many("-t", "--tag", dest="tags", metavar="NAME", help="name of the image")
    add("--target", default="", metavar="STAGE", help="stage to build (default: the last)")
    many("--build-arg", metavar="K[=V]", help="value of an ARG; K alone: from environment")
    many(
        "--build-context",
        metavar="NAME=VALUE",
        help="DIR, URL, oci-layout://DIR:TAG, docker-image://REF: what FROM and --from=NAME mean",
    )
    many("--label", metavar="K=V", help="label of the image")
    many(
        "--annotation",
        dest="annotations",
        metavar="[TYPE:]K=V",
        help="annotation of the image's documents",
    )
    made.switch("--no-cache", help="run every step again")
    many("--no-cache-filter", metavar="STAGE,...", help="run the steps of stages again")
    many(
        "-o",
        "--output",
        metavar="DEST",
        help="DIR, - (a tar), or type=image|registry|oci|docker|local|tar|cacheonly,dest=PATH,...",
    )
    made.switch("--squash", help="one layer for all that is above the base")
    made.switch("--push", help="push the image to its registry, as -o type=registry")
    said = "hand the image to a container engine of this machine"
    kinds = "[=docker|podman|nerdctl|ctr]"
    made.add_optional_value("--load", "true", default="false", metavar=kinds, help=said)
    # Habits of people who use docker: these ask for what is done anyway.
    for habit, reason in _HABITS.items():
        made.habit(habit, reason)
    _add_results(made)
    _add_steps(made)
    return made


def with_insight() -> Parser:
    """The parser of `minibuild build`, with the flags that only it takes: about the build itself,
    and not about what is built."""
    made = parser()
    made.switch("--plan", help="show what would run, and why, and run nothing (--call=plan)")
    made.add_argument(
        "--if", dest="changed", action="append", default=[], metavar="FILE",
        help="--plan as if this file of the context had changed",
    )  # fmt: skip
    made.switch("--links", help="--plan, and for which COPY --link would do the same, and spare")
    made.switch("--step", help="stop before each step; ? lists the commands. A pipe is a script")
    said = "of --plan and --step: text or json"
    made.add_argument("--format", default="", metavar="KIND", help=said)
    made.add_argument(
        "--report", dest="report_file", default="", metavar="FILE",
        help="write a page about the build to FILE",
    )  # fmt: skip
    return made


def _add_results(made: Parser) -> None:
    """Flags about what is printed and written, and what is looked up."""
    add, many = made.add_argument, made.repeated
    add("--progress", choices=MODES, metavar="KIND", help="|".join(MODES))
    made.switch("-q", "--quiet", help="print nothing but the image id")
    add("--iidfile", default="", metavar="FILE", help="write the image id to FILE")
    add("--metadata-file", default="", metavar="FILE", help="write what was built to FILE, as JSON")
    made.add_optional_value(
        "--pull",
        "always",
        default="missing",
        metavar="[=always|missing|never]",
        help="whether to look for newer base images in registries",
    )
    add_registry_flags(made)
    many("--platform", metavar="OS/ARCH,...", help="platforms to build for")
    add(
        "--call",
        default="",
        metavar="METHOD",
        help="check, outline, targets, graph or plan, with ,format=json: do not build",
    )
    made.switch("--check", help="short for --call=check")
    form = "REF|type=registry,ref=REF|type=local,%s=DIR"
    many("--cache-from", metavar=form % "src", help="caches of other machines to look into")
    form = form % "dest" + "|type=inline[,mode=max]"
    many("--cache-to", metavar=form, help="where to keep results of steps for other machines")
    said = {"default": "", "metavar": "[=true|false|mode=min|max]"}
    made.add_optional_value("--provenance", "true", **said, help="say how the images were made")
    said["metavar"] = "[=true|false]"
    made.add_optional_value("--sbom", "true", **said, help="say which packages are in the images")
    many("--attest", metavar="type=provenance|sbom,...", help="the long form of these two")
    form = "REF|type=registry,ref=REF|type=local,%s=DIR[,id=ID]"
    many("--cache-mount-from", metavar=form % "src", help="where cache mounts that are empty start")
    many("--cache-mount-to", metavar=form % "dest", help="where cache mounts are kept for others")


def _add_steps(made: Parser) -> None:
    """Flags about the processes of RUN."""
    add, many = made.add_argument, made.repeated
    add(
        "--network",
        default="default",
        choices=("default", "none", "host"),
        metavar="MODE",
        help="network of RUN: default, none or host",
    )
    add(
        "--isolation",
        default="auto",
        choices=("auto", "namespaces", "own-root"),
        metavar="KIND",
        help="what RUN has around it: auto, namespaces or own-root (docs/ci.md)",
    )
    many("--add-host", dest="add_hosts", metavar="HOST:IP", help="line for /etc/hosts of RUN")
    add("--shm-size", default="", metavar="SIZE", help="size of /dev/shm of RUN, such as 64m")
    add_limits(made)
    many(
        "--ulimit",
        dest="ulimits",
        metavar="NAME=SOFT[:HARD]",
        help="limit of RUN, such as nofile=1024",
    )
    many(
        "--secret", dest="secrets", metavar="id=ID,src=FILE|env=NAME", help="secret for RUN --mount"
    )
    many("--ssh", metavar="ID[=SOCKET|KEY,...]", help="ssh agent, or keys, for RUN --mount")
    many("--allow", metavar="ENTITLEMENT", help="network.host, security.insecure")
    add(
        "--on-error",
        default="exit",
        choices=("exit", "keep", "shell"),
        metavar="ACTION",
        help="when a RUN fails: exit, keep its files for `run --failed`, or open a shell in them",
    )
    add("--builder", metavar="ADDRESS", help="have a BuildKit elsewhere build: unix://PATH")
    made.switch("--no-record", help="keep nothing for `why` and `builds`")
    add("--jobs", type=int, default=0, metavar="N", help="steps at the same time")
    add(
        "--lab", default="", metavar="DEFECT", help="bring an old defect back, to see it: see `lab`"
    )


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
        names = (short, f"--{key}") if short else (f"--{key}",)
        made.add_argument(*names, default="", metavar="VALUE", help=said or argparse.SUPPRESS)
    made.add_argument("--cpus", default="", metavar="N", help="CPUs of each RUN, such as 1.5")
    said = f"limit of each RUN; keys: {', '.join(_LIMITS)}"
    made.repeated("--resource", metavar="KEY=VALUE", help=said)


def limits(options: argparse.Namespace) -> list[str]:
    """What these flags ask for, as texts of --resource, which counts more than the short ones. So
    has buildx it."""
    short = ((key, getattr(options, key.replace("-", "_"))) for key in (*_LIMITS, "cpus"))
    return [*(f"{key}={text}" for key, text in short if text), *options.resource]
