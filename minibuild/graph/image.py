"""The part of an image that is not files: its config and history.

The names are those of the JSON in the OCI image spec (config.md) and of Docker's additions to it,
so that a config read from an image and written again loses nothing.
Read next: `graph.frontend`.
"""

from typing import Any, NotRequired, TypedDict, cast

from minibuild.graph.platform import Platform
from minibuild.startup.tuples import NamedTuple


class Healthcheck(TypedDict, total=False):
    """Docker's health check; durations are in nanoseconds, and 0 means the inherited one."""

    Test: list[str]
    Interval: int
    Timeout: int
    StartPeriod: int
    StartInterval: int
    Retries: int


class ContainerConfig(TypedDict, total=False):
    """The `config` object of an image: how a container of it starts."""

    User: str
    ExposedPorts: dict[str, dict[str, Any]]
    Env: list[str]
    Entrypoint: list[str] | None
    Cmd: list[str] | None
    Volumes: dict[str, dict[str, Any]]
    WorkingDir: str
    Labels: dict[str, str]
    StopSignal: str
    Healthcheck: Healthcheck
    ArgsEscaped: bool
    OnBuild: list[str] | None
    Shell: list[str]


class History(TypedDict):
    """One instruction. Every entry without `empty_layer` belongs to one layer, in order."""

    created: NotRequired[str]
    created_by: NotRequired[str]
    author: NotRequired[str]
    comment: NotRequired[str]
    empty_layer: NotRequired[bool]


class ImageConfig(NamedTuple):
    """An image config less its `rootfs`, which only an exporter knows.

    `created` is RFC 3339 or empty. `extra` are members of the JSON that have no name here.
    """

    platform: Platform
    config: ContainerConfig
    history: tuple[History, ...] = ()
    author: str = ""
    created: str = ""
    extra: dict[str, Any] = {}  # noqa: RUF012


def config_from_json(data: dict[str, Any]) -> ImageConfig:
    """The config that the parsed JSON of a config blob holds; unknown members are kept."""
    known = {"os", "architecture", "variant", "config", "history", "author", "created", "rootfs"}
    return ImageConfig(
        platform=Platform(
            str(data.get("os") or "linux"),
            str(data.get("architecture") or "amd64"),
            str(data.get("variant") or ""),
        ),
        config=cast(ContainerConfig, data.get("config") or {}),
        history=tuple(data.get("history") or ()),
        author=str(data.get("author") or ""),
        created=str(data.get("created") or ""),
        extra={key: value for key, value in data.items() if key not in known},
    )


def config_to_json(image: ImageConfig, diff_ids: list[str]) -> dict[str, Any]:
    """The JSON of a config blob, in the order BuildKit writes it; empty members are left out."""
    data: dict[str, Any] = {
        "architecture": image.platform.architecture,
        "os": image.platform.os,
    }
    if image.platform.variant:
        data["variant"] = image.platform.variant
    if image.author:
        data["author"] = image.author
    if image.created:
        data["created"] = image.created
    data["config"] = dict(image.config)
    data["rootfs"] = {"type": "layers", "diff_ids": diff_ids}
    data["history"] = [dict(entry) for entry in image.history]
    return data | image.extra
