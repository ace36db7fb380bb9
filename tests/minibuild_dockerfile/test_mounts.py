"""RUN --mount: every type, every option, every way to get it wrong."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.mounts import Resolved, parse_mount, resolve

from minibuild.errors import Span
from minibuild.graph import op
from minibuild.graph.op import ExecMount, SecretMount, SshMount, TmpfsMount

SPAN = Span("Dockerfile", 2, 2)


def bind(target: str, source: str = "", from_: str = "", readonly: bool = True) -> Resolved:
    return Resolved(op.BindMount(target, -1, source, readonly), from_)


def cache(target: str, id: str = "", source: str = "", from_: str = "", *rest: Any) -> Resolved:
    sharing, readonly, *owner = rest or ("shared", False)
    return Resolved(op.CacheMount(target, id, sharing, readonly, -1, source, *owner), from_)


def mount(text: str) -> Resolved:
    return resolve(parse_mount(text, SPAN), lambda word: word.replace("$X", "x"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/x", bind("/x")),
        ("type=bind", bind("")),
        ("from=X", bind("", from_="X")),
        ("target=", bind("")),
        ("type=bind,source=a.txt", bind("", "a.txt")),
        ("type=cache,target=", cache("")),
        ("type=tmpfs", TmpfsMount("")),
        ("type=bind,dst=/x", bind("/x")),
        ("TYPE=BIND,Destination=/x", bind("/x")),
        ("target=.", bind(".")),
        ("target=/x,source=a,from=img", bind("/x", "a", "img")),
        ("target=/x,src=$X/y", bind("/x", "x/y")),
        ("target=/x,rw", bind("/x", readonly=False)),
        ("target=/x,readwrite=true", bind("/x", readonly=False)),
        ("target=/x,readonly=false", bind("/x", readonly=False)),
        ("target=/x,rw=false", bind("/x")),
        ("target=/x,rw,ro", bind("/x")),
        ('target=/x,"source=a,""b"""', bind("/x", 'a,"b"')),
        ("type=$X,target=/x".replace("$X", "cache"), cache("/x")),
        (
            "type=cache,target=/c,id=i$X,sharing=LOCKED,from=s,source=/d,ro,mode=0700,uid=1,gid=2",
            cache("/c", "ix", "/d", "s", "locked", True, 0o700, 1, 2),
        ),
        ("type=tmpfs,target=/t", TmpfsMount("/t")),
        ("type=tmpfs,target=/t,size=64k,ro", TmpfsMount("/t", 65536, True)),
        ("type=secret,id=tok", SecretMount("tok", "/run/secrets/tok")),
        ("type=secret,id=a/tok", SecretMount("a/tok", "/run/secrets/tok")),
        ("type=secret,source=tok", SecretMount("tok", "/run/secrets/tok")),
        ("type=secret,target=/etc/tok", SecretMount("tok", "/etc/tok")),
        ("type=secret,id=tok,env=T", SecretMount("tok", "", "T")),
        ("env=T,id=tok,type=secret", SecretMount("tok", "", "T")),
        ("target=/x,env=T", bind("/x")),
        (
            "type=secret,id=t,env=T,target=/t,required,mode=440,uid=5,gid=6",
            SecretMount("t", "/t", "T", True, 0o440, 5, 6),
        ),
        ("type=ssh", SshMount("default", "")),
        (
            "type=ssh,id=k,target=/s,required=true,mode=0666,uid=1,gid=1",
            SshMount("k", "/s", True, 0o666, 1, 1),
        ),
    ],
)
def test_mount(text: str, expected: Resolved | ExecMount) -> None:
    found = mount(text)
    assert found == (expected if isinstance(expected, Resolved) else Resolved(expected))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=bind,traget=/x", "unexpected key 'traget' in 'traget=/x' (did you mean target?)"),
        ("type=floppy,target=/x", 'unsupported mount type "floppy"'),
        ("type=secert,id=x", 'unsupported mount type "secert" (did you mean secret?)'),
        ("type=tmp,target=/x", 'unsupported mount type "tmp" (did you mean tmpfs?)'),
        ("type=cache,target=/c,sharing=lock", '"lock" (did you mean locked?)'),
        ("type=cache,target=/c,sharing=public", 'unsupported sharing value "public"'),
        ("target=/x,from=$Y", "'from' doesn't support variable expansion"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("", "failed to parse csv mounts: EOF"),
        ("target=/x,required", "unexpected key 'required' for mount type 'bind'"),
        ("required,type=secret,id=x", "unexpected key 'required' for mount type 'bind'"),
        ("target=/x,size=1k", "unexpected key 'size' for mount type 'bind'"),
        ("target=/x,mode=0700", 'mode not allowed for "bind" type mounts'),
        ("type=tmpfs,target=/x,uid=1", 'uid not allowed for "tmpfs" type mounts'),
        ("target=/x,sharing=shared", "invalid cache sharing set for bind mount"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("type=secret,id=a,sharing=shared", "secret mount should not define sharing"),
        ("type=ssh,source=a", "ssh does not support source"),
        ("target=/x,ro=maybe", "invalid value for ro: maybe"),
        ("type=cache,target=/x,mode=9", "invalid value 9 for mode"),
        ("type=cache,target=/x,uid=-1", "invalid value -1 for uid"),
        ("type=cache,target=/x,gid=4294967296", "invalid value 4294967296 for gid"),
        ("type=tmpfs,target=/x,size=big", "invalid value for size: big"),
        ('target=/x,"source=a', "failed to parse csv mounts"),
        ('target=/x,"a"b', "failed to parse csv mounts"),
        ('target=/x,a"b"', "failed to parse csv mounts"),
    ],
)
def test_mount_error(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        mount(text)
    assert message in caught.value.message
    assert caught.value.span == SPAN


def test_only_the_form_is_checked_when_reading() -> None:
    spec = parse_mount("type=$KIND,what=ever,ro", SPAN)
    assert [(field.key, field.value) for field in spec.fields] == [
        ("type", "$KIND"),
        ("what", "ever"),
        ("ro", None),
    ]


@given(st.text('a,"=$\\ ', max_size=20) | st.text(max_size=20))
def test_any_text_is_a_mount_or_an_error(text: str) -> None:
    try:
        mount("type=cache,target=/x," + text)
    except DockerfileError:
        pass


@given(st.lists(st.text('a,"= ', max_size=6), min_size=1, max_size=4))
def test_quoted_fields_come_back(values: list[str]) -> None:
    text = ",".join('"' + value.replace('"', '""') + '"' for value in values)
    assert [field.text for field in parse_mount(text, SPAN).fields] == values
