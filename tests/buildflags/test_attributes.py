"""The values of flags, as docker buildx writes them."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.buildflags import attributes as a
from minibuild.buildflags import output as o
from minibuild.buildflags import resources as step
from minibuild.buildflags import secret as s
from minibuild.buildflags.attributes import size_bytes, truth
from minibuild.errors import UsageError
from minibuild.graph.op import Ulimit
from minibuild.session.request import Output, Secret, SshAgent


def add_host(text: str) -> tuple[str, str]:
    return step.add_host(text, "10.0.2.2")


def label(text: str) -> tuple[str, str | None]:
    return a.assignment(text, "label")


def size(text: str) -> int:
    return size_bytes(text, "shm-size")


GOOD: list[tuple[Callable[[str], Any], str, Any]] = [
    (a.fields, "a,b", ["a", "b"]),
    (a.fields, "", [""]),
    (a.fields, "a,", ["a", ""]),
    (a.fields, '"a,b",c', ["a,b", "c"]),
    (a.fields, '"say ""hi""",c', ['say "hi"', "c"]),
    (a.fields, '""', [""]),
    (o.output, "out", Output("local", "out")),
    (o.output, "./a b", Output("local", "./a b")),
    (o.output, "-", Output("tar", "-")),
    (o.output, "dest=out", Output("local", "out")),
    (o.output, "dest=-", Output("tar", "-")),
    (o.output, "type=oci,dest=x.tar", Output("oci", "x.tar")),
    (o.output, "type=oci,dest=d,tar=false", Output("oci", "d", {"tar": "false"})),
    (o.output, "TYPE=docker,Dest=X", Output("docker", "X")),
    (o.output, "type=image,name=a/b:1,push=false",
     Output("image", "", {"name": "a/b:1", "push": "false"})),
    (o.output, 'type=image,"annotation.k=v,w"', Output("image", "", {"annotation.k": "v,w"})),
    (o.output, "type=local,dest=a=b", Output("local", "a=b")),
    (s.secret, "id=a,src=f", Secret("a", "f")),
    (s.secret, "id=a,source=f", Secret("a", "f")),
    (s.secret, "id=a,env=X", Secret("a", "", "X")),
    (s.secret, "id=a,type=env,src=X", Secret("a", "", "X")),
    (s.secret, "type=file,id=a,src=f", Secret("a", "f")),
    (s.secret, "id=a", Secret("a")),
    (s.ssh, "default", SshAgent("default")),
    (s.ssh, "default=/run/s", SshAgent("default", ("/run/s",))),
    (s.ssh, "k=a,b", SshAgent("k", ("a", "b"))),
    (s.ssh, "k=a,raw=true", SshAgent("k", ("a",), raw=True)),
    (step.ulimit, "nofile=1024:2048", Ulimit("nofile", 1024, 2048)),
    (step.ulimit, "nofile=1024", Ulimit("nofile", 1024, 1024)),
    (step.ulimit, "core=-1", Ulimit("core", -1, -1)),
    (step.ulimit, "core=0:-1", Ulimit("core", 0, -1)),
    (add_host, "db:10.0.0.7", ("db", "10.0.0.7")),
    (add_host, "db=10.0.0.7", ("db", "10.0.0.7")),
    (add_host, "db:::1", ("db", "::1")),
    (add_host, "db=[fe80::1]", ("db", "fe80::1")),
    (add_host, "db:host-gateway", ("db", "10.0.2.2")),
    (a.build_context, "src=../x", ("src", "../x")),
    (a.build_context, "docker.io/library/alpine:latest=docker-image://b",
     ("alpine", "docker-image://b")),
    (a.build_context, "ghcr.io/a/b:1=oci-layout://d:t", ("ghcr.io/a/b:1", "oci-layout://d:t")),
    (label, "a=b=c", ("a", "b=c")),
    (label, "a=", ("a", "")),
    (label, "a", ("a", None)),
    (a.listed, "a, b,,c", ["a", "b", "c"]),
    (size, "64m", 64 << 20),
    (size, "64M", 64 << 20),
    (size, "64mb", 64 << 20),
    (size, "64MiB", 64 << 20),
    (size, "1.5g", 3 << 29),
    (size, "1024", 1024),
    (size, "10b", 10),
    (size, "2 k", 2048),
]  # fmt: skip

BAD: list[tuple[Callable[[str], Any], str, str]] = [
    (label, "name=\udcff", "not UTF-8"),
    (label, "\udcff=value", "not UTF-8"),
    (a.fields, '"a', "quotation mark"),
    (a.fields, 'a"b', "quotation mark"),
    (a.fields, '"a"b', "quotation mark"),
    (o.output, "", "key=value"),
    (o.output, "name=x", "names no type"),
    (o.output, "typ=oci,dest=x", "names no type"),
    (o.output, "type=oci,x", "key=value"),
    (o.output, "type=ocii,dest=x", "unknown output type"),
    (o.output, "type=local", "needs one"),
    (o.output, "type=local,dest=-", "needs one"),
    (s.secret, "src=f", "no id"),
    (s.secret, "id=a,type=vault", "unsupported secret type"),
    (s.secret, "id=a,sorce=f", "unexpected key 'sorce'"),
    (s.secret, "a", "key=value"),
    (s.ssh, "=x", "no id"),
    (step.ulimit, "nofile", "must be NAME=SOFT"),
    (step.ulimit, "nofiles=1", "unknown ulimit"),
    (step.ulimit, "nofile=many", "whole numbers"),
    (step.ulimit, "nofile=2:1", "above the hard"),
    (step.ulimit, "nofile=-1:5", "above the hard"),
    (add_host, "db", "bad format"),
    (add_host, ":10.0.0.1", "bad format"),
    (add_host, "db:10.0.0", "invalid IP"),
    (add_host, "db:example.com", "invalid IP"),
    (a.build_context, "x", "NAME=VALUE"),
    (a.build_context, "=x", "NAME=VALUE"),
    (a.build_context, "x=", "NAME=VALUE"),
    (label, "=b", "no name"),
    (size, "", "invalid size"),
    (size, "m", "invalid size"),
    (size, "-1m", "invalid size"),
    (size, "64x", "invalid size"),
    (size, "1.2.3k", "invalid size"),
    (size, "²", "invalid size"),
]


def _id(value: object) -> str:
    return getattr(value, "__name__", None) or repr(value)[:40]


@pytest.mark.parametrize(("parse", "text", "expected"), GOOD, ids=_id)
def test_good(parse: Callable[[str], Any], text: str, expected: Any) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(("parse", "text", "words"), BAD, ids=_id)
def test_bad(parse: Callable[[str], Any], text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert words in caught.value.message


@given(st.lists(st.text(), min_size=1))
def test_quoted_fields_come_back(values: list[str]) -> None:
    text = ",".join('"' + value.replace('"', '""') + '"' for value in values)
    assert a.fields(text) == values


PARSERS = [a.fields, o.output, s.secret, s.ssh, step.ulimit, add_host, size]


@given(st.text(), st.sampled_from(PARSERS))
def test_any_text_parses_or_is_refused(text: str, parse: Callable[[str], Any]) -> None:
    try:
        parse(text)
    except UsageError as error:
        assert error.message


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("F", False)])
def test_truth(text: str, value: bool) -> None:
    assert truth(text, "x") is value


def test_no_truth() -> None:
    with pytest.raises(UsageError):
        truth("yes", "x")
