"""When the trees of steps are unmounted: never while their layers are a part of another mount."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from minibuild.snapshot.unmounts import Unmounts
from tests.executor import steps
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("busybox", "overlay")]

EXPECTED = """\
nothing is kept: False
kept: True True
needed: False True
at the end, after another has waited: False
"""


@pytest.mark.parametrize("kind", ["own", "subids", "single"])
def test_a_tree_is_mounted_until_its_layer_is_needed(kind: str) -> None:
    """Also where calls of the step are answered by a process that is in its mount namespace."""
    who = steps.account(kind)
    folder = tempfile.mkdtemp(prefix="minibuild-in-use-")
    os.chown(folder, who.uid, -1)
    try:
        command = [*who.command, "-m", "tests.executor.in_use", folder]
        done = subprocess.run(
            command,
            env=steps.environment(),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.stdout + done.stderr == EXPECTED


def test_few_trees_are_kept(tmp_path: Path) -> None:
    """The oldest goes when there are too many for one message to the server."""
    unmounts = Unmounts(str(tmp_path / "lock"))
    opened = [os.open(tmp_path, os.O_PATH) for _ in range(9)]
    for number, fd in enumerate(opened):
        unmounts.add(f"/layers/{number}/../{number}", fd)
    unmounts.before_mount(["/layers/8"])
    lock, *kept = unmounts.hand_over()
    assert kept == opened[3:8]
    assert unmounts.hand_over() == []
    # Another build waits for who has the lock.
    waiting = subprocess.Popen(["flock", "--exclusive", str(tmp_path / "lock"), "true"])
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.2)
    for fd in (*kept, lock):
        os.close(fd)
    assert waiting.wait(PATIENCE_S) == 0


def test_a_full_disk_does_not_keep_a_tree(tmp_path: Path) -> None:
    """Without a file for the lock nothing is handed over, and nothing is waited for."""
    unmounts = Unmounts(str(tmp_path / "missing" / "lock"))
    unmounts.before_mount(["/layers/1"])
    fd = os.open(tmp_path, os.O_PATH)
    unmounts.add("/layers/1", fd)
    assert unmounts.hand_over() == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
