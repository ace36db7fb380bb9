"""Names of images, ports and signals."""

import pytest
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.ports import container_ports
from minibuild_dockerfile.reference import InvalidReference, familiar_name, full_name
from minibuild_dockerfile.signals import is_signal
from minibuild_dockerfile.sources import check_name

from minibuild.errors import Span

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "full", "short"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox"),
        ("a/b:1", "docker.io/a/b:1", "a/b:1"),
        ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b"),
        ("localhost/x", "localhost/x:latest", "localhost/x"),
        ("host:5000/x/y:t", "host:5000/x/y:t", "host:5000/x/y:t"),
        ("Host/x", "Host/x:latest", "Host/x"),
        ("[::1]:80/x", "[::1]:80/x:latest", "[::1]:80/x"),
        (f"a@{DIGEST}", f"docker.io/library/a@{DIGEST}", f"a@{DIGEST}"),
        (f"a:1@{DIGEST}", f"docker.io/library/a:1@{DIGEST}", f"a:1@{DIGEST}"),
        ("a__b--c.d", "docker.io/library/a__b--c.d:latest", "a__b--c.d"),
    ],
)
def test_references(text: str, full: str, short: str) -> None:
    assert full_name(text) == full
    assert familiar_name(text) == short


@pytest.mark.parametrize(
    "text",
    ["", "A", "a/B", "a:", "a:b:c", "a//b", "/a", "a@sha256:12", "a b", "-a", "0a" * 32, "é"],
)
def test_bad_references(text: str) -> None:
    with pytest.raises(InvalidReference):
        full_name(text)
    assert familiar_name(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", ["80/tcp"]),
        ("53/UDP", ["53/udp"]),
        ("8-10/sctp", ["8/sctp", "9/sctp", "10/sctp"]),
        ("80:81", ["81/tcp"]),
        ("1.2.3.4::81", ["81/tcp"]),
        ("[::1]:80:81/udp", ["81/udp"]),
    ],
)
def test_ports(text: str, expected: list[str]) -> None:
    assert container_ports(text) == expected


@pytest.mark.parametrize("text", ["", "/tcp", "x", "-1", "65536", "2-1", "1-", "80/x", "x:80", "८"])
def test_bad_ports(text: str) -> None:
    with pytest.raises(ValueError):
        container_ports(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SIGTERM", True),
        ("term", True),
        ("9", True),
        ("0", False),
        ("SIGRTMIN+15", True),
        ("RTMIN+16", False),
        ("RTMAX-14", True),
        ("SIGSIGTERM", False),
        ("", False),
        ("TERM ", False),
    ],
)
def test_signals(text: str, expected: bool) -> None:
    assert is_signal(text) is expected


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("BusyBox", "write busybox"),
        ("host:5000/Team/App:V1", "write host:5000/team/app:V1"),
        ("busybox:", "a name looks like alpine"),
    ],
)
def test_what_to_write_for_a_name_that_is_none(name: str, hint: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        check_name(name, Span("Dockerfile", 1, 1))
    assert hint in caught.value.hint
