"""A plain chroot, whose root is no mount point. Root builds there; others learn why they cannot."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.integration.conftest import Builds
from tests.support.probes import namespaces
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

Project = Callable[[Mapping[str, str]], str]

# The machine's own folders, one by one, in a folder that is none of them.
CHROOT = """\
set -e
root=$1; shift
mount --make-r{propagation} /
for entry in /*; do
    if [ -L "$entry" ]; then ln -s "$(readlink "$entry")" "$root$entry"
    elif [ -d "$entry" ]; then mkdir "$root$entry"; mount --rbind "$entry" "$root$entry"
    fi
done
count() {{ grep -c . /proc/self/mountinfo; }}
before=$(count)
PATH=$PATH:/usr/sbin chroot "$root" "$@" & child=$!
most=$before
while kill -0 $child 2>/dev/null; do
    now=$(count); [ "$now" -le "$most" ] || most=$now; sleep 0.02
done
[ "$most" = "$before" ] || echo "mounts came out of the chroot: $before, then $most"
wait $child
"""


def in_chroot(folder: Path, propagation: str, *words: str, **env: str) -> str:
    """What a command says in a chroot, in a mount namespace whose mounts are shared or not."""
    folder.mkdir()
    script = CHROOT.format(propagation=propagation)
    done = subprocess.run(
        [*namespaces(), "sh", "-c", script, "sh", str(folder), *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    return f"{done.stdout}{done.stderr}\nexit {done.returncode}"


@pytest.mark.parametrize("propagation", ["private", "shared"])
def test_steps_run_in_a_chroot(
    builds: Builds, project: Project, tmp_path: Path, propagation: str
) -> None:
    steps = "RUN echo hello; sleep 0.2\nRUN --mount=type=bind,target=/c ls /c\n"
    context = project({"Dockerfile": f"FROM busybox\n{steps}RUN --network=none true\n"})
    command = [builds.cli.program, "build", "--progress=plain", context]
    said = in_chroot(tmp_path / "root", propagation, *command, **builds.cli.environment)
    assert said.endswith("exit 0"), said
    assert " hello\n" in said and " Dockerfile\n" in said
    assert "mounts came out" not in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a chroot for others")
def test_an_ordinary_account_is_told_why_not(builds: Builds, tmp_path: Path) -> None:
    build = f"printf 'FROM scratch\nRUN true\n' | {builds.cli.program} build -"
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", build]
    with TemporaryDirectory() as store:
        os.chown(store, 65534, 65534)
        environment = {"PATH": os.environ["PATH"], "MINIBUILD_ROOT": store}
        said = in_chroot(tmp_path / "root", "private", *command, **environment)
    if "Permission denied" in said:
        pytest.skip("nobody cannot reach the program here")
    assert "a RUN needs namespaces of its own" in said and ">>> RUN true" in said
    assert "hint: this is a chroot, and Linux makes no user namespace in one" in said
