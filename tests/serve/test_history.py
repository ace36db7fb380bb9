"""Builds of the past, and what the store holds, as clients of `minibuild serve` see them."""

import json
import os
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.conftest import Cli
from tests.support.buildkit_client import TYPES, Client
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]


DISK_USAGE = "/moby.buildkit.v1.Control/DiskUsage"


def usage(client: Client, *filters: str) -> dict[str, str]:
    """The ids of what the store holds, and their descriptions."""
    asked = TYPES["DiskUsageRequest"](filter=filters)
    answer = client.call(DISK_USAGE, asked, "DiskUsageResponse")
    return {record.ID: record.Description for record in answer.record}


def test_what_the_store_holds(client: Client) -> None:
    """What a filter does not mean stays, and so does what was used a while ago."""
    client.build({})
    (copy,) = usage(client, 'type==regular,description~="COPY a sub /d/"')
    rest = usage(client, "type==regular").keys() - {copy}
    hour = 3600 * 10**9
    requests: list[tuple[dict[str, Any], set[str]]] = [
        ({"filter": ["type==exec.cachemount", "mutable"]}, set()),
        ({"all": True, "keepDuration": hour}, set()),
        ({"maxUsedSpace": 10**12}, set()),
        ({"filter": ["type==exec.cachemount", f"id~=^{copy}$"]}, {copy}),
        ({}, rest),
    ]
    for fields, gone in requests:
        before = usage(client, "type==regular").keys()
        asked = TYPES["PruneRequest"](**fields)
        said = {
            one.ID for one in stream(client, "moby.buildkit.v1.Control/Prune", asked, "UsageRecord")
        }
        assert said >= gone
        assert usage(client, "type==regular").keys() == before - gone
    with pytest.raises(grpc.RpcError, match="unknown filter 'label==x'"):
        usage(client, "label==x")
    assert len(past(client)) == 1


def stream(client: Client, method: str, request: Any, kind: str) -> list[Any]:
    """What a call answers with many messages."""
    made = client.channel.unary_stream(
        f"/{method}", type(request).SerializeToString, TYPES[kind].FromString
    )
    return list(made(request, timeout=PATIENCE_S))


def past(client: Client) -> list[Any]:
    """The records of builds that have ended, newest first."""
    asked = TYPES["BuildHistoryRequest"](EarlyExit=True)
    events = stream(
        client, "moby.buildkit.v1.Control/ListenBuildHistory", asked, "BuildHistoryEvent"
    )
    return [event.record for event in events if event.type == 1]


def read(client: Client, digest: str) -> bytes:
    """A blob of the builder."""
    asked = TYPES["ContentReadRequest"](digest=digest)
    sent = stream(
        client, "containerd.services.content.v1.Content/Read", asked, "ContentReadResponse"
    )
    return b"".join(message.data for message in sent)


def spans_in(data: bytes) -> list[Any]:
    """The documents of JSON that stand one after the other."""
    text, found = data.decode(), []
    while text:
        value, end = json.JSONDecoder().raw_decode(text)
        found.append(value)
        text = text[end:].lstrip()
    return found


def moments(span: Any) -> tuple[datetime, datetime]:
    """When it began and ended. Times lose zeros at their ends, so as texts they have no order."""
    began, ended = (datetime.fromisoformat(span[key]) for key in ("StartTime", "EndTime"))
    return began, ended


def test_a_build_that_did_nothing_new_leaves_no_record(
    cli: Cli, client: Client, context: Path
) -> None:
    """Of a Dockerfile, and of a client's own graph."""
    words = [cli.program, "build", "--call=llb", str(context)]
    llb = subprocess.run(words, env=cli.environment, capture_output=True, check=True).stdout
    for _ in range(2):
        client.build({})
        client.build({}, definition=llb)
        past(client)  # It waits for records.
    places = os.listdir(f"{cli.root}/builds")
    assert [len(os.listdir(f"{cli.root}/builds/{place}")) for place in places] == [1, 1]


def test_history(cli: Cli, client: Client, tmp_path: Path, context: Path) -> None:
    """Builds of clients and of the command line, their progress again, and their end."""
    cli("build", "-o", str(tmp_path / "o"), str(context))
    client.build({"target": "", "label:a": "b"}, [("local", {}), ("oci", {})])
    (context / "Dockerfile").write_text("FROM scratch\nCOPY gone /\n")
    with pytest.raises(grpc.RpcError):
        client.build({})
    failed, made, here = past(client)
    assert "not found" in failed.error.message and not failed.error.details
    asked = TYPES["ContentReadRequest"](digest=failed.externalError.digest)
    content = "containerd.services.content.v1.Content"
    (sent,) = stream(client, f"{content}/Read", asked, "ContentReadResponse")
    (source, *_) = TYPES["RpcStatus"].FromString(sent.data).details
    assert source.type_url.endswith("errdefs.Source+json")
    assert not made.error.message and made.FrontendAttrs["label:a"] == "b"
    assert [exporter.Type for exporter in made.Exporters] == ["local", "oci"]
    (said,) = made.Result.Attestations  # though it was not asked for
    assert said.annotations["in-toto.io/predicate-type"] == "https://slsa.dev/provenance/v1"
    provenance = json.loads(read(client, said.digest))
    request = provenance["buildDefinition"]["externalParameters"]["request"]
    assert request["args"] == {"label:a": "b", "target": ""}
    assert provenance["buildDefinition"]["internalParameters"]["buildConfig"]["llbDefinition"]
    assert list(made.Result.Results) == [1] and not failed.Result.Results
    manifest = json.loads(read(client, made.Result.Results[1].digest))
    assert manifest["mediaType"] == made.Result.ResultDeprecated.media_type
    assert made.numTotalSteps == made.numCompletedSteps > 2
    assert here.FrontendAttrs["context"] == str(context)
    for record in (made, here):
        asked = TYPES["StatusRequest"](Ref=record.Ref)
        messages = stream(client, "moby.buildkit.v1.Control/Status", asked, "StatusResponse")
        assert "[1/2] COPY a sub /d/" in {v.name for m in messages for v in m.vertexes}

    asked = TYPES["ContentReadRequest"](digest=made.logs.digest, offset=4)
    sent = stream(client, f"{content}/Read", asked, "ContentReadResponse")
    assert sum(len(message.data) for message in sent) == made.logs.size - 4
    for wrong in ("sha256:../../x", f"sha256:{'0' * 64}"):
        with pytest.raises(grpc.RpcError):
            client.call(
                f"/{content}/Info", TYPES["ContentInfoRequest"](digest=wrong), "ContentInfoResponse"
            )
    update = "/moby.buildkit.v1.Control/UpdateBuildHistory"
    for record in (made, failed):
        asked = TYPES["UpdateBuildHistoryRequest"](Ref=record.Ref, Finalize=True)
        client.call(update, asked, "Empty")
    spans = [spans_in(read(client, record.trace.digest)) for record in past(client)[:2]]
    for (root, *others), record in zip(spans, (failed, made), strict=True):
        assert root["Parent"]["SpanID"] == "0" * 16 and root["Attributes"][0]["Key"] == "ref"
        contexts = [span["SpanContext"] for span in (root, *others)]
        assert len({one["TraceID"] for one in contexts}) == 1
        ids = {one["SpanID"] for one in contexts}
        assert all(span["Parent"]["SpanID"] in ids for span in others)
        start, _ = moments(root)
        assert all(start <= began <= ended for began, ended in map(moments, others))
        assert (root["Status"]["Code"] == "Error") == bool(record.error.message)
    (step,) = (span for span in spans[1] if span["Name"] == "[1/2] COPY a sub /d/")
    assert step["Parent"] == spans[1][0]["SpanContext"]
    assert "transferring context:" in {span["Name"] for span in spans[1]}
    for record in (made, here):
        client.call(
            update, TYPES["UpdateBuildHistoryRequest"](Ref=record.Ref, Delete=True), "Empty"
        )
    assert [record.Ref for record in past(client)] == [failed.Ref]
    asked = TYPES["UpdateBuildHistoryRequest"](Ref=failed.Ref, Delete=True)
    client.call(update, asked, "Empty")
    (listed,) = stream(client, f"{content}/List", TYPES["Empty"](), "ContentListResponse")
    assert not listed.info
    with pytest.raises(grpc.RpcError, match="not found"):
        client.call(update, TYPES["UpdateBuildHistoryRequest"](Ref=made.Ref, Delete=True), "Empty")
