"""A vertex whose inputs are solved, and the parts of its keys: what is read for which
key. Tables, without a disk."""

import pytest

from minibuild.cache.results import DiffKey, VertexResult
from minibuild.digest import digest_bytes
from minibuild.errors import DefinitionError, Span
from minibuild.graph.op import (
    BindMount,
    CacheMount,
    Copy,
    Exec,
    File,
    LocalSource,
    Mkdir,
    Rm,
    SecretMount,
    SshMount,
    TmpfsMount,
)
from minibuild.graph.vertex import Note, Vertex
from minibuild.solver import keys
from minibuild.solver.keys import Contents, Part, Reader, ReadyVertex, read_part

BASE = digest_bytes(b"base")
RUN = Exec(("sh", "-c", "make"), (("PATH", "/bin"),))
COPY = Copy(1, ("src",), "/app/")
CONTEXT = VertexResult((), None, local=LocalSource("context"))
STAGE = VertexResult((DiffKey(1), DiffKey(2)), BASE)
FORCED = STAGE._replace(forced=True)


def ready(op: Exec | File, *inputs: VertexResult | None, note: Note = Note()) -> ReadyVertex:  # noqa: B008
    """A vertex on these results. What they are of is a Mkdir on nothing, or on something."""
    above = [
        None
        if found is None
        else Vertex(LocalSource("context"), (), Note("context"))
        if found.local
        else Vertex(RUN, (), Note("RUN"))
        for found in inputs
    ]
    return ReadyVertex(Vertex(op, above, note), inputs)


def test_what_a_step_stands_on() -> None:
    assert (ready(RUN).base, ready(RUN).base_key) == ((), None)
    assert (ready(RUN, None).base, ready(RUN, None).base_key) == ((), None)
    on = ready(RUN, STAGE, None)
    assert (on.base, on.base_key) == (STAGE.result, BASE)


@pytest.mark.parametrize(
    ("inputs", "note", "must", "on"),
    [
        ((), Note(), False, False),
        ((None, STAGE), Note(), False, False),
        ((STAGE,), Note(ignore_cache=True), True, False),
        ((FORCED,), Note(), True, True),
        ((STAGE, FORCED), Note(), False, True),
        ((None, FORCED), Note(), False, True),
    ],
)
def test_what_was_made_again_on_request(
    inputs: tuple[VertexResult | None, ...], note: Note, must: bool, on: bool
) -> None:
    """A step on such a base is executed; one that reads such an input is looked up by contents."""
    found = ready(RUN, *inputs, note=note)
    assert (found.must_execute, found.on_forced) == (must, on)


@pytest.mark.parametrize("index", [-1, 2])
def test_an_input_that_is_not_there(index: int) -> None:
    found = ready(RUN, STAGE, CONTEXT, note=Note(span=Span("Dockerfile", 3, 4)))
    with pytest.raises(DefinitionError, match=f"refers to its input {index}, which") as caught:
        found.input(index)
    assert caught.value.span == Span("Dockerfile", 3, 4)
    assert found.input(0) is STAGE and found.input(1) is CONTEXT


def test_which_input_is_a_context() -> None:
    found = ready(RUN, STAGE, CONTEXT, None)
    assert [found.is_context(index) for index in range(3)] == [False, True, False]


def test_the_results_of_inputs_are_found_by_their_digests() -> None:
    above = Vertex(Exec(("a",)))
    vertex = Vertex(RUN, (None, above))
    assert ReadyVertex.of(vertex, {above.digest: STAGE}) == ReadyVertex(vertex, (None, STAGE))


BIND = BindMount("/src", 1)
CACHE = CacheMount("/cache", "id", input=2)


def said(reader: Reader) -> Contents:
    """Contents by which one sees who read them."""
    return (f"/read by {type(reader).__name__} of {reader.input}\0",)


def fast(found: ReadyVertex, op: Exec | File) -> list[Part]:
    """The parts of the fast key, with what has to be read for it."""
    wanted = keys.fast_reads(found, op)
    return keys.fast_parts(found, op, {number: said(wanted[number]) for number in wanted})


def canonical(found: ReadyVertex, op: Exec | File, parts: list[Part]) -> list[Part]:
    """The parts of the canonical key, with what has to be read for it besides."""
    wanted = keys.canonical_reads(found, op, parts)
    return keys.canonical_parts(parts, {number: said(wanted[number]) for number in wanted})


def test_what_reads_inputs() -> None:
    other = (TmpfsMount("/t"), SecretMount("s"), SshMount("s", "/s"), CacheMount("/c", "c"))
    assert keys.readers(RUN._replace(mounts=(*other, BIND, CACHE))) == [BIND, CACHE]
    assert keys.readers(File((Mkdir("/a"), COPY, Rm("/b"), COPY))) == [COPY, COPY]


def test_contexts_are_read_for_the_fast_key_and_results_are_not() -> None:
    op = RUN._replace(mounts=(BIND, BindMount("/b", 2), CACHE, BindMount("/c", 3)))
    found = ready(op, None, CONTEXT, STAGE, None)
    assert keys.fast_reads(found, op) == {0: BIND}
    assert fast(found, op) == [
        read_part("0: context", said(BIND)),
        Part("1: RUN", BASE),
        Part("2: RUN", BASE),
        Part("3: scratch", None),
    ]


def test_the_seed_of_a_cache_mount_is_never_read() -> None:
    """It matters when the cache is made, and not for the step's result."""
    op = RUN._replace(mounts=(CacheMount("/c", "c", input=0), CacheMount("/d", "d", input=1)))
    found = ready(op, CONTEXT, STAGE)
    parts = fast(found, op)
    assert keys.fast_reads(found, op) == keys.canonical_reads(found, op, parts) == {}
    assert parts == [Part("0: context", None), Part("1: RUN", BASE)]


def test_results_are_read_for_the_canonical_key() -> None:
    op = File((COPY._replace(input=0), COPY._replace(input=1), COPY._replace(input=2)))
    found = ready(op, CONTEXT, STAGE, None)
    parts = fast(found, op)
    # Contents that are there already are not read again; of scratch there is nothing to read.
    assert keys.canonical_reads(found, op, parts) == {1: op.actions[1]}
    whole = canonical(found, op, parts)
    assert whole == [parts[0], read_part("1: RUN", said(COPY._replace(input=1))), parts[2]]
    assert keys.canonical_reads(found, op, whole) == {}


def test_files_that_a_definition_spells_out_are_not_read() -> None:
    """Their key says all that their contents would: those of heredocs."""
    heredoc = Vertex(File((Mkdir("/a"),)))
    on_base = Vertex(File((Mkdir("/a"),)), (Vertex(RUN),))
    for source, is_read in ((heredoc, False), (on_base, True), (Vertex(RUN), True)):
        op = File((COPY,))
        found = ReadyVertex(Vertex(op, (None, source)), (None, STAGE))
        assert bool(keys.canonical_reads(found, op, fast(found, op))) == is_read


@pytest.mark.parametrize("input", [-1, 2])
def test_a_reader_of_an_input_that_is_not_there(input: int) -> None:
    """A graph from outside may be wrong."""
    for op in (File((COPY._replace(input=input),)), RUN._replace(mounts=(BindMount("/", input),))):
        with pytest.raises(DefinitionError, match=f"its input {input}"):
            keys.fast_reads(ready(op, None, CONTEXT), op)


@pytest.mark.parametrize(
    ("op", "inputs", "expected"),
    [
        (File((COPY,)), (None, CONTEXT), True),
        (File((COPY, COPY._replace(input=2))), (STAGE, CONTEXT, CONTEXT), True),
        (File((COPY,)), (None, STAGE), False),
        (File((COPY, COPY._replace(input=2))), (None, CONTEXT, STAGE), False),
        (File((COPY._replace(unpack=True),)), (None, CONTEXT), False),
        (File((COPY, Mkdir("/a"))), (None, CONTEXT), False),
        (File(()), (None, CONTEXT), False),
        (File((COPY,)), (CONTEXT,), False),
        (File((COPY._replace(input=0),)), (CONTEXT,), True),
        (File((COPY._replace(input=-1),)), (None, CONTEXT), False),
    ],
)
def test_copies_whose_key_may_be_made_while_they_are_copied(
    op: File, inputs: tuple[VertexResult | None, ...], expected: bool
) -> None:
    assert keys.reads_only_contexts(ready(op, *inputs), op) == expected


def test_mounts_that_are_results() -> None:
    """Only what a step may write to and asks to keep."""
    mounts = (BIND, TmpfsMount("/t"), BIND._replace(output=True), CACHE)
    assert keys.outputs(RUN._replace(mounts=mounts)) == [2]
    assert keys.outputs(File((COPY,))) == []


def test_names_of_parts() -> None:
    op = RUN._replace(mounts=(BindMount("/a", 0), BindMount("/b", 1), BindMount("/c", 2)))
    named = Vertex(File(()), (), Note("[build 1/2] COPY . ."))
    vertex = Vertex(op, (None, named, Vertex(RUN)))
    assert keys.part_names(vertex, op) == ["0: scratch", "1: [build 1/2] COPY . .", "2: Exec"]
    # A graph from outside may be wrong: asking for the input raises then.
    assert keys.part_names(Vertex(op), op) == ["0: scratch", "1: scratch", "2: scratch"]
