"""From the options of `minibuild build` to a `BuildRequest`.

Comes in: parsed options and the environment. Goes out: a request that a Python program could
have made. What is taken from the environment is taken here: build args without a value, the ssh
agent, SOURCE_DATE_EPOCH (as buildx does; proxies are passed only when asked for by --build-arg).
Read next: `build`.
"""

import argparse
import os
from typing import Literal

from minibuild.buildflags import attributes
from minibuild.buildflags.sizes import size_bytes, truth
from minibuild.errors import DefinitionError, UsageError
from minibuild.graph.platform import Platform, host_platform, parse_platform
from minibuild.session.environment import Environment
from minibuild.session.request import (
    ENTITLEMENTS,
    Attestations,
    BuildRequest,
    CacheMountPlace,
    CachePlace,
    Output,
    Secret,
    SshAgent,
)

# A step's default network is that of the host, so the host is where it is on the host.
_GATEWAY = "127.0.0.1"

Pull = Literal["missing", "always", "never"]
_PULLS: tuple[Pull, ...] = ("missing", "always", "never")


def request(options: argparse.Namespace, environment: Environment) -> BuildRequest:
    """The request that the options mean. Raises `UsageError`."""
    allow = _allowed(options.allow)
    if options.network == "host":
        allow |= {"network.host"}
    if options.jobs < 0:
        raise UsageError("--jobs must not be negative", hint="0 chooses by the number of CPUs")
    build_args = _build_args(options.build_arg, environment)
    return BuildRequest(
        context=options.path,
        file=options.file,
        tags=tuple(dict.fromkeys(options.tag)),
        target=options.target,
        build_args=build_args,
        contexts=dict(attributes.build_context(text) for text in options.build_context),
        labels={
            key: value or ""
            for key, value in (attributes.assignment(text, "label") for text in options.label)
        },
        annotations=_annotations(options.annotation),
        squash=options.squash,
        no_cache=options.no_cache,
        no_cache_filter=frozenset(
            stage for text in options.no_cache_filter for stage in attributes.listed(text)
        ),
        outputs=_outputs(options),
        pull=_pull(options.pull),
        platforms=_platforms(options.platform),
        network=options.network,
        add_hosts=tuple(
            attributes.add_host(host, _GATEWAY)
            for text in options.add_host
            for host in attributes.listed(text)
        ),
        shm_size_bytes=size_bytes(options.shm_size, "shm-size") if options.shm_size else 0,
        ulimits=tuple(attributes.ulimit(text) for text in options.ulimit),
        secrets=_secrets(options.secret, environment),
        ssh=_agents(options.ssh, environment),
        allow=frozenset(allow),
        jobs=options.jobs,
        keep_failed=options.on_error != "exit",
        lab=_defect(options.lab),
        cache_to=_caches(options.cache_to, "cache-to") + _inline_cache(build_args),
        cache_from=_caches(options.cache_from, "cache-from"),
        attestations=_attestations(options),
        cache_mount_to=_cache_mounts(options.cache_mount_to, "cache-mount-to"),
        cache_mount_from=_cache_mounts(options.cache_mount_from, "cache-mount-from"),
    )


def is_stream(path: str) -> bool:
    """Whether a file is a stream that the caller has opened, as a shell does for `-f <(m4 d)`."""
    return path.startswith(("/dev/stdin", "/dev/fd/", "/proc/self/fd/"))


def _build_args(texts: list[str], environment: Environment) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        key, value = attributes.assignment(text, "build-arg")
        if value is None:
            value = environment.variables.get(key)
        if value is not None:
            attributes.insist_on_text(value, f"--build-arg {key}")
            found[key] = value
    if environment.source_date_epoch:
        found.setdefault("SOURCE_DATE_EPOCH", environment.source_date_epoch)
    return found


def _attestations(options: argparse.Namespace) -> Attestations:
    if not (options.provenance or options.sbom or options.attest):
        return Attestations()
    from minibuild.buildflags.attest import attestations

    return attestations(options.provenance, options.sbom, options.attest)


def _annotations(texts: list[str]) -> tuple[str, ...]:
    if texts:
        from minibuild.exporter.annotations import parse_flag

        for text in texts:
            parse_flag(text)  # a slip is told before the build, and not after it
    return tuple(texts)


def _outputs(options: argparse.Namespace) -> tuple[Output, ...]:
    outputs = tuple(_output(text) for text in options.output)
    if not options.push:
        return outputs
    if not any(output.type in ("image", "registry") for output in outputs):
        return (*outputs, Output("registry"))
    return tuple(
        output._replace(attributes={**output.attributes, "push": "true"})
        if output.type == "image"
        else output
        for output in outputs
    )


def _output(text: str) -> Output:
    made = attributes.output(text)
    if made.type == "docker" and not made.dest:
        # To buildx this means Docker's own store; the one that stands in its place is ours.
        return made._replace(type="image")
    to_file = made.type == "tar" or (
        made.type in ("oci", "docker") and made.attributes.get("tar", "true") != "false"
    )
    if to_file and not made.dest:
        return made._replace(dest="-")
    if to_file and os.path.isdir(made.dest):
        raise UsageError(
            f"the destination {made.dest} is a directory, and type={made.type} writes a file",
            hint=f"name a file: dest={os.path.join(made.dest, 'image.tar')}",
        )
    return made


def _pull(text: str) -> Pull:
    for word in _PULLS:
        if text == word:
            return word
    try:
        return "always" if truth(text, "pull") else "missing"
    except UsageError as error:
        error.hint = "it is always, missing or never"
        raise


def _defect(name: str) -> str:
    if name:
        from minibuild.snapshot.defects import policy_for

        policy_for(name)  # a slip is told before the build
    return name


def _caches(texts: list[str], flag: str) -> tuple[CachePlace, ...]:
    if not texts:
        return ()
    from minibuild.buildflags.cache import place

    return tuple(place(text, flag) for text in texts)


def _inline_cache(build_args: dict[str, str]) -> tuple[CachePlace, ...]:
    """The older way to say `--cache-to type=inline`, which BuildKit still takes."""
    asked = build_args.get("BUILDKIT_INLINE_CACHE", "")
    return (CachePlace("inline"),) if asked and truth(asked, "BUILDKIT_INLINE_CACHE") else ()


def _cache_mounts(texts: list[str], flag: str) -> tuple[CacheMountPlace, ...]:
    if not texts:
        return ()
    from minibuild.buildflags.cache_mount import place

    return tuple(place(text, flag) for text in texts)


def _platforms(texts: list[str]) -> tuple[Platform, ...]:
    found: dict[Platform, None] = {}
    for text in texts:
        for word in attributes.listed(text):
            try:
                found[host_platform() if word == "local" else parse_platform(word)] = None
            except DefinitionError as error:
                raise UsageError(error.message, hint=error.hint) from None
    return tuple(found)


def _secrets(texts: list[str], environment: Environment) -> tuple[Secret, ...]:
    if not texts:
        return ()
    from minibuild.buildflags.secret import secret, with_value

    return tuple(with_value(secret(text), environment) for text in texts)


def _agents(texts: list[str], environment: Environment) -> tuple[SshAgent, ...]:
    if not texts:
        return ()
    from minibuild.buildflags.secret import ssh, with_paths

    return tuple(with_paths(ssh(text), environment) for text in texts)


def _allowed(texts: list[str]) -> set[str]:
    words = {word for text in texts for word in attributes.listed(text)}
    for word in sorted(words):
        if word not in ENTITLEMENTS:
            raise UsageError(
                f"unknown entitlement {word!r}", hint="there are " + ", ".join(ENTITLEMENTS)
            )
    return words
