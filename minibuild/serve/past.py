"""Builds of the command line, as a client of BuildKit lists builds.

Comes in: minibuild's own records of a store (see docs/builds.md). Goes out: records and progress in
BuildKit's form, under the ids that `minibuild builds` shows. A build that a client had done has a
record of its own with more in it; the one that minibuild kept of it as well is left out.
Read next: `minibuild.record.records`, `minibuild.record.replay`.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from minibuild.buildkit.rpc import UNKNOWN, api_type
from minibuild.record.records import BuildRecord, BuildRecords
from minibuild.record.replay import events
from minibuild.serve.status import StatusStream, set_time
from minibuild.startup.regex import regex

_ID = regex(r"[0-9a-f]{8}")


class Past:
    """The records of the store in `root`."""

    def __init__(self, root: str) -> None:
        self._records = BuildRecords(root)
        self._lent = (os.path.join(os.path.abspath(root), "contexts"), "minibuild-build-")

    def records(self, others: Sequence[Any]) -> list[Any]:
        """A message `BuildHistoryRecord` for each build that is not among the others."""
        return [self._record(b) for b in self._records.all() if not self._is_among(b, others)]

    def _is_among(self, build: BuildRecord, others: Sequence[Any]) -> bool:
        """Whether a client had a build done: its context came from one, or the same context was
        built for one at that time."""
        folder, prefix = self._lent
        if build.context.startswith(f"{folder}/") or f"/{prefix}" in build.context:
            return True
        return any(
            other.FrontendAttrs.get("context", "") == build.context
            and other.CreatedAt.seconds <= build.started <= other.CompletedAt.seconds + 1
            for other in others
        )

    def _record(self, build: BuildRecord) -> Any:
        record = api_type("BuildHistoryRecord")(Ref=build.id, Frontend="dockerfile.v0")
        source, target = build.data.get("source", {}), str(build.data.get("target", ""))
        attributes = {
            "context": build.context,
            "filename": os.path.basename(str(source.get("name", ""))),
            "target": target,
        }
        record.FrontendAttrs.update({key: value for key, value in attributes.items() if value})
        set_time(record.CreatedAt, build.started)
        set_time(record.CompletedAt, build.started + build.seconds)
        if build.error:
            record.error.code, record.error.message = UNKNOWN, build.error
        steps = [step for step in build.steps if step.state]
        record.numTotalSteps = len(build.steps)
        record.numCompletedSteps = len(steps)
        record.numCachedSteps = sum(step.state == "cached" for step in steps)
        return record

    def _find(self, ref: str) -> BuildRecord | None:
        if not _ID.fullmatch(ref):
            return None  # Clients ask for each of their builds: do not read all records for that.
        return next((build for build in self._records.all() if build.id == ref), None)

    def messages(self, ref: str) -> Iterator[bytes] | None:
        """The progress of a build, as serialised messages; None if there is no such build."""
        build = self._find(ref)
        if build is None:
            return None
        status = StatusStream()
        for event in events(build, build.steps, lambda step: None):
            status(event)
        status.close(build.started + build.seconds)
        return status.messages()

    def remove(self, ref: str) -> bool:
        """Remove a record; whether there was one."""
        build = self._find(ref)
        if build is not None:
            self._records.remove(build)
        return build is not None
