"""Converting: names, scopes, contexts, permissions, and the errors that need more than one line."""

from collections.abc import Mapping
from typing import Any

import pytest
from minibuild_dockerfile.convert import convert
from minibuild_dockerfile.errors import DockerfileError

from minibuild.errors import BuildError, DefinitionError, RegistryError, SourceText
from minibuild.graph.frontend import (
    Finding,
    FrontendRequest,
    FrontendResult,
    ImageContext,
    LocalContext,
    RemoteContext,
    Warn,
    ignore_findings,
)
from minibuild.graph.image import ImageConfig
from minibuild.graph.op import (
    CacheMount,
    Copy,
    Exec,
    File,
    GitSource,
    HttpSource,
    ImageSource,
    LocalSource,
    Merge,
    TmpfsMount,
    Ulimit,
)
from minibuild.graph.platform import Platform, parse_platform
from minibuild.graph.vertex import IgnoreRules, Vertex, topological
from tests.support.resolver import DEFAULT_PATH, FakeResolver

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


def build(
    text: str,
    images: Mapping[str, Mapping[str, Any]] | None = None,
    warn: Warn = ignore_findings,
    **request: Any,
) -> FrontendResult:
    request.setdefault("platforms", (AMD64,))
    return convert(
        FrontendRequest(SourceText("Dockerfile", text), build_platform=AMD64, **request),
        FakeResolver(images),
        warn,
    )


def image(text: str, images: Any = None, **request: Any) -> ImageConfig:
    return build(text, images, **request).images[0].config


def vertices(text: str, images: Any = None, **request: Any) -> list[Vertex]:
    return topological(built.vertex for built in build(text, images, **request).images)


def ops(kind: type[Any], text: str, images: Any = None, **request: Any) -> list[Any]:
    return [v.op for v in vertices(text, images, **request) if isinstance(v.op, kind)]


def last_exec(text: str, images: Any = None, **request: Any) -> Exec:
    found: Exec = ops(Exec, text, images, **request)[-1]
    return found


def created_by(text: str, images: Any = None, **request: Any) -> list[str]:
    """The history that the Dockerfile itself adds."""
    entries = image(text, images, **request).history
    return [entry.get("created_by", "") for entry in entries[1:]]


# --- history ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("ENV A=b 'C'=\"d e\"", "ENV A=b C=d e"),
        ('CMD ["a\\tb", "\\u00e9", "\\u200b", "q\\"\\\\"]', r'CMD ["a\tb" "é" "\u200b" "q\"\\"]'),
        ("CMD []", "CMD []"),
        ("ENTRYPOINT a  b", 'ENTRYPOINT ["/bin/sh" "-c" "a  b"]'),
        ("EXPOSE 90 80/UDP 80-81", "EXPOSE [80/tcp 80/udp 81/tcp 90/tcp]"),
        ("EXPOSE 127.0.0.1:8080:80", "EXPOSE [80/tcp]"),
        ("VOLUME a /b", "VOLUME [a /b]"),
        ("STOPSIGNAL rtmin+3", "STOPSIGNAL rtmin+3"),
        ("WORKDIR a/../b", "WORKDIR /b"),
        ("RUN", "RUN /bin/sh -c  # buildkit"),
        ('RUN ["a", "b c"]', "RUN a b c # buildkit"),
        (
            "COPY --chmod=1 --chown=2 --exclude=x a b /c",
            "COPY --chown=2 --chmod=1 a b /c # buildkit",
        ),
        (
            'HEALTHCHECK --start-period=1h CMD ["a", "b"]',
            "HEALTHCHECK {Test:[CMD a b] Interval:0s Timeout:0s StartPeriod:1h0m0s "
            "StartInterval:0s Retries:0}",
        ),
    ],
)
def test_created_by(instruction: str, expected: str) -> None:
    assert created_by(f"FROM busybox\n{instruction}\n") == [expected]


def test_history_entries_are_marked_and_undated() -> None:
    history = image("FROM busybox\nENV A=1\nRUN x\n").history
    assert history[0] == {"created_by": "made busybox"}
    assert history[1] == {
        "created_by": "ENV A=1",
        "comment": "buildkit.dockerfile.v0",
        "empty_layer": True,
    }
    assert "empty_layer" not in history[2]


def test_build_arguments_are_counted_once_and_shown_with_their_last_value() -> None:
    text = "FROM busybox\nARG A=1 B\nARG A=2\nENV B=env\nRUN x\n"
    assert created_by(text)[-1] == "RUN |2 A=2 B=env /bin/sh -c x # buildkit"


# --- config -------------------------------------------------------------------------------------


def test_scratch_has_a_path_and_a_root() -> None:
    config = image("FROM scratch\n")
    assert config.config == {"Env": [f"PATH={DEFAULT_PATH}"], "WorkingDir": "/"}
    assert config.history == ()


def test_what_a_base_brings_is_kept_but_not_when_it_was_made() -> None:
    base = {
        "config": {"Env": ["A=1"], "Labels": {"x": "y"}, "OnBuild": [], "Cmd": ["a"]},
        "created": "2020-01-01T00:00:00Z",
        "author": "somebody",
        "container_config": {"old": True},
        "os.version": "1.2",
    }
    config = image("FROM base\n", {"base": base})
    assert config.config == {
        "Env": ["A=1", f"PATH={DEFAULT_PATH}"],
        "Labels": {"x": "y"},
        "Cmd": ["a"],
    }
    assert (config.created, config.author, config.extra) == ("", "somebody", {})
    assert config.platform == Platform("linux", "amd64", os_version="1.2")


@pytest.mark.parametrize(
    ("base", "wanted", "implicit", "made_for"),
    [
        (("linux", "amd64", ""), "linux/arm64", False, "linux/arm64"),
        (("linux", "amd64", ""), "linux/arm64", True, "linux/amd64"),
        (("linux", "amd64", "v2"), "linux/amd64", False, "linux/amd64/v2"),
        (("linux", "amd64", "v2"), "linux/arm64", False, "linux/arm64"),
        (("linux", "arm64", "v8"), "linux/arm64", True, "linux/arm64"),
        (("linux", "arm", "v6"), "linux/arm/v7", False, "linux/arm/v7"),
        (("windows", "amd64", "", "10.0.1"), "windows/amd64", False, "windows(10.0.1)/amd64"),
        (
            ("windows", "amd64", "", "10.0.1"),
            "windows(10.0.2)/amd64",
            True,
            "windows(10.0.1)/amd64",
        ),
        (
            ("windows", "amd64", "", "10.0.1"),
            "windows(10.0.2)/amd64",
            False,
            "windows(10.0.2)/amd64",
        ),
    ],
)
def test_the_platform_of_the_image(
    base: tuple[str, ...], wanted: str, implicit: bool, made_for: str
) -> None:
    """What was asked for, whatever the base is for; if nothing was, what the base is for."""
    members = dict(zip(("os", "architecture", "variant", "os.version"), base, strict=False))
    made = image(
        "FROM base\n",
        {"base": members},
        platforms=(parse_platform(wanted),),
        implicit_platform=implicit,
    )
    assert str(made.platform) == made_for


WINDOWS = """# escape=`
FROM scratch
ARG TARGETPLATFORM
ARG TARGETOSVERSION
WORKDIR C:\\app\\.\\x\\
WORKDIR ..\\y
COPY a\\b c:\\dir\\
COPY --link . .
CMD run $TARGETPLATFORM
ENTRYPOINT ["e.exe"]
"""


def test_an_image_of_windows() -> None:
    """Its shell, its paths and the version of its system; no PATH, which Windows has itself."""
    platform = parse_platform("windows(10.0.17763)/amd64")
    made = image(WINDOWS, platforms=(platform,))
    assert made.platform == platform
    assert made.config == {
        "WorkingDir": "\\app\\y",
        "Cmd": ["cmd", "/S", "/C", "run $TARGETPLATFORM"],
        "ArgsEscaped": True,
        "Entrypoint": ["e.exe"],
    }
    assert [entry.get("created_by", "") for entry in made.history][:4] == [
        "ARG TARGETPLATFORM=windows(10.0.17763)/amd64",
        "ARG TARGETOSVERSION=10.0.17763",
        "WORKDIR /app/x",
        "WORKDIR /app/y",
    ]
    copies = [op.actions[0] for op in ops(File, WINDOWS, platforms=(platform,)) if op.actions]
    assert [(c.paths, c.dest) for c in copies if isinstance(c, Copy)] == [
        (("a/b",), "/dir/"),
        ((".",), "/app/y/"),
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [("d:\\x", "not on the system drive"), ("C:", "no relative path"), ("\\\\host\\x", "UNC")],
)
def test_paths_that_no_image_of_windows_has(path: str, message: str) -> None:
    for text in (f"WORKDIR {path}", f"COPY a {path}", f"COPY {path} a"):
        with pytest.raises(DockerfileError, match=message):
            build(f"# escape=`\nFROM scratch\n{text}\n", platforms=(Platform("windows", "amd64"),))


def test_entrypoint_drops_the_command_of_the_base_only() -> None:
    base = {"base": {"config": {"Cmd": ["inherited"]}}}
    assert "Cmd" not in image('FROM base\nENTRYPOINT ["e"]\n', base).config
    assert image('FROM base\nCMD ["own"]\nENTRYPOINT ["e"]\n', base).config["Cmd"] == ["own"]


def test_stages_do_not_share_what_they_change() -> None:
    text = "FROM busybox AS a\nENV X=1\nLABEL l=1\nFROM a AS b\nENV X=2\nLABEL l=2\nFROM a\n"
    assert image(text).config["Labels"] == {"l": "1"}
    assert image(text, target="b").config["Labels"] == {"l": "2"}


def test_labels_of_the_caller_win() -> None:
    assert image("FROM busybox\nLABEL a=1 b=2\n", labels={"a": "x"}).config["Labels"] == {
        "a": "x",
        "b": "2",
    }


# --- variables ----------------------------------------------------------------------------------


def test_environment_of_a_run() -> None:
    text = "ARG G=global\nFROM busybox\nARG G\nARG U\nENV E=$G-$U\nARG E=arg\nRUN x\n"
    assert dict(last_exec(text).env) == {"PATH": DEFAULT_PATH, "G": "global", "E": "arg"}


def test_a_child_stage_sees_arguments_but_env_wins_there() -> None:
    text = "FROM busybox AS a\nENV X=env\nARG X=arg Y=arg\nFROM a\nRUN x\n"
    assert dict(last_exec(text).env) == {"PATH": DEFAULT_PATH, "X": "env", "Y": "arg"}


def test_proxies_ride_along_unhashed() -> None:
    text = "FROM busybox\nRUN x\n"
    plain = vertices(text)[-1]
    proxied = vertices(text, build_args={"HTTP_PROXY": "http://p", "no_proxy": "n"})[-1]
    assert proxied.digest == plain.digest
    assert dict(proxied.note.proxy) == {
        "HTTP_PROXY": "http://p",
        "http_proxy": "http://p",
        "NO_PROXY": "n",
        "no_proxy": "n",
    }


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        (AMD64, {"TARGETPLATFORM": "linux/amd64", "TARGETVARIANT": "", "BUILDARCH": "amd64"}),
        (
            Platform("linux", "arm", "v7"),
            {"TARGETPLATFORM": "linux/arm/v7", "TARGETVARIANT": "v7", "BUILDARCH": "amd64"},
        ),
    ],
)
def test_platform_arguments(platform: Platform, expected: dict[str, str]) -> None:
    text = "FROM busybox\nARG TARGETPLATFORM TARGETVARIANT BUILDARCH\nRUN x\n"
    env = dict(last_exec(text, platforms=(platform,)).env)
    assert {name: env[name] for name in expected} == expected


def test_epoch_has_to_be_a_number() -> None:
    build("FROM scratch\n", build_args={"SOURCE_DATE_EPOCH": "1700000000"})
    with pytest.raises(DefinitionError, match="invalid SOURCE_DATE_EPOCH: tomorrow"):
        build("FROM scratch\n", build_args={"SOURCE_DATE_EPOCH": "tomorrow"})


# --- stages -------------------------------------------------------------------------------------


def test_only_needed_images_are_asked_for_and_each_once() -> None:
    resolver = FakeResolver({"other": {}})
    text = (
        "FROM busybox AS a\nFROM nowhere AS b\nFROM busybox AS c\nCOPY --from=other /x /x\n"
        "COPY --from=other /y /y\nCOPY --from=a /z /z\n"
    )
    request = FrontendRequest(SourceText("Dockerfile", text), (AMD64,), AMD64)
    convert(request, resolver)
    assert sorted(name for name, _ in resolver.asked) == ["busybox", "other"]


def test_a_stage_is_found_by_number_and_by_name_in_any_case() -> None:
    for reference in ("0", "Build", "bUILD"):
        text = f"FROM busybox AS build\nRUN x\nFROM scratch\nCOPY --from={reference} /a /b\n"
        assert len(ops(Exec, text)) == 1


def test_of_stages_with_one_name_copy_means_the_last_and_from_the_last_above() -> None:
    text = (
        "FROM busybox AS s\nRUN one\nFROM busybox AS s\nRUN two\nFROM s AS u\n"
        "FROM busybox AS t\nCOPY --from=s /a /\nFROM u\n"
    )
    assert [op.args[-1] for op in ops(Exec, text)] == ["two"]
    assert [op.args[-1] for op in ops(Exec, text, target="t")] == ["two"]
    with pytest.raises(DockerfileError, match='copy from stage "s", it needs to be defined'):
        build(text + "FROM busybox AS s\n", target="t")


def test_what_is_wrong_with_a_stage_that_nobody_needs() -> None:
    build("FROM busybox AS a\nCOPY --from=b /a /\nFROM nowhere AS b\nFROM busybox\n")
    for wrong, message in (
        (
            "FROM busybox AS a\nCOPY --from=b / /\nFROM busybox AS b\nCOPY --from=a / /\n",
            "circular",
        ),
        ("FROM upper/Case AS a\n", "must be lowercase"),
        ("FROM busybox AS a\nCOPY --from=Bad / /\n", "must be lowercase"),
        ("FROM busybox AS a\nRUN --mount=from=Bad,target=/m x\n", "must be lowercase"),
        ("FROM busybox AS a\nCOPY --from=$x / /\n", "variable expansion is not supported"),
    ):
        with pytest.raises(DockerfileError, match=message):
            build(wrong + "FROM busybox\n")


def test_names_of_arguments_are_not_expanded() -> None:
    text = "ARG X=y\nFROM busybox\nARG X\nARG $X=1\nLABEL l=$y\n"
    assert image(text).config["Labels"] == {"l": ""}


@pytest.mark.parametrize(
    ("last", "target", "stage"),
    [("busybox", "", "default"), ("busybox AS End", "", "end"), ("busybox AS x", "a", "a")],
)
def test_targetstage(last: str, target: str, stage: str) -> None:
    step = "ARG TARGETSTAGE\nLABEL l=$TARGETSTAGE\n"
    found = image(f"FROM busybox AS a\n{step}FROM {last}\n{step}", target=target)
    assert found.config["Labels"] == {"l": stage}


@pytest.mark.parametrize("target", ["first", "FIRST"])
def test_target(target: str) -> None:
    text = "FROM busybox AS First\nENV A=1\nFROM nowhere\n"
    assert "A=1" in image(text, target=target).config["Env"]


def test_unknown_target_names_what_was_meant() -> None:
    with pytest.raises(DefinitionError) as caught:
        build("FROM busybox AS release\n", target="relaese")
    assert caught.value.message == (
        'target stage "relaese" could not be found (did you mean release?)'
    )
    assert caught.value.source is not None


def test_an_image_that_resembles_a_stage() -> None:
    text = "FROM busybox AS builder\nFROM scratch\nCOPY --from=bilder /a /a\n"
    with pytest.raises(RegistryError, match=r"did you mean builder\?") as caught:
        build(text)
    assert caught.value.span is not None and caught.value.span.first == 3


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("FROM busybox\nCOPY --from=1 /a /\n", "invalid stage index 1", 2),
        ("FROM busybox\nCOPY --from=-1 /a /\n", "invalid stage index -1", 2),
        ("FROM busybox\nCOPY --from=0 /a /\n", "circular dependency", 2),
        ("FROM busybox AS a\nCOPY --from=b /a /\nFROM busybox AS b\nFROM a\n", "needs to be", 2),
        (
            "FROM busybox AS a\nRUN --mount=from=b,target=/b x\nFROM busybox AS b\nFROM a\n",
            "before",
            2,
        ),
        ("FROM busybox\nADD --keep-git-dir https://h/a.git?keep-git-dir=0 /\n", "inconsistent", 2),
        ("FROM Upper\n", "must be lowercase", 1),
        ("FROM busybox:\n", "invalid reference format", 1),
        ("ARG A\nFROM $A\n", r"base name \(\$A\) should not be blank", 2),
        ("FROM --platform=$NO busybox\n", "empty platform value", 1),
        ("FROM --platform=linux/amd(64) busybox\n", "failed to parse platform", 1),
        ("FROM --platform=linux/\udce9 busybox\n", "the Dockerfile is not UTF-8 here", 1),
        ("FROM busybox\nADD --checksum=sha256:0 http://h/a http://h/b /\n", "multiple sources", 2),
        ("FROM busybox\nADD --checksum=md5:0 http://h/a /\n", "invalid checksum", 2),
        ("FROM busybox\nCOPY http://h/a /\n", "source can't be a URL for COPY", 2),
        ("FROM busybox\nCOPY https://h/a.git /\n", "source can't be a git ref for COPY", 2),
        ("FROM busybox\nADD https://h/a.git?branch=x&tag=y /\n", "conflict", 2),
        ("FROM busybox\nADD https://h/a.git?brunch=x /\n", "unexpected query", 2),
        ("FROM busybox\nADD http://[h/a /\n", "invalid URL", 2),
        ("FROM busybox\nCOPY --from=" + "9" * 5000 + " a /\n", "invalid stage index", 2),
        ("FROM busybox\nEXPOSE " + "9" * 5000 + "\n", "invalid containerPort", 2),
        ("FROM busybox\nRUN --mount=target=.. x\n", "invalid mount target", 2),
        ("FROM busybox\nRUN --mount=target=/ x\n", "invalid mount target", 2),
        ("FROM busybox\nRUN --mount=type=tmpfs x\n", "invalid mount target", 2),
        ("FROM busybox\nRUN --mount=type=cache,target=$NO x\n", "invalid mount target", 2),
        ("ARG A=${A:?said}\nFROM busybox\n", "A: said", 1),
        ("FROM busybox\nCOPY --chmod=u+z a /\n", "invalid syntax", 2),
        ("FROM busybox\nCOPY --chmod=8 a /\n", "should be octal", 2),
        ("FROM busybox\nCOPY --link --chown=1:4294967296 a /\n", "invalid user index: -1", 2),
        ("FROM busybox\nCOPY --link --chown=1:staff a /\n", "invalid user index: -1", 2),
        ("FROM busybox\nVOLUME $NOTHING\n", "can not be an empty string", 2),
        ("FROM busybox\nEXPOSE 80/icmp\n", "invalid proto: icmp", 2),
        ("FROM busybox\nEXPOSE 9-8\n", "invalid containerPort: 9-8", 2),
        ("FROM busybox\nSTOPSIGNAL SIGTREM\n", "invalid signal: SIGTREM .did you mean SIGTERM", 2),
        ("# check=skip\nFROM busybox\n", 'invalid check option "skip"', 1),
    ],
)
def test_errors_name_the_line(text: str, message: str, line: int) -> None:
    with pytest.raises(DockerfileError, match=message) as caught:
        build(text)
    assert caught.value.span is not None
    assert caught.value.span.first == line


def test_errors_of_stages_that_are_not_needed() -> None:
    """A wrong --from is wrong everywhere; anything that has to be looked up is not looked up."""
    build("FROM nowhere AS a\nRUN --mount=type=floppy x\nFROM busybox\n")
    with pytest.raises(DockerfileError, match="invalid stage index 9"):
        build("FROM busybox\nCOPY --from=9 /a /\nFROM busybox\n")


def test_a_thousand_stages_are_no_recursion() -> None:
    text = "FROM busybox AS s0\n" + "".join(
        f"FROM s{i} AS s{i + 1}\nCOPY --from=s{i} /a /b{i}\n" for i in range(1000)
    )
    assert len(ops(File, text)) == 1000


# --- contexts -----------------------------------------------------------------------------------


def test_a_named_context_takes_the_place_of_an_image() -> None:
    for key in ("busybox", "busybox:latest", "docker.io/library/busybox"):
        found = ops(
            LocalSource,
            "FROM busybox\n",
            contexts={key: LocalContext("dir", IgnoreRules(("*.o",)))},
        )
        assert found == [LocalSource("dir", ("*.o",))]


def test_a_tree_as_base_is_one_layer_in_the_history() -> None:
    config = image("FROM base\nRUN x\n", contexts={"base": LocalContext("dir")})
    assert [bool(entry.get("empty_layer")) for entry in config.history] == [False, False]


def test_a_named_context_takes_the_place_of_a_stage() -> None:
    text = "FROM nowhere AS build\nRUN x\nFROM scratch\nCOPY --from=build /a /a\n"
    assert ops(Exec, text, contexts={"build": LocalContext("dir")}) == []
    base = {"other": {"config": {"Env": ["FROM=other"]}}}
    config = image(
        "FROM nowhere AS build\nRUN x\nFROM build\nENV Y=1\n",
        base,
        contexts={"build": ImageContext("docker-image://other")},
    )
    assert config.config["Env"] == ["FROM=other", f"PATH={DEFAULT_PATH}", "Y=1"]


def test_remote_contexts() -> None:
    text = "FROM scratch\nCOPY a /\n"
    git = ops(GitSource, text, context=RemoteContext("https://h/r.git#main:sub"))
    assert git == [GitSource("https://h/r.git", "main", "sub")]
    kept = ops(
        GitSource,
        text,
        context=RemoteContext("github.com/a/b"),
        build_args={"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"},
    )
    assert kept == [GitSource("https://github.com/a/b.git", keep_git_dir=True)]
    (http,) = ops(HttpSource, text, context=RemoteContext("http://h/x.tar.gz"))
    assert http.filename == "x.tar.gz"
    unpack = ops(File, text, context=RemoteContext("http://h/x.tar.gz"))[0].actions[0]
    assert unpack == Copy(1, ("x.tar.gz",), "/", unpack=True)


def test_owners_are_kept_from_images_and_stages_only() -> None:
    text = "FROM busybox AS s\nFROM scratch\nCOPY --from=s a /\nCOPY b /\nCOPY --from=ctx c /\n"
    actions = [op.actions[0] for op in ops(File, text, contexts={"ctx": LocalContext("dir")})]
    assert [(a.paths, a.keep_owner) for a in actions] == [
        (("a",), True),
        (("b",), False),
        (("c",), False),
    ]


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
