"""What history says of a build: a message `BuildHistoryRecord`; also of one of the command line.

Comes in: a build, and what it gave. Goes out: the record, with the provenance of each image, which
`docker buildx` reads from there (`history inspect`, `--metadata-file`), and what each output is.
Builds of the command line are listed from minibuild's own records of the store (see
docs/builds.md), under the ids that `minibuild builds` shows. A build that a client had done has a
record of its own with more in it; the one that minibuild kept of it as well is left out.
Rules: moby/buildkit `solver/llbsolver/history.go`. Read next: `history`.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from minibuild.attest.attestor import RECORD
from minibuild.attest.provenance import SLSA_1
from minibuild.attest.statement import MEDIA_TYPE, PREDICATE_TYPE, as_json
from minibuild.buildkit.rpc import UNKNOWN, Failure, api_type
from minibuild.record.records import BuildRecord, BuildRecords
from minibuild.record.replay import events
from minibuild.serve.outputs import asked_exporters
from minibuild.serve.status import StatusStream, set_time
from minibuild.session.request import BuildResult
from minibuild.startup.regex import regex

if TYPE_CHECKING:
    from minibuild.serve.build import Build

Keep = Callable[[Any, str, bytes], None]
"""Keeps bytes of a media type, and describes them in a message `Descriptor`."""


def record_of(build: "Build") -> Any:
    """What there is to say of the build now."""
    asked = build.asked
    record = api_type("BuildHistoryRecord")(
        Ref=asked.Ref,
        Frontend=asked.Frontend or "dockerfile.v0",
        FrontendAttrs=asked.FrontendAttrs,
        Exporters=asked_exporters(build),
        **build.status.counts(),
    )
    set_time(record.CreatedAt, build.began)
    if build.ended:
        set_time(record.CompletedAt, build.ended)
    if isinstance(build.outcome, Failure):
        record.error.CopyFrom(build.outcome.status())
    else:
        record.ExporterResponse.update(build.outcome)
    return record


def add_results(record: Any, made: BuildResult, keep: Keep) -> None:
    """Add what a build gave: the provenance of its images, and the images that outputs are."""
    for key, predicate in made.metadata.items():
        if key.startswith(RECORD):
            platform = key.removeprefix(RECORD).removeprefix("/")
            info = record.Results[platform] if platform else record.Result
            said = info.Attestations.add(annotations={PREDICATE_TYPE: SLSA_1})
            keep(said, MEDIA_TYPE, as_json(predicate))
    for number, top in enumerate(made.descriptors):
        if top is None:
            continue
        descriptor = record.Result.Results[number]
        descriptor.media_type, descriptor.digest = top["mediaType"], top["digest"]
        descriptor.size = top["size"]
        descriptor.annotations.update(top.get("annotations", {}))
        if not record.Result.HasField("ResultDeprecated"):  # Old clients know one.
            record.Result.ResultDeprecated.CopyFrom(descriptor)


def results_of(record: Any) -> Iterator[Any]:
    """All messages `BuildResultInfo` of a record."""
    yield record.Result
    yield from record.Results.values()


# --- Builds of the command line ---


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
