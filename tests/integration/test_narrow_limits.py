"""Too few descriptors, too little memory, too few processes: one sentence and what to do, nothing
left, and the next build works."""

import os
import resource
import subprocess
from collections.abc import Callable, Mapping

import pytest

from tests.integration.conftest import Builds
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

Project = Callable[[Mapping[str, str]], str]

WIDE = "\n".join(
    [
        *(
            f"FROM busybox AS s{n}\nCOPY f{n} /f\nRUN cat /f > /g && echo {n}\nCOPY --link f{n} /l"
            for n in range(5)
        ),
        "FROM busybox",
        *(f"COPY --from=s{n} /g /x{n}/" for n in range(5)),
    ]
)
LIMITS = {
    "five files": (resource.RLIMIT_NOFILE, 5, "may open 5 files at a time, and needs"),
    "few files": (resource.RLIMIT_NOFILE, 40, "may open 40 files at a time, and needs"),
    "files for one step": (resource.RLIMIT_NOFILE, 66, "ulimit -n"),
    "no library": (resource.RLIMIT_AS, 20 << 20, "ulimit -v"),
    "no thread": (resource.RLIMIT_AS, 40 << 20, "may have memory of 40 MiB, and needs"),
    "a few threads": (resource.RLIMIT_AS, 130 << 20, "may have memory of 130 MiB, and needs"),
    "little data": (resource.RLIMIT_DATA, 100 << 20, "may have data of 100 MiB, and needs"),
    "enough data": (resource.RLIMIT_DATA, 256 << 20, "ulimit -d"),
    "tiny files": (resource.RLIMIT_FSIZE, 2000, "may write files of 0 MiB, and needs"),
    "just enough": (resource.RLIMIT_AS, 256 << 20, "ulimit -v"),
}


def limited(
    builds: Builds, limit: int, value: int, *words: str, hard: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the program with a limit."""

    def prepare() -> None:
        most = value if hard else resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (value, most))

    return subprocess.run(
        [builds.cli.program, *words],
        env=builds.cli.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        preexec_fn=prepare,
    )


@pytest.mark.parametrize("name", LIMITS)
def test_too_little(builds: Builds, project: Project, name: str) -> None:
    limit, value, says = LIMITS[name]
    files = {f"f{n}": f"{n}" * 200_000 for n in range(5)}
    context = project({"Dockerfile": WIDE, **files})
    done = limited(builds, limit, value, "build", "--progress=plain", "-t", "x", context)
    for word in ("Traceback", "internal error", "Fatal"):
        assert word not in done.stderr, done.stderr
    assert done.returncode in (0, 3, 8), done.stderr
    if done.returncode:
        assert done.stderr.count("\nerror: ") + done.stderr.startswith("error: ") == 1, done.stderr
        assert says in done.stderr.rpartition("error: ")[2]
    builds.cli("build", "-t", "x", context)
    assert builds.cli("run", "x", "cat", "/x3/g").stdout == files["f3"]
    assert builds.leftovers() == []


def test_a_file_that_is_too_large(builds: Builds, project: Project) -> None:
    context = project({"Dockerfile": "FROM busybox\nCOPY big /\n"})
    with open(f"{context}/big", "wb") as file:
        file.write(os.urandom(17 << 20))
    done = limited(builds, resource.RLIMIT_FSIZE, 16 << 20, "build", "-t", "x", context)
    assert done.returncode == 8, done.stderr
    assert "File too large" in done.stderr and "ulimit -f" in done.stderr
    builds.cli("build", "-t", "x", context)
    assert builds.leftovers() == []


def test_a_soft_limit_is_raised(builds: Builds, project: Project) -> None:
    context = project({"Dockerfile": "FROM busybox\nRUN true\n"})
    done = limited(builds, resource.RLIMIT_NOFILE, 10, "build", context, hard=False)
    assert done.returncode == 0, done.stderr
