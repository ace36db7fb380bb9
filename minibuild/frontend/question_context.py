"""The context of a question (`--call`), where it is no directory on this machine.

Comes in: a definition whose context is an archive, a git repository, or something from the web,
and an empty folder. Goes out: the definition with its Dockerfile and its ignore file. Nothing is
built on that context, so its files need not have their owners: they are put into the folder
without root, without a namespace and without a store.
Read next: `remote_context`, for builds.
"""

import os
import threading
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from minibuild.events import Report, VertexInfo
from minibuild.fileop.api import SourceTree
from minibuild.frontend.definition import Definition
from minibuild.frontend.remote_context import completed
from minibuild.graph.context import context_vertex
from minibuild.graph.frontend import ArchiveContext, RemoteContext
from minibuild.graph.op import GitSource, HttpSource
from minibuild.graph.vertex import Vertex, topological
from minibuild.layer.archive import extract, is_archive
from minibuild.linux.beneath import open_beneath
from minibuild.linux.descriptors import closing_fd
from minibuild.progress.writer import ProgressWriter, reported
from minibuild.session.request import BuildRequest, RegistryAccess
from minibuild.session.secrets import AgentSocket
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.frontend.policies import GuardedSources


class Asking(NamedTuple):
    """The client that asks other machines: see `source.web.Client`."""

    registries: RegistryAccess
    secret: Callable[[str], bytes | None]
    ssh: Callable[[str], AgentSocket | None]
    cancelled: threading.Event
    report: Report


def with_context(
    definition: Definition,
    request: BuildRequest,
    client: Asking,
    folder: str,
    guarded: "GuardedSources | None" = None,
) -> Definition:
    """The definition with what its context says. Raises `DefinitionError`, and what fetching
    raises."""
    context = definition.context
    assert isinstance(context, ArchiveContext | RemoteContext)
    tree = context_vertex(context, "", request.build_args, None)
    tree = tree if guarded is None else guarded.tree(tree)
    source = topological([tree])[0]
    with reported(client.report, VertexInfo(source.digest, source.note.name)) as progress:
        fd = _arrived(definition, source, client, progress, folder)
    try:
        return completed(definition, request.file, SourceTree(fd))
    finally:
        os.close(fd)


def _arrived(
    definition: Definition, source: Vertex, client: Asking, progress: ProgressWriter, folder: str
) -> int:
    """The directory with the files of the context, open."""
    if isinstance(source.op, GitSource):
        from minibuild.source.git import clone

        names = iter(range(100))
        top = clone(client, source.op, progress, lambda: os.path.join(folder, str(next(names))))
        return _opened(top, source.op.subdir)
    if isinstance(source.op, HttpSource):
        from minibuild.source.http import download, open_url

        place = os.path.join(folder, "download")
        os.mkdir(place)
        response = open_url(client, source.op, {})
        with closing(response), closing_fd(_opened(place)) as fd:
            download(client, source.op, response, fd, progress)
        return _unpacked(place, source.op.filename, folder)
    context = definition.context
    assert isinstance(context, ArchiveContext)
    return _unpacked(definition.directories[context.name], context.filename, folder)


def _unpacked(place: str, filename: str, folder: str) -> int:
    """A directory with what is in an archive, or with the file itself if it is none."""
    dest = os.path.join(folder, "context")
    os.mkdir(dest)
    dest_fd = _opened(dest)
    with open(os.path.join(place, filename), "rb") as file:
        if is_archive(file.fileno()):
            extract(file.fileno(), dest_fd, f"the archive {filename}", contents_only=True)
        else:
            from shutil import copyfile

            copyfile(file.name, os.path.join(dest, filename))
    return dest_fd


def _opened(folder: str, beneath: str = "") -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    if not beneath:
        return os.open(folder, flags)
    with closing_fd(os.open(folder, flags)) as fd:
        return open_beneath(fd, beneath, flags)
