"""What is known of a vertex before anything is done: tables, with records in a dict."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from minibuild.cache.records import Record
from minibuild.cache.results import DiffKey, Result, VertexResult
from minibuild.digest import DiffID, Digest, digest_bytes
from minibuild.graph.op import (
    BindMount,
    Copy,
    Diff,
    Exec,
    File,
    GitSource,
    HttpSource,
    ImageSource,
    LocalSource,
    Merge,
    MountOutput,
    Op,
)
from minibuild.graph.platform import Platform
from minibuild.graph.vertex import Note, Vertex
from minibuild.solver import keys
from minibuild.solver.inputs import ReadParts
from minibuild.solver.keys import (
    ReadyVertex,
    diff_key,
    image_key,
    merge_key,
    mount_key,
    read_part,
    step_key,
)
from minibuild.solver.lookup import (
    UNKNOWN,
    Answer,
    Lookup,
    PrecomputedKey,
    merged,
)

A, B, C = (digest_bytes(name) for name in (b"a", b"b", b"c"))
ONE, TWO = VertexResult((DiffKey(1),), A, cached=True), VertexResult((DiffKey(2), DiffKey(3)), B)
RUN = Exec(("make",))
PARTS = [read_part("0: context", ("/a\0file",))]
RECORD = Record(C, (DiffKey(7),))
IMAGE_KEY = image_key([DiffID(A), DiffID(B)])
IMAGE = ImageSource("example.com/a:1", A, Platform("linux", "amd64"))


class Records(dict[Digest, Record]):
    """Records by key, and the keys that were asked for."""

    def __init__(self, found: Mapping[Digest, Record] = {}) -> None:
        super().__init__(found)
        self.asked: list[Digest] = []

    def lookup(self, key: Digest) -> Record | None:
        self.asked.append(key)
        return self.get(key)


class Remote(Records):
    """The cache of another machine, which may know keys without results, and a vertex."""

    known: Mapping[Digest, Digest] = {}
    vertex: tuple[Record | None, str] | None = None

    def find(self, key: Digest) -> tuple[Record | None, str]:
        found = self.lookup(key)
        return found, "there" if found else ""

    def canonical(self, key: Digest) -> Digest | None:
        return self.known.get(key)

    def plan(
        self, targets: Sequence[Vertex | None], images: Callable[[ImageSource], Result]
    ) -> None:
        self.planned = (targets, images(IMAGE))

    def find_vertex(
        self,
        vertex: Vertex,
        inputs: Sequence[VertexResult | None],
        key: Digest,
        *,
        contents: bool = False,
    ) -> tuple[Record | None, str] | None:
        self.asked.append(vertex.digest)
        return self.vertex


def images(source: ImageSource) -> tuple[Result, list[DiffID]]:
    assert source is IMAGE
    return (DiffKey(1), DiffKey(2)), [DiffID(A), DiffID(B)]


def lookup(records: Records | None = None, remote: Remote | None = None, salt: str = "") -> Lookup:
    return Lookup(Records() if records is None else records, images, remote, salt)


def ready(op: Op, *inputs: VertexResult | None, note: Note = Note()) -> ReadyVertex:  # noqa: B008
    return ReadyVertex(
        Vertex(op, [None if i is None else Vertex(RUN) for i in inputs], note), inputs
    )


def read(vertex: ReadyVertex, op: Exec | File) -> ReadParts:
    return ReadParts(PARTS, 123)


def unread(vertex: ReadyVertex, op: Exec | File) -> ReadParts | None:
    pytest.fail("read")


def cannot_read(vertex: ReadyVertex, op: Exec | File) -> ReadParts | None:
    return None


# --- find ---


def test_a_record_of_the_store() -> None:
    remote = Remote({A: Record(B, ())})
    found = lookup(Records({A: RECORD}), remote).find(A)
    assert found == VertexResult(RECORD.result, C, A, cached=True)
    assert remote.asked == [], "what is here is not asked for elsewhere"


def test_a_record_of_another_machine() -> None:
    found = lookup(remote=Remote({A: RECORD})).find(A)
    assert found == VertexResult(RECORD.result, C, A, cached=True, origin="there")


@pytest.mark.parametrize("remote", [None, Remote()])
def test_no_record(remote: Remote | None) -> None:
    assert lookup(remote=remote).find(A) is None


# --- ask ---

BY_DEFINITION: list[tuple[ReadyVertex, Answer]] = [
    (
        ready(LocalSource("context", ("*.o",))),
        Answer(VertexResult((), None, local=LocalSource("context", ("*.o",)))),
    ),
    (
        ready(IMAGE),
        Answer(
            VertexResult((DiffKey(1), DiffKey(2)), image_key([DiffID(A), DiffID(B)]), cached=True)
        ),
    ),
    (ready(HttpSource("http://h/f", "f")), UNKNOWN),
    (ready(GitSource("https://h/r.git")), UNKNOWN),
    (ready(Merge(), ONE, TWO), Answer(merged((ONE, TWO)))),
    (ready(Diff(), ONE, TWO), Answer(key=diff_key((ONE, TWO)))),
]


@pytest.mark.parametrize(("vertex", "expected"), BY_DEFINITION, ids=lambda v: str(v)[:40])
def test_what_is_known_without_a_record(vertex: ReadyVertex, expected: Answer) -> None:
    assert lookup().ask(vertex, unread) == expected


def test_a_diff_is_found_by_its_inputs() -> None:
    key = diff_key((ONE, TWO))
    found = lookup(Records({key: RECORD})).ask(ready(Diff(), ONE, TWO), unread)
    assert found == Answer(VertexResult(RECORD.result, C, key, cached=True), key=key)
    forced = TWO._replace(forced=True)
    assert lookup(Records({key: RECORD})).ask(ready(Diff(), ONE, forced), unread) == UNKNOWN


@pytest.mark.parametrize("op", [RUN, File((Copy(1, ("a",), "/"),))])
def test_a_step_is_found_by_its_fast_key(op: Exec | File) -> None:
    key = step_key(op, A, PARTS)
    records = Records({key: RECORD})
    found = lookup(records).ask(ready(op, ONE, TWO), read)
    assert found.result == VertexResult(RECORD.result, C, key, cached=True)
    assert found.whole and records.asked == [key]


def test_a_step_without_a_record_keeps_what_was_read() -> None:
    """So that the work on it begins with its key, and reads nothing again."""
    found = lookup().ask(ready(RUN, ONE), read)
    assert found == Answer(
        None, True, PrecomputedKey(step_key(RUN, A, PARTS), ReadParts(PARTS, 123))
    )


WRITES = RUN._replace(mounts=(BindMount("/in", 1), BindMount("/out", 1, output=True)))


@pytest.mark.parametrize(
    ("left", "known"),
    [({1}, True), ({0, 1}, True), ({0}, False), (set(), False)],
    ids=str,
)
def test_a_step_is_found_with_what_it_left_in_its_mounts(left: set[int], known: bool) -> None:
    """A record of the step alone is not enough: what lies in the mount would be missing."""
    key = step_key(WRITES, A, PARTS)
    records = Records({key: RECORD} | {mount_key(C, n): Record(B, ()) for n in left})
    found = lookup(records).find_step(key, WRITES)
    assert found == (VertexResult(RECORD.result, C, key, cached=True) if known else None)
    assert records.asked == [key, mount_key(C, 1)]


def test_a_step_that_is_not_known_is_asked_for_once() -> None:
    records = Records()
    assert lookup(records).find_step(A, WRITES) is None
    assert records.asked == [A]


@pytest.mark.parametrize("step", [ONE, ONE._replace(cached=False), TWO._replace(forced=True)])
def test_what_a_step_left_in_a_mount(step: VertexResult) -> None:
    """It is found under the key of the step, and is as new as the step is."""
    assert step.key is not None
    key = mount_key(step.key, 2)
    found = lookup(Records({key: RECORD})).ask(ready(MountOutput(2), step, TWO), unread)
    assert found == Answer(
        VertexResult(RECORD.result, C, key, cached=step.cached, forced=step.forced)
    )
    assert lookup().ask(ready(MountOutput(2), step), unread) == UNKNOWN


@pytest.mark.parametrize("step", [None, VertexResult((), None)])
def test_a_mount_of_a_step_without_a_key_is_not_known(step: VertexResult | None) -> None:
    records = Records()
    assert lookup(records).ask(ready(MountOutput(0), step), unread) == UNKNOWN
    assert records.asked == []


UNASKED: list[ReadyVertex] = [
    ready(RUN, ONE, note=Note(ignore_cache=True)),
    ready(RUN, ONE._replace(forced=True)),
    ready(RUN, ONE, TWO._replace(forced=True)),
]


@pytest.mark.parametrize("vertex", UNASKED, ids=str)
def test_what_has_to_be_executed_is_not_looked_up(vertex: ReadyVertex) -> None:
    """A record would be of what was before. Nothing is read for it here."""
    records = Records({step_key(RUN, A, PARTS): RECORD})
    assert lookup(records).ask(vertex, unread) == UNKNOWN
    assert records.asked == []


def test_what_cannot_be_read_now_is_left_to_the_step() -> None:
    records = Records()
    assert lookup(records).ask(ready(RUN, ONE), cannot_read) == UNKNOWN
    assert records.asked == []


@pytest.mark.parametrize(
    ("op", "key"), [(RUN, step_key(RUN, A, PARTS)), (Diff(), diff_key((ONE, TWO)))], ids=str
)
def test_another_machine_may_know_a_key_and_have_no_result(op: Op, key: Digest) -> None:
    """That is enough for the steps behind it to be found."""
    remote = Remote()
    remote.known = {key: C}
    found = lookup(remote=remote).ask(ready(op, ONE, TWO), read)
    assert found.result == VertexResult((), C, key, cached=True)
    assert not found.whole


STEP_KEY = step_key(RUN, A, PARTS)
WHOLE = Answer(VertexResult(RECORD.result, STEP_KEY, STEP_KEY, cached=True, origin="far"))
KEY_ALONE = Answer(VertexResult((), STEP_KEY, STEP_KEY, cached=True, origin="far"), whole=False)
CANONICAL_ALONE = Answer(VertexResult((), C, STEP_KEY, cached=True), whole=False)
STORED = Answer(VertexResult(RECORD.result, C, STEP_KEY, cached=True))


@pytest.mark.parametrize(
    ("stored", "known", "vertex", "expected"),
    [
        (False, False, None, UNKNOWN),
        (False, False, (RECORD, "far"), WHOLE),
        (False, False, (None, "far"), KEY_ALONE),
        (False, True, None, CANONICAL_ALONE),
        (False, True, (RECORD, "far"), WHOLE),  # a result is more than a key
        (False, True, (None, "far"), CANONICAL_ALONE),
        (True, True, (None, "far"), STORED),
        (True, True, (RECORD, "far"), STORED),
    ],
)
def test_another_machine_may_know_a_step_by_its_graph(
    stored: bool, known: bool, vertex: tuple[Record | None, str] | None, expected: Answer
) -> None:
    """It is asked if there is no result otherwise."""
    remote = Remote()
    remote.vertex, remote.known = vertex, {STEP_KEY: C} if known else {}
    step = ready(RUN, ONE)
    found = lookup(Records({STEP_KEY: RECORD} if stored else {}), remote).ask(step, read)
    assert found == expected._replace(precomputed=PrecomputedKey(STEP_KEY, ReadParts(PARTS, 123)))
    assert (step.vertex.digest in remote.asked) == (not stored)


@pytest.mark.parametrize("vertex", [*UNASKED, ready(WRITES, ONE)], ids=str)
def test_what_the_graph_does_not_tell_is_not_asked_of_another_machine(vertex: ReadyVertex) -> None:
    """What a step was made again for, and what it leaves in mounts."""
    remote = Remote()
    remote.vertex = RECORD, "far"
    step = vertex.vertex.op
    assert isinstance(step, Exec)
    assert lookup(remote=remote).find_elsewhere(vertex, step, A) is None
    assert remote.asked == []


def test_another_machine_hears_which_graph_is_looked_up() -> None:
    remote, target = Remote(), Vertex(RUN)
    lookup(remote=remote).plan([target, None])
    assert remote.planned == ([target, None], (DiffKey(1), DiffKey(2)))
    lookup().plan([target])  # there may be none


def test_a_salt_keeps_records_apart() -> None:
    """What is built with an old defect is not found by other builds, nor theirs by it."""
    normal, salted = lookup(), lookup(salt="lab")
    assert normal.version == keys.VERSION
    for vertex in (ready(RUN, ONE), ready(Diff(), ONE, TWO)):
        seen = []
        for which in (normal, salted):
            records = Records()
            Lookup(records, images, None, "lab" if which is salted else "").ask(vertex, read)
            seen.append(records.asked)
        assert seen[0] != seen[1]
    assert salted.version != normal.version


# --- Merges ---


def test_a_merge_is_its_inputs_in_order() -> None:
    found = merged((TWO, None, ONE))
    assert found == VertexResult((DiffKey(2), DiffKey(3), DiffKey(1)), merge_key((TWO, None, ONE)))
    assert merged((ONE, None)).cached and not merged((ONE, TWO)).cached
    assert merged((ONE, TWO._replace(forced=True))).forced and not merged((ONE, TWO)).forced
    theirs = TWO._replace(origin="there")
    assert merged((ONE, theirs)).origin == "there" and merged((ONE, TWO)).origin == ""
