"""Ports, signals, and what is said of names of images."""

import pytest
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.ports import container_ports
from minibuild_dockerfile.signals import is_signal
from minibuild_dockerfile.sources import check_name

from minibuild.errors import Span


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
