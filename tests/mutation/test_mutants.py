"""The tool itself: it makes the changes it names, and sees which of them a test notices."""

import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import CHECKOUT
from tests.mutation.mutants import mutants
from tests.mutation.runner import apply

SOURCE = '''\
"""A module."""

def larger(a: int, b: int = 3) -> int:
    """The larger one."""
    if a > b:
        return a
    return b
'''


def test_each_change_once() -> None:
    """Docstrings, annotations and defaults stay as they are."""
    made = [(m.line, m.change) for m in mutants("x.py", SOURCE)]
    assert made == [
        (5, "condition negated"),
        (5, "Gt -> GtE"),
        (6, "returns None"),
        (7, "returns None"),
    ]


def test_a_mutant_is_the_changed_function() -> None:
    """The code does what the change says."""
    namespace: dict[str, object] = {}
    exec(SOURCE, namespace)
    larger = namespace["larger"]
    negated = next(m for m in mutants("x.py", SOURCE) if m.change == "condition negated")
    larger.__code__ = negated.code  # type: ignore[attr-defined]
    assert larger(5, 4) == 4  # type: ignore[operator]


@pytest.mark.parametrize(
    ("asserted", "killed"), [("text == 'x'", 1), ("len(text) >= 0 or True", 0)]
)
@pytest.mark.needs("mount")
def test_a_test_that_asserts_little_kills_little(
    tmp_path: Path, asserted: str, killed: int
) -> None:
    """`as_docker` is executed and has one mutant, which returns None. No test can write to what is
    there already, nor see other processes, or it fails before there are mutants."""
    test = tmp_path / "test_it.py"
    test.write_text(
        "import os, pytest\n"
        "from minibuild.oci.model import as_docker\n"
        "def test_it(tmp_path):\n"
        "    with pytest.raises(OSError, match='Read-only'):\n"
        "        os.unlink(__file__)\n"
        "    (tmp_path / 'x').touch()\n"
        f"    assert os.readlink('/proc/self/ns/pid') != {os.readlink('/proc/self/ns/pid')!r}\n"
        "    text = as_docker('x') or ''\n"
        f"    assert {asserted}\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.mutation", "minibuild/oci/model.py"),
            *("--tests", str(test), "--goal", "0"),
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"{killed} of "), done.stdout


def test_a_function_that_remembers_is_asked_again() -> None:
    """What it answered before the change is forgotten, or no mutant of it could be killed."""

    @lru_cache
    def doubled(number: int) -> int:
        return number * 2

    module = ModuleType("module")
    module.doubled = doubled  # type: ignore[attr-defined]
    assert doubled(4) == 8
    source = "def doubled(number):\n    return number * 2\n"
    changed = next(m for m in mutants("x.py", source) if m.change == "Mult -> Add")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "module", module)
        apply(changed, "module")
    assert doubled(4) == 6
