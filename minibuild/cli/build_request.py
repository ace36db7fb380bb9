"""From the options of `minibuild build` to a `BuildRequest`.

Comes in: parsed options and the environment. Goes out: the request that a Python program gets from
the same words. What only a command line means is done here: build args without a value,
SOURCE_DATE_EPOCH and DOCKER_DEFAULT_PLATFORM come from the environment (as for buildx; proxies are
passed only when asked for by --build-arg); an archive without a destination goes to standard
output.
Read next: `minibuild.buildflags.request`, `build`.
"""

import argparse

from minibuild.buildflags.attributes import (
    assignment,
    build_context,
    default_platforms,
    insist_on_text,
    size_bytes,
    truth,
)
from minibuild.buildflags.request import READERS, build_request
from minibuild.cli.build_flags import limits
from minibuild.cli.registry_flags import ALL, access_of, with_login
from minibuild.session.environment import Environment
from minibuild.session.request import Attestations, BuildRequest, Output


def request(options: argparse.Namespace, environment: Environment) -> BuildRequest:
    """The request that the options mean. Raises `UsageError`."""
    labels = (assignment(text, "label") for text in options.label)
    given = vars(options)
    asked = {
        **{name: given[name] for name in READERS if name in given},
        "build_args": _build_args(options.build_arg, environment),
        "contexts": dict(build_context(text) for text in options.build_context),
        "labels": {key: value or "" for key, value in labels},
        "outputs": _outputs(options),
        "pull": _pull(options.pull),
        "platforms": options.platform or default_platforms(environment),
        "shm_size_bytes": size_bytes(options.shm_size, "shm-size") if options.shm_size else 0,
        "resources": limits(options),
        "keep_failed": options.on_error != "exit",
        "registries": access_of(options, environment, ALL),
        "attestations": _attestations(options),
    }
    # What was not given need not be read, and most is not given.
    wanted = {name: value for name, value in asked.items() if value}
    made = build_request(options.path, wanted, environment)
    if options.creds:
        access = with_login(made.registries, options.creds, _registries(made))
        made = made._replace(registries=access)
    return made


def _registries(request: BuildRequest) -> set[str]:
    """The registries that the command line itself names, not the Dockerfile."""
    from minibuild.graph.reference import parse_reference

    names = [place.ref for place in (*request.cache_to, *request.cache_from)]
    names += [place.ref for place in (*request.cache_mount_to, *request.cache_mount_from)]
    images = "docker-image://"
    names += [v.removeprefix(images) for v in request.contexts.values() if v.startswith(images)]
    for output in request.outputs:
        if output.type == "registry" or output.attributes.get("push"):
            names += [*request.tags, *output.attributes.get("name", "").split(",")]
    return {parse_reference(name).domain for name in names if name}


def is_stream(path: str) -> bool:
    """Whether a file is a stream that the caller has opened, as a shell does for `-f <(m4 d)`."""
    return path.startswith(("/dev/stdin", "/dev/fd/", "/proc/self/fd/"))


def _build_args(texts: list[str], environment: Environment) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        key, value = assignment(text, "build-arg")
        if value is None:
            value = environment.variables.get(key)
        if value is not None:
            insist_on_text(value, f"--build-arg {key}")
            found[key] = value
    if environment.source_date_epoch:
        found.setdefault("SOURCE_DATE_EPOCH", environment.source_date_epoch)
    return found


def _attestations(options: argparse.Namespace) -> Attestations:
    if not (options.provenance or options.sbom or options.attest):
        return Attestations()
    from minibuild.buildflags.attest import attestations

    return attestations(options.provenance, options.sbom, options.attest)


def _outputs(options: argparse.Namespace) -> tuple[Output, ...]:
    if not options.output:
        return (Output("registry"),) if options.push else ()
    from minibuild.buildflags.output import output
    from minibuild.exporter.options import written_as

    made = [output(text) for text in options.output]
    outputs = [
        one._replace(dest="-") if written_as(one) == "file" and not one.dest else one
        for one in made
    ]
    if not options.push:
        return tuple(outputs)
    if not any(one.type in ("image", "registry") for one in outputs):
        return (*outputs, Output("registry"))
    return tuple(
        one._replace(attributes={**one.attributes, "push": "true"}) if one.type == "image" else one
        for one in outputs
    )


def _pull(text: str) -> str:
    known = ("always", "missing", "never")
    if text in known:
        return text
    return "always" if truth(text, "pull", known) else "missing"
