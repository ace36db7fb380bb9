"""What mypy finds in a file of somebody who uses this package."""

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import CHECKOUT


def complaints(path: Path, *more: Path) -> tuple[set[int], str]:
    """The lines of `path` that `mypy --strict` finds at fault, and all it said, of `more`, too."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary"),
            *("--config-file=", "--python-version=3.11", "--follow-imports=silent"),
            *("--cache-dir", str(CHECKOUT / ".mypy_cache/snippets"), *map(str, (path, *more))),
        ],
        env={"MYPYPATH": f"{CHECKOUT}:{CHECKOUT}/frontends"},
        cwd="/",
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    name = re.escape(path.name)
    return {int(line) for line in re.findall(rf"{name}:(\d+): error", said)}, said
