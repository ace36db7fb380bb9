"""Policies of sources in a build: each source of the graph, and each image that is looked for.

Comes in: policies, what finds images, and the contexts of the build. Goes out: a graph of which
each source may be used, some of them in the place of others. An image is asked about twice: by its
name, before it is looked for, and with the digest that was found.
Rules: moby/buildkit `solver/llbsolver/policy.go`. Read next: `minibuild.graph.source_policy`.
"""

from collections.abc import Mapping, Sequence

from minibuild.errors import DefinitionError, located
from minibuild.graph.flat import flatten, rebuilt
from minibuild.graph.frontend import (
    Context,
    Frontend,
    FrontendRequest,
    FrontendResult,
    ImageContext,
    ImageResolver,
    LocalContext,
    RemoteContext,
    ResolvedImage,
    Warn,
)
from minibuild.graph.identifier import Identified, identified, normalised, source_named
from minibuild.graph.image import ImageConfig
from minibuild.graph.op import GitSource, HttpSource, ImageSource, LocalSource, Source
from minibuild.graph.platform import Platform, host_platform
from minibuild.graph.source_policy import Judge, Policy, decided
from minibuild.graph.vertex import Vertex, topological

_IMAGES = ("docker-image", "oci-layout")


class GuardedSources:
    """The sources of one build under policies, and under a judge if there is one. An
    `ImageResolver`."""

    def __init__(
        self,
        policies: Sequence[Policy],
        resolver: ImageResolver,
        folders: Mapping[str, str],
        judge: Judge | None = None,
    ) -> None:
        self._policies = policies
        self._judge = judge
        self._resolver = resolver
        self._folders = folders

    def resolve(self, ref: str, platform: Platform) -> ResolvedImage:
        """The image that is used for `ref`: see `graph.frontend.ImageResolver`."""
        before = _image_name(ref)
        after = self._decided(before, platform)
        if after == before:
            return self._resolver.resolve(ref, platform)
        if after.identifier.partition("://")[0] not in _IMAGES:
            raise DefinitionError(
                f"a policy has {after.identifier} used for {before.identifier}, which is to be an "
                "image",
                hint="a source of another kind can take the place of a named context",
            )
        source = source_named(after, platform)
        assert isinstance(source, ImageSource)
        return self._resolver.resolve(source.ref, platform)

    def _decided(self, source: Identified, platform: Platform | None) -> Identified:
        found = decided(self._policies, source)
        return found if self._judge is None else self._judge(found, platform)

    def convert(self, frontend: Frontend, request: FrontendRequest, warn: Warn) -> FrontendResult:
        """The graph that a frontend makes, with the sources that may be used."""
        contexts = {name: self._context(one) for name, one in request.contexts.items()}
        made = frontend.convert(request._replace(contexts=contexts), self, warn)
        images = tuple(one._replace(vertex=self.graph(one.vertex)) for one in made.images)
        return made._replace(images=images)

    def tree(self, source: Vertex) -> Vertex:
        """The tree of a context with the sources that may be used."""
        made = self.graph(source)
        assert made is not None  # sources become sources
        return made

    def graph(self, result: Vertex | None) -> Vertex | None:
        """A graph with the sources that may be used."""
        found = {
            vertex.digest: self._vertex(vertex)
            for vertex in topological([result])
            if isinstance(vertex.op, Source)
        }
        if all(digest == vertex.digest for digest, vertex in found.items()):
            return result
        flat = flatten(result, ImageConfig(host_platform(), {}))
        return rebuilt(flat, lambda vertex: found.get(vertex.digest, vertex))

    def _vertex(self, vertex: Vertex) -> Vertex:
        with located(vertex.note.span):
            op = self._source(vertex.op)  # type: ignore[arg-type] # of its kind are all given
        return vertex if op is vertex.op else Vertex(op, (), vertex.note)

    def _source(self, op: Source) -> Source:
        before = identified(op)
        platform = op.platform if isinstance(op, ImageSource) else None
        after = self._decided(before, platform)
        if after == before:
            return op
        platform = platform or host_platform()
        made = source_named(after, platform)
        if isinstance(made, ImageSource):
            return self._resolver.resolve(made.ref, platform).source
        if isinstance(made, LocalSource):
            return LocalSource(self._folder(made.name))
        if isinstance(made, HttpSource) and isinstance(op, HttpSource):
            return made._replace(filename=made.filename or op.filename)
        if isinstance(made, GitSource) and isinstance(op, GitSource):
            return made._replace(mtime=op.mtime)
        return made

    def _context(self, context: Context) -> Context:
        """What is used for a named context that is an image."""
        if not isinstance(context, ImageContext) or context.is_scratch:
            return context
        before = _image_name(context.url)
        after = self._decided(before, host_platform())
        scheme, _, rest = after.identifier.partition("://")
        if scheme in _IMAGES:
            return context  # Asked about again when it is looked for.
        if scheme == "local":
            return LocalContext(self._folder(rest))
        if scheme == "git":
            source = source_named(after, host_platform())
            assert isinstance(source, GitSource)
            mark = f"#{source.ref}:{source.subdir}" if source.subdir else f"#{source.ref}"
            return RemoteContext(source.url + mark)
        return RemoteContext(after.identifier)

    def _folder(self, name: str) -> str:
        """The local source that has a folder of the build, by the name that a policy uses."""
        for known in (f"context:{name}", name, f"context:local://{name}"):
            if known in self._folders:
                return known
        raise DefinitionError(
            f"a policy asks for local://{name}, and the build has no such folder",
            hint=f"give it: --build-context {name}=DIR",
        )


def _image_name(ref: str) -> Identified:
    if ref.startswith("oci-layout://"):
        return Identified(ref)
    return Identified(normalised(f"docker-image://{ref.removeprefix('docker-image://')}"))
