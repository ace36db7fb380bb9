"""What the caller asks for, and the steps that are made of it."""

from typing import Any

import pytest
from minibuild_dockerfile.errors import DockerfileError

from minibuild.errors import BuildError
from minibuild.graph.frontend import (
    Finding,
    ImageContext,
)
from minibuild.graph.op import (
    CacheMount,
    Exec,
    File,
    ImageSource,
    Merge,
    TmpfsMount,
    Ulimit,
)
from tests.minibuild_dockerfile.converted import (
    AMD64,
    ARM64,
    build,
    image,
    last_exec,
    ops,
    vertices,
)

# --- what the caller asks for -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "entitlement"),
    [("--network=host", "network.host"), ("--security=insecure", "security.insecure")],
)
def test_entitlements(flag: str, entitlement: str) -> None:
    text = f"FROM busybox\nRUN {flag} x\n"
    with pytest.raises(DockerfileError, match=f"{entitlement} is not allowed") as caught:
        build(text)
    assert f"--allow {entitlement}" in caught.value.hint
    assert last_exec(text, allow=frozenset({entitlement}))


def test_a_step_gets_no_device() -> None:
    """That is no error of a stage that is not built."""
    text = "FROM busybox AS a\nRUN --device=x,required y\nFROM busybox AS b\nRUN z\n"
    assert last_exec(text)
    with pytest.raises(DockerfileError, match="device feature is only supported in"):
        build(text.replace("AS b", "AS b\nCOPY --from=a / /"))


def test_network_of_the_whole_build() -> None:
    text = "FROM busybox\nRUN a\nRUN --network=default b\nRUN --network=none c\n"
    with pytest.raises(DockerfileError, match=r"network\.host is not allowed"):
        build(text, network="host")
    found = ops(Exec, text, network="host", allow=frozenset({"network.host"}))
    assert [op.network for op in found] == ["host", "host", "none"]


def test_what_goes_to_every_run() -> None:
    found = last_exec(
        "FROM busybox\nUSER u:g\nWORKDIR /w\nRUN x\n",
        add_hosts=(("a", "1.2.3.4"),),
        shm_size_bytes=5,
        ulimits=(Ulimit("nofile", 1, 2),),
        build_args={"BUILDKIT_SANDBOX_HOSTNAME": "box"},
    )
    assert (found.user, found.cwd, found.hostname) == ("u:g", "/w", "box")
    assert (found.add_hosts, found.shm_size_bytes) == ((("a", "1.2.3.4"),), 5)
    assert found.ulimits == (Ulimit("nofile", 1, 2),)


@pytest.mark.parametrize(("option", "readonly"), [("", False), (",ro", True), (",ro=false", False)])
def test_a_mount_of_memory_may_be_readonly(option: str, readonly: bool) -> None:
    text = f"FROM busybox\nRUN --mount=type=tmpfs,target=/t,size=1k{option} x\n"
    assert last_exec(text).mounts == (TmpfsMount("/t", 1024, readonly),)


def test_cache_mounts_are_kept_apart_by_a_namespace() -> None:
    text = "FROM busybox\nRUN --mount=type=cache,target=/c x\n"
    (mount,) = last_exec(text, build_args={"BUILDKIT_CACHE_MOUNT_NS": "ns"}).mounts
    assert isinstance(mount, CacheMount) and mount.id == "ns//c"


@pytest.mark.parametrize("target", ["", ",target=", ",target=$UNSET", ",dst=${UNSET}", ",target=."])
@pytest.mark.parametrize("kind", ["type=bind", "type=tmpfs", "type=cache", "type=cache,id=i"])
def test_a_mount_without_a_target_is_at_the_working_directory(kind: str, target: str) -> None:
    text = f"FROM busybox\nWORKDIR /w/./x\nRUN --mount={kind}{target} y\n"
    (mount,) = last_exec(text).mounts
    assert mount.target == "/w/x"


@pytest.mark.parametrize(
    ("options", "id"),
    [
        ("target=", "."),
        ("target=$UNSET", "."),
        ("target=//a//b/", "/a/b"),
        ("target=a/../b", "b"),
        ("target=,id=", "."),
        ("target=,id=a//b", "a//b"),
    ],
)
def test_the_id_of_a_cache_is_its_target_as_written(options: str, id: str) -> None:
    text = f"FROM busybox\nWORKDIR /w\nRUN --mount=type=cache,{options} x\n"
    (mount,) = last_exec(text).mounts
    assert isinstance(mount, CacheMount) and mount.id == id


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ARG A=${A:?said}\nFROM busybox:$A\n", "1"),
        ("ARG A=${A:?said}\nFROM busybox$A\n", ""),
        ("ARG A=${A?said}\nARG B=$A\nFROM busybox:${B:?said}\n", "1"),
        ("ARG A\nFROM busybox:${A:?said}\n", "1"),
    ],
)
def test_a_required_default_does_not_matter_when_the_argument_is_given(
    text: str, value: str
) -> None:
    found: list[Finding] = []
    build(text, warn=found.append, build_args={"A": value})
    assert found == []


@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        ({}, []),
        ({"no_cache_all": True}, ["a", "b"]),
        ({"no_cache": frozenset({"ONE"})}, ["a"]),
        ({"no_cache": frozenset({"stage-1"})}, ["b"]),
    ],
)
def test_no_cache(request_fields: dict[str, Any], expected: list[str]) -> None:
    text = "FROM busybox AS one\nRUN a\nFROM one\nRUN b\n"
    found = [v for v in vertices(text, **request_fields) if v.note.ignore_cache]
    assert [v.op.args[-1] for v in found if isinstance(v.op, Exec)] == expected


def test_one_image_for_each_platform() -> None:
    result = build("FROM busybox\nRUN x\n", platforms=(AMD64, ARM64), multi_platform=True)
    assert [built.platform for built in result.images] == [AMD64, ARM64]
    assert [built.config.platform for built in result.images] == [AMD64, ARM64]
    names = [built.vertex.note.name for built in result.images if built.vertex]
    assert names == ["[linux/amd64 2/2] RUN x", "[linux/arm64 2/2] RUN x"]


# --- steps --------------------------------------------------------------------------------------


def test_a_link_does_not_depend_on_the_stage() -> None:
    def copies(base: str) -> set[str]:
        text = f"FROM {base}\nRUN x\nCOPY --link a /a\nCOPY --link b /b\n"
        found = vertices(text, {"other": {}})
        return {v.digest for v in found if isinstance(v.op, File)}

    assert copies("busybox") == copies("other")


def test_links_are_one_flat_merge() -> None:
    text = "FROM busybox AS s\nCOPY --link a /\nFROM s\nCOPY --link b /\nCOPY --link c /\n"
    (merged,) = [v for v in vertices(text) if isinstance(v.op, Merge)]
    kinds = [type(v.op) for v in merged.inputs if v is not None]
    assert kinds == [ImageSource, File, File, File]


def test_notes_say_where_a_step_is() -> None:
    text = "FROM busybox AS s\n\nRUN a && \\\n  b\nCOPY x /\n"
    found = vertices(text)
    run = next(v for v in found if isinstance(v.op, Exec))
    assert run.note.span is not None
    assert (run.note.span.first, run.note.span.last, run.note.stage) == (3, 4, "s")
    assert run.note.name == "[2/3] RUN a &&   b"


def test_names_have_room_for_all_numbers() -> None:
    text = "FROM busybox\n" + "RUN x\n" * 9
    names = [v.note.name for v in vertices(text)]
    assert names[1] == "[ 2/10] RUN x"
    assert names[-1] == "[10/10] RUN x"


def test_triggers_of_an_image_run_once() -> None:
    images = {"base": {"config": {"OnBuild": ["ARG A=1", "RUN t"]}}}
    text = "FROM base AS one\nRUN x\nFROM one\nRUN y\n"
    assert [op.args[-1] for op in ops(Exec, text, images)] == ["t", "x", "y"]
    assert "OnBuild" not in image(text, images).config


def test_a_trigger_may_need_a_stage_nobody_else_needs() -> None:
    images = {"base": {"config": {"OnBuild": ["COPY --from=payload /p /p"]}}}
    text = "FROM busybox AS payload\nRUN make-payload\nFROM base\n"
    assert [op.args[-1] for op in ops(Exec, text, images)] == ["make-payload"]


def test_an_image_that_only_names_the_place_of_inline_files_has_to_exist() -> None:
    with pytest.raises(BuildError, match="nosuch: not found"):
        build("FROM scratch\nCOPY --from=nosuch <<f /\nf\n")


def test_errors_of_triggers_point_at_from() -> None:
    images = {"base": {"config": {"OnBuild": ["COPY --from=nowhere /p /p"]}}}
    with pytest.raises(BuildError) as caught:
        build("ARG A\nFROM base\n", images)
    assert caught.value.span is not None and caught.value.span.first == 2


def test_build_arguments_that_nothing_takes() -> None:
    text = "ARG A\nFROM busybox AS b\nARG B\nFROM trigger\n"
    images = {"trigger": {"config": {"OnBuild": ["ARG C"]}}}
    taken = {"A": "", "B": "", "C": "", "http_proxy": "", "BUILDKIT_X": "", "TARGETOS": ""}
    findings: list[Finding] = []
    build(text, images, findings.append, build_args=taken)
    assert findings == []
    build(text, images, findings.append, build_args={**taken, "BB": "", "UNHEARD": ""})
    (found,) = findings
    assert found.message == (
        "[Warning] One or more build-args [BB UNHEARD] were not consumed (did you mean B?)"
    )
    build("# check=error=true\nFROM busybox\n", build_args={"X": ""})


def test_a_named_context_may_be_empty() -> None:
    contexts = {"base": ImageContext("docker-image://scratch")}
    made = build("FROM base\nCOPY a /b\n", contexts=contexts).images[0]
    assert made.vertex is not None and made.vertex.inputs[0] is None
