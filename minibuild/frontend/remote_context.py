"""Contexts that arrive as a whole: an archive, a git repository, something from the web.

Comes in: a definition whose main context is one of these, and whose text is not known yet. Goes
out: the same with the Dockerfile and the ignore file that were found in the context. What arrives
becomes a result like that of any step, so what arrived before is not fetched or unpacked again.
Read next: `definition`, for contexts that are directories; `source.source`.
"""

import os
from collections.abc import Iterable, Mapping

from minibuild.cache.results import VertexResult
from minibuild.digest import Digest
from minibuild.errors import BuildError, DefinitionError, SourceText, Span, os_errors_as
from minibuild.fileop.api import SourceTree
from minibuild.frontend.bridge import guarded_sources
from minibuild.frontend.definition import DOCKERFILE, Definition, ignore_rules, read_open
from minibuild.graph.context import context_vertex
from minibuild.graph.frontend import ArchiveContext, RemoteContext
from minibuild.graph.remote import http_filename
from minibuild.graph.vertex import IgnoreRules
from minibuild.linux.beneath import open_beneath
from minibuild.session.request import BuildRequest
from minibuild.solver.inputs import open_tree
from minibuild.solver.solver import Solver
from minibuild.source.source import Sources
from minibuild.worker.context import BuildContext

_ABSENT = (FileNotFoundError, NotADirectoryError)


def fetch_context(
    definition: Definition, request: BuildRequest, build: BuildContext, sources: Sources
) -> tuple[Definition, Mapping[Digest, VertexResult]]:
    """The definition as it is once the context is here, and the vertices that were solved for it.

    The request's file is the Dockerfile's path in the context, empty for the usual name. Raises
    `DefinitionError`, and what fetching raises.
    """
    context = definition.context
    assert isinstance(context, ArchiveContext | RemoteContext)
    span = Span(definition.source.name, 1, 1)
    whole = context._replace(subdir="")  # The definition may be outside of the directory.
    vertex = context_vertex(whole, "", request.build_args, span)
    guarded = guarded_sources(request, definition, sources.finder)
    try:
        vertex = vertex if guarded is None else guarded.tree(vertex)
        known = Solver(build, sources).solve([vertex]).results
    except BuildError as error:
        error.span = None  # no line of a file asked for the context
        raise
    tell = build.progress(vertex.digest).remark
    with open_tree(build, vertex, known[vertex.digest], tell) as tree:
        return completed(definition, request.file, tree), known


def completed(definition: Definition, file: str, tree: SourceTree) -> Definition:
    """The definition with what the tree of its context says."""
    context = definition.context
    assert isinstance(context, ArchiveContext | RemoteContext)
    path = file or DOCKERFILE
    source = definition.source
    if not source.text:
        source = SourceText(os.path.basename(path), _definition(tree, path, context))
    names = f"{path}.dockerignore", os.path.join(context.subdir.strip("/"), ".dockerignore")
    context = context._replace(ignore=_ignore(tree, names))
    return definition._replace(source=source, context=context)


def _definition(tree: SourceTree, path: str, context: ArchiveContext | RemoteContext) -> str:
    lower = path.removesuffix(DOCKERFILE) + DOCKERFILE.lower()
    for name in (path, lower) if os.path.basename(path) == DOCKERFILE else (path,):
        text = _read(tree, name, "Dockerfile")
        if text is not None:
            return text
    names = os.listdir(tree.fd)
    if len(names) == 1 and names[0] == _single(context):
        # What came is no archive: then it is the definition itself.
        try:
            return _read(tree, names[0], "Dockerfile") or ""
        except DefinitionError as error:
            from minibuild.layer.compress import DAMAGED

            what = f"{names[0]} is neither an archive nor a Dockerfile"
            raise DefinitionError(what, hint=DAMAGED) from error
    shown = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
    raise DefinitionError(
        f"there is no {path} in the build context",
        hint=f"name the file with -f; at its top the context has {shown or 'nothing'}",
    )


def _single(context: ArchiveContext | RemoteContext) -> str:
    """The name that a context has if it is one file, and not an archive."""
    if isinstance(context, ArchiveContext):
        return context.filename
    return http_filename(context.url)


def _ignore(tree: SourceTree, names: Iterable[str]) -> IgnoreRules:
    """The ignore file in the context: the Dockerfile's own, or the common one."""
    for name in names:
        text = _read(tree, name, "ignore file")
        if text is not None:
            return ignore_rules(text, os.path.basename(name))
    return IgnoreRules()


def _read(tree: SourceTree, path: str, what: str) -> str | None:
    """The text of a file of the tree, or None if it is not there. Nothing leads out of the tree."""
    with os_errors_as(DefinitionError, f"cannot read the {what} {path}"):
        try:
            # O_NONBLOCK: opening a fifo must not wait for a writer.
            fd = open_beneath(tree.fd, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except _ABSENT:
            return None
    return read_open(fd, path, what)
