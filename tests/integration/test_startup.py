"""Start-up is part of the product: what a cached build loads, counted instead of timed.

`python -X importtime .venv/bin/minibuild build ...` shows where the time goes. The limit is raised
only with a reason.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

import pytest

from tests.integration.conftest import Builds

MAX_MODULES = 243
NAMESPACE_MODULES = 9
"""What more it takes to enter a user namespace."""

HEAVY = frozenset(
    (
        "_hashlib asyncio concurrent.futures dataclasses datetime dockerfile_parse email hmac "
        "http.client inspect isal logging pathlib pyseccomp queue random secrets shutil ssl "
        "subprocess tarfile tempfile tqdm urllib.request zstandard"
    ).split()
)

PROGRAM = """\
import sys
from minibuild.cli.main import entry
code = entry(sys.argv[1:])
sys.stdout.write("\\n".join(sys.modules))
sys.exit(code)
"""


@pytest.mark.integration
@pytest.mark.needs("mount", "busybox")
def test_modules_of_a_cached_build(
    builds: Builds,
    project: Callable[[Mapping[str, str]], str],
) -> None:
    """Few, and none of the dear ones."""
    context = project(
        {"Dockerfile": "FROM busybox\nCOPY a /\nRUN true\nCOPY --link a /b\n", "a": ""}
    )
    # A file that changed less than two seconds ago is read again: its next change could get the
    # same time stamp.
    time.sleep(2.1)
    builds.cli("build", context)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "build", context],
        env=builds.cli.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert loaded & HEAVY == set()
    assert "ctypes" not in loaded or os.geteuid(), "only a user namespace needs it"
    # What only some flags need.
    assert not [name for name in loaded if name.startswith("minibuild.remotecache")]
    limit = MAX_MODULES + (NAMESPACE_MODULES if os.geteuid() else 0)
    assert len(loaded) <= limit, sorted(loaded)
