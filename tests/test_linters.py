"""The linters are tests: one command tells everything."""

import shutil
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


# What docs/hacking.md promises: mypy names the places that have to know a new kind of op.
NEW_KINDS = [
    ("Op", "Source | Exec", {"graph/op", "solver/lookup", "solver/step", "attest/provenance"}),
    ("Source", "ImageSource |", {"graph/op", "solver/lookup", "solver/step", "attest/provenance"}),
    ("FileAction", "Copy |", {"solver/keys", "fileop/apply"}),
    ("ExecMount", "BindMount |", {"solver/keys", "solver/exec"}),
]


@pytest.mark.linters
@pytest.mark.parametrize(("union", "first", "places"), NEW_KINDS, ids=[k[0] for k in NEW_KINDS])
def test_a_new_kind_of_op_is_missed_nowhere(
    union: str, first: str, places: set[str], tmp_path: Path
) -> None:
    """A class more in the union, and all that tells ops apart without it is an error."""
    module = CHECKOUT / "minibuild/graph/op.py"
    text, before = module.read_text(), f"\n{union} = {first}"
    assert text.count(before) == 1
    made = tmp_path / "op.py"
    new = f'\nclass New(NamedTuple):\n    path: str = ""\n\n\n{union} = New | {first}'
    made.write_text(text.replace(before, new))
    cache = tmp_path / "cache"
    if (CHECKOUT / ".mypy_cache").exists():
        shutil.copytree(CHECKOUT / ".mypy_cache", cache)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", f"--cache-dir={cache}", "--shadow-file", module, made],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    found = {line.partition(".py:")[0] for line in done.stdout.splitlines() if '"New' in line}
    assert {f"minibuild/{place}" for place in places} <= found, done.stdout
