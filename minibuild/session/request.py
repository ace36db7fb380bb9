"""What a caller can ask of a build, and what comes back: the same for Python and the command line.

Everything a flag of `minibuild build` can say is a field here, already parsed: no field holds
text that the engine has to take apart, but for names of images and contexts, which are text by
nature. Read next: `builder`.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from minibuild.digest import DiffID, Digest
from minibuild.errors import SourceText, UsageError
from minibuild.graph.frontend import Finding
from minibuild.graph.image import ImageConfig
from minibuild.graph.literals import parse_bool
from minibuild.graph.op import Network, Ulimit
from minibuild.graph.platform import Platform
from minibuild.linux.resources import UNLIMITED, Resources
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.graph.flat import FlatGraph
    from minibuild.graph.source_policy import Policy


STALL_S = 30.0
"""How long a server may send next to nothing, if nothing else is said."""

ENTITLEMENTS = ("network.host", "security.insecure")
"""What a RUN gets only where the request allows it."""

StrPath = str | os.PathLike[str]
"""A path as Python programs have it. The engine gets text: see `buildflags.request`."""

Pull = Literal["missing", "always", "never"]
Isolation = Literal["auto", "namespaces", "own-root"]
OutputType = Literal["image", "registry", "oci", "docker", "local", "tar", "cacheonly"]


class Output(NamedTuple):
    """One `--output`. `dest` is a path, or `-` for standard output; `image` needs none.

    `attributes` are the remaining `key=value` pairs, for the exporter to read and to check.
    """

    type: OutputType
    dest: StrPath = ""
    attributes: Mapping[str, str] = {}


class Secret(NamedTuple):
    """A secret: its id, and its value or where that is: a file, or a variable of the environment.

    Neither path nor variable stands for a variable of that name, or else a file of that name.
    """

    id: str
    path: StrPath = ""
    env: str = ""
    value: bytes | None = None

    def __repr__(self) -> str:
        # It may be printed, logged, or be part of a traceback; the value must not.
        value = "" if self.value is None else ", value=..."
        return f"Secret(id={self.id!r}, path={self.path!r}, env={self.env!r}{value})"


class SshAgent(NamedTuple):
    """An ssh agent socket, or key files to serve from an agent of ours.

    `raw` forwards all that is said to the socket, which need not be an agent then.
    """

    id: str
    paths: tuple[StrPath, ...] = ()
    raw: bool = False


class RegistryAccess(NamedTuple):
    """How registries are reached: names of files, which are read when one is first asked for.

    `settings` is a TOML file with a section `registries` (see docs/registries.md), or empty.
    `logins` are files in the form of Docker's config.json; the first that knows a registry
    counts. `certificates` are folders in the form of /etc/docker/certs.d. `proxies` maps `http`,
    `https` and `no` to the values of the variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
    `insecure` are registries that may go without TLS, whatever the settings say; `*` is all. What
    brings next to nothing for `stall_s` seconds is given up. `passwords` are pairs of name and
    password for registries by their names, which count before the files.
    """

    settings: StrPath = ""
    logins: tuple[StrPath, ...] = ()
    certificates: tuple[StrPath, ...] = ()
    proxies: Mapping[str, str] = {}
    insecure: tuple[str, ...] = ()
    stall_s: float = STALL_S
    passwords: Mapping[str, tuple[str, str]] = {}

    def __repr__(self) -> str:
        # As of a `Secret`: what is printed must not show them.
        rest = ", ".join(
            f"{name}={value!r}" for name, value in self._asdict().items() if name != "passwords"
        )
        return f"RegistryAccess({rest}, passwords=...)"


class CacheMountPlace(NamedTuple):
    """One `--cache-mount-to` or `--cache-mount-from`: where directories of RUN
    --mount=type=cache are kept between builds. See docs/cache-mounts.md.

    `ref` is a name in a registry, `path` a folder, in which `tag` is the name. `ids` are those of
    the cache mounts; empty: all that the build uses. With `force` an import replaces what a mount
    has. `compression` and `level` are those of an export; `ignore_error` makes its errors warnings.
    """

    type: Literal["registry", "local"]
    ref: str = ""
    path: StrPath = ""
    tag: str = "latest"
    ids: tuple[str, ...] = ()
    force: bool = False
    compression: Literal["uncompressed", "gzip", "zstd"] = "zstd"
    level: int | None = None
    insecure: bool = False
    ignore_error: bool = False


class CachePlace(NamedTuple):
    """One `--cache-to` or `--cache-from`: where results of steps are kept for other machines. See
    docs/scaling.md.

    `ref` is a name in a registry, `path` a folder, in which `tag` is the name (or `digest`, for an
    import). `inline` writes the cache into the image itself. `mode` is `min`, the layers of the
    image, or `max`, those of all steps. `compression` and `level` are those of layers that are made
    for the cache; `force_compression` has the others compressed so, too. `reset` removes from a
    folder what only the replaced cache needed. `ignore_error` makes errors of an export warnings.
    `compat` names the one builder that is to read what is exported; empty: BuildKit and minibuild.
    `form` is what has the name: an image manifest, an OCI index, or a manifest list of Docker's.
    """

    type: Literal["registry", "local", "inline"]
    ref: str = ""
    path: StrPath = ""
    tag: str = "latest"
    digest: str = ""
    mode: Literal["min", "max"] = "min"
    compression: Literal["uncompressed", "gzip", "zstd"] | None = None
    level: int | None = None
    force_compression: bool = False
    insecure: bool = False
    ignore_error: bool = False
    reset: bool = True
    compat: Literal["", "minibuild", "buildkit"] = ""
    form: Literal["manifest", "index", "list"] = "manifest"


class FrontendCall(NamedTuple):
    """What a client asked of a frontend, in BuildKit's words; no name is a graph of its own.

    `inputs` are the calls that those results came from which this one was given, and `root` is what
    the client asked first, if a program of its own asked for the rest.
    """

    frontend: str
    attributes: Mapping[str, str]
    inputs: Mapping[str, "FrontendCall"] = {}
    root: "FrontendCall | None" = None
    compatibility: int = 0


class Attestations(NamedTuple):
    """What a build says of its images, beside them: see docs/attestations.md.

    `mode` is how much the provenance says (empty: there is none), `version` which predicate it is,
    `builder_id` and `reproducible` are what it says of the builder and of the build. Where an
    output is files it is one of them, `filename`, unless it is `inline_only`. `sbom` asks for the
    packages of the images: the image `generator` finds them, with these `parameters`, or minibuild
    itself. With `complete` a build from folders, which no digest pins, is an error. With `recorded`
    the result of the build has the whole provenance.

    A server knows more: the `calls` of its client, of all images or of each, the `sources` that a
    graph of the client was made from, members of the `environment` that it adds, and the provenance
    of contexts that are images of `linked` builds, by their addresses.
    """

    mode: Literal["", "min", "max"] = ""
    builder_id: str = ""
    reproducible: bool = False
    sbom: bool = False
    generator: str = ""
    parameters: Mapping[str, str] = {}
    filename: str = "provenance.json"
    inline_only: bool = False
    version: Literal["v1", "v0.2"] = "v1"
    complete: bool = False
    recorded: bool = False
    calls: tuple[FrontendCall, ...] = ()
    sources: tuple[SourceText, ...] = ()
    environment: Mapping[str, Any] = {}
    linked: Mapping[str, tuple[Mapping[str, Any], ...]] = {}

    @property
    def attached(self) -> bool:
        """Whether anything is to be said beside the images."""
        return bool(self.mode or self.sbom)


class BuildRequest(NamedTuple):
    """One build. Use keywords; the order of the fields is not part of the interface.

    `context` is a directory, an archive, or a URL: of a git repository, an archive, a Dockerfile.
    `context_subdir` is the directory that counts of what is no directory of this machine.
    `file` is the Dockerfile (relative to the current directory, or to the top of a context that is
    no directory; empty: `Dockerfile` in the context). `dockerfile` is its text, if known already.
    `contexts` maps a name to a directory or URL as written. `pull` is `missing` (use what the store
    has), `always` or `never`. `jobs` 0 lets the scheduler choose. With `keep_failed` the store
    keeps what a failed step left. `graphs`, one for each platform, take the place of a Dockerfile;
    their local sources are `contexts`, and `context` is the one of that name. With `squash` images
    have one layer on top of their base. With `no_record` nothing is kept that explains the build
    later. `isolation` is what steps have around them: `auto` takes namespaces where they can be
    had. `source_policies` say which sources the build may use. `report_file` is where a page about
    the build is written, which needs the record. `revisions` names the states of contexts that only
    the caller changes, by the contexts' names: in states of one name all files are the same.
    """

    context: str = "."
    file: str = ""
    dockerfile: str | None = None
    tags: tuple[str, ...] = ()
    target: str = ""
    build_args: Mapping[str, str] = {}
    contexts: Mapping[str, str] = {}
    context_subdir: str = ""
    labels: Mapping[str, str] = {}
    annotations: tuple[str, ...] = ()
    squash: bool = False
    no_cache: bool = False
    no_cache_filter: frozenset[str] = frozenset()
    outputs: tuple[Output, ...] = ()
    pull: Pull = "missing"
    isolation: Isolation = "auto"
    platforms: tuple[Platform, ...] = ()
    network: Network = "default"
    add_hosts: tuple[tuple[str, str], ...] = ()
    shm_size_bytes: int = 0
    ulimits: tuple[Ulimit, ...] = ()
    resources: Resources = UNLIMITED
    secrets: tuple[Secret, ...] = ()
    ssh: tuple[SshAgent, ...] = ()
    allow: frozenset[str] = frozenset()
    jobs: int = 0
    keep_failed: bool = False
    lab: str = ""
    registries: RegistryAccess = RegistryAccess()
    graphs: "tuple[FlatGraph, ...]" = ()
    source_policies: "tuple[Policy, ...]" = ()
    cache_to: tuple[CachePlace, ...] = ()
    cache_from: tuple[CachePlace, ...] = ()
    cache_mount_to: tuple[CacheMountPlace, ...] = ()
    cache_mount_from: tuple[CacheMountPlace, ...] = ()
    attestations: Attestations = Attestations()
    no_record: bool = False
    report_file: StrPath = ""
    revisions: Mapping[str, str] = {}

    @property
    def multi_platform(self) -> bool:
        """Whether the outputs are those for several platforms (an index, a folder for each).

        With one platform the build argument BUILDKIT_MULTI_PLATFORM asks for it, so that what is
        written does not depend on how many there are. Raises `UsageError`.
        """
        text = self.build_args.get("BUILDKIT_MULTI_PLATFORM", "")
        try:
            asked = bool(text) and parse_bool(text)
        except ValueError:
            raise UsageError(
                f"invalid boolean value for BUILDKIT_MULTI_PLATFORM: {text}",
                hint="write true or false",
            ) from None
        return asked or max(len(self.platforms), len(self.graphs)) > 1


class LayerInfo(NamedTuple):
    """A layer of a built image: `instruction` made it; `link` if it does not depend on others."""

    diff_id: DiffID
    digest: Digest
    size_bytes: int
    media_type: str
    instruction: str = ""
    link: bool = False


class BuiltImage(NamedTuple):
    """One image of a build. `digest` is its manifest's, `config_digest` its config's."""

    platform: Platform
    digest: Digest
    config_digest: Digest
    media_type: str
    size_bytes: int
    config: ImageConfig
    layers: tuple[LayerInfo, ...]


class BuildResult(NamedTuple):
    """What a build made. `digest` is that of the index if there are several images.

    `metadata` is what `--metadata-file` holds: BuildKit's key names. `descriptors` are those of the
    outputs, as JSON; one that is no image has none. `cached` and `executed` count vertices.
    """

    images: tuple[BuiltImage, ...]
    digest: Digest | None
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    findings: tuple[Finding, ...] = ()
    source: SourceText | None = None
    cached: int = 0
    executed: int = 0
    descriptors: tuple[Mapping[str, Any] | None, ...] = ()

    def _repr_html_(self) -> str:
        """A summary, for notebooks, which ask by this name."""
        from minibuild.session.result_html import result_html

        return result_html(self)
