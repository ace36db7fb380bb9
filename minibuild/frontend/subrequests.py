"""Asking about a definition instead of building it: `--check` and `--call`.

Comes in: a request and a method: `lint`, `outline`, `targets`, `graph` or `llb`. Goes out: the
answer as plain data, with BuildKit's field names where BuildKit has the method too. Nothing is
built, so no privileges are needed, no namespace, and no store: one that is there is looked into
for images.
Read next: `minibuild_dockerfile.subrequests`, `graph.draw`.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal, get_args

from minibuild.digest import digest_bytes
from minibuild.errors import UsageError, quoting
from minibuild.events import Report, serialised, silent
from minibuild.frontend.bridge import (
    Findings,
    convert,
    frontend_of,
    frontend_request,
    guarded_sources,
    with_epoch,
)
from minibuild.frontend.definition import Definition, read_definition
from minibuild.graph.frontend import Built, LocalContext
from minibuild.graph.source_policy import Judge
from minibuild.image.reader import ReadOnlyContent
from minibuild.image.store import ImageStore
from minibuild.session.request import ENTITLEMENTS, BuildRequest
from minibuild.session.scratch import scratch_folder
from minibuild.session.secrets import SecretReader, SshReader
from minibuild.source.image import ImageFinder

if TYPE_CHECKING:
    from minibuild.frontend.conversions import Conversions

Method = Literal["lint", "outline", "targets", "graph", "llb"]
METHODS: tuple[Method, ...] = get_args(Method)


def call(  # noqa: PLR0913 - what surrounds a question
    request: BuildRequest,
    method: Method,
    *,
    root: str,
    report: Report = silent,
    cancelled: threading.Event | None = None,
    session: str = "",
    judge: Judge | None = None,
    conversions: "Conversions | None" = None,
) -> Mapping[str, Any]:
    """The answer of the frontend. Raises what a build raises before its first step.

    A graph for a BuildKit names the `session` in which it finds the folders. The `judge` is asked
    about each source. `conversions` are those that this process did before.
    """
    report, cancelled = serialised(report), cancelled or threading.Event()
    if not session:  # Nothing runs, so there is nothing to be allowed.
        request = request._replace(allow=frozenset(ENTITLEMENTS))
    finder = finder_of(request, ReadOnlyContent(root), report, cancelled)
    definition = definition_of(request, finder, report, cancelled, judge)
    warn = Findings(report, definition.source).add
    with quoting(definition.source):
        frontend = frontend_of(request, definition, conversions)
        asked = frontend_request(request, definition)
        if method not in ("graph", "llb"):
            guarded = guarded_sources(request, definition, finder, judge)
            return frontend.subrequest(method, asked, guarded or finder, warn)
        # A time that has to be fetched is not known here.
        request = with_epoch(request, frontend.epoch(asked).seconds)
        images = convert(frontend, request, definition, finder, warn, judge=judge).images
        if method == "llb":
            return _llb(request, definition, images, frontend.language, session)
        from minibuild.graph.graphdata import graph_data

        return graph_data(images)


def definition_of(
    request: BuildRequest,
    finder: ImageFinder,
    report: Report,
    cancelled: threading.Event,
    judge: Judge | None = None,
) -> Definition:
    """What a question is about; a context from elsewhere is fetched for it."""
    definition = read_definition(request)
    if isinstance(definition.context, LocalContext):
        return definition
    from minibuild.frontend.question_context import Asking, with_context

    with closing(SshReader(request.ssh)) as ssh, scratch_folder("minibuild-context-") as folder:
        client = Asking(request.registries, SecretReader(request.secrets), ssh, cancelled, report)
        guarded = guarded_sources(request, definition, finder, judge)
        return with_context(definition, request, client, folder, guarded)


def finder_of(
    request: BuildRequest, content: ReadOnlyContent, report: Report, cancelled: threading.Event
) -> ImageFinder:
    """What finds the images that a question is about, without writing to the store."""
    return ImageFinder(
        content,
        ImageStore(content),
        request.registries,
        pull=request.pull,
        report=report,
        cancelled=cancelled,
    )


def _llb(
    request: BuildRequest,
    definition: Definition,
    images: Sequence[Built],
    language: str,
    session: str,
) -> Mapping[str, bytes]:
    """The graph as a definition of BuildKit's, which has one result; and the image's config."""
    from minibuild.buildkit.encode import encode
    from minibuild.buildkit.encode_source import LocalAccess
    from minibuild.oci.config import config_bytes

    if len(images) != 1:
        raise UsageError(
            "--call=llb writes the graph of one platform",
            hint="ask for each platform in a command of its own, with --platform",
        )
    place = digest_bytes(os.path.abspath(request.context).encode("utf-8", "surrogateescape"))
    message = encode(
        images[0].vertex,
        LocalAccess(session, "" if session else place.partition(":")[2]),
        cache_namespace=request.build_args.get("BUILDKIT_CACHE_MOUNT_NS", ""),
        source=definition.source,
        language=language,
    )
    return {
        "definition": bytes(message.SerializeToString(deterministic=True)),
        "config": config_bytes(images[0].config, ()),
    }
