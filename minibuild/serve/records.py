"""What history says of one build: a message `BuildHistoryRecord`.

Comes in: a build, and what it gave. Goes out: the record, with the provenance of each image, which
`docker buildx` reads from there (`history inspect`, `--metadata-file`), and what each output is.
Rules: moby/buildkit `solver/llbsolver/history.go`. Read next: `history`.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from minibuild.attest.attestor import RECORD
from minibuild.attest.provenance import SLSA_1
from minibuild.attest.statement import MEDIA_TYPE, PREDICATE_TYPE, as_json
from minibuild.buildkit.rpc import Failure, api_type
from minibuild.serve.outputs import asked_exporters
from minibuild.serve.status import set_time
from minibuild.session.request import BuildResult

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
