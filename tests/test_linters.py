"""The linters are tests: one command tells everything."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent

COMMANDS = {
    "ruff check": ("ruff", "check", "."),
    "ruff format": ("ruff", "format", "--check", "."),
    "mypy": ("mypy",),
    "mypy of what tests share": ("mypy", "tests/support", "tests/conftest.py"),
}


@pytest.mark.linters
@pytest.mark.parametrize("name", COMMANDS)
def test_linter(name: str) -> None:
    """The settings are in pyproject.toml."""
    done = subprocess.run(
        [sys.executable, "-m", *COMMANDS[name]], cwd=CHECKOUT, capture_output=True, text=True
    )
    if done.returncode:
        pytest.fail(f"{done.stdout}{done.stderr}", pytrace=False)
