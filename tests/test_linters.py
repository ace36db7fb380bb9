"""The linters are tests: one command tells everything."""

import re
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
    ("Op", "Source | Exec", {"graph/op", "solver/lookup", "solver/step", "attest/materials"}),
    ("Source", "ImageSource |", {"graph/op", "solver/lookup", "solver/step", "attest/materials"}),
    ("FileAction", "Copy |", {"solver/keys", "fileop/apply"}),
    ("ExecMount", "BindMount |", {"solver/keys", "solver/exec"}),
]


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy says when each union has a class more, of a name of its own."""
    module = CHECKOUT / "minibuild/graph/op.py"
    text = module.read_text()
    for union, first, _ in NEW_KINDS:
        before = f"\n{union} = {first}"
        assert text.count(before) == 1
        new = f'\nclass New{union}(NamedTuple):\n    path: str = ""\n\n'
        text = text.replace(before, f"{new}{before.replace('= ', f'= New{union} | ')}")
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "op.py").write_text(text)
    cache = folder / "cache"
    if (CHECKOUT / ".mypy_cache").exists():
        shutil.copytree(CHECKOUT / ".mypy_cache", cache)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", f"--cache-dir={cache}"),
            *("--shadow-file", module, folder / "op.py"),
            *("-p", "minibuild", "-p", "minibuild_dockerfile"),
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.mark.linters
@pytest.mark.parametrize(("union", "first", "places"), NEW_KINDS, ids=[k[0] for k in NEW_KINDS])
def test_a_new_kind_of_op_is_missed_nowhere(
    union: str, first: str, places: set[str], complaints: str
) -> None:
    """A class more in the union, and all that tells ops apart without it is an error."""
    named = [line for line in complaints.splitlines() if re.search(rf"\bNew{union}\b", line)]
    found = {line.partition(".py:")[0] for line in named}
    assert {f"minibuild/{place}" for place in places} <= found, complaints
