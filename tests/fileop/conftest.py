"""A source and a destination for each test."""

from pathlib import Path

import pytest

from tests.fileop.trees import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Two empty directories to copy between."""
    return Bench(str(tmp_path))
