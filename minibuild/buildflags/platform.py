"""Platforms as `--platform` names them, and the one that is meant where it names none.

Comes in: the words of the flag and the environment. Goes out: platforms, or a `UsageError`. What is
meant by default is DOCKER_DEFAULT_PLATFORM, as for all commands of Docker's that take the flag, and
else this machine. Read next: `graph.platform`.
"""

from minibuild.buildflags.attributes import listed
from minibuild.errors import DefinitionError, UsageError
from minibuild.graph.platform import Platform, host_platform, parse_platform
from minibuild.session.environment import Environment

_VARIABLE = "DOCKER_DEFAULT_PLATFORM"


def default_platforms(environment: Environment) -> tuple[Platform, ...]:
    """The platforms to build for where no flag names one; none if that is not said."""
    words = listed(environment.default_platform)
    return tuple(dict.fromkeys(_parsed(word, _VARIABLE) for word in words))


def platform(text: str, environment: Environment) -> Platform:
    """The one platform that a flag names, or that is meant without it."""
    if text:
        return _parsed(text, "--platform")
    default = environment.default_platform
    return _parsed(default, _VARIABLE) if default else host_platform()


def _parsed(word: str, where: str) -> Platform:
    try:
        return host_platform() if word == "local" else parse_platform(word)
    except DefinitionError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from None
