"""What the key of a vertex depends on, and what not: tables, without a disk."""

import json
from typing import Any

import pytest

from minibuild.cache.results import DiffKey, VertexResult
from minibuild.digest import DiffID, Digest, digest_bytes, digest_json, digest_strings
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
    Ulimit,
)
from minibuild.graph.vertex import Note, Vertex, plain
from minibuild.solver import key_parts, keys
from minibuild.solver.keys import Contents, Part, Reader, ReadyVertex, read_part


def digest(name: str) -> Digest:
    return digest_bytes(name.encode())


BASE = digest("base")
OTHER = digest("other")
RUN = Exec(("sh", "-c", "make"), (("PATH", "/bin"),))
COPY = Copy(1, ("src",), "/app/")
FILES: Contents = ("/src/a\0file 0644 01", "/src/b\0file 0755 02")


# --- step_key ---

CHANGES: list[tuple[Exec, dict[str, Any]]] = [
    (RUN, {"args": ("sh", "-c", "make all")}),
    (RUN, {"args": ("sh", "-c make")}),
    (RUN, {"env": (("PATH", "/sbin"),)}),
    (RUN, {"env": (("PATH", "/bin"), ("A", ""))}),
    (RUN, {"cwd": "/app"}),
    (RUN, {"user": "daemon"}),
    (RUN, {"mounts": (TmpfsMount("/tmp"),)}),
    (RUN, {"mounts": (SecretMount("id"),)}),
    (RUN, {"mounts": (SshMount("default", "/ssh"),)}),
    (RUN, {"network": "none"}),
    (RUN, {"security": "insecure"}),
    (RUN, {"hostname": "box"}),
    (RUN, {"add_hosts": (("box", "10.0.0.1"),)}),
    (RUN, {"shm_size_bytes": 1}),
    (RUN, {"ulimits": (Ulimit("nofile", 1, 2),)}),
]


@pytest.mark.parametrize(("op", "changes"), CHANGES, ids=[str(c) for _, c in CHANGES])
def test_all_that_a_process_sees_is_in_its_key(op: Exec, changes: dict[str, Any]) -> None:
    assert keys.step_key(op._replace(**changes), BASE, ()) != keys.step_key(op, BASE, ())


COPY_CHANGES: list[dict[str, Any]] = [
    {"input": 2},
    {"paths": ("src", "lib")},
    {"paths": ("lib",)},
    {"dest": "/app"},
    {"chown": "1:1"},
    {"chmod": "700"},
    {"keep_owner": True},
    {"unpack": True},
    {"parents": True},
]


@pytest.mark.parametrize("changes", COPY_CHANGES, ids=str)
def test_all_that_a_copy_does_is_in_its_key(changes: dict[str, Any]) -> None:
    part = read_part("", FILES)
    changed = File((COPY._replace(**changes),))
    assert keys.step_key(changed, BASE, [part]) != keys.step_key(File((COPY,)), BASE, [part])
    assert keys.shape_key(changed, BASE) != keys.shape_key(File((COPY,)), BASE)


@pytest.mark.parametrize("op", [RUN, File((Mkdir("/a"),))])
def test_the_base_is_in_the_key(op: Exec | File) -> None:
    """Without it a step would be found on whatever it was run on before."""
    found = {keys.step_key(op, base, ()) for base in (None, BASE, OTHER)}
    assert len(found) == 3


PARTS: list[list[Part]] = [
    [],
    [Part("a")],
    [Part("a", BASE)],
    [Part("a", OTHER)],
    [Part("a", BASE), Part("b", OTHER)],
    [Part("a", OTHER), Part("b", BASE)],
    [read_part("a", ())],
    [read_part("a", FILES)],
    [read_part("a", FILES[:1])],
    [read_part("a", ("/src/a\0file 0644 01", "/src/b\0file 0755 03"))],
    [read_part("a", ("/src/a\0file 0644 01", "/src/c\0file 0755 02"))],
    [read_part("a", ("/src/afile 0644 01\0", "/src/b\0file 0755 02"))],
]


def test_each_part_is_in_the_key_in_its_place() -> None:
    op = RUN._replace(mounts=(BindMount("/a", 1), BindMount("/b", 2)))
    assert len({keys.step_key(op, BASE, parts) for parts in PARTS}) == len(PARTS)


def test_a_name_of_a_part_is_for_people() -> None:
    """A stage that is called otherwise is no other stage."""
    one, other = read_part("0: [a 1/1] COPY", FILES), read_part("0: [b 1/1] COPY", FILES)
    assert keys.step_key(RUN, BASE, [one]) == keys.step_key(RUN, BASE, [other])


def test_what_is_left_out_counts_by_what_is_left() -> None:
    """Leaving out a file that was never there changes nothing."""
    without = File((COPY, COPY._replace(exclude=("*.o",))))
    read = [read_part("", FILES), read_part("", FILES)]
    assert keys.step_key(without, BASE, read) == keys.step_key(File((COPY, COPY)), BASE, read)
    # The key of an input says nothing of what of it is taken.
    unread = [read_part("", FILES), Part("", OTHER)]
    assert keys.step_key(without, BASE, unread) != keys.step_key(File((COPY, COPY)), BASE, unread)


def test_actions_between_copies_keep_their_place() -> None:
    """The parts of a File are those of its copies, in order."""
    op = File((Rm("/x"), COPY._replace(exclude=("a",)), Mkdir("/y"), COPY._replace(exclude=("b",))))
    mixed = [Part("", OTHER), read_part("", FILES)]
    first, second = op.actions[1], op.actions[3]
    assert isinstance(first, Copy) and isinstance(second, Copy)
    as_effective = File((Rm("/x"), first, Mkdir("/y"), second._replace(exclude=())))
    assert key_parts.explain(op, BASE, mixed)["op"] == plain(as_effective)
    assert keys.step_key(op, BASE, mixed) == keys.step_key(as_effective, BASE, mixed)


def test_versions_keep_keys_apart() -> None:
    """For a change of what a step means, and for defects that are shown (docs/lab.md)."""
    op, inputs = File((COPY,)), (VertexResult((), BASE), None)
    assert keys.step_key(op, BASE, ()) != keys.step_key(op, BASE, (), "2+lab")
    assert keys.shape_key(op, BASE) != keys.shape_key(op, BASE, "2+lab")
    assert keys.diff_key(inputs) != keys.diff_key(inputs, "2+lab")


def test_keys_are_those_of_other_builds() -> None:
    """A store and caches of other machines have them: a change here has all be done again, and
    goes with another `VERSION`."""
    part = read_part("", FILES)
    assert keys.VERSION == "2"
    assert part.identity == digest_strings([word for line in FILES for word in line.split("\0")])
    assert keys.step_key(RUN, BASE, [part, Part("")]) == digest_json(
        {"version": "2", "op": plain(RUN), "base": BASE, "parts": [part.identity, "scratch"]}
    )
    one, two = VertexResult((), BASE), VertexResult((), OTHER)
    assert keys.merge_key((one, None, two)) == digest_strings(
        ("merge", "2", BASE, "scratch", OTHER)
    )
    assert keys.diff_key((None, one)) == digest_strings(("diff", "2", "scratch", BASE))
    layers = [DiffID(BASE), DiffID(OTHER)]
    assert keys.image_key(layers) == digest_strings(("image", "2", BASE, OTHER))
    assert keys.mount_key(BASE, 1) == digest_strings(("mount", "2", BASE, "1"))
    shape = keys.step_key(File((COPY,)), BASE, [read_part("", ())])
    assert keys.shape_key(File((COPY,)), BASE) == digest_strings(("shape", shape))


def test_a_shape_is_that_of_all_contents_and_of_no_step() -> None:
    op = File((COPY, COPY._replace(exclude=("*.o",))))
    assert keys.shape_key(op, BASE) == keys.shape_key(File((COPY, COPY)), BASE)
    assert keys.shape_key(op, BASE) != keys.shape_key(op, None)
    assert keys.shape_key(op, BASE) != keys.step_key(op, BASE, [read_part("", ())] * 2)


def test_a_key_is_explained() -> None:
    """A later miss can say what changed: the op, the base, an input, or which file of one."""
    long = ("/a\0file 0644 " + "01" * 32,)
    told = key_parts.explain(RUN, BASE, [Part("0: stage", OTHER), read_part("1: context", long)])
    assert told == {
        "op": plain(RUN),
        "base": BASE,
        "parts": {"0: stage": OTHER, "1: context": {"/a": "file 0644 " + "01" * 8}},
    }


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1300])
def test_an_explanation_in_pieces(count: int) -> None:
    many = tuple(f"/é{n}\udc80\0file 0644 {n:064}" for n in range(count))
    parts = [Part("0: stage", OTHER), read_part("1: context", many), Part("2: scratch")]
    for some in (parts, parts[1:], []):
        pieces = list(key_parts.explain_json(RUN, BASE, some))
        assert json.loads("".join(pieces)) == key_parts.explain(RUN, BASE, some)
        assert max(map(len, pieces)) < 50_000


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("file 0644 " + "ab" * 32, "file 0644 " + "ab" * 8),
        ("file 0755 1000:1000 " + "ab" * 32, "file 0755 1000:1000 " + "ab" * 8),
        ("dir 0755", "dir 0755"),
        ("dir", "dir"),
        ("symlink ../a/long/target/of/a/link", "symlink ../a/long/target/of/a/link"),
        ("file 0644 hardlink another/name/of/it", "file 0644 hardlink another/name/of/it"),
        ("dir; file 0644 " + "ab" * 32, "dir; file 0644 " + "ab" * 8),
        ("file " + "01" * 32 + "; file " + "ab" * 32, "file " + "01" * 8 + "; file " + "ab" * 8),
        ("ab" * 32, "ab" * 8),
        # As long as a digest, and a name.
        ("symlink " + "target/x" * 8, "symlink " + "target/x" * 8),
    ],
)
def test_only_digests_are_cut(words: str, kept: str) -> None:
    """A mode, an owner or a target that changed must be seen; records of older versions keep the
    last 16 characters, which are the last of these as well."""
    assert key_parts.brief(words) == kept
    assert kept.endswith(words[-16:])


# --- A vertex whose inputs are solved ---

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


# --- Parts ---

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
    # A graph from outside may be wrong: that is told when the input is asked for.
    assert keys.part_names(Vertex(op), op) == ["0: scratch", "1: scratch", "2: scratch"]
