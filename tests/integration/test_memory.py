"""Memory stays flat: layers of 128 MiB pass through processes that never hold a whole one.

They stay as small with layers of a gibibyte. Whoever held a file, a tar or a blob whole would be
past it here, too. What is measured is the largest process, by the kernel's own account, through
a small process in between: the kernel counts whoever forks until the exec.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest

from tests.integration.conftest import Builds

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

LAYER_MIB = 128
BOUND_MIB = 100

IN_BETWEEN = """\
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
sys.exit(code)
"""

COMMAND = "import sys; from minibuild.cli.main import entry; sys.argv[0] = 'minibuild'; entry()"


@pytest.fixture
def peak(builds: Builds) -> Callable[..., int]:
    """`peak("build", ...)` runs the program and returns the MiB of memory that it took."""

    def run(*words: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", IN_BETWEEN, sys.executable, "-c", COMMAND, *words],
            env=builds.cli.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split()[-1])

    return run


def test_big_layers(
    builds: Builds, project: Callable[[Mapping[str, str]], str], peak: Callable[..., int]
) -> None:
    """A copy and a step's files, exported with gzip and with zstd, squashed, loaded, unpacked."""
    make = f"dd if=/dev/zero of=/made bs=1M count={LAYER_MIB} 2>/dev/null"
    context = project({"Dockerfile": f"FROM busybox\nCOPY big /\nRUN {make}\n"})
    with open(f"{context}/big", "wb") as file:
        file.truncate(LAYER_MIB << 20)
    out = str(builds.folder / "out.tar")
    found = {
        "gzip": peak("build", "-q", f"--output=type=oci,dest={out}", context),
        "zstd": peak("build", "-q", f"--output=type=oci,dest={out},compression=zstd", context),
        "squash": peak("build", "-q", "--squash", context),
        "load": peak("image", "load", "-q", "-t", "loaded:latest", out),
        "save": peak("image", "save", "-o", str(builds.folder / "saved.tar"), "loaded:latest"),
    }
    unpacked = project({"Dockerfile": "FROM loaded\nRUN test -s /big && test -s /made\n"})
    found["unpack"] = peak("build", "-q", unpacked)
    assert {name: mib for name, mib in found.items() if mib > BOUND_MIB} == {}
