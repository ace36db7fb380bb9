"""The history and the config that a Dockerfile gives its image."""

import pytest
from minibuild_dockerfile.errors import DockerfileError

from minibuild.graph.op import (
    Copy,
    File,
)
from minibuild.graph.platform import Platform, parse_platform
from tests.minibuild_dockerfile.converted import build, created_by, image, last_exec, ops
from tests.support.resolver import DEFAULT_PATH

# --- history ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("ENV A=b 'C'=\"d e\"", "ENV A=b C=d e"),
        ('CMD ["a\\tb", "\\u00e9", "\\u200b", "q\\"\\\\"]', r'CMD ["a\tb" "é" "\u200b" "q\"\\"]'),
        ("CMD []", "CMD []"),
        ("ENTRYPOINT a  b", 'ENTRYPOINT ["/bin/sh" "-c" "a  b"]'),
        ("EXPOSE 90 80/UDP 80-81", "EXPOSE [80/tcp 81/tcp 80/udp 90/tcp]"),
        ("EXPOSE 10 9-11 +7", "EXPOSE [7/tcp 10/tcp 9/tcp 10/tcp 11/tcp]"),
        (
            "HEALTHCHECK --interval=1s --no=flag NONE",
            "HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s "
            "Retries:0}",
        ),
        ("EXPOSE 127.0.0.1:8080:80", "EXPOSE [80/tcp]"),
        ("VOLUME a /b", "VOLUME [a /b]"),
        ("STOPSIGNAL rtmin+3", "STOPSIGNAL rtmin+3"),
        ("WORKDIR a/../b", "WORKDIR /b"),
        ("WORKDIR //a/b", "WORKDIR //a/b"),
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


def test_a_workdir_below_one_with_two_slashes_has_one() -> None:
    assert created_by("FROM busybox\nWORKDIR //a\nWORKDIR b\n")[-1] == "WORKDIR /a/b"


@pytest.mark.parametrize(("path", "layers"), [("/", 0), ("..", 0), ("/./", 1), ("/a/..", 1)])
def test_a_workdir_that_is_another_spelling_of_the_root_is_a_layer(path: str, layers: int) -> None:
    text = f"FROM busybox\nWORKDIR {path}\n"
    assert len(ops(File, text)) == layers
    assert bool(image(text).history[-1].get("empty_layer")) == (not layers)


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
    useless = {"OnBuild": [], "User": "", "Hostname": "a", "Image": "sha256:1", "Tty": False}
    base = {
        "config": {"Env": ["A=1"], "Labels": {"x": "y"}, "Cmd": ["a"], **useless},
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
COPY --parents ./b/./c p/
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
        (("b/./c",), "/app/y/p/"),
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [("d:\\x", "not on the system drive"), ("C:", "no relative path"), ("\\\\host\\x", "UNC")],
)
def test_paths_that_no_image_of_windows_has(path: str, message: str) -> None:
    for text in (f"WORKDIR {path}", f"COPY a {path}", f"COPY {path} a"):
        with pytest.raises(DockerfileError, match=message):
            build(f"# escape=`\nFROM scratch\n{text}\n", platforms=(Platform("windows", "amd64"),))


def test_members_that_say_nothing_are_left_out() -> None:
    text = "FROM scratch\nUSER $X\nEXPOSE $X\nENTRYPOINT []\n"
    assert image(text).config == image("FROM scratch\n").config


def test_a_workdir_that_expands_to_nothing_stays_where_it_is() -> None:
    text = "FROM busybox\nWORKDIR /a/\nWORKDIR $X\nRUN x\n"
    assert image(text).config["WorkingDir"] == last_exec(text).cwd == "/a/"


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
