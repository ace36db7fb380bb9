"""LLB read: what is written again is what was read, and what we cannot do is refused by name."""

from collections.abc import Callable
from typing import Any

import pytest

from minibuild.buildkit.decode import decode
from minibuild.buildkit.encode import encode
from minibuild.buildkit.proto import messages
from minibuild.digest import digest_bytes
from minibuild.errors import DefinitionError, SourceText, Span
from minibuild.graph.op import (
    BindMount,
    CacheMount,
    Copy,
    CopyRules,
    Exec,
    File,
    Mkdir,
    Mkfile,
    MountOutput,
    Rm,
)
from minibuild.graph.state import Mount, diff, image, local, merge, scratch
from tests.buildkit.test_encode import RECORDED, SESSION, ops, vertex_of

TYPES = messages("ops")


@pytest.mark.parametrize("name", RECORDED)
def test_what_buildkit_writes_comes_back(name: str) -> None:
    case = RECORDED[name]
    text = "\n".join(case["dockerfile"]) + "\n"
    ignore = "*.log\n!keep.log\n/x/<y>&\n" if name == "ignored" else ""
    namespace = case["args"].get("BUILDKIT_CACHE_MOUNT_NS", "")
    source = SourceText("Dockerfile", text)
    written = encode(
        vertex_of(text, case["args"], ignore), SESSION, cache_namespace=namespace, source=source
    )
    again = encode(decode(written), SESSION, cache_namespace=namespace, source=source)
    assert ops(again) == ops(written)
    assert [digest_bytes(op).partition(":")[2] for op in ops(again)][:-1] == case["ops"]


def test_graphs_that_no_dockerfile_makes() -> None:
    base = image("busybox")
    mounts = [Mount("/in", local("src")), Mount("/out", scratch(), readonly=False)]
    ran = base.run("true", mounts=mounts)
    made = ran.get_mount("/out").symlink("/l", "t").rm("/x", missing_ok=True).mkfile("/f", b"d")
    result = merge([made, diff(base, ran), diff(scratch(), base), scratch().mkdir("/d")])
    written = encode(result.vertex, SESSION)
    assert ops(encode(decode(written), SESSION)) == ops(written)


def test_names_lines_and_wishes_are_kept() -> None:
    text = "FROM busybox\n\nRUN true\n"
    written = encode(vertex_of(text, {}), SESSION, source=SourceText("Dockerfile", text))
    for metadata in written.metadata.values():
        metadata.ignore_cache = True
    vertex = decode(written)
    assert vertex is not None and vertex.note.name == "[2/2] RUN true" and vertex.note.ignore_cache
    assert vertex.note.span is not None and vertex.note.span.first == 3
    written.metadata.clear()
    vertex = decode(written)
    assert vertex is not None and vertex.note.name == "/bin/sh -c true"


def test_a_cache_with_an_owner_is_one_mount() -> None:
    text = "FROM busybox\nRUN --mount=type=cache,target=/c,id=x,uid=5,mode=0700 true\n"
    vertex = decode(encode(vertex_of(text, {}), SESSION))
    assert vertex is not None and isinstance(vertex.op, Exec)
    assert vertex.op.mounts == (CacheMount("/c", "x", mode=0o700, uid=5, gid=0),)


def test_an_empty_definition_is_scratch() -> None:
    assert decode(TYPES["Definition"]()) is None


def definition(*given: Any) -> Any:
    """A definition of these ops, each with the ones before as its inputs."""
    made = TYPES["Definition"]()
    digests: list[str] = []
    for op in (*given, TYPES["Op"]()):
        if not op.inputs:
            for digest in digests[-1:] if op.WhichOneof("op") is None else digests:
                op.inputs.add(digest=digest)
        data = op.SerializeToString(deterministic=True)
        getattr(made, "def").append(data)
        digests.append(digest_bytes(data))
    return made


def placed(number: int, first: int, last: int) -> Any:
    """A definition of an op that is in these lines of a file of five, the one of a number."""
    made = definition(source())
    (digest, *_) = map(digest_bytes, getattr(made, "def"))
    made.Source.infos.add(filename="Dockerfile", data=b"1\n2\n3\n4\n5")
    place = made.Source.locations[digest].locations.add(sourceIndex=number)
    place.ranges.add(start={"line": first}, end={"line": last})
    return made


@pytest.mark.parametrize(
    ("place", "lines"),
    [
        ((0, 2, 3), (2, 3)),
        ((0, 4, (1 << 31) - 1), (4, 5)),
        ((0, 1 << 30, 1 << 30), (1 << 30, 1 << 30)),
        ((0, -(1 << 31), 3), None),
        ((-2, 2, 3), None),
        ((-1, 2, 3), None),
        ((1, 2, 3), None),
    ],
)
def test_places_are_of_files_that_are_there(
    place: tuple[int, int, int], lines: tuple[int, int] | None
) -> None:
    """And no longer than these: what is written of a graph has each line by itself."""
    vertex = decode(placed(*place))
    assert vertex is not None
    assert vertex.note.span == (lines and Span("Dockerfile", *lines))


def source(identifier: str = "docker-image://busybox", **attrs: str) -> Any:
    made = TYPES["Op"]()
    made.source.identifier = identifier
    made.source.attrs.update({key.replace("_", "."): value for key, value in attrs.items()})
    return made


def run(change: Callable[[Any], object] = lambda body: None) -> Any:
    made = TYPES["Op"]()
    made.exec.meta.args.append("true")
    made.exec.mounts.add(dest="/")
    change(made.exec)
    return made


def file(change: Callable[[Any], object]) -> Any:
    made = TYPES["Op"]()
    change(made.file)
    return made


def copying(body: Any, **flags: Any) -> None:
    copy = body.actions.add(secondaryInput=0, input=flags.pop("input", 0)).copy
    copy.src, copy.dest, copy.timestamp, copy.mode = "/a", "/b", -1, -1
    copy.createDestPath = True
    body.actions[-1].output = flags.pop("output", 0)
    for name, value in flags.items():
        if isinstance(value, list):
            getattr(copy, name).extend(value)
        else:
            setattr(copy, name, value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([source("s3://x")], "sources of the kind 's3' are not possible"),
        ([source(image_layerlimit="1")], "image.layerlimit of an image is not possible"),
        ([source("local://x", local_excludepatterns="{")], "are no list"),
        ([source("https://x/y", http_perm="rwx")], "makes no sense"),
        ([source(), run(lambda b: b.mounts.add(dest="/x", input=7))], "names input 7"),
        ([source(), run(lambda b: b.mounts.add(dest="/"))], "needs one root"),
        ([source(), run(lambda b: setattr(b.mounts[0], "selector", "/x"))], "needs one root"),
        ([source(), run(lambda b: b.cdiDevices.add(name="gpu"))], "devices of the host"),
        ([source(), run(lambda b: setattr(b, "network", 7))], "setting 7 that is not known"),
        ([source(), run(lambda b: setattr(b, "network", -1))], "setting -1 that is not known"),
        ([source(), run(lambda b: setattr(b, "security", -9))], "setting -9 that is not known"),
        ([source(), file(lambda b: b.SetInParent())], "a file op without an action"),
        ([source(), file(lambda b: copying(b, input=3))], "names input 3, and has 1"),
        ([source(), file(lambda b: copying(b, dest="/a\0"))], "file.*has a NUL character"),
        ([source(), run(lambda b: b.mounts.add(dest="/\0", input=-1))], "exec.*has a NUL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_possible_is_said(given: list[Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        decode(definition(*given))


@pytest.mark.parametrize(
    ("flags", "rules"),
    [
        ({}, CopyRules(follow=False, contents=False)),
        ({"createDestPath": False}, CopyRules(False, False, make_dest=False)),
        ({"followSymlink": True, "timestamp": 5}, CopyRules(True, False, time_ns=5)),
        ({"dirCopyContents": True, "include_patterns": ["x"]}, CopyRules(False, include=("x",))),
        ({"allowWildcard": True, "src": "/a*"}, CopyRules(False, False, allow_empty=False)),
        ({"alwaysReplaceExistingDestPaths": True}, CopyRules(False, False, replace=True)),
    ],
)
def test_flags_of_copies(flags: dict[str, Any], rules: CopyRules) -> None:
    written = definition(source(), file(lambda b: copying(b, **flags)))
    vertex = decode(written)
    assert vertex is not None and isinstance(vertex.op, File)
    (copy,) = vertex.op.actions
    assert isinstance(copy, Copy) and copy.rules == rules
    assert vertex.inputs[0] == vertex.inputs[1]
    again = decode(encode(vertex, SESSION))
    assert again is not None and again.op == vertex.op


def test_a_file_may_have_any_bytes() -> None:
    def made(body: Any) -> None:
        mkfile = body.actions.add(input=0, output=0).mkfile
        mkfile.path, mkfile.data = "/a", b"x\0y"

    vertex = decode(definition(source(), file(made)))
    assert vertex is not None and isinstance(vertex.op, File)
    assert vertex.op.actions[0] == Mkfile("/a", b"x\0y", 0, time_ns=0)


def test_a_net_of_actions() -> None:
    """Two outputs, one of them copied from a directory that another action made."""

    def net(body: Any) -> None:
        made = body.actions.add(input=-1, secondaryInput=-1, output=-1).mkdir
        made.path, made.timestamp = "/d", -1
        copying(body, input=0, output=0)
        body.actions[1].secondaryInput = 1
        more = body.actions.add(input=1, secondaryInput=-1, output=1).rm
        more.path = "/d"

    made = definition(source(), file(net))
    vertex = decode(made)
    assert vertex is not None and isinstance(vertex.op, File) and len(vertex.op.actions) == 1
    assert vertex.inputs[1] is not None
    assert vertex.inputs[1].op == File((Mkdir("/d", 0, parents=False),))
    last = TYPES["Op"]()
    last.inputs.add(digest=digest_bytes(getattr(made, "def")[1]), index=1)
    getattr(made, "def")[2] = last.SerializeToString(deterministic=True)
    vertex = decode(made)
    assert vertex is not None
    assert vertex.op == File((Mkdir("/d", 0, parents=False), Rm("/d")))


def test_roots_that_are_read_and_mounts_that_are_results() -> None:
    """The outputs of a step are numbered, and its root need not be one."""
    vertex = decode(definition(source(), run(lambda b: b.mounts.add(dest="/x", output=1))))
    assert vertex is not None and isinstance(vertex.op, Exec)
    assert vertex.op.mounts == (BindMount("/x", 1, readonly=False, output=True),)

    def reading(body: Any) -> None:
        body.mounts[0].readonly, body.mounts[0].output = True, -1
        body.mounts.add(dest="/x", input=-1)
        body.meta.validExitCodes.extend([0, 7])

    vertex = decode(definition(source(), run(reading)))
    assert vertex is not None and vertex.op == MountOutput(0)
    (step,) = vertex.inputs
    assert step is not None and isinstance(step.op, Exec)
    assert step.op.readonly and step.op.exit_codes == (0, 7)
    again = decode(encode(vertex, SESSION))
    assert again is not None and again.inputs[0] == step


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x03abc"], ids=["bytes", "an unknown input"])
def test_broken_ops(data: bytes) -> None:
    made = TYPES["Definition"]()
    getattr(made, "def").append(data)
    with pytest.raises(DefinitionError):
        decode(made)


def test_a_result_that_waits_for_others() -> None:
    """A passthrough hands on some inputs, and is there once all are."""
    through = TYPES["Op"]()
    through.passthrough.outputs.extend([1, 0])
    first, second = source(), source("docker-image://other")
    made = definition(first, second, through)
    vertex = decode(made)
    assert vertex is not None and vertex.op == File(())
    handed, *waited = [v.op for v in vertex.inputs if v is not None]
    assert handed.ref == "other" and {op.ref for op in waited} == {"busybox", "other"}  # type: ignore[union-attr]


def test_settings_of_steps() -> None:
    """Targets stand below the working directory; proxies have both names."""

    def body(exec_op: Any) -> None:
        exec_op.meta.cwd = "/w"
        exec_op.meta.proxy_env.all_proxy = "p"
        exec_op.mounts.add(dest="../x/", input=-1, output=-1)

    vertex = decode(definition(source(), run(body)))
    assert vertex is not None and isinstance(vertex.op, Exec)
    assert vertex.op.mounts == (BindMount("/x", 1, readonly=False),)
    assert vertex.note.proxy == (("all_proxy", "p"), ("ALL_PROXY", "p"))
