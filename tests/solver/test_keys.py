"""What the key of a vertex depends on, and what not: tables, without a disk."""

import json
from typing import Any

import pytest

from minibuild.cache.results import VertexResult
from minibuild.digest import DiffID, Digest, digest_bytes, digest_json, digest_strings
from minibuild.graph.op import (
    BindMount,
    Copy,
    Exec,
    File,
    Mkdir,
    Rm,
    SecretMount,
    SshMount,
    TmpfsMount,
    Ulimit,
)
from minibuild.graph.vertex import plain
from minibuild.solver import key_parts, keys
from minibuild.solver.keys import Contents, Part, read_part


def digest(name: str) -> Digest:
    return digest_bytes(name.encode())


BASE = digest("base")
OTHER = digest("other")
RUN = Exec(("sh", "-c", "make"), (("PATH", "/bin"),))
COPY = Copy(1, ("src",), "/app/")
FILES: Contents = ("/src/a\0file 0644 01", "/src/b\0file 0755 02")

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
