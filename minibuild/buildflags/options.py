"""What `minibuild.build` takes beside its context: the fields of a request, as Python has them.

Comes in: nothing. Goes out: types. A path may be a `Path`. What is several is a list, a tuple or a
set, and never one text; its parts are values, or the words that the command line has for them.
`request` makes a `BuildRequest` of these. Read next: `request`, `session.request`.
"""

import threading
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol, TypedDict, TypeVar

from minibuild.events import Report
from minibuild.graph.image import ContainerConfig
from minibuild.graph.op import Network, Ulimit
from minibuild.graph.platform import Platform
from minibuild.graph.source_policy import Policy
from minibuild.linux.resources import Resources
from minibuild.session.environment import Environment
from minibuild.session.request import (
    Attestations,
    CacheMountPlace,
    CachePlace,
    Isolation,
    Output,
    Pull,
    RegistryAccess,
    Secret,
    SshAgent,
    StrPath,
)

T = TypeVar("T")
Several = list[T] | tuple[T, ...] | AbstractSet[T]
"""Not a `Sequence`: a text is a sequence of texts."""


class BinaryReader(Protocol):
    """An open file with bytes."""

    def read(self, size: int = -1, /) -> bytes: ...


Files = Mapping[str, str | bytes]
"""A tree of files by their paths below its root; text is UTF-8."""

Context = StrPath | Files | bytes | BinaryReader
"""A path or URL; files in memory; or a tar, as bytes or as an open file."""


class CallOptions(TypedDict, total=False):
    """How a build is done, which is no part of what is asked.

    `root` is the folder of the store, `report` is called with progress events. Setting `cancelled`
    stops the build. `environment` says where the store and the settings for registries are by
    default, and the values of secrets; without it that of this process does.
    """

    root: StrPath | None
    report: Report
    cancelled: threading.Event | None
    environment: Environment | None


class SolveOptions(CallOptions, total=False):
    """What is asked of every build: see `BuildRequest` for each of them."""

    tags: Several[str]
    build_args: Mapping[str, str]
    contexts: Mapping[str, Context]
    labels: Mapping[str, str]
    annotations: Several[str]
    squash: bool
    no_cache: bool
    no_cache_filter: Several[str]
    outputs: Several[Output | str]
    pull: Pull
    isolation: Isolation
    platforms: Several[Platform | str]
    network: Network
    add_hosts: Several[tuple[str, str] | str] | Mapping[str, str]
    shm_size_bytes: int
    ulimits: Several[Ulimit | str]
    resources: Resources | Several[str]
    secrets: Several[Secret | str]
    ssh: Several[SshAgent | str]
    allow: Several[str]
    jobs: int
    keep_failed: bool
    lab: str
    registries: RegistryAccess
    source_policies: Several[Policy | str]
    cache_to: Several[CachePlace | str]
    cache_from: Several[CachePlace | str]
    cache_mount_to: Several[CacheMountPlace | str]
    cache_mount_from: Several[CacheMountPlace | str]
    attestations: Attestations | Several[str]
    no_record: bool
    report_file: StrPath


class BuildOptions(SolveOptions, total=False):
    """What is asked of a build from a Dockerfile."""

    file: StrPath
    dockerfile: str | None
    target: str
    context_subdir: str


class GraphOptions(SolveOptions, total=False):
    """What is asked of a build from a graph. `config` is that of the image, such as
    `{"Cmd": ["sh"]}`."""

    config: ContainerConfig


OTHER_NAMES = {
    "push": 'outputs=["type=registry"]',
    "load": "no option: without outputs the image is kept in the store",
    "path": "context",
    "fileobj": "context",
    "build_contexts": "contexts",
    "extra_hosts": "add_hosts",
    "network_mode": "network",
    "shmsize": "shm_size_bytes",
    "container_limits": "resources",
    "provenance": 'attestations=["type=provenance"]',
    "sbom": 'attestations=["type=sbom"]',
    "metadata_file": "`metadata` of the result",
    "iidfile": "`digest` of the result",
    "progress": "report",
}
"""What docker buildx and Docker's Python package call options, and how they are said here."""
