"""What a command cost, with what it leaves behind."""

import os
import sys
import time
from pathlib import Path

from bench.measure import run

BURN = "import time\nwhile time.process_time() < 0.3: pass"


def test_a_process_that_ends_later_counts(tmp_path: Path) -> None:
    """Its work does, but not the wait for it."""
    start = time.perf_counter()
    argv = ["/bin/sh", "-c", f'{sys.executable} -c "{BURN}" &']
    cost = run(argv, env=dict(os.environ), log=str(tmp_path / "log"), cwd=str(tmp_path))
    assert cost.cpu_s >= 0.3
    assert cost.wall_s < time.perf_counter() - start - 0.2
