"""What comes from outside cannot talk to the terminal: names, labels, histories, server answers."""

import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import Builds
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

Project = Callable[[Mapping[str, str]], str]
EVIL = "\x1b]52;c;aGkx\x07\x9b2J\x08\u202e"
"""Fills the clipboard, clears the screen, goes back in the line, turns the text around."""
SHOWN = r"\x1b]52;c;aGkx\x07\x9b2J\x08\u202e"
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")

# What the program itself writes on a terminal: colours, and frames of the progress.
OWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?7[lh]|\x1b\[[0-9]+A|\x1b\[[KJ]|\r")


def on_terminal(builds: Builds, *words: str, term: str) -> str:
    """All that a command shows on a terminal, less the control sequences of its own."""
    master, slave = os.openpty()
    with subprocess.Popen(
        [builds.cli.program, *words],
        env={**builds.cli.environment, "TERM": term},
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    ) as process:
        os.close(slave)
        shown = b""
        try:
            while data := os.read(master, 1 << 16):
                shown += data
        except OSError:
            pass  # EIO: the last process has closed its end.
        os.close(master)
        process.wait(timeout=PATIENCE_S)
    return OWN.sub("", shown.decode())


def seen(builds: Builds, *words: str, code: int = 0) -> str:
    """What a command shows, in a pipe and on terminals, which is no more than can be seen."""
    done = builds.cli(*words, code=code)
    text = done.stdout + done.stderr
    assert UNSEEN.search(text) is None, text
    for term in ("dumb", "xterm"):
        shown = on_terminal(builds, *words, term=term)
        assert UNSEEN.search(shown) is None, shown
    return text


@pytest.fixture
def evil(builds: Builds, project: Project) -> Builds:
    """A store with an image that says `EVIL` wherever an image can say something."""
    context = project({"Dockerfile": "", f"f{EVIL}": "x"})
    lines = [
        "FROM busybox AS one",
        f"RUN true '{EVIL}'",
        f"COPY --link f* /d{EVIL}/",
        f'LABEL "l{EVIL}"="v{EVIL}"',
        f"CMD {json.dumps([f'c{EVIL}'])}",
        f"RUN --mount=type=cache,id=i{EVIL},target=/c touch /c/n",
    ]
    Path(context, "Dockerfile").write_text("\n".join(lines), newline="")
    builds.cli("build", "-t", "evil", context)
    return builds


def test_what_images_say(evil: Builds, tmp_path: Path) -> None:
    assert SHOWN in seen(evil, "image", "history", "--no-trunc", "evil")
    assert SHOWN in seen(evil, "image", "diff", "busybox", "evil", code=1)
    assert SHOWN in seen(evil, "cache-mount", "ls")
    assert SHOWN in seen(evil, "merge-trace", "evil")
    seen(evil, "du", "--verbose")
    seen(evil, "image", "inspect", "evil")
    assert SHOWN in seen(evil, "run", "evil", code=127), "words of ours, not of the program"
    saved = tmp_path / "saved.tar"
    evil.cli("image", "save", "-o", str(saved), "evil")
    seen(evil, "image", "history", str(saved))
    data = evil.cli("image", "history", "--format=json", "evil").stdout
    assert any(EVIL in entry["created_by"] for entry in json.loads(data)), "data is not changed"


@pytest.mark.parametrize("progress", ["plain", "tty", "rawjson", "quiet"])
def test_what_dockerfiles_say(builds: Builds, project: Project, progress: str) -> None:
    def build(text: str, code: int) -> str:
        context = project({"Dockerfile": ""})
        Path(context, "Dockerfile").write_text(text, newline="")
        return seen(builds, "build", f"--progress={progress}", context, code=code)

    assert SHOWN in build(f"FROM busybox\nRUN false '{EVIL}'\n", 5)
    assert SHOWN in build(f"FROM busybox\nCOPY n{EVIL} /\n", 6)
    assert SHOWN in build(f"FROM busybox\nRUX {EVIL}\n", 6)
    build(f"FROM busybox\nRUN printf 'a%bb' '{EVIL}'; exit 1\n", 5)


@pytest.fixture
def rude_server() -> Iterator[str]:
    """The address of a web server that answers with `EVIL` for a reason."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1 << 16)
                    head = f"HTTP/1.1 403 {EVIL}\r\nContent-Length: 0\r\nConnection: close\r\n"
                    connection.sendall(head.encode() + b"\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_what_servers_say(builds: Builds, project: Project, rude_server: str) -> None:
    context = project({"Dockerfile": f"FROM busybox\nADD {rude_server}/x /\n"})
    assert r"\x1b]52" in seen(builds, "build", context, code=4)
    context = project({"Dockerfile": f"FROM {rude_server.removeprefix('http://')}/x\n"})
    seen(builds, "build", context, code=4)
