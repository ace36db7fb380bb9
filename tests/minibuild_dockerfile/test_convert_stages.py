"""Variables, stages and contexts: what a name in a Dockerfile means."""

import pytest
from minibuild_dockerfile.convert import convert
from minibuild_dockerfile.errors import DockerfileError

from minibuild.errors import DefinitionError, RegistryError, SourceText
from minibuild.graph.frontend import (
    FrontendRequest,
    ImageContext,
    LocalContext,
    RemoteContext,
)
from minibuild.graph.op import (
    Copy,
    Exec,
    File,
    GitSource,
    HttpSource,
    LocalSource,
)
from minibuild.graph.platform import Platform
from minibuild.graph.vertex import IgnoreRules
from tests.minibuild_dockerfile.converted import AMD64, build, image, last_exec, ops, vertices
from tests.support.resolver import DEFAULT_PATH, FakeResolver

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
    proxies = {"HTTP_PROXY": "http://p", "no_proxy": "n", "ftp_proxy": ""}
    proxied = vertices(text, build_args=proxies)[-1]
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
        ("FROM busybox AS X.\n", r"invalid context name x\.: invalid reference format", 1),
        ("FROM busybox\nFROM busybox AS a..b\n", r"invalid context name a\.\.b: ", 2),
        ("ARG A\nFROM $A\n", r"base name \(\$A\) should not be blank", 2),
        ("FROM --platform=$NO busybox\n", "empty platform value", 1),
        ("FROM --platform=linux/amd(64) busybox\n", '"amd.64." is an invalid component', 1),
        ("FROM --platform=linux/a/b/c busybox\n", "cannot parse platform specifier", 1),
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
        (
            "FROM busybox\nADD --checksum=sha256:x http://h/f /\n",
            "invalid checksum digest length",
            2,
        ),
        ("FROM busybox\nADD --checksum=md5:x http://h/f /\n", "invalid checksum digest format", 2),
        ("FROM busybox\nRUN []\n", "arguments are required", 2),
        ("FROM busybox\nENV A=1 \\\n B=${C:?x}\n", "C: x", 2),
        ("FROM busybox\nEXPOSE 80/icmp\n", 'invalid port: "80/icmp": invalid proto: icmp', 2),
        ("FROM busybox\nEXPOSE /udp\n", 'invalid port: "/udp": no port specified', 2),
        ("FROM busybox\nEXPOSE 9-8\n", "invalid containerPort: 9-8", 2),
        ("FROM busybox\nSTOPSIGNAL SIGTREM\n", "invalid signal: SIGTREM .did you mean SIGTERM", 2),
        ("# check=skip\nFROM busybox\n", 'invalid check option "skip"', 1),
    ],
)
def test_errors_name_the_line(text: str, message: str, line: int) -> None:
    with pytest.raises(DockerfileError, match=message) as caught:
        build(text)
    assert caught.value.span is not None
    assert (caught.value.line or caught.value.span.first) == line


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


@pytest.mark.parametrize("name", ["scratch", "Scratch", "context"])
def test_no_context_takes_the_place_of_scratch_and_of_one_called_context(name: str) -> None:
    text = f"FROM busybox AS {name}\nRUN x\nFROM scratch\nCOPY --from={name} /a /\n"
    contexts = {name: LocalContext("dir")}
    assert len(ops(Exec, text, contexts=contexts)) == 1
    assert ops(LocalSource, text, contexts=contexts) == []
    assert vertices("FROM scratch\nENV A=1\n", contexts=contexts) == []


def test_scratch_is_for_the_platform_of_the_build() -> None:
    assert image("FROM --platform=linux/arm64 scratch\n").platform == AMD64


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


@pytest.mark.parametrize(
    ("flag", "source", "contents"),
    [
        ("", "https://h/r.git", True),
        ("--chmod=go=", "https://h/r.git", False),
        ("--chmod=go=", "dir", True),
    ],
)
def test_a_mode_for_git_is_that_of_its_top_too(flag: str, source: str, contents: bool) -> None:
    (added,) = ops(File, f"FROM scratch\nADD {flag} {source} /x\n")
    assert [action.rules.contents for action in added.actions if isinstance(action, Copy)] == [
        contents
    ]


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
    named = {"n": RemoteContext("http://h/x.tar.gz")}
    text = "FROM scratch\nCOPY --from=n / /\n"
    assert ops(HttpSource, text, contexts=named) == [HttpSource("http://h/x.tar.gz", "context")]
    (copy,) = ops(File, text, contexts=named)
    assert not copy.actions[0].unpack


def test_patterns_of_exclude_are_not_expanded() -> None:
    (file,) = ops(File, "FROM scratch\nARG A=1\nCOPY --exclude=$A --exclude='a b' c /\n")
    assert file.actions[0].exclude == ("$A", "a b")


def test_owners_are_kept_from_images_and_stages_only() -> None:
    text = "FROM busybox AS s\nFROM scratch\nCOPY --from=s a /\nCOPY b /\nCOPY --from=ctx c /\n"
    actions = [op.actions[0] for op in ops(File, text, contexts={"ctx": LocalContext("dir")})]
    assert [(a.paths, a.keep_owner) for a in actions] == [
        (("a",), True),
        (("b",), False),
        (("c",), False),
    ]
