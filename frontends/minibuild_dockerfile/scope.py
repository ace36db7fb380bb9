"""The variables that are there before a stage begins: platforms, global ARGs, proxies.

Comes in: the request and the ARGs above the first FROM. Goes out: plain mappings. A build argument
wins over a default, wherever it was declared. The names are those of the Dockerfile reference,
"Automatic platform ARGs in the global scope" and "Predefined ARGs".
Read next: `stages`, which expands FROM with them; `state` for the variables inside a stage.
"""

from collections.abc import Iterable, Mapping

from minibuild.errors import DefinitionError
from minibuild.graph.frontend import EPOCH, EPOCH_SECONDS, FrontendRequest
from minibuild.graph.platform import Platform
from minibuild.startup.regex import regex
from minibuild_dockerfile.expand import process_word
from minibuild_dockerfile.instructions import Arg
from minibuild_dockerfile.limits import Budget

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
_DEFAULT_TARGET = "default"
_PLATFORM = regex(r"(?:BUILD|TARGET)(?:PLATFORM|OS|OSVERSION|ARCH|VARIANT)|TARGETSTAGE")


def platform_args(request: FrontendRequest, platform: Platform, last: str) -> dict[str, str]:
    """TARGETPLATFORM and its relatives. `last` is the name of the last stage, if it has one."""
    build = request.build_platform
    args = {
        "BUILDPLATFORM": build.short,
        "BUILDOS": build.os,
        "BUILDOSVERSION": build.os_version,
        "BUILDARCH": build.architecture,
        "BUILDVARIANT": build.variant,
        "TARGETPLATFORM": str(platform),
        "TARGETOS": platform.os,
        "TARGETOSVERSION": platform.os_version,
        "TARGETARCH": platform.architecture,
        "TARGETVARIANT": platform.variant,
        "TARGETSTAGE": request.target or last or _DEFAULT_TARGET,
    }
    return {name: request.build_args.get(name, value) for name, value in args.items()}


def global_args(
    args: Iterable[Arg],
    predefined: Mapping[str, str],
    given: Mapping[str, str],
    escape: str,
    *,
    raw: bool = False,
) -> dict[str, str]:
    """All variables that FROM sees: `predefined` ones and those of the ARGs above it.

    A SOURCE_DATE_EPOCH that is no number stands for a time that `given` would hold if it were
    known; `raw` keeps it.
    """
    variables, budget = dict(predefined), Budget()
    for arg in args:
        for item in arg.names:
            name = item.name
            if name in given:
                variables[name] = given[name]
            elif item.default is not None:
                default = process_word(item.default, variables, item.span, escape, budget)
                variables[name] = default.text
    if not raw and variables.get(EPOCH) and not EPOCH_SECONDS.fullmatch(variables[EPOCH]):
        del variables[EPOCH]
    return variables


def declared_names(args: Iterable[Arg]) -> frozenset[str]:
    """The names that the ARGs above the first FROM declare, with or without a value."""
    return frozenset(item.name for arg in args for item in arg.names)


def is_predefined(name: str) -> bool:
    """Whether a build argument means something even if no ARG declares it."""
    return (
        name == EPOCH
        or name.startswith("BUILDKIT_")
        or name.lower() in _PROXIES
        or _PLATFORM.fullmatch(name) is not None
    )


def check_epoch(given: Mapping[str, str]) -> None:
    """SOURCE_DATE_EPOCH has to be seconds since 1970; an empty one counts as not given."""
    text = given.get(EPOCH, "")
    if text and not EPOCH_SECONDS.fullmatch(text):
        raise invalid_epoch(text)


def invalid_epoch(text: str) -> DefinitionError:
    """The error about a SOURCE_DATE_EPOCH that is neither a number nor the name of anything."""
    return DefinitionError(
        f"invalid SOURCE_DATE_EPOCH: {text}",
        hint="give seconds since 1970-01-01, or context, or the name of a context or stage",
    )


def proxy_variables(build_args: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The proxy settings among the build arguments, as variables in upper and lower case.

    Programs disagree about the case, so a RUN gets both, whichever one was given. They win over
    the variables of ENV; empty ones say nothing.
    """
    found = {name.lower(): value for name, value in build_args.items() if name.lower() in _PROXIES}
    return tuple(
        (spelling, found[name])
        for name in _PROXIES
        if found.get(name)
        for spelling in (name.upper(), name)
    )
