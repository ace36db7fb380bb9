"""What a frontend is: a pure function from a definition to a graph.

A frontend gets text and arguments, may ask a resolver what an image is, warns of what its checks
find, and returns vertices and image configs. It reads no file, no environment and no network, so it
can be tested, fuzzed and read on its own. Frontends are packages outside the engine, found by the
entry point group `minibuild.frontends`; of the engine they import `graph`, `errors`, `digest` and
`startup`.
Read next: `minibuild_dockerfile`, the frontend that is built in; `minibuild.frontend.loader`, which
finds them.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from minibuild.digest import Digest
from minibuild.errors import DefinitionError, SourceText, Span, UsageError
from minibuild.graph.image import ImageConfig
from minibuild.graph.op import ImageSource, Network, Ulimit
from minibuild.graph.platform import Platform
from minibuild.graph.reference import SCRATCH
from minibuild.graph.vertex import IgnoreRules, Vertex
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

EPOCH = "SOURCE_DATE_EPOCH"
"""The build argument with the time that an image is said to be made at."""
EPOCH_SECONDS = regex("-?[0-9]{1,12}")


class LocalContext(NamedTuple):
    """A context that is a directory; the graph names it as `LocalSource(name)`."""

    name: str
    ignore: IgnoreRules = IgnoreRules()


class ImageContext(NamedTuple):
    """A context that is an image: `docker-image://REF` or `oci-layout://DIR:TAG`, as written."""

    url: str

    @property
    def is_scratch(self) -> bool:
        """Whether it is the empty tree."""
        return self.url == f"docker-image://{SCRATCH}"


class RemoteContext(NamedTuple):
    """A context that is a git repository or a file from the web, as written.

    `ignore` says which files are left out of what came from there. With `subdir` only that
    directory of it is the context.
    """

    url: str
    ignore: IgnoreRules = IgnoreRules()
    subdir: str = ""


class ArchiveContext(NamedTuple):
    """A context that is an archive: the file `filename` of the local source `name`, unpacked; with
    `subdir` only that directory of it."""

    name: str
    filename: str
    ignore: IgnoreRules = IgnoreRules()
    subdir: str = ""


Context = LocalContext | ImageContext | RemoteContext | ArchiveContext


class ResolvedImage(NamedTuple):
    """An image found: the source to build on, and its config."""

    source: ImageSource
    config: ImageConfig


class ImageResolver(Protocol):
    """Finds images by name. The engine implements it over the store, layouts and registries."""

    def resolve(self, ref: str, platform: Platform) -> ResolvedImage:
        """The image `ref` for `platform`.

        `ref` is a name as a person writes it (`busybox`, `gcr.io/a/b:1`, with or without digest),
        or a URL of an `ImageContext`. Raises `RegistryError` if there is no such image.
        """


class Finding(NamedTuple):
    """Something a build check found; not an error."""

    rule: str
    message: str
    span: Span | None
    description: str = ""
    url: str = ""


class Notes(Protocol):
    """What a frontend found out in earlier builds, and what would take longer to find out again
    than to look up. Any note may be missing at any time: none changes a result."""

    def find(self, key: Digest) -> str | None:
        """The note of that key."""
        ...

    def keep(self, key: Digest, note: str) -> None:
        """Note something for later builds."""
        ...


class NoNotes(Notes):
    """The notes of callers that keep none."""

    def find(self, key: Digest) -> str | None:
        return None

    def keep(self, key: Digest, note: str) -> None:
        pass


class FrontendRequest(NamedTuple):
    """Everything a frontend may know.

    `context` is the main one, `contexts` are the named ones. `no_cache` lists stage names
    (`--no-cache-filter`); `no_cache_all` is `--no-cache`. `build_args` includes what the caller put
    there from the environment, if anything. `allow` are granted entitlements (`network.host`,
    `security.insecure`). With `implicit_platform` the caller asked for no platform: the image is
    for that of its base.
    """

    source: SourceText
    platforms: tuple[Platform, ...]
    build_platform: Platform
    target: str = ""
    build_args: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    context: Context = LocalContext("context")
    contexts: Mapping[str, Context] = {}
    no_cache_all: bool = False
    no_cache: frozenset[str] = frozenset()
    network: Network = "default"
    add_hosts: tuple[tuple[str, str], ...] = ()
    shm_size_bytes: int = 0
    ulimits: tuple[Ulimit, ...] = ()
    allow: frozenset[str] = frozenset()
    multi_platform: bool = False
    implicit_platform: bool = False
    notes: Notes = NoNotes()


class StepAttestation(NamedTuple):
    """What a step wrote to be said of an image: the file at `path` is a predicate of this type; or,
    of a `bundle`, the files there are statements of in-toto. `subjects` are what it is about, each
    a name and digests; without any that is the image, and so is one without a name. The file whose
    name begins with `core` is an SBOM of the image itself."""

    vertex: Vertex | None
    path: str = "/"
    bundle: bool = False
    predicate_type: str = ""
    subjects: tuple[tuple[str, tuple[str, ...]], ...] = ()
    core: str = ""


class Built(NamedTuple):
    """One image to be built: a vertex (None is scratch) and the config of the image. `scanned` are
    trees besides it whose packages are of interest, by their names."""

    platform: Platform
    vertex: Vertex | None
    config: ImageConfig
    attestations: tuple[StepAttestation, ...] = ()
    scanned: Mapping[str, Vertex | None] = {}


class FrontendResult(NamedTuple):
    """What a definition means: one image for each platform."""

    images: tuple[Built, ...]


Warn = Callable[[Finding], None]
"""Takes what the checks find, when they find it: what follows may end in an error."""


def ignore_findings(finding: Finding) -> None:
    """The `Warn` of callers that want none."""


class Epoch(NamedTuple):
    """The time that SOURCE_DATE_EPOCH means: `seconds` since 1970, or the vertex whose newest file
    has it; neither if there is none."""

    seconds: int | None = None
    source: Vertex | None = None


@runtime_checkable
class Frontend(Protocol):
    """What a frontend does. One that derives from this class writes `convert` alone.

    `name` stands in provenance and in errors, `language` is that of its definitions, `version` the
    release of the language that it reads. The engine makes one object for a build, without
    arguments.
    """

    name: str
    language: str = ""
    version: str = ""

    @abstractmethod
    def convert(
        self, request: FrontendRequest, resolver: ImageResolver, warn: Warn
    ) -> FrontendResult:
        """The graph that a definition means. Raises `DefinitionError` with a span; what was found
        before that went to `warn`."""

    def epoch(self, request: FrontendRequest) -> Epoch:
        """What SOURCE_DATE_EPOCH means: a number, unless the language knows more than that."""
        text = request.build_args.get(EPOCH, "")
        if text and not EPOCH_SECONDS.fullmatch(text):
            raise DefinitionError(
                f"invalid SOURCE_DATE_EPOCH: {text}",
                hint="give seconds since 1970-01-01, as `date +%s` does",
            )
        return Epoch(int(text) if text else None)

    def subrequest(
        self, method: str, request: FrontendRequest, resolver: ImageResolver, warn: Warn
    ) -> Mapping[str, Any]:
        """What a definition offers, without building it: the answer to `lint`, `outline` or
        `targets`, with the names of BuildKit's fields. Raises `UsageError` for other methods."""
        raise UsageError(f"the frontend {self.name} does not answer {method!r}")
