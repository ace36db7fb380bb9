"""A step that cannot be set up because the disk is full: the kernel says so in several ways."""

from pathlib import Path

import pytest

from minibuild.errors import HostError
from minibuild.executor import local


@pytest.mark.parametrize(
    ("message", "full", "expected"),
    [
        ("cannot set up the step: [Errno 28] No space left on device: '/proc'", True, True),
        ("cannot set up the step: mount /s/run/mnt/1: No space left on device", True, True),
        ("cannot set up the step: [Errno 30] Read-only file system: '/proc'", True, True),
        ("cannot set up the step: [Errno 13] Permission denied: '/proc'", True, False),
        ("cannot set up the step: mount /s/run/mnt/1: No space left on device", False, False),
        ("cannot set up the step: [Errno 30] Read-only file system: '/proc'", False, False),
    ],
)
def test_whose_fault_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, full: bool, expected: bool
) -> None:
    monkeypatch.setattr(local, "_FULL_BYTES", 1 << 62 if full else 0)
    assert local._is_full(str(tmp_path), HostError(message)) is expected
