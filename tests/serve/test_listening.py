"""Where `minibuild serve` listens: TCP with certificates, and sockets that systemd opened."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from minibuild.errors import UsageError
from minibuild.serve.listening import Certificates, handed_over, listening
from tests.conftest import Cli
from tests.support.registry import make_authority
from tests.support.waiting import PATIENCE_S


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    return folder


@pytest.mark.parametrize(
    ("address", "files", "message"),
    [
        ("tcp://127.0.0.1:0", (), "both sides need a certificate"),
        ("tcp://127.0.0.1:0", ("x", "x"), "both sides need a certificate"),
        ("tcp://127.0.0.1:0", ("/no",) * 3, "cannot read /no"),
        ("tcp://127.0.0.1:0", ("/etc/passwd",) * 3, "no certificates for TLS"),
        ("tcp://x", ("/no",) * 3, "invalid address 'tcp://x'"),
        ("fd://", (), "there is no socket of systemd here"),
        ("unix://s", (), "invalid address 'unix://s'"),
        ("npipe:////./pipe/x", (), "invalid address"),
    ],
)
def test_what_cannot_be(address: str, files: tuple[str, ...], message: str) -> None:
    with (
        pytest.raises(UsageError, match=message),
        listening([address], Certificates(*files), {}),
    ):
        pass


def test_sockets_of_another_process() -> None:
    for variables in ({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": str(os.getpid())}):
        with pytest.raises(UsageError, match="no socket of systemd"):
            handed_over(variables)


@pytest.mark.integration
@pytest.mark.needs("mount", "openssl")
def test_certificates(cli: Cli, context: Path, tmp_path: Path) -> None:
    """Without a certificate of the right authority a client builds nothing."""
    authority, certificate = make_authority(str(tmp_path / "ours"))
    key = certificate.removesuffix(".crt") + ".key"
    other, stranger = make_authority(str(tmp_path / "others"))
    tls = [f"--tlscert={certificate}", f"--tlskey={key}", f"--tlscacert={authority}"]
    process = cli.start("serve", "--addr", "tcp://127.0.0.1:0", *tls)
    assert process.stderr is not None
    address = process.stderr.readline().split()[-1]
    try:
        pair = f"cert={certificate},key={key}"
        good = f"--builder={address},cacert={authority},{pair}"
        cli("build", good, "-o", str(tmp_path / "out"), str(context))
        assert (tmp_path / "out/Dockerfile").exists()
        strange = f"cert={stranger},key={stranger.removesuffix('.crt')}.key"
        for words, reason in (
            # The server may have ended the connection before its word for that is read.
            (f"cacert={authority}", "CERTIFICATE_REQUIRED|it may want a certificate"),
            (f"cacert={authority},{strange}", ""),
            (f"cacert={other},{pair}", "CERTIFICATE_VERIFY_FAILED"),
            (f"cacert={authority},{pair},servername=other.example", "CERTIFICATE_VERIFY_FAILED"),
        ):
            done = cli("build", f"--builder={address},{words}", str(context), code=3)
            assert "there is no builder at" in done.stderr and re.search(reason, done.stderr)
        taken = cli("serve", "--addr", address, *tls, code=3)
        assert "Address already in use" in taken.stderr
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


@pytest.mark.integration
@pytest.mark.needs("mount")
def test_a_socket_of_systemd(cli: Cli, context: Path, short_folder: Path, tmp_path: Path) -> None:
    """A server is started when a client comes, ends by itself, and the next one is as good."""
    path = short_folder / "s.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        os.chmod(path, 0o600)
        for number in range(2):
            server = _started(cli, listener)
            out = tmp_path / str(number)
            cli("build", f"--builder=unix://{path}", "-o", str(out), str(context))
            assert (out / "Dockerfile").exists()
            _, errors = server.communicate(timeout=PATIENCE_S)
            assert server.returncode == 0 and errors == f"listening at unix://{path}\n"
            assert path.exists()
        os.chmod(path, 0o666)
        os.chmod(short_folder, 0o711)
        _, errors = _started(cli, listener).communicate(timeout=PATIENCE_S)
        assert "its .socket unit needs SocketMode=0600" in errors


def _started(cli: Cli, listener: socket.socket) -> subprocess.Popen[str]:
    """The server as systemd starts it: the socket is its descriptor 3."""
    script = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""
    return subprocess.Popen(
        [sys.executable, "-c", script, str(listener.fileno()), cli.program, "serve", "--once"],
        env=cli.environment,
        pass_fds=[listener.fileno()],
        stderr=subprocess.PIPE,
        text=True,
    )
