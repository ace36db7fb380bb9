"""Folders of clients that are kept: who gets which, and when they are removed."""

import os
from pathlib import Path

from minibuild.serve.contexts import KeptFolders


def test_a_folder_is_as_it_was_left(tmp_path: Path) -> None:
    """Also for a client without a key, by the name alone."""
    kept = KeptFolders(str(tmp_path))
    for key in ("app:1", ""):
        with kept.folder(key, "context") as folder:
            Path(folder, "a").touch()
        with kept.folder(key, "context") as folder:
            assert os.listdir(folder) == ["a"]
        with kept.folder(key, "other") as folder:
            assert os.listdir(folder) == []


def test_two_at_once(tmp_path: Path) -> None:
    """The second has an empty one, which is removed, however deep it is."""
    kept = KeptFolders(str(tmp_path))
    with kept.folder("k", "context") as first:
        Path(first, "a").touch()
        with kept.folder("k", "context") as second:
            assert os.listdir(second) == []
            fd = os.open(second, os.O_RDONLY)
            for _ in range(1200):
                os.mkdir("d", dir_fd=fd)
                below = os.open("d", os.O_RDONLY, dir_fd=fd)
                os.close(fd)
                fd = below
            os.close(fd)
        assert os.listdir(tmp_path) == [os.path.basename(os.path.dirname(first))]
        assert os.listdir(first) == ["a"]
