"""The part of an image that is not files: its config and history.

The names are those of the JSON in the OCI image spec (config.md) and of Docker's additions to it,
so that a config read from an image and written again loses nothing.
Read next: `graph.frontend`.
"""

from typing import Any, NotRequired, TypedDict

from minibuild.graph.platform import Platform
from minibuild.startup.tuples import NamedTuple

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH of an image that sets none."""


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


def platform_to_json(platform: Platform) -> dict[str, Any]:
    """The members that name a platform, in configs and descriptors; empty ones are left out."""
    data: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        data["os.version"] = platform.os_version
    if platform.os_features:
        data["os.features"] = list(platform.os_features)
    if platform.variant:
        data["variant"] = platform.variant
    return data


def config_to_json(image: ImageConfig, diff_ids: list[str]) -> dict[str, Any]:
    """The JSON of a config blob, in the order BuildKit writes it; empty members are left out."""
    data = platform_to_json(image.platform)
    if image.author:
        data["author"] = image.author
    if image.created:
        data["created"] = image.created
    data["config"] = dict(image.config)
    data["rootfs"] = {"type": "layers", "diff_ids": diff_ids}
    data["history"] = [dict(entry) for entry in image.history]
    return data | image.extra
