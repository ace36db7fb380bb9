"""Messages with descriptors between processes."""

import errno
import gc
import os
import resource
from pathlib import Path

import pytest

from minibuild.linux.channel import close_all, pair
from tests.support.descriptors import open_descriptors, opened_since


def test_descriptors_come_with_a_message() -> None:
    """They are others for the same files, and closed in programs that are started."""
    (one, other), (read_fd, write_fd) = pair(), os.pipe()
    one.send(b"hello", (read_fd, write_fd))
    data, fds = other.receive(100)
    assert data == b"hello" and not set(fds) & {read_fd, write_fd}
    assert [os.fstat(fd).st_ino for fd in fds] == [os.fstat(read_fd).st_ino] * 2
    assert not any(map(os.get_inheritable, fds))
    close_all([*fds, read_fd, write_fd])
    one.close()
    assert other.receive(100) == (b"", [])
    other.close()


@pytest.mark.parametrize("room", [0, 1, 2])
def test_descriptors_that_there_is_no_room_for(tmp_path: Path, room: int) -> None:
    """The kernel leaves out what does not fit, and says so in the flags alone."""
    one, other = pair()
    fd = os.open(tmp_path, os.O_RDONLY)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # What earlier tests left is not to make room now.
    highest = max(number for number, *_ in open_descriptors())
    filling = [os.dup(fd) for _ in range(highest)]  # Up to `highest` there is no free number now.
    top = max(number for number, *_ in open_descriptors())
    before = open_descriptors()
    one.send(b"x", (fd, fd, fd))
    resource.setrlimit(resource.RLIMIT_NOFILE, (top + 1 + room, limits[1]))
    try:
        with pytest.raises(OSError) as raised:
            other.receive(100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert raised.value.errno == errno.EMFILE and not opened_since(before)
    close_all([*filling, fd])
    one.close()
    other.close()
