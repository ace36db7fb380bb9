"""A directory, and a writer of what is in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibuild.linux.tree_writer import TreeWriter
from tests.support.descriptors import open_descriptors, opened_since


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def tree(root: Path) -> Iterator[TreeWriter]:
    """A writer that leaves nothing open."""
    fd = os.open(root, os.O_PATH)
    before = open_descriptors()
    with TreeWriter(fd) as writer:
        yield writer
    assert not opened_since(before)
    os.close(fd)
