"""Ssh agents as steps see them: the relay, agents with the keys of files, and who ends them."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from minibuild.errors import DefinitionError, UsageError
from minibuild.linux.descriptors import closing_fd
from minibuild.session.request import SshAgent
from minibuild.session.secrets import AgentSocket, SshReader
from minibuild.session.ssh_agent import forwarded, listening
from tests.support.waiting import PATIENCE_S, comes

pytestmark = pytest.mark.needs("ssh-agent")

FAILURE = b"\0\0\0\1\5"
NO_KEYS = b"\0\0\0\5\14\0\0\0\0"
LIST = b"\0\0\0\1\13"


@pytest.fixture
def key(tmp_path: Path) -> str:
    """A private key that everybody may read, as in a checkout: ssh-add itself refuses those."""
    return make_key(tmp_path / "key")


def make_key(path: Path, passphrase: str = "") -> str:
    words = ["-q", "-t", "ed25519", "-N", passphrase, "-C", "a key", "-f", str(path)]
    subprocess.run(["ssh-keygen", *words], check=True, stdin=subprocess.DEVNULL)
    path.chmod(0o644)
    return str(path)


@pytest.fixture
def short() -> Iterator[str]:
    """A folder with a path short enough for sockets."""
    folder = f"/tmp/mb-agent-{os.getpid()}"
    os.mkdir(folder)
    yield folder
    shutil.rmtree(folder)


def ssh_add(path: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "SSH_AUTH_SOCK": path, "LC_ALL": "C"}
    return subprocess.run(
        ["ssh-add", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


class Server:
    """Answers every message on a socket alike, and keeps what it heard."""

    def __init__(self, path: str, answer: bytes) -> None:
        self.heard = b""
        self.answer = answer
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                while data := client.recv(1000):
                    self.heard += data
                    client.sendall(self.answer)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()


@pytest.fixture
def server(short: str) -> Iterator[Server]:
    """An agent without keys."""
    made = Server(f"{short}/upstream", NO_KEYS)
    yield made
    made.close()


def talk(path: str, request: bytes, size: int) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_S)
        client.connect(path)
        client.sendall(request)
        data = b""
        with suppress(ConnectionResetError):  # closed with something unread
            while len(data) < size and (piece := client.recv(size - len(data))):
                data += piece
        return data


def test_keys_are_listed_and_nothing_else(server: Server, short: str) -> None:
    path = f"{short}/step"
    with forwarded(AgentSocket(f"{short}/upstream"), path, 0o640, os.getuid(), os.getgid()):
        status = os.stat(path)
        assert (status.st_mode & 0o777, status.st_uid) == (0o640, os.getuid())
        assert talk(path, LIST, len(NO_KEYS)) == NO_KEYS
        assert server.heard == LIST
        for kind in (9, 17, 18, 19, 22, 23, 25, 27):  # add, remove, remove all, lock, ...
            assert talk(path, b"\0\0\0\1" + bytes([kind]), 5) == FAILURE
        assert server.heard == LIST
    assert not os.path.exists(path)


@pytest.mark.parametrize("junk", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"GET / HTTP/1.0\r\n\r\n"])
def test_what_is_no_message_ends_the_connection(server: Server, short: str, junk: bytes) -> None:
    path = f"{short}/step"
    with forwarded(AgentSocket(f"{short}/upstream"), path, 0o600, os.getuid(), os.getgid()):
        assert talk(path, junk, 1) == b""
    assert server.heard == b""


def test_raw_is_not_looked_at(server: Server, short: str) -> None:
    path = f"{short}/step"
    with forwarded(AgentSocket(f"{short}/upstream", raw=True), path, 0o600, 0, 0):
        assert talk(path, b"hello", len(NO_KEYS)) == NO_KEYS
    assert server.heard == b"hello"


def test_paths_that_are_longer_than_an_address(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    up, path = str(folder / "up"), str(folder / "step")
    with listening(up, 0o600, lambda client: client.sendall(NO_KEYS)):
        assert os.stat(up).st_mode & 0o777 == 0o600
        with (
            forwarded(AgentSocket(up), path, 0o600, os.getuid(), os.getgid()),
            socket.socket(socket.AF_UNIX) as client,
            closing_fd(os.open(folder, os.O_PATH)) as fd,
        ):
            client.connect(f"/proc/self/fd/{fd}/step")
            client.sendall(LIST)
            assert client.recv(100) == NO_KEYS
    assert not os.listdir(folder)


def test_keys_of_files(
    key: str, short: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where nothing else is installed: minibuild's own image has no shell.
    (tmp_path / "bin").mkdir()
    for name in ("ssh-agent", "ssh-add", "ssh-keygen"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    second = make_key(tmp_path / "second")
    reader = SshReader([SshAgent("default", (key, second))])
    try:
        agent = reader("default")
        assert agent is not None
        assert reader("default") == agent  # one agent for a build
        path = f"{short}/step"
        with forwarded(agent, path, 0o600, os.getuid(), os.getgid()):
            listed = ssh_add(path, "-L").stdout.splitlines()
            assert {line.split()[1] for line in listed} == {
                Path(f"{each}.pub").read_text().split()[1] for each in (key, second)
            }
            assert ssh_add(path, "-T", f"{key}.pub").returncode == 0  # it signs
            assert ssh_add(path, "-D").returncode != 0
            assert len(ssh_add(path, "-L").stdout.splitlines()) == 2
    finally:
        reader.close()
    assert ssh_add(agent.path, "-L").returncode == 2  # nobody is there
    assert not os.path.exists(os.path.dirname(agent.path))


def test_the_agent_ends_with_its_process(key: str) -> None:
    code = (
        "import os, sys\n"
        "from minibuild.session.key_agent import KeyAgent\n"
        "print(KeyAgent('default', [sys.argv[1]]).socket, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, key], capture_output=True, text=True)
    folder = os.path.dirname(done.stdout.strip())
    assert comes(lambda: not os.path.exists(folder))


def test_a_key_with_a_passphrase(tmp_path: Path) -> None:
    key = make_key(tmp_path / "locked", "secret")
    with pytest.raises(DefinitionError, match="cannot load the key") as caught:
        SshReader([SshAgent("default", (key,))])("default")
    assert "ssh-add" in caught.value.hint


def test_what_is_refused(server: Server, short: str, key: str, tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("not a key")
    with pytest.raises(DefinitionError, match="cannot load the key"):
        SshReader([SshAgent("a", (str(tmp_path / "junk"),))])("a")
    with pytest.raises(UsageError, match="stands beside other paths"):
        SshReader([SshAgent("a", (f"{short}/upstream", key))])("a")
    with pytest.raises(UsageError, match="raw needs a socket"):
        SshReader([SshAgent("a", (key,), raw=True)])("a")
    with pytest.raises(UsageError, match="No such file"):
        SshReader([SshAgent("a", (str(tmp_path / "none"),))])("a")
    assert SshReader([])("a") is None
