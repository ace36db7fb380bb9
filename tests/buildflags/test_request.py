"""From options to a request: values, words, and what is neither."""

import os
from pathlib import Path
from typing import Any

import pytest

from minibuild.buildflags.request import build_request
from minibuild.errors import UsageError
from minibuild.graph.op import Ulimit
from minibuild.graph.platform import Platform, host_platform
from minibuild.linux.resources import Resources
from minibuild.session.environment import Environment
from minibuild.session.registries import registry_access
from minibuild.session.request import (
    Attestations,
    BuildRequest,
    CacheMountPlace,
    CachePlace,
    Output,
    RegistryAccess,
    Secret,
    SshAgent,
)

ENVIRONMENT = Environment(
    {"HOME": "/home/me", "SSH_AUTH_SOCK": "/dev/null", "TOKEN": "t\udcff"}, 1000
)
ARM, AMD = Platform("linux", "arm64"), Platform("linux", "amd64")


def made(**options: Any) -> BuildRequest:
    return build_request("ctx", options, ENVIRONMENT)


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("file", Path("a/Dockerfile"), "a/Dockerfile"),
        ("dockerfile", None, None),
        ("dockerfile", "FROM x", "FROM x"),
        ("tags", ["a", "b", "a"], ("a", "b")),
        ("tags", {"a"}, ("a",)),
        ("tags", (name for name in "ab"), ("a", "b")),
        ("no_cache_filter", ["a,b", "c"], frozenset("abc")),
        ("build_args", {"A": "1"}, {"A": "1"}),
        ("annotations", ["index:a=b"], ("index:a=b",)),
        ("outputs", ["out"], (Output("local", "out"),)),
        ("outputs", ["type=oci,dest=x,tar=false"], (Output("oci", "x", {"tar": "false"}),)),
        ("outputs", [Output("tar", Path("x"))], (Output("tar", "x"),)),
        ("outputs", ["type=docker"], (Output("image"),)),
        ("outputs", [Output("tar", "-")], (Output("tar", "-"),)),
        ("platforms", ["linux/arm64,linux/amd64", AMD], (ARM, AMD)),
        ("platforms", ["local"], (host_platform(),)),
        ("add_hosts", ["a:1.2.3.4,b=::1"], (("a", "1.2.3.4"), ("b", "::1"))),
        ("add_hosts", {"a": "1.2.3.4"}, (("a", "1.2.3.4"),)),
        ("add_hosts", [("a", "host-gateway")], (("a", "127.0.0.1"),)),
        ("ulimits", ["nofile=1:2"], (Ulimit("nofile", 1, 2),)),
        ("resources", ["memory=2g", "cpus=.5"], Resources(2 << 30, cpu_quota_us=50_000)),
        ("resources", Resources(cpu_shares=2), Resources(cpu_shares=2)),
        ("ulimits", [Ulimit("core", 0, 0)], (Ulimit("core", 0, 0),)),
        ("secrets", ["id=x,env=TOKEN"], (Secret("x", "", "TOKEN", b"t\xff"),)),
        ("secrets", [Secret("TOKEN")], (Secret("TOKEN", "", "TOKEN", b"t\xff"),)),
        ("secrets", [Secret("x", value=b"v")], (Secret("x", value=b"v"),)),
        ("secrets", [Secret("x", Path("/dev/null"))], (Secret("x", "/dev/null"),)),
        ("ssh", ["default"], (SshAgent("default", ("/dev/null",)),)),
        ("ssh", [SshAgent("a", (Path("/dev/null"),))], (SshAgent("a", ("/dev/null",)),)),
        ("allow", ["network.host"], frozenset({"network.host"})),
        ("cache_to", ["type=inline"], (CachePlace("inline"),)),
        ("cache_from", ["example.com/a"], (CachePlace("registry", ref="example.com/a"),)),
        ("cache_to", [CachePlace("local", path=Path("x"))], (CachePlace("local", path="x"),)),
        ("cache_mount_to", ["type=local,dest=x"], (CacheMountPlace("local", path="x"),)),
        ("attestations", ["type=sbom"], Attestations(sbom=True)),
        ("attestations", Attestations(mode="max"), Attestations(mode="max")),
        ("registries", RegistryAccess(Path("a"), (Path("b"),)), RegistryAccess("a", ("b",))),
        ("jobs", 3, 3),
        ("squash", True, True),
        ("pull", "never", "never"),
    ],
)  # fmt: skip
def test_values_and_words(name: str, given: Any, value: Any) -> None:
    """A path is text afterwards; and what was read is read again as the same."""
    request = made(**{name: given})
    found = getattr(request, name)
    assert found == value and type(found) is type(value)
    assert made(**{name: found}) == request


@pytest.mark.parametrize(
    ("name", "given", "message", "hint"),
    [
        ("tags", "app", "tags must be a list, and 'app' is text", "tags=['app']"),
        ("tags", b"app", "tags must be a list, and got bytes", ""),
        ("tags", {"a": "b"}, "tags must be a list, and got dict", ""),
        ("tags", 3, "tags must be a list, and got int", ""),
        ("tags", [b"a"], "a part of tags must be str, and got bytes", ""),
        ("outputs", "out", "outputs must be a list, and 'out' is text", "outputs=['out']"),
        ("outputs", Output("tar", "x"), "outputs must be a list, and got Output", "[Output("),
        ("outputs", [("tar", "x")], "a part of outputs must be Output or text, and got tuple", ""),
        ("outputs", [Output("zip", "x")], "unknown output type 'zip'", "there are image"),  # type: ignore[arg-type]
        ("outputs", ["type=oci"], "an output of type oci is a file, and needs one", "dest=-"),
        ("outputs", [Output("tar", "/")], "the destination / is a directory", "/image.tar"),
        ("secrets", Secret("a", value=b"hidden"), "secrets must be a list, and got Secret", ""),
        ("secrets", ["src=a"], "has no id", ""),
        ("secrets", [Secret("a", "/no/such")], "secret a: there is no file /no/such", ""),
        ("secrets", [Secret("a", env="NONE")], "the variable NONE is not set", ""),
        ("ssh", [SshAgent("a", ("/no/such",))], "ssh agent a: there is no /no/such", ""),
        ("platforms", "linux/amd64", "platforms must be a list", ""),
        ("platforms", [{}], "must be Platform or text, and got dict", ""),
        ("build_args", ["A=b"], "build_args must be a mapping, and got list", ""),
        ("build_args", {"A": 1}, "build_args['A'] must be text, and got int", "write '1'"),
        ("build_args", {1: "a"}, "a name in build_args must be text, and got int", ""),
        ("build_args", {"A": "a\0b"}, "build_args['A'] has a null character", ""),
        ("build_args", {"A": "\udcff"}, "build_args['A'] is not UTF-8", ""),
        ("labels", "a=b", "labels must be a mapping, and got str", ""),
        ("annotations", ["x"], "invalid annotation 'x'", ""),
        ("no_cache", "yes", "no_cache must be True or False, and got str", ""),
        ("jobs", "2", "jobs must be a number, and got str", ""),
        ("jobs", True, "jobs must be a number, and got bool", ""),
        ("jobs", -1, "jobs must not be negative", ""),
        ("pull", "sometimes", "pull cannot be 'sometimes'", "missing, always, never"),
        ("network", "bridge", "network cannot be 'bridge'", ""),
        ("allow", ["root"], "unknown entitlement 'root'", ""),
        ("file", 3, "file must be a path, and got int", ""),
        ("file", b"a", "file must be a path, and got bytes", ""),
        ("file", "a\0b", "file cannot be 'a\\x00b'", ""),
        ("target", None, "target must be text, and got NoneType", ""),
        ("lab", "none-such", "none-such", ""),
        ("registries", None, "registries must be a RegistryAccess, and got NoneType", ""),
        ("cache_to", [CachePlace("local")], "cache_to, type=local, names no place", ""),
        ("cache_to", [CachePlace("gha")], "unknown type 'gha'", ""),  # type: ignore[arg-type]
        ("cache_from", [CachePlace("inline")], "unknown type 'inline'", ""),
        ("cache_to", [CachePlace("registry", ref="A")], "cache_to, type=registry,: ", ""),
        ("cache_mount_from", [CacheMountPlace("local")], "names no place", ""),
    ],
)  # fmt: skip
def test_refused(name: str, given: Any, message: str, hint: str) -> None:
    """By one type of error, which says what was given and how to write it."""
    with pytest.raises(UsageError) as caught:
        made(**{name: given})
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "hidden" not in caught.value.message + caught.value.hint


def test_unknown_options() -> None:
    with pytest.raises(TypeError, match=r"argument 'tgas'; did you mean 'tags'\?"):
        made(tgas=["a"])
    with pytest.raises(TypeError, match=r"argument 'push'; here it is outputs="):
        made(push=True)
    with pytest.raises(TypeError, match=r"argument 'xyz'$"):
        made(xyz=1)


def test_what_follows_from_other_options() -> None:
    assert made(network="host").allow == frozenset({"network.host"})
    inline = made(build_args={"BUILDKIT_INLINE_CACHE": "1"}, cache_to=["example.com/a"])
    assert inline.cache_to[1:] == (CachePlace("inline"),)
    for word in ("maybe", "0", ""):
        assert made(build_args={"BUILDKIT_INLINE_CACHE": word}).cache_to == ()


def test_registries_come_from_the_environment() -> None:
    """Unless they are given."""
    assert made().registries == registry_access(ENVIRONMENT)
    given = RegistryAccess(logins=("x",))
    assert made(registries=given).registries == given


def test_a_secret_is_not_shown() -> None:
    assert "hidden" not in repr(BuildRequest(secrets=(Secret("a", value=b"hidden"),)))


def test_the_environment_of_the_process_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "other")
    monkeypatch.setitem(os.environ, "MINIBUILD_CONFIG", "/other")
    (found,) = made(secrets=["id=TOKEN"]).secrets
    assert found.value == b"t\xff"
    assert made().registries.settings == ""
