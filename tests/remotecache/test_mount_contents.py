"""What a cache mount holds, in sums by directory."""

import os
from pathlib import Path

from minibuild.remotecache.mounts.tree import contents
from tests.layer.trees import make


def test_sums_by_depth(tmp_path: Path) -> None:
    top = make(
        str(tmp_path / "top"),
        {"big/a/x": b"x" * 50_000, "big/b/y": b"y" * 20_000, "small": b"z", "link": "= big/a/x"},
    )
    os.utime(f"{top}/small", (5e8, 5e8))
    fd = os.open(top, os.O_RDONLY)
    try:
        one, two = contents(fd, 1), contents(fd, 2)
    finally:
        os.close(fd)
    assert [(entry.path, entry.files) for entry in one] == [("big", 2), ("small", 1), ("link", 1)]
    assert one[0].size_bytes >= 70_000 and one[2].size_bytes == 0
    assert one[1].newest == 5e8
    assert [entry.path for entry in two[:3]] == ["big", "big/a", "big/b"]
    assert sum(entry.files for entry in two if "/" in entry.path) == 2
