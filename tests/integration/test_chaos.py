"""A few builds that are interrupted while they are busy with big files.

`python -m tests.chaos` does hundreds.
"""

import signal
from pathlib import Path

import pytest

from tests.chaos.builds import KINDS
from tests.chaos.harness import Harness, prepared
from tests.conftest import Cli

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

MOMENTS = {
    "layer of holes": 1.0,
    "bind mount, some ignored": 1.5,
    "copies": 0.7,
    "step with holes": 1.5,
    "archive": 1.2,
    "deaf": 1.0,
}


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """One store for all."""
    folder = tmp_path_factory.mktemp("chaos")
    # Far less than what they take: minutes or hours. A busy machine is slow at anything.
    return prepared(Cli(str(folder)).program, Path(folder), noise_mib=15, limit_s=10)


@pytest.mark.parametrize("kind", MOMENTS)
def test_ctrl_c(harness: Harness, kind: str) -> None:
    """It ends soon, without a word too many, and no process stays."""
    assert kind in KINDS
    ended = harness.interrupt(kind, MOMENTS[kind], signal.SIGINT)
    assert ended.wrong == ()
    assert ended.code in (0, 130)


def test_the_next_build(harness: Harness) -> None:
    """It works, and after it nothing is left of those before."""
    assert harness.next_build() == []
