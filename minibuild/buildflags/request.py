"""From the options of a caller to a `BuildRequest`: the command line and Python programs alike.

Comes in: options by the names of the request's fields, each as the words of a flag or as values,
and the environment. Goes out: a request that the engine need not look at twice: paths are text,
words are values, secrets of variables have their values. Raises `UsageError`, and `TypeError` for
options that there are not. Read next: `builder`.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from minibuild.buildflags.attributes import insist_on_text, listed
from minibuild.errors import DefinitionError, UsageError
from minibuild.graph.literals import parse_bool
from minibuild.graph.op import Network, Ulimit
from minibuild.graph.platform import Platform, host_platform, parse_platform
from minibuild.graph.spelling import one_of
from minibuild.linux.resources import Resources
from minibuild.session.environment import Environment
from minibuild.session.registries import registry_access
from minibuild.session.request import (
    ENTITLEMENTS,
    Attestations,
    BuildRequest,
    CacheMountPlace,
    CachePlace,
    Isolation,
    Output,
    Pull,
    RegistryAccess,
    Secret,
    SshAgent,
)

if TYPE_CHECKING:
    from minibuild.graph.source_policy import Policy

T = TypeVar("T")
ReadValue = Callable[[str, Any], Any]
"""Makes the value of a field, from its name and what was given."""

GATEWAY = "127.0.0.1"
"""What `host-gateway` means: a step's default network is that of the host."""


def build_request(
    context: str, options: Mapping[str, Any], environment: Environment
) -> BuildRequest:
    """The request that the options mean."""
    made: dict[str, Any] = {}
    for name, value in options.items():
        reader = READERS.get(name)
        if reader is None:
            raise TypeError(f"build() got an unexpected keyword argument {name!r}{_near(name)}")
        made[name] = reader(name, value)
    request = _with_what_is_lent(BuildRequest(context=context, **made), environment)
    if request.registries == RegistryAccess():
        request = request._replace(registries=registry_access(environment))
    if environment.source_policy:
        from minibuild.buildflags.source_policy import read_policy_file

        hint = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY names it"
        policies = (read_policy_file(environment.source_policy, hint), *request.source_policies)
        request = request._replace(source_policies=policies)
    if not environment.records:
        request = request._replace(no_record=True)
    if request.report_file and request.no_record:
        raise UsageError(
            "a page about the build is made from its record, and none is to be kept",
            hint="leave --report out, or --no-record and MINIBUILD_RECORD=0",
        )
    if request.network == "host":
        request = request._replace(allow=request.allow | {"network.host"})
    if _is_true(request.build_args.get("BUILDKIT_INLINE_CACHE", "")):
        # The older way to say cache_to=["type=inline"], which BuildKit still takes.
        request = request._replace(cache_to=(*request.cache_to, CachePlace("inline")))
    return request


def _with_what_is_lent(request: BuildRequest, environment: Environment) -> BuildRequest:
    """The request with the values of its secrets and the sockets of its agents."""
    if not (request.secrets or request.ssh):
        return request
    from minibuild.buildflags.secret import with_paths, with_value

    return request._replace(
        secrets=tuple(with_value(secret, environment) for secret in request.secrets),
        ssh=tuple(with_paths(agent, environment) for agent in request.ssh),
    )


def _near(name: str) -> str:
    from minibuild.buildflags.options import OTHER_NAMES
    from minibuild.graph.spelling import nearest

    if name in OTHER_NAMES:
        return f"; here it is {OTHER_NAMES[name]}"
    near = nearest(name, READERS) or next((n for n in READERS if n.startswith(f"{name}_")), "")
    return f"; did you mean {near!r}?" if near else ""


# --- Plain values ---


def _wrong(name: str, value: object, what: str, hint: str = "") -> UsageError:
    kind = type(value).__name__
    return UsageError(f"{name} must be {what}, and got {kind}", hint=hint)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, value, "text")
    return value


def _text_or_none(name: str, value: Any) -> str | None:
    return None if value is None else _text(name, value)


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, value, "True or False")
    return value


def _number(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(name, value, "a number")
    if value < 0:
        raise UsageError(f"{name} must not be negative")
    return value


def read_path(name: str, value: Any) -> str:
    """The text of a path. Raises `UsageError`."""
    if not isinstance(value, str | os.PathLike):
        raise _wrong(name, value, "a path")
    path = os.fsdecode(value)
    if "\0" in path:
        raise UsageError(f"{name} cannot be {path!r}: a path has no null character")
    return path


def _as_it_is(name: str, value: Any) -> Any:
    return value


def _choice(*known: str) -> ReadValue:
    def read(name: str, value: Any) -> str:
        if value not in known:
            raise UsageError(f"{name} cannot be {value!r}", hint=one_of(str(value), known))
        return cast(str, value)

    return read


def _with_plain_paths(value: Any) -> Any:
    """A value of the request with its paths as text."""
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if not isinstance(value, tuple):
        return value
    parts = [_with_plain_paths(part) for part in value]
    return value._make(parts) if hasattr(value, "_make") else tuple(parts)


# --- Several values ---


def _parts(name: str, value: Any) -> list[Any]:
    """The parts of an option that is several values. A text is no list of texts, and a value of the
    request, which is a tuple, no list either."""
    if isinstance(value, str):
        raise UsageError(
            f"{name} must be a list, and {value!r} is text", hint=f"write {name}=[{value!r}]"
        )
    if hasattr(value, "_fields"):
        raise _wrong(name, value, "a list", f"write {name}=[{value!r}]")
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise _wrong(name, value, "a list")
    return list(value)


def _several(
    name: str, value: Any, kind: type[T], read: Callable[[str], T] | None = None
) -> tuple[T, ...]:
    """The parts of an option: those of `kind` as they are, and a text as `read` makes a value of
    it."""
    found: list[T] = []
    for part in _parts(name, value):
        if isinstance(part, kind):
            found.append(_with_plain_paths(part))
        elif isinstance(part, str) and read is not None:
            found.append(read(part))
        else:
            raise _wrong(f"a part of {name}", part, f"{kind.__name__}{' or text' if read else ''}")
    return tuple(found)


def _texts(name: str, value: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_several(name, value, str)))


def _words(name: str, value: Any) -> frozenset[str]:
    return frozenset(word for text in _several(name, value, str) for word in listed(text))


def _mapping(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise _wrong(name, value, "a mapping", "{'KEY': 'VALUE'}")
    for key, item in value.items():
        if not isinstance(key, str):
            raise _wrong(f"a name in {name}", key, "text")
        if not isinstance(item, str):
            hint = f"write {str(item)!r}" if isinstance(item, int | float) else ""
            raise _wrong(f"{name}[{key!r}]", item, "text", hint)
        insist_on_text(item, f"{name}[{key!r}]")
        if "\0" in key + item:
            raise UsageError(f"{name}[{key!r}] has a null character")
    return dict(value)


def _is_true(text: str) -> bool:
    """Whether a build argument switches something on; BuildKit takes any other word for a no."""
    try:
        return parse_bool(text)
    except ValueError:
        return False


# --- Values that flags have words for ---


def _annotations(name: str, value: Any) -> tuple[str, ...]:
    from minibuild.exporter.annotations import parse_flag

    texts = _several(name, value, str)
    for text in texts:
        parse_flag(text)  # a slip is found before the build, and not after it
    return texts


def _outputs(name: str, value: Any) -> tuple[Output, ...]:
    from minibuild.buildflags.output import checked_output, output

    return tuple(map(checked_output, _several(name, value, Output, output)))


def _platforms(name: str, value: Any) -> tuple[Platform, ...]:
    def read(word: str) -> Platform:
        return host_platform() if word == "local" else parse_platform(word)

    parts = [listed(one) if isinstance(one, str) else (one,) for one in _parts(name, value)]
    try:
        return tuple(dict.fromkeys(_several(name, chain(*parts), Platform, read)))
    except DefinitionError as error:
        raise UsageError(error.message, hint=error.hint) from None


def _hosts(name: str, value: Any) -> tuple[tuple[str, str], ...]:
    from minibuild.buildflags.resources import add_host

    parts = value.items() if isinstance(value, Mapping) else _parts(name, value)
    texts = ["=".join(part) if isinstance(part, tuple) else part for part in parts]
    words = [word for text in _several(name, texts, str) for word in listed(text)]
    return tuple(add_host(word, GATEWAY) for word in words)


def _ulimits(name: str, value: Any) -> tuple[Ulimit, ...]:
    from minibuild.buildflags.resources import ulimit

    return _several(name, value, Ulimit, ulimit)


def _resources(name: str, value: Any) -> Resources:
    if isinstance(value, Resources):
        return value
    from minibuild.buildflags.resources import resources

    return resources(_several(name, value, str))


def _secrets(name: str, value: Any) -> tuple[Secret, ...]:
    from minibuild.buildflags.secret import secret

    return _several(name, value, Secret, secret)


def _agents(name: str, value: Any) -> tuple[SshAgent, ...]:
    from minibuild.buildflags.secret import ssh

    return _several(name, value, SshAgent, ssh)


def _allowed(name: str, value: Any) -> frozenset[str]:
    words = _words(name, value)
    for word in sorted(words - set(ENTITLEMENTS)):
        raise UsageError(f"unknown entitlement {word!r}", hint=one_of(word, ENTITLEMENTS))
    return words


def _caches(name: str, value: Any) -> tuple[CachePlace, ...]:
    from minibuild.buildflags.places import cache_place, checked_place

    flag = name.replace("_", "-")
    made = _several(name, value, CachePlace, lambda text: cache_place(text, flag))
    return tuple(checked_place(one, flag) for one in made)


def _cache_mounts(name: str, value: Any) -> tuple[CacheMountPlace, ...]:
    from minibuild.buildflags.places import cache_mount_place, checked_place

    flag = name.replace("_", "-")
    made = _several(name, value, CacheMountPlace, lambda text: cache_mount_place(text, flag))
    return tuple(checked_place(one, flag) for one in made)


def _policies(name: str, value: Any) -> "tuple[Policy, ...]":
    if not value:
        return ()
    from minibuild.buildflags.source_policy import read_policy_file
    from minibuild.graph.source_policy import Policy

    return _several(name, value, Policy, read_policy_file)


def _attestations(name: str, value: Any) -> Attestations:
    if isinstance(value, Attestations):
        return value
    from minibuild.buildflags.attest import attestations

    return attestations("", "", _several(name, value, str))


def _registries(name: str, value: Any) -> RegistryAccess:
    if not isinstance(value, RegistryAccess):
        raise _wrong(name, value, "a RegistryAccess")
    return cast(RegistryAccess, _with_plain_paths(value))


def _defect(name: str, value: Any) -> str:
    if not value:
        return _text(name, value)
    from minibuild.snapshot.defects import defect_named

    return defect_named(_text(name, value))


READERS: Mapping[str, ReadValue] = {
    "file": read_path,
    "dockerfile": _text_or_none,
    "tags": _texts,
    "target": _text,
    "build_args": _mapping,
    "contexts": _mapping,
    "context_subdir": _text,
    "labels": _mapping,
    "annotations": _annotations,
    "squash": _switch,
    "no_cache": _switch,
    "no_cache_filter": _words,
    "outputs": _outputs,
    "pull": _choice(*get_args(Pull)),
    "isolation": _choice(*get_args(Isolation)),
    "platforms": _platforms,
    "network": _choice(*get_args(Network)),
    "add_hosts": _hosts,
    "shm_size_bytes": _number,
    "ulimits": _ulimits,
    "resources": _resources,
    "secrets": _secrets,
    "ssh": _agents,
    "allow": _allowed,
    "jobs": _number,
    "keep_failed": _switch,
    "lab": _defect,
    "registries": _registries,
    "graphs": _as_it_is,
    "source_policies": _policies,
    "cache_to": _caches,
    "cache_from": _caches,
    "cache_mount_to": _cache_mounts,
    "cache_mount_from": _cache_mounts,
    "attestations": _attestations,
    "no_record": _switch,
    "report_file": read_path,
    "revisions": _as_it_is,
}
"""How each option is read."""
