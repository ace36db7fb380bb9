"""A step that cannot be set up because the disk is full: the kernel says so in several ways."""

import pytest

from minibuild.errors import HostError
from minibuild.executor import local


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("cannot set up the step: [Errno 28] No space left on device: '/proc'", True),
        ("cannot set up the step: mount /s/run/mnt/1: No space left on device", True),
        ("cannot set up the step: [Errno 30] Read-only file system: '/proc'", True),
        ("cannot set up the step: [Errno 13] Permission denied: '/proc'", False),
    ],
)
def test_what_may_be_a_full_disk(message: str, expected: bool) -> None:
    assert local._of_a_full_disk(HostError(message)) is expected
