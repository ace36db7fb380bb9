"""Temporary folders: gone at the end, and swept by the next if there was no end."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

from minibuild.session.scratch import scratch_folder


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_gone_afterwards(parent: Path) -> None:
    with scratch_folder("minibuild-context-") as folder:
        (Path(folder) / "sub").mkdir()
        assert [str(path) for path in parent.iterdir()] == [folder]
        assert os.stat(folder).st_mode & 0o777 == 0o700
    assert list(parent.iterdir()) == []


def test_the_next_removes_what_a_killed_process_left(parent: Path) -> None:
    pid = os.fork()
    if pid == 0:
        with scratch_folder("minibuild-verify-") as folder:
            (Path(folder) / "sub").mkdir()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    (parent / "minibuild-fuzz-1").mkdir()  # somebody else's
    (parent / "minibuild-context-file").write_text("no folder")
    assert len(list(parent.iterdir())) == 3
    with scratch_folder("minibuild-context-") as living, scratch_folder("minibuild-context-") as me:
        left = {path.name for path in parent.iterdir()}
    names = {os.path.basename(living), os.path.basename(me)}
    assert left == names | {"minibuild-fuzz-1", "minibuild-context-file"}
