"""Daemons that are reached by a program: what is run, and what its end means."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from minibuild.client.connection import connected, dial_command
from minibuild.errors import HostError, UsageError


@pytest.mark.parametrize(
    ("address", "command"),
    [
        ("docker-container://Buildx_0", "docker exec -i Buildx_0 buildctl dial-stdio"),
        ("docker-container://a?context=c", "docker --context=c exec -i a buildctl dial-stdio"),
        ("podman-container://a", "podman exec -i a buildctl dial-stdio"),
        (
            "kube-pod://p?context=x&namespace=n&container=c",
            "kubectl --context=x --namespace=n exec --container=c -i p -- buildctl dial-stdio",
        ),
        ("ssh://host", "ssh -- host buildctl dial-stdio"),
        (
            "ssh://me@host:23/run/b.sock",
            "ssh -l me -p 23 -- host buildctl --addr unix:///run/b.sock dial-stdio",
        ),
    ],
)
def test_commands(address: str, command: str) -> None:
    assert dial_command(urlsplit(address)) == command.split()


@pytest.mark.parametrize(
    "address",
    "ssh://-oProxyCommand=x ssh://me:pass@host docker-container:// docker-container://-v ftp://x".split(),
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="invalid address of a builder"), connected(address):
        pass


def test_a_program_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it said is the reason, and it is not waited for."""
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\necho 'No such container: x' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for address, reason in (
        ("docker-container://x", "No such container: x"),
        ("nerdctl-container://x", "cannot run nerdctl"),
    ):
        with pytest.raises(HostError, match=reason), connected(address):
            pass
