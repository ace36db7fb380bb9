"""SOURCE_DATE_EPOCH: the time that an image is said to be made, and where to take it from.

Comes in: a request whose build argument, or whose ARG above the first FROM, says a number,
`context`, a named context or a stage. Goes out: the number, or the vertex whose time is meant: a
git tree (its commit), something from the web (Last-Modified, or the newest file of an archive). A
directory has no time of its own. The rules are BuildKit's; a stage names its source by one ADD.
Read next: `minibuild.frontend.epoch`, which finds the time.
"""

from minibuild.errors import DefinitionError, Span
from minibuild.graph.frontend import (
    EPOCH,
    EPOCH_SECONDS,
    Context,
    Epoch,
    FrontendRequest,
    ImageContext,
    LocalContext,
    ResolvedImage,
)
from minibuild.graph.op import HttpSource
from minibuild.graph.platform import Platform
from minibuild.graph.reference import SCRATCH
from minibuild.graph.vertex import Note, Vertex
from minibuild_dockerfile.convert import read
from minibuild_dockerfile.copy import remote_of
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.expand import process_word
from minibuild_dockerfile.instructions import Arg, Copy, Instruction, WrittenStage
from minibuild_dockerfile.scope import global_args, invalid_epoch, platform_args
from minibuild_dockerfile.sources import SourceVertices, named_contexts

_CONTEXT = "context"


class _NoImages:
    """The resolver where no image can be meant."""

    def resolve(self, ref: str, platform: Platform) -> ResolvedImage:
        """See `ImageResolver`."""
        raise DefinitionError(f"{ref} is an image, and has no time")


def epoch_of(request: FrontendRequest) -> Epoch:
    """What SOURCE_DATE_EPOCH means in this build. Raises `DefinitionError`."""
    given = request.build_args.get(EPOCH)
    others = {name: value for name, value in request.build_args.items() if name != EPOCH}
    definition = read(request._replace(build_args=others))
    escape = definition.parsed.escape
    predefined = platform_args(request, request.build_platform, "")
    variables = global_args(definition.args, predefined, request.build_args, escape, raw=True)
    text = variables.pop(EPOCH, "") if given is None else given
    if not text or EPOCH_SECONDS.fullmatch(text):
        return Epoch(int(text) if text else None)
    span = Span(request.source.name, 1, 1)
    sources = SourceVertices(request, _NoImages())
    context: Context | None = request.context
    if text != _CONTEXT:
        context = named_contexts(request.contexts).get(text.lower())
    if context is not None:
        if isinstance(context, LocalContext | ImageContext):
            return Epoch()
        name = text if text != _CONTEXT else ""
        return Epoch(source=sources.context(context, name, request.build_platform, span).vertex)
    for stage in definition.stages:
        if stage.source.name == text.lower():
            return Epoch(source=_of_stage(stage, variables, request, escape))
    raise invalid_epoch(text)


def _of_stage(
    stage: WrittenStage, variables: dict[str, str], request: FrontendRequest, escape: str
) -> Vertex:
    """The one source of a stage that is there for its time alone."""
    first = stage.source
    base = process_word(first.image, variables, first.head.span, escape).text
    if base != SCRATCH:
        raise _wrong(first, "must use FROM scratch")
    found: Vertex | None = None
    for item in stage.instructions:
        if isinstance(item, Arg):
            variables.update(global_args([item], variables, request.build_args, escape, raw=True))
        elif isinstance(item, Copy) and item.kind == "ADD" and not found and len(item.sources) == 1:
            word = process_word(item.sources[0], variables, item.head.span, escape).text
            checksum = process_word(item.checksum, variables, item.head.span, escape).text
            found = _remote(item, word, checksum)
        else:
            raise _wrong(item, "must contain exactly one remote ADD, and ARGs")
    if found is None:
        raise _wrong(first, "must contain exactly one remote ADD")
    return found


def _remote(item: Copy, source: str, checksum: str) -> Vertex:
    note = Note("[internal] resolve SOURCE_DATE_EPOCH", item.head.span)
    git, filename = remote_of(item, source)
    if git is not None:
        return Vertex(git.source(checksum), (), note)
    if filename:
        return Vertex(HttpSource(source, filename, checksum), (), note)
    raise _wrong(item, "source must be a single HTTP(S) or Git ADD")


def _wrong(item: Instruction, message: str) -> DockerfileError:
    return DockerfileError(
        f"SOURCE_DATE_EPOCH stage {message}",
        item.head.span,
        hint="such a stage is FROM scratch and ADD of a git repository or a URL",
    )
