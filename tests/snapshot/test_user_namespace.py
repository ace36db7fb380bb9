"""All tests of this folder once more as an ordinary account would run them: in a user namespace.

There `trusted.*` attributes and device nodes are out of reach, and overlayfs keeps its notes in
`user.*`. The child enters the namespace as the program itself does.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

ENTER = """
import sys
from minibuild.linux.idmap import plan_id_maps
from minibuild.linux.namespace import enter_user_namespace

enter_user_namespace(plan_id_maps())
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def in_initial_namespace() -> bool:
    """Whether this process is in no user namespace yet."""
    return os.readlink("/proc/self/ns/user") == "user:[4026531837]"


@pytest.mark.integration
@pytest.mark.skipif(not in_initial_namespace(), reason="this is the inner run")
def test_in_a_user_namespace(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENTER, "-q", "-p", "no:cacheprovider", str(HERE)]
    command += [f"--basetemp={tmp_path}/inner", "-rs", "--hypothesis-profile=namespace"]
    command += ["-k", "not stacked"]  # Where no namespace can be made.
    run = subprocess.run(
        command, cwd=HERE.parents[1], capture_output=True, text=True, check=False, timeout=900
    )
    if "cannot enter a user namespace" in run.stderr and not os.environ.get("CI"):
        pytest.skip(run.stderr.strip().splitlines()[-1])
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
