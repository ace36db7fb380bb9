"""The daemon of a builder: what it costs, and that nothing of it stays."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.daemon import Daemon
from bench.measure import Failed
from tests.support.processes import gone, with_word
from tests.support.waiting import PATIENCE_S

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

pytestmark = pytest.mark.needs("root", "mount")

READY = "touch $0/ready; "
BUSY = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; "


def started(folder: Path, script: str) -> Daemon:
    """A shell in place of a daemon; it answers once there is a file `ready`."""
    argv = ["/bin/sh", "-c", script, str(folder)]
    return Daemon(argv, log=str(folder / "log"), answers=(folder / "ready").exists)


def test_it_ends_with_all_that_it_started(tmp_path: Path) -> None:
    mark = str(tmp_path / "child")
    child = f"sh -c 'sleep 600; :' {mark} & "
    script = f"trap 'touch $0/asked; exit 0' TERM; {child} setsid {child} {READY} wait"
    daemon = started(tmp_path, script)
    assert len(with_word(mark)) >= 2
    daemon.stop()
    assert (tmp_path / "asked").exists()
    assert gone(mark)


def test_one_that_does_not_listen_is_ended(tmp_path: Path) -> None:
    mark = str(tmp_path / "child")
    daemon = started(tmp_path, f"sh -c 'sleep 600; :' {mark} & {READY} wait")  # The first process
    daemon.stop(0.2)  # of a namespace is deaf to a signal that it has no handler for.
    assert gone(mark)


def test_its_mounts_are_its_own(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    daemon = started(
        tmp_path, "mount -t tmpfs tmpfs $0/place && touch $0/place/x && " + READY + "sleep 60"
    )
    try:
        assert list(place.iterdir()) == []
    finally:
        daemon.stop(0.1)


def test_processors_of_ended_children_count(tmp_path: Path) -> None:
    script = f"( {BUSY} ); touch $0/ready; while [ ! -e $0/go ]; do sleep 0.01; done; "
    daemon = started(tmp_path, script + f"sh -c '{BUSY}'; touch $0/done; sleep 60; :")
    try:
        before = daemon.cpu_s()
        (tmp_path / "go").touch()
        while not (tmp_path / "done").exists():
            time.sleep(0.01)
        assert before > 0.02
        assert daemon.cpu_s() - before > 0.02
    finally:
        daemon.stop(0.1)


def test_peak_is_that_since_it_was_forgotten(tmp_path: Path) -> None:
    program = (
        "import os, sys, time\n"
        "data = bytearray(80 << 20)\n"
        "del data\n"
        "open(sys.argv[1], 'w').close()\n"
        "time.sleep(60)\n"
    )
    ready = tmp_path / "ready"
    argv = [sys.executable, "-S", "-c", program, str(ready)]
    daemon = Daemon(argv, log=str(tmp_path / "log"), answers=ready.exists)
    try:
        assert daemon.peak_mib() > 80
        daemon.forget_peak()
        assert daemon.peak_mib() < 80
    finally:
        daemon.stop(0.1)


def test_one_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="no such store"):
        started(tmp_path, "echo no such store; exit 1")


def test_it_ends_when_the_bench_is_killed(tmp_path: Path) -> None:
    mark = str(tmp_path / "child")
    program = (
        "import os, signal, sys\n"
        "from bench.daemon import Daemon\n"
        "argv = ['/bin/sh', '-c', 'touch $0; sleep 600; :', sys.argv[1]]\n"
        "Daemon(argv, log=os.devnull, answers=lambda: os.path.exists(sys.argv[1]))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, mark], cwd=ROOT, check=False, timeout=PATIENCE_S)
    assert os.path.exists(mark)
    assert gone(mark)
