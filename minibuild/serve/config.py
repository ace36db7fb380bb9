"""What all builds of a server have in common; or what BuildKit's daemon reads of it from a file.

Comes in: `buildkitd.toml`. Goes out: what builds may ask for, labels of the worker, and how
registries are reached, as settings of ours (see docs/registries.md) in the store's folder. The rest
of the file is about BuildKit's own workers, snapshots and logs.
Rules: moby/buildkit `cmd/buildkitd/config`, `util/resolver/config`.
Read next: `server`.
"""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from minibuild.errors import UsageError, os_errors_as
from minibuild.registry.hosts import read_toml
from minibuild.session.environment import Environment
from minibuild.session.request import ENTITLEMENTS
from minibuild.startup.tuples import NamedTuple

_REGISTRIES = "registries.toml"
_PROVENANCE = "/etc/buildkit/provenance.d"


class Config(NamedTuple):
    """What all builds of a server have in common: the store's folder, the environment, what clients
    may ask for, and labels of the worker. `provenance` has members of the environment that
    provenance describes. With `keeps_images` an output of the kind `image` is an image of the
    store; BuildKit's daemon pushes it, and has no images of its own."""

    root: str
    environment: Environment
    entitlements: frozenset[str] = frozenset(ENTITLEMENTS)
    labels: Mapping[str, str] = {}
    keeps_images: bool = True
    provenance: Mapping[str, Any] = {}


def daemon_config(path: str, root: str, environment: Environment) -> Config:
    """The configuration in a file of BuildKit's daemon. Raises `UsageError`."""
    found = read_toml(path)
    worker = _table(path, _table(path, found, "worker"), "oci")
    granted = found.get("insecure-entitlements", [])
    if not isinstance(granted, list):
        raise UsageError(f"{path}: insecure-entitlements is not a list")
    registries = _table(path, found, "registry")
    if registries:
        made = os.path.join(root, _REGISTRIES)
        os.makedirs(root, 0o700, exist_ok=True)
        with open(made, "w", encoding="utf-8") as file:
            for name in registries:
                file.writelines(f"{line}\n" for line in _registry(path, name, registries))
        variables = {**environment.variables, "MINIBUILD_CONFIG": made}
        environment = environment._replace(variables=variables)
    labels = dict(_table(path, worker, "labels"))
    added = _provenance(str(found.get("provenanceEnvDir", _PROVENANCE)))
    allowed = frozenset(map(str, granted))
    return Config(root, environment, allowed, labels, keeps_images=False, provenance=added)


def _provenance(folder: str) -> Mapping[str, Any]:
    """What the administrator adds to all provenance: members of the JSON files in a folder."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return {}
    found: dict[str, Any] = {}
    for name in names:
        if not name.endswith(".json"):
            continue
        path = os.path.join(folder, name)
        with os_errors_as(UsageError, f"cannot read {path}"), open(path, "rb") as file:
            try:
                found.update(json.load(file))
            except (ValueError, TypeError):
                raise UsageError(f"{path} is no JSON object") from None
    return found


def _table(path: str, found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = found.get(name, {})
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {name} is not a table")
    return table


def _registry(path: str, name: str, tables: Mapping[str, Any]) -> Iterator[str]:
    """One registry in our words. BuildKit's `http` says that it has no TLS; for a mirror it says so
    in the mirror's own table."""
    table = _table(path, tables, name)
    yield f"[registries.{json.dumps(name)}]"
    mirrors = [
        f"http://{mirror}" if _table(path, tables, mirror.partition("/")[0]).get("http") else mirror
        for mirror in map(str, table.get("mirrors", []))
    ]
    yield f"mirrors = {json.dumps(mirrors)}"
    if table.get("insecure") or table.get("http"):
        yield "insecure = true"
    authorities = table.get("ca", [])
    if len(authorities) > 1:
        raise UsageError(
            f"{path}: registry {name} has {len(authorities)} files in ca",
            hint="write the certificates into one file",
        )
    for authority in authorities:
        folder = os.path.dirname(os.path.abspath(path))
        yield f"ca = {json.dumps(os.path.join(folder, authority))}"
