"""Steps under BuildKit's keys: a cache that BuildKit wrote is read, and the same records are made.

What BuildKit finds after each edit was recorded; see `recorded_project`.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from minibuild_dockerfile.convert import convert

from minibuild.buildkit.cachekeys import image_key, record_key, source_key
from minibuild.cache.results import VertexResult
from minibuild.digest import DiffID, Digest, digest_bytes
from minibuild.errors import ImageError, SourceText
from minibuild.graph.frontend import FrontendRequest, LocalContext, ResolvedImage
from minibuild.graph.op import Exec, File, ImageSource, LocalSource
from minibuild.graph.platform import Platform
from minibuild.graph.vertex import Vertex
from minibuild.layer.layer import Layer
from minibuild.oci.document import parse_document
from minibuild.oci.model import OCI_LAYER_GZIP, Descriptor, Manifest
from minibuild.oci.multi import MultiSource
from minibuild.remotecache import importer
from minibuild.remotecache.chains import Chains, records_of
from minibuild.remotecache.document import (
    CREATED_AT,
    UNCOMPRESSED,
    CachedLayer,
    CacheDocument,
    CachedStep,
    layers_of,
    parse_config,
    parse_inline,
)
from minibuild.remotecache.keys import BuildkitKeys
from minibuild.session.request import BuildRequest, CachePlace
from minibuild.worker.context import open_context
from minibuild.worker.worker import Worker, open_worker
from tests.cache_exchange import step_name
from tests.remotecache.recorded_project import ARGS, EDITS, RECORDED, write
from tests.support.resolver import FakeResolver

AMD64 = Platform("linux", "amd64")
LONG_AFTER_NS = 1 << 62
RECORD: dict[str, Any] = json.loads(RECORDED.read_text())
SOURCE = MultiSource()
A, B = digest_bytes(b"a"), digest_bytes(b"b")

UNCHANGED = ("nothing", "times", "a file that nothing reads", "a file that an exclusion leaves out")


class Resolver(FakeResolver):
    """Knows the base by the digest that it had where the cache was written."""

    def resolve(self, ref: str, platform: Platform) -> ResolvedImage:
        found = super().resolve(ref, platform)
        return found._replace(source=found.source._replace(digest=Digest(RECORD["base"])))


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with open_worker(str(tmp_path_factory.mktemp("exchange") / "store")) as opened:
        yield opened


@contextmanager
def keys_of(worker: Worker, context: Path, since_ns: int = LONG_AFTER_NS) -> Iterator[BuildkitKeys]:
    """The keys of a project before anything of it was done."""
    text = SourceText("Dockerfile", (context / "Dockerfile").read_text())
    request = FrontendRequest(
        text, (AMD64,), AMD64, build_args=ARGS, context=LocalContext("context")
    )
    vertex = convert(request, Resolver(), lambda _: None).images[0].vertex
    with open_context(worker, BuildRequest(), {"context": str(context)}) as build:
        yield BuildkitKeys(build, [vertex], since_ns=since_ns)


def cache() -> CacheDocument:
    return parse_config(document(RECORD["document"]), {}, SOURCE)


def layers_found(read: CacheDocument, keys: BuildkitKeys) -> list[CachedLayer] | None:
    """The layers of what the last output of a graph is; None if it is not known."""
    numbers = Chains(read.records).find(keys, keys.outputs[-1])
    found = (layers_of(read.layers, read.records[n]) for n in sorted(numbers))
    return next(filter(None, found), []) if numbers else None


def document(value: Any) -> Any:
    return parse_document(json.dumps(value).encode(), "x")


def found(keys: BuildkitKeys) -> Counter[str]:
    known = Chains(cache().records)
    there = [
        vertex
        for output, vertex in keys.vertices.items()
        if isinstance(vertex.op, Exec | File) and known.find(keys, output)
    ]
    return Counter(filter(None, map(name_of, there)))


def name_of(vertex: Vertex) -> str | None:
    return step_name(vertex.note.name)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", EDITS)
def test_what_buildkit_finds_is_found(worker: Worker, project: Path, name: str) -> None:
    """Except where a step that was read ran again and made the same files, which is seen then."""
    EDITS[name](project)
    theirs = Counter(RECORD["found"][name])
    with keys_of(worker, project) as keys:
        ours = found(keys)
    assert ours <= theirs
    later = theirs - ours
    assert all(step.startswith("stage-2: ") for step in later), later
    assert not (later and name in UNCHANGED)


def test_an_image_is_known_by_its_digests_and_its_layers(worker: Worker) -> None:
    index, manifest = digest_bytes(b"index"), digest_bytes(b"manifest")
    image = Vertex(ImageSource(f"example.com/a@{index}", manifest, AMD64))
    layers = [Layer(DiffID(name), described(name), SOURCE) for name in (A, B)]
    first = worker.cache.layer((), layers[0], "")
    result = first, worker.cache.layer((first,), layers[1], "")
    with open_context(worker, BuildRequest(), {}) as build:
        keys = BuildkitKeys(build, [image])
        by_name = keys.roots(keys.outputs[0])
        keys.learn(image, VertexResult(result, None))
        by_layers = set(keys.roots(keys.outputs[0])) - set(by_name)
    assert by_name == [record_key(image_key(name, AMD64), 0) for name in sorted((index, manifest))]
    assert by_layers == {record_key(source_key(digest_bytes(f"{A} {B}".encode())), 0)}


def test_files_that_changed_since_the_build_began_have_no_key(
    worker: Worker, project: Path
) -> None:
    """What a step made of the old ones would be found for the new ones."""
    with keys_of(worker, project, since_ns=0) as keys:
        assert not [step for step in found(keys) if "src" in step or "logs" in step]
        records = records_of(keys, lambda output: ((), 0.0))
    # Nor is anything said of steps that read them, or stand on these.
    assert all(all(record.inputs) for record in records)
    assert len(records) < 10


def test_what_another_cache_says_of_contents_is_passed_on(worker: Worker, project: Path) -> None:
    """The files may never come here."""
    with keys_of(worker, project) as keys:
        output = keys.graph.outputs[next(v for v in keys.vertices.values() if reads_step(v)).digest]
        records = records_of(keys, lambda output: ((), 0.0), lambda output, index: {A})
        (record,) = (r for r in records if r.digest == record_key(keys.op(output).digest or A, 0))
    assert A in {records[number].digest for selector, number in record.inputs[1] if not selector}


def reads_step(vertex: Vertex) -> bool:
    return "COPY --from=tools" in vertex.note.name


def test_the_records_are_those_of_buildkit(worker: Worker, project: Path) -> None:
    """Also their links, but for the contents of images and steps, which are not here."""
    theirs = cache().records
    with keys_of(worker, project) as keys:
        ours = records_of(keys, lambda output: ((), 0.0))
        local = {o for o, vertex in keys.vertices.items() if isinstance(vertex.op, LocalSource)}
        unread = {
            (record_key(op.digest, 0), index)
            for op in keys.graph.ops.values()
            for index, dependency in enumerate(op.inputs)
            if op.digest and dependency.output not in local
        }

    def links(records: Any) -> set[tuple[Digest, int, str, Digest]]:
        return {
            (record.digest, index, selector, records[source].digest)
            for record in records
            for index, alternatives in enumerate(record.inputs)
            for selector, source in alternatives
        }

    ops = {record.digest for record in theirs if record.inputs}
    assert ops <= {record.digest for record in ours}
    assert {(digest, index) for digest, index, *_ in links(theirs) - links(ours)} <= unread


# --- What others may have written -----------------------------------------------------------------


def described(digest: Digest, diff_id: str = A) -> Descriptor:
    return Descriptor(OCI_LAYER_GZIP, digest, 10, annotations={UNCOMPRESSED: diff_id})


def with_layers(*layers: object, result: object) -> Any:
    """The recorded document with other layers, and one result for all of its ops."""
    value = json.loads(json.dumps(RECORD["document"]))
    value["layers"] = list(layers)
    for record in value["records"]:
        record.pop("layers", None)
        record.pop("chains", None)
        if "inputs" in record:
            record.update(json.loads(json.dumps(result)))
    return document(value)


NOW = "2026-01-02T03:04:05Z"
ON_TOP = {"blob": B, "parent": -1}, {"blob": A}


@pytest.mark.parametrize(
    ("layers", "result", "expected"),
    [
        pytest.param(ON_TOP, {"layers": [{"layer": 1, "createdAt": NOW}]}, [B, A], id="a stack"),
        pytest.param(ON_TOP, {"layers": [{"layer": 0, "createdAt": NOW}]}, [B], id="the first"),
        pytest.param(
            ON_TOP, {"chains": [{"layers": [1, 0], "createdAt": NOW}]}, [A, B], id="a chain"
        ),
        pytest.param(
            ON_TOP,
            {
                "layers": [{"layer": 1, "createdAt": NOW}],
                "chains": [{"layers": [0], "createdAt": "2027-01-02T03:04:05Z"}],
            },
            [B],
            id="the newest",
        ),
        pytest.param(
            [{"blob": A, "parent": 1}, {"blob": B, "parent": 0}],
            {"layers": [{"layer": 0, "createdAt": NOW}]},
            [],
            id="a stack without end",
        ),
        pytest.param(
            [{"blob": A, "parent": 7}],
            {"layers": [{"layer": 0, "createdAt": NOW}]},
            [],
            id="no such parent",
        ),
        pytest.param(
            ON_TOP, {"chains": [{"layers": [9], "createdAt": NOW}]}, [], id="no such layer"
        ),
        pytest.param(
            [{"blob": digest_bytes(b"gone"), "parent": -1}],
            {"layers": [{"layer": 0, "createdAt": NOW}]},
            [],
            id="a layer that the manifest lacks",
        ),
    ],
)
def test_layers_of_a_result(
    worker: Worker, project: Path, layers: Any, result: Any, expected: list[Digest]
) -> None:
    blobs = {digest: described(digest) for digest in (A, B)}
    read = parse_config(with_layers(*layers, result=result), blobs, SOURCE)
    with keys_of(worker, project) as keys:
        known = layers_found(read, keys)
    assert known is not None
    assert [one.layer.descriptor.digest for one in known if one.layer] == expected


def test_a_layer_without_a_diff_id_is_not_there() -> None:
    read = parse_config(
        document({"layers": [{"blob": A, "parent": -1}], "records": []}),
        {A: described(A, "sha256:short")},
        SOURCE,
    )
    assert read.layers[0].layer is None


@pytest.mark.parametrize(
    "records",
    [
        [{"digest": "x"}],
        [{"digest": A, "inputs": [[{"link": 1}]]}],
        [{"digest": A, "inputs": [[{"link": -1}]]}],
        [{"digest": A, "inputs": "none"}],
        [{"digest": A, "layers": [{"layer": "0"}]}],
    ],
)
def test_what_is_no_record(records: Any) -> None:
    with pytest.raises(ImageError):
        parse_config(document({"layers": [], "records": records}), {}, SOURCE)


def test_records_that_stand_on_each_other_are_never_reached(worker: Worker, project: Path) -> None:
    ring = [{"digest": A, "inputs": [[{"link": 1}]]}, {"digest": B, "inputs": [[{"link": 0}]]}]
    read = parse_config(document({"layers": [], "records": ring}), {}, SOURCE)
    with keys_of(worker, project) as keys:
        assert layers_found(read, keys) is None


def test_layers_of_a_cache_that_stand_on_each_other_one_by_one(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each on the one below it alone: there may be any number of them."""
    digests = [DiffID(digest_bytes(f"{number}".encode())) for number in range(1_100)]
    layers = [
        CachedLayer(
            Layer(digest, described(digest), SOURCE), below, None if below < 0 else (below,)
        )
        for below, digest in enumerate(digests, -1)
    ]
    read = CacheDocument(tuple(layers), (CachedStep(A, (A,), "step", (len(layers) - 1,)),))
    monkeypatch.setattr(importer, "open_place", lambda asked, build: None)
    monkeypatch.setattr(importer, "read_steps", lambda place: (read,))
    with open_context(worker, BuildRequest(), {}) as build:
        imports = importer.Imports(
            build, [CachePlace("local")], lambda targets: BuildkitKeys(build, [])
        )
        record, _ = imports.find(A)
        assert record is not None and len(record.result) == 1
        imports.settle()
    assert worker.cache.lookup(A) is None


def test_inline() -> None:
    """Layers are those of the image, each on the one before."""
    records = base64.b64encode(json.dumps(RECORD["document"]["records"]).encode()).decode()
    text = document({"x": records})["x"]
    layers = (described(A), described(B))
    manifest = Manifest(described(digest_bytes(b"config")), layers)
    read = parse_inline(text, manifest, [DiffID(A), DiffID(B)], SOURCE)
    assert [layer.parent for layer in read.layers] == [-1, 0]
    assert [layer.layer and layer.layer.diff_id for layer in read.layers] == [A, B]
    assert len(read.records) == len(RECORD["document"]["records"])
    with pytest.raises(ImageError, match="base64"):
        parse_inline(document({"x": "%"})["x"], manifest, [], SOURCE)


def test_when_a_layer_was_made() -> None:
    blob = described(A)
    blob = blob._replace(annotations={**blob.annotations, CREATED_AT: "2026-01-02T03:04:05.6Z"})
    value = document({"layers": [{"blob": A, "parent": -1}], "records": []})
    assert parse_config(value, {A: blob}, SOURCE).layers[0].created == 1767323045.6
