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


# What docs/hacking.md promises: mypy names the places that have to know a new kind of op or output.
OP, REQUEST = "graph/op", "session/request"
OF_OP = {OP, "solver/lookup", "solver/step", "solver/layers", "buildkit/encode", "attest/materials"}
OF_OUTPUT = {"exporter/export", "exporter/options"}
NEW_KINDS = [
    ("Op", OP, "Source | StepOp", OF_OP),
    ("StepOp", OP, "Exec |", OF_OP),
    ("Source", OP, "ImageSource |", OF_OP - {"buildkit/encode"}),
    ("FileAction", OP, "Copy |", {"solver/keys", "fileop/apply"}),
    ("ExecMount", OP, "BindMount |", {"solver/keys", "solver/execmounts"}),
    ("OutputType", REQUEST, 'Literal["', OF_OUTPUT),
]


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy says when each union has a member more, of a name of its own."""
    folder, shadows = tmp_path_factory.mktemp("kinds"), list[str | Path]()
    for home in (OP, REQUEST):
        module = CHECKOUT / f"minibuild/{home}.py"
        text = module.read_text()
        for union, where, first, _ in NEW_KINDS:
            if where != home:
                continue
            before = f"\n{union} = {first}"
            assert text.count(before) == 1
            if first == 'Literal["':
                text = text.replace(before, f'{before}New{union}", "')
            else:
                new = f'\nclass New{union}(NamedTuple):\n    path: str = ""\n\n'
                text = text.replace(before, f"{new}{before.replace('= ', f'= New{union} | ')}")
        shadow = folder / module.name
        shadow.write_text(text)
        shadows += ["--shadow-file", module, shadow]
    cache = folder / "cache"
    if (CHECKOUT / ".mypy_cache").exists():
        shutil.copytree(CHECKOUT / ".mypy_cache", cache)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", f"--cache-dir={cache}", *shadows),
            *("-p", "minibuild", "-p", "minibuild_dockerfile"),
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.mark.linters
@pytest.mark.parametrize(
    ("union", "places"), [(kind[0], kind[3]) for kind in NEW_KINDS], ids=[k[0] for k in NEW_KINDS]
)
def test_a_new_kind_is_missed_nowhere(union: str, places: set[str], complaints: str) -> None:
    """A member more in the union, and all that tells them apart without it is an error."""
    named = [line for line in complaints.splitlines() if re.search(rf"\bNew{union}\b", line)]
    found = {line.partition(".py:")[0] for line in named}
    assert {f"minibuild/{place}" for place in places} <= found, complaints
