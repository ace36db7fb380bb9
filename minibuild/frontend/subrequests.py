"""Asking about a definition instead of building it: `--check` and `--call`.

Comes in: a request and a method: `lint`, `outline`, `targets` or `graph`. Goes out: the answer as
plain data, with BuildKit's field names where BuildKit has the method too. Nothing is solved, but
for a context that has to arrive first.
Read next: `minibuild_dockerfile.subrequests`, `graph.draw`.
"""

import threading
from contextlib import closing
from importlib import import_module
from typing import Any, Literal

from minibuild.builder import Findings, collaborators, convert, frontend_request
from minibuild.events import Report, serialised, silent
from minibuild.frontend.definition import read_definition
from minibuild.graph.frontend import LocalContext
from minibuild.session.request import BuildRequest
from minibuild.session.secrets import SshReader
from minibuild.worker.worker import open_worker

Method = Literal["lint", "outline", "targets", "graph"]
METHODS: tuple[Method, ...] = ("lint", "outline", "targets", "graph")


def call(
    request: BuildRequest,
    method: Method,
    *,
    root: str,
    report: Report = silent,
    cancelled: threading.Event | None = None,
) -> dict[str, Any]:
    """The answer of the frontend. Raises what a build raises before its first step."""
    report, cancelled = serialised(report), cancelled or threading.Event()
    definition = read_definition(request)
    frontend = import_module("minibuild_dockerfile.subrequests")
    with open_worker(root) as worker, closing(SshReader(request.ssh)) as ssh:
        bench, sources, finder = collaborators(worker, request, definition, ssh, report, cancelled)
        if not isinstance(definition.context, LocalContext):
            from minibuild.frontend.remote_context import arrived

            asked = frontend_request(request, definition)
            here = arrived(definition, asked, request.file, bench, worker.cache, sources)
            definition = here.definition
        asked = frontend_request(request, definition)
        warn = Findings(report, definition.source).add
        if method == "graph":
            from minibuild.graph.graphdata import graph_data

            return graph_data(convert(request, definition, finder, warn).images)
        if method == "targets":
            answer = frontend.targets(asked, warn)
        elif method == "outline":
            answer = frontend.outline(asked, finder, warn)
        else:
            answer = frontend.lint(asked, finder)
    found: dict[str, Any] = answer
    return found
