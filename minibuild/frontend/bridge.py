"""Between a frontend and the engine: what a frontend is asked, and what its checks report.

Comes in: a request and its definition. Goes out: a `FrontendRequest`, which holds all that a
frontend may know, findings as events, and notes in the store. BuildKit calls this part the bridge,
too.
Read next: `builder`.
"""

import time
from typing import TYPE_CHECKING

from minibuild.digest import Digest
from minibuild.errors import SourceText
from minibuild.events import Report, Warned
from minibuild.frontend.definition import Definition
from minibuild.frontend.loader import frontend_for
from minibuild.graph.frontend import (
    EPOCH,
    Finding,
    Frontend,
    FrontendRequest,
    FrontendResult,
    ImageResolver,
    NoNotes,
    Notes,
    Warn,
)
from minibuild.graph.platform import host_platform
from minibuild.session.request import BuildRequest
from minibuild.store.database import Database

if TYPE_CHECKING:
    from minibuild.frontend.conversions import Conversions
    from minibuild.frontend.policies import GuardedSources
    from minibuild.graph.source_policy import Judge

_MOST_NOTES = 1000


def frontend_of(
    request: BuildRequest, definition: Definition, conversions: "Conversions | None" = None
) -> Frontend:
    """The frontend that reads the definition. A process that builds more than once has earlier
    `conversions`. Raises `UsageError` and `HostError`."""
    if not request.graphs:
        found = frontend_for(definition.source, request.build_args)
        return found if conversions is None else conversions.known_to(found)
    from minibuild.frontend.graph import GraphFrontend

    return GraphFrontend(request.graphs)


def frontend_request(
    request: BuildRequest, definition: Definition, db: Database | None = None
) -> FrontendRequest:
    """What the frontend is asked. It keeps its notes in `db`."""
    host = host_platform()
    return FrontendRequest(
        source=definition.source,
        platforms=request.platforms or (host,),
        build_platform=host,
        target=request.target,
        build_args=request.build_args,
        labels=request.labels,
        context=definition.context,
        contexts=definition.contexts,
        no_cache_all=request.no_cache,
        no_cache=request.no_cache_filter,
        network=request.network,
        add_hosts=request.add_hosts,
        shm_size_bytes=request.shm_size_bytes,
        ulimits=request.ulimits,
        allow=request.allow,
        multi_platform=request.multi_platform,
        implicit_platform=not request.platforms,
        notes=NoNotes() if db is None else StoredNotes(db),
    )


def guarded_sources(
    request: BuildRequest,
    definition: Definition,
    finder: ImageResolver,
    judge: "Judge | None" = None,
) -> "GuardedSources | None":
    """The sources of a build that has policies about them, or a judge."""
    if not request.source_policies and judge is None:
        return None
    from minibuild.frontend.policies import GuardedSources

    return GuardedSources(request.source_policies, finder, definition.directories, judge)


def convert(
    frontend: Frontend,
    request: BuildRequest,
    definition: Definition,
    finder: ImageResolver,
    warn: Warn,
    db: Database | None = None,
    judge: "Judge | None" = None,
) -> FrontendResult:
    """The graph that the definition means. The frontend keeps its notes in `db`."""
    asked = frontend_request(request, definition, db)
    guarded = guarded_sources(request, definition, finder, judge)
    if guarded is None:
        return frontend.convert(asked, finder, warn)
    return guarded.convert(frontend, asked, warn)


def with_epoch(request: BuildRequest, seconds: int | None) -> BuildRequest:
    """The request with a number in SOURCE_DATE_EPOCH, or without it."""
    arguments = {name: value for name, value in request.build_args.items() if name != EPOCH}
    if seconds is not None:
        arguments[EPOCH] = str(seconds)
    return request._replace(build_args=arguments)


class StoredNotes(Notes):
    """The table `notes` of the store, which holds the newest thousand."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def find(self, key: Digest) -> str | None:
        row = self._db.execute("SELECT note FROM notes WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def keep(self, key: Digest, note: str) -> None:
        with self._db.transaction() as tx:
            tx.execute(
                "INSERT OR REPLACE INTO notes (key, note, created) VALUES (?, ?, ?)",
                (key, note, time.time()),
            )
            tx.execute(
                "DELETE FROM notes WHERE created <"
                " (SELECT created FROM notes ORDER BY created DESC LIMIT 1 OFFSET ?)",
                (_MOST_NOTES - 1,),
            )


class Findings:
    """What the checks found so far, each reported with the lines that it is about."""

    def __init__(self, report: Report, source: SourceText) -> None:
        self.found: list[Finding] = []
        self._report = report
        self._source = source

    def add(self, finding: Finding) -> None:
        """Take a finding in and report it: see `graph.frontend.Warn`."""
        self.found.append(finding)
        rule, message, span, description, url = finding
        excerpt = ""
        if span is not None:
            excerpt = "\n".join(self._source.text.splitlines()[span.first - 1 : span.last])
        self._report(Warned(rule, message, span, description, url, excerpt))
