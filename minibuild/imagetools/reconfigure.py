"""What an image says about how to run it, changed; its layers stay.

Comes in: the config of an image, and changes. Goes out: the config with these, and nothing else of
it different. An entrypoint takes the command of before away, as in a Dockerfile: it was meant for
another program. Rules: image-spec config.md. Read next: `edit`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from minibuild.startup.tuples import NamedTuple


class Changes(NamedTuple):
    """What to set, and which names to take out. None leaves a value as it is, "" and () take it
    out. `ports` are like `80/tcp`."""

    env: Mapping[str, str] = {}
    without_env: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    without_labels: tuple[str, ...] = ()
    user: str | None = None
    workdir: str | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    stop_signal: str | None = None
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


def reconfigured(config: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """The config of an image with the changes."""
    inner: dict[str, Any] = dict(config.get("config") or {})
    _put(inner, "Env", _env(inner.get("Env") or (), changes))
    labels = {**_table(inner, "Labels"), **changes.labels}
    _put(inner, "Labels", {k: v for k, v in labels.items() if k not in changes.without_labels})
    _put(inner, "ExposedPorts", _table(inner, "ExposedPorts") | {p: {} for p in changes.ports})
    _put(inner, "Volumes", _table(inner, "Volumes") | {path: {} for path in changes.volumes})
    cmd = changes.cmd
    if changes.entrypoint is not None and cmd is None:
        cmd = ()
    for key, value in (
        ("User", changes.user),
        ("WorkingDir", changes.workdir),
        ("StopSignal", changes.stop_signal),
        ("Entrypoint", changes.entrypoint),
        ("Cmd", cmd),
    ):
        if value is not None:
            _put(inner, key, list(value) if isinstance(value, tuple) else value)
    return {**config, "config": inner}


def _env(lines: Sequence[str], changes: Changes) -> list[str]:
    """Variables keep their places; new ones come last."""
    values = {**dict(line.partition("=")[::2] for line in lines), **changes.env}
    return [f"{key}={value}" for key, value in values.items() if key not in changes.without_env]


def _table(inner: Mapping[str, Any], key: str) -> dict[str, Any]:
    return dict(inner.get(key) or {})


def _put(inner: dict[str, Any], key: str, value: Any) -> None:
    """Set a member; an empty one is left out, as all writers of configs do."""
    if value:
        inner[key] = value
    else:
        inner.pop(key, None)
