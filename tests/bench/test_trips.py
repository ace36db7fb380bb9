"""The way of a COPY stays as straight as docs/architecture.md has it: counted, and no time."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent.parent
MAX_MODULES = 25


@pytest.mark.integration
@pytest.mark.needs("mount")
def test_from_the_op_to_the_layer_of_a_copy(tmp_path: Path) -> None:
    """Through few modules, none of which is entered again by one that it called."""
    (tmp_path / "src/d").mkdir(parents=True)
    for name in ("a", "d/b", "d/c"):
        (tmp_path / "src" / name).write_text(name)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY src /src\n")
    words = ["minibuild.fileop.copy:copy", "build", "-q", "--no-cache", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "bench/trips.py", *words],
        env={**os.environ, "MINIBUILD_ROOT": str(tmp_path / "store")},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    found = re.search(r"\| minibuild\.fileop\.copy:copy \|(.*)\|$", done.stdout, re.MULTILINE)
    assert found, done.stderr
    modules, functions, _, both_ways = (int(n.replace(",", "")) for n in found[1].split("|"))
    assert 15 < modules <= MAX_MODULES and functions > modules, done.stdout
    assert both_ways == 0, done.stdout
