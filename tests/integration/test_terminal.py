"""`minibuild run` on a terminal: the step has one of its own, as large, and keys reach it."""

import fcntl
import os
import select
import struct
import subprocess
import termios
import time

import pytest

from tests.integration.conftest import Builds
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

SCRIPT = """\
trap 'exit 9' INT
tty; stty size; echo started
until stty size | grep -q '^25 80$'; do sleep 0.1; done; echo resized
read line; echo "read $line"
while :; do sleep 0.1; done
"""


def resize(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def read_until(fd: int, word: str) -> str:
    """What the terminal shows until `word` comes."""
    shown, deadline = "", time.monotonic() + PATIENCE_S
    while word not in shown:
        ready, _, _ = select.select([fd], [], [], max(deadline - time.monotonic(), 0))
        assert ready, f"no {word!r} in {shown!r}"
        shown += os.read(fd, 4096).decode(errors="replace")
    return shown


def test_run_on_a_terminal(builds: Builds) -> None:
    master, slave = os.openpty()
    resize(slave, 31, 97)
    before = termios.tcgetattr(slave)
    process = subprocess.Popen(
        [builds.cli.program, "run", "busybox", "sh", "-c", SCRIPT],
        env={**builds.cli.environment, "TERM": "xterm"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    try:
        shown = read_until(master, "started")
        assert "/dev/pts/0" in shown and "31 97" in shown
        resize(master, 25, 80)
        read_until(master, "resized")
        os.write(master, b"words\r")
        read_until(master, "read words")
        os.write(master, b"\x03")  # Ctrl-C is for the step
        assert process.wait(PATIENCE_S) == 9
        assert termios.tcgetattr(slave) == before
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)
