"""Where the environment says that logins, certificates and settings for registries are.

Comes in: variables. Goes out: a `RegistryAccess`, which names files and reads none. Docker's places
come first, then those of podman and skopeo (containers-auth.json(5), containers-certs.d(5)).
"""

import os
from collections.abc import Mapping

from minibuild.errors import UsageError
from minibuild.session.environment import Environment
from minibuild.session.request import STALL_S, RegistryAccess

_SETTINGS = "minibuild/config.toml"
_STALL_TIMEOUT = "MINIBUILD_STALL_TIMEOUT"


def registry_access(environment: Environment, stall_timeout: str = "") -> RegistryAccess:
    """How registries are reached. `stall_timeout` is a time as people write it, and wins over the
    one of the environment."""
    variables = environment.variables
    home = variables.get("HOME", "")
    config = variables.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(config):
        config = os.path.join(home, ".config") if home else ""
    docker = variables.get("DOCKER_CONFIG", "") or _below(home, ".docker")
    runtime = variables.get("XDG_RUNTIME_DIR", "")
    logins = (
        _below(docker, "config.json"),
        variables.get("REGISTRY_AUTH_FILE", ""),
        _below(runtime, "containers/auth.json"),
        _below(config, "containers/auth.json"),
    )
    certificates = (
        "/etc/containers/certs.d",
        "/etc/docker/certs.d",
        _below(config, "containers/certs.d"),
        _below(home, ".docker/certs.d"),
    )
    return RegistryAccess(
        settings=_settings(variables.get("MINIBUILD_CONFIG", ""), config),
        logins=tuple(filter(None, logins)),
        certificates=tuple(filter(None, certificates)),
        proxies=_proxies(variables),
        stall_s=_stall_s(stall_timeout, "--stall-timeout")
        or _stall_s(variables.get(_STALL_TIMEOUT, ""), _STALL_TIMEOUT)
        or STALL_S,
    )


def _stall_s(text: str, what: str) -> float:
    if not text:
        return 0
    from minibuild.session.duration import duration

    seconds = duration(text, what)
    if seconds < 1:
        raise UsageError(f"a stall time-out of {text} is too short", hint="give a second at least")
    return seconds


def _settings(given: str, config: str) -> str:
    """The file of settings: the one that was named, else the first that exists."""
    if given:
        return given
    for path in (_below(config, _SETTINGS), "/etc/" + _SETTINGS):
        if path and os.path.exists(path):
            return path
    return ""


def _below(folder: str, name: str) -> str:
    return os.path.join(folder, name) if folder else ""


def _proxies(variables: Mapping[str, str]) -> dict[str, str]:
    """The proxies, by what they are for; as for curl, small letters come first."""
    found = {}
    for key in ("http", "https", "no"):
        name = f"{key}_proxy"
        if value := variables.get(name) or variables.get(name.upper()):
            found[key] = value
    return found
