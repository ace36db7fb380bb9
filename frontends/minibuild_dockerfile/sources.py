"""What a build begins with: contexts and images, as vertices.

Comes in: the request and a resolver. Goes out: `Base` values: a vertex and, for an image, its
config. A name is looked up among the named contexts first, then as an image; each image is asked
for once.
Read next: `needs`, which asks for base images; `copy` and `run`, which read contexts.
"""

from collections.abc import Mapping

from minibuild.errors import DefinitionError, Span, located
from minibuild.graph.context import context_vertex, copied
from minibuild.graph.frontend import (
    ArchiveContext,
    Context,
    FrontendRequest,
    ImageContext,
    ImageResolver,
    LocalContext,
    RemoteContext,
    ResolvedImage,
)
from minibuild.graph.image import History, ImageConfig
from minibuild.graph.op import LocalSource
from minibuild.graph.platform import Platform
from minibuild.graph.reference import SCRATCH, familiar_name, parse_reference
from minibuild.graph.vertex import Note, Vertex
from minibuild.startup.tuples import NamedTuple
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.history import COMMENT


class Base(NamedTuple):
    """What a stage begins with, or what is copied from. `image` says that it came as an image,
    `chosen` that a named context was asked for it: then it may be for any platform."""

    vertex: Vertex | None
    config: ImageConfig
    image: bool = False
    chosen: bool = False

    @property
    def triggers(self) -> list[str]:
        """The ONBUILD instructions that an image recorded."""
        return self.config.config.get("OnBuild") or []


def empty_config(platform: Platform) -> ImageConfig:
    """The config of an image from scratch."""
    return ImageConfig(platform, {"WorkingDir": "/"})


def named_contexts(contexts: Mapping[str, Context]) -> dict[str, Context]:
    """The named contexts by the name under which images and stages find them. None stands in the
    place of scratch, nor of an image or a stage called context, as in BuildKit."""
    found = {familiar_name(name).lower(): context for name, context in contexts.items()}
    return {name: context for name, context in found.items() if name not in (SCRATCH, "context")}


def check_name(name: str, span: Span) -> None:
    """Raise an error if no image can have this name."""
    try:
        parse_reference(name)
    except DefinitionError as error:
        raise DockerfileError(
            f'failed to parse stage name "{name}": {error}',
            span,
            hint=error.hint
            or "a name looks like alpine, alpine:3.20 or registry.example/team/app:1",
        ) from None


class SourceVertices:
    """Makes vertices of contexts and images, each once."""

    __slots__ = ("_contexts", "_request", "_resolved", "_resolver")

    def __init__(self, request: FrontendRequest, resolver: ImageResolver) -> None:
        self._request = request
        self._resolver = resolver
        self._contexts = named_contexts(request.contexts)
        self._resolved: dict[tuple[str, Platform], ResolvedImage] = {}

    def main_context(self, span: Span) -> Vertex | None:
        """The build context."""
        return self.context(self._request.context, "", self._request.build_platform, span).vertex

    def find(self, name: str, platform: Platform, span: Span) -> Base:
        """What `name` means where no stage has it: a named context, scratch, or an image."""
        context = self._contexts.get(familiar_name(name).lower())
        if context is not None:
            return self.context(context, name, platform, span)
        if name == SCRATCH:
            return Base(None, empty_config(platform))
        check_name(name, span)
        return self._image(name, platform, span)

    def context(self, context: Context, name: str, platform: Platform, span: Span) -> Base:
        """A context as a tree. `name` is empty for the main one."""
        match context:
            case ImageContext() if context.is_scratch:
                return Base(None, empty_config(platform))
            case ImageContext():
                found = self._image(context.url, platform, span, f"[context {name}] ")
                return found._replace(chosen=True)
            case LocalContext() | RemoteContext() | ArchiveContext():
                vertex = context_vertex(context, name, self._request.build_args, span)
        return Base(vertex, _config_of_tree(platform, vertex.note.name))

    def _image(self, ref: str, platform: Platform, span: Span, prefix: str = "") -> Base:
        key = (ref, platform)
        if key not in self._resolved:
            with located(span):
                self._resolved[key] = self._resolver.resolve(ref, platform)
        found = self._resolved[key]
        name = f"{prefix}FROM {found.source.ref}"
        if "@" not in found.source.ref:
            name += f"@{found.source.digest}"
        # A new image was made at another time, whatever it is based on.
        config = found.config._replace(created="", extra={})
        return Base(Vertex(found.source, (), Note(name, span)), config, image=True)


def as_base(vertex: Vertex | None) -> Vertex | None:
    """What a stage can stand on. A directory of the client can only be read, so it is a copy."""
    if vertex is None or not isinstance(vertex.op, LocalSource):
        return vertex
    name = vertex.note.name.replace("load from client", "copy from client")
    return copied(vertex, note=vertex.note._replace(name=name))


def _config_of_tree(platform: Platform, title: str) -> ImageConfig:
    """The config of a stage on a tree that is no image: empty, but for the layer the tree makes."""
    return empty_config(platform)._replace(history=(History(created_by=title, comment=COMMENT),))
