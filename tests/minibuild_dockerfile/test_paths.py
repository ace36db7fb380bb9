"""Paths of Windows as the Linux that builds has them, and back."""

import pytest
from minibuild_dockerfile.paths import from_slashes, to_slashes


@pytest.mark.parametrize(
    ("path", "below", "with_end"),
    [
        ("c:\\a\\b", "/a/b", "/a/b"),
        ("C:\\a\\", "/a", "/a/"),
        ("C:/a/.", "/a", "/a/"),
        ("C:\\", "/", "/"),
        ("c:a\\..\\b", "b", "b"),
        ("a\\b\\", "a/b", "a/b/"),
        ("\\a", "/a", "/a"),
        ("", "", ""),
    ],
)
def test_paths_of_windows(path: str, below: str, with_end: str) -> None:
    assert to_slashes(path, "windows") == below
    assert to_slashes(path, "windows", keep_end=True) == with_end
    assert to_slashes(path, "linux") == path
    assert from_slashes(below, "windows") == below.replace("/", "\\")
    assert from_slashes(path, "linux") == path
