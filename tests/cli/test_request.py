"""From the words of `minibuild build` to a request."""

from pathlib import Path
from typing import Any

import pytest

from minibuild.buildflags.attributes import platform
from minibuild.cli.build_request import request
from minibuild.cli.catalogue import parser_of
from minibuild.errors import UsageError
from minibuild.graph.op import Ulimit
from minibuild.graph.platform import Platform, host_platform
from minibuild.session.environment import Environment
from minibuild.session.registries import registry_access
from minibuild.session.request import BuildRequest, CachePlace, Output, Secret, SshAgent

NOTHING = Environment({}, 1000)


def made(*words: str, **variables: str) -> BuildRequest:
    return request(parser_of("build").options(words), Environment(variables, 1000))


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("", {}),
        ("ctx", {"context": "ctx"}),
        ("-", {"context": "-"}),
        ("-f - ctx", {"file": "-", "context": "ctx"}),
        ("--file=D -t a -t b:1 -t a ctx", {"file": "D", "tags": ("a", "b:1"), "context": "ctx"}),
        ("-ta -fD", {"tags": ("a",), "file": "D"}),
        ("--target x", {"target": "x"}),
        ("--build-arg A=1 --build-arg B=x=y", {"build_args": {"A": "1", "B": "x=y"}}),
        ("--label a=b --label c", {"labels": {"a": "b", "c": ""}}),
        ("--build-context a=b", {"contexts": {"a": "b"}}),
        ("--no-cache", {"no_cache": True}),
        ("--no-cache=true", {"no_cache": True}),
        ("--no-cache --no-cache=false", {"no_cache": False}),
        ("--no-cache=false --no-cache", {"no_cache": True}),
        ("--no-cache=false", {}),
        ("--no-cache-filter a,b --no-cache-filter c",
         {"no_cache_filter": frozenset("abc")}),
        ("-o out", {"outputs": (Output("local", "out"),)}),
        ("-o type=docker", {"outputs": (Output("image"),)}),
        ("-o type=oci", {"outputs": (Output("oci", "-"),)}),
        ("-o a -o type=tar,dest=b", {"outputs": (Output("local", "a"), Output("tar", "b"))}),
        ("--pull ctx", {"pull": "always", "context": "ctx"}),
        ("--pull=always", {"pull": "always"}),
        ("--pull=true", {"pull": "always"}),
        ("--pull=false", {}),
        ("--pull=never", {"pull": "never"}),
        ("--platform linux/arm64,linux/amd64",
         {"platforms": (Platform("linux", "arm64"), Platform("linux", "amd64"))}),
        ("--platform local --platform local", {"platforms": (host_platform(),)}),
        ("--network none", {"network": "none"}),
        ("--network=host", {"network": "host", "allow": frozenset(["network.host"])}),
        ("--add-host a:1.2.3.4,b:::1", {"add_hosts": (("a", "1.2.3.4"), ("b", "::1"))}),
        ("--add-host a:host-gateway", {"add_hosts": (("a", "127.0.0.1"),)}),
        ("--shm-size 64m", {"shm_size_bytes": 64 << 20}),
        ("--ulimit nofile=5", {"ulimits": (Ulimit("nofile", 5, 5),)}),
        ("--allow security.insecure", {"allow": frozenset(["security.insecure"])}),
        ("--jobs 3", {"jobs": 3}),
        ("--push", {"outputs": (Output("registry"),)}),
        ("--build-arg BUILDKIT_INLINE_CACHE=1",
         {"build_args": {"BUILDKIT_INLINE_CACHE": "1"}, "cache_to": (CachePlace("inline"),)}),
        ("--push -o type=image,name=a",
         {"outputs": (Output("image", "", {"name": "a", "push": "true"}),)}),
        ("--push -o out", {"outputs": (Output("local", "out"), Output("registry"))}),
        ("-- ctx", {"context": "ctx"}),
    ],
)  # fmt: skip
def test_fields(words: str, fields: dict[str, Any]) -> None:
    registries = registry_access(NOTHING)
    assert made(*words.split()) == BuildRequest(registries=registries)._replace(**fields)


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("--progres=plain", "unknown flag: --progres", "did you mean --progress?"),
        ("--no-cach", "unknown flag: --no-cach", "did you mean --no-cache?"),
        ("--tga x", "unknown flag: --tga", "did you mean --tag?"),
        ("--squsah", "unknown flag: --squsah", "did you mean --squash?"),
        # Never what is the opposite, or something else.
        ("--no-push", "there is no flag --no-push here", "leave it out"),
        ("--no-load", "unknown flag: --no-load", "leave out --load"),
        ("--no-pull", "unknown flag: --no-pull", "leave out --pull"),
        ("--no-targets", "unknown flag: --no-targets", "see `"),
        ("--layers=false", "there is no flag --layers here", "--no-cache"),
        ("--cache-mount", "unknown flag", "there are --cache-mount-from, --cache-mount-to"),
        ("--build", "unknown flag: --build", "did you mean --builder?"),
        ("--qqqqqq", "unknown flag: --qqqqqq", "--help"),
        ("-z", "unknown flag: -z", "--help"),
        ("--cache-from=type=s3", "needs a service that minibuild", "type=registry"),
        ("a b", "unexpected argument 'b'", "--help"),
        ("--progress loud", "invalid value 'loud'", "there are auto, tty"),
        ("--network bridge", "invalid value 'bridge'", ""),
        ("--jobs many", "invalid int value", ""),
        ("--jobs=-1", "must not be negative", ""),
        ("--pull=sometimes", "invalid value 'sometimes' for --pull", "always, missing, never"),
        ("--no-cache=maybe", "invalid value 'maybe' for --no-cache", ""),
        ("--allow root", "unknown entitlement 'root'", "network.host"),
        ("--platform a/b/c/d", "failed to parse platform", "linux/amd64"),
        ("-f", "expected one argument", ""),
    ],
)
def test_refused(words: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        made(*words.split())
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2


def test_an_archive_does_not_replace_a_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a directory"):
        made("-o", f"type=oci,dest={tmp_path}")
    assert made("-o", f"type=oci,dest={tmp_path},tar=false").outputs[0].dest == str(tmp_path)


@pytest.mark.parametrize("words", ["--rm", "--rm=true", "--force-rm=false", "--compress"])
def test_habits(words: str) -> None:
    """What docker's flags ask for, and is done anyway."""
    assert made(words) == made()


@pytest.mark.parametrize("words", ["--rm=false", "--disable-content-trust=false"])
def test_the_opposite_of_a_habit(words: str) -> None:
    with pytest.raises(UsageError, match="=false is not supported"):
        made(words)


# --- what comes from the environment --------------------------------------------------------------


def test_a_build_arg_without_a_value() -> None:
    assert made("--build-arg", "A", "--build-arg", "B", A="1").build_args == {"A": "1"}


def test_source_date_epoch() -> None:
    assert made(SOURCE_DATE_EPOCH="5").build_args == {"SOURCE_DATE_EPOCH": "5"}
    given = made("--build-arg", "SOURCE_DATE_EPOCH=7", SOURCE_DATE_EPOCH="5")
    assert given.build_args == {"SOURCE_DATE_EPOCH": "7"}


def test_proxies_are_passed_only_when_asked_for() -> None:
    assert made(HTTP_PROXY="p").build_args == {}
    assert made("--build-arg", "HTTP_PROXY", HTTP_PROXY="p").build_args == {"HTTP_PROXY": "p"}


def test_ssh() -> None:
    assert made("--ssh", "default", SSH_AUTH_SOCK="/s").ssh == (SshAgent("default", ("/s",)),)
    assert made("--ssh", "x=/dev/null").ssh == (SshAgent("x", ("/dev/null",)),)
    with pytest.raises(UsageError, match="there is no /nosuch"):
        made("--ssh", "x=/nosuch")
    with pytest.raises(UsageError, match="SSH_AUTH_SOCK is not set"):
        made("--ssh", "default")


def test_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("x")
    path = str(tmp_path / "token")
    assert made("--secret", "id=a,src=token").secrets == (Secret("a", path),)
    assert made("--secret", "id=token").secrets == (Secret("token", path),)
    assert made("--secret", "id=token", token="y").secrets == (Secret("token", "", "token", b"y"),)
    assert made("--secret", "id=a,env=B", B="y").secrets == (Secret("a", "", "B", b"y"),)
    with pytest.raises(UsageError, match="there is no file nope"):
        made("--secret", "id=a,src=nope")
    with pytest.raises(UsageError, match="variable B is not set"):
        made("--secret", "id=a,env=B")


def test_the_default_platform() -> None:
    arm, amd = Platform("linux", "arm64"), Platform("linux", "amd64")
    set_to = "linux/arm64,linux/amd64"
    assert made(DOCKER_DEFAULT_PLATFORM="linux/arm64").platforms == (arm,)
    assert made(DOCKER_DEFAULT_PLATFORM=set_to).platforms == (arm, amd)
    assert made(DOCKER_DEFAULT_PLATFORM="local").platforms == (host_platform(),)
    assert made("--platform=linux/amd64", DOCKER_DEFAULT_PLATFORM=set_to).platforms == (amd,)
    assert made(DOCKER_DEFAULT_PLATFORM="").platforms == ()
    with pytest.raises(UsageError, match="DOCKER_DEFAULT_PLATFORM: failed to parse platform a/b/c"):
        made(DOCKER_DEFAULT_PLATFORM="a/b/c/d")


def test_one_platform_for_other_commands() -> None:
    arm = Environment({"DOCKER_DEFAULT_PLATFORM": "linux/arm64"}, 1000)
    assert platform("", NOTHING) == platform("local", arm) == host_platform()
    assert platform("", arm) == Platform("linux", "arm64")
    assert platform("linux/s390x", arm) == Platform("linux", "s390x")
