"""A store on a disk that is full: a clear error, and no damage."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import Builds
from tests.support.probes import SMALL_BLOCKS, namespaces
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

Project = Callable[[Mapping[str, str]], str]

SCRIPT = """\
set -u
mount -t tmpfs -o size=12m none "$MINIBUILD_ROOT" || exit 90
"$1" image import "$2" busybox:latest || exit 91
"$1" build --progress=plain "$3"; first=$?
"$1" build --progress=plain -t small "$4" || exit 92
"$1" run small cat /small || exit 93
echo "first build: $first"
"""


NEARLY = (
    SMALL_BLOCKS
    + """
export MINIBUILD_ROOT=$2/state
for left in 6 12 18 19 20 21 22 26 40 60 90 120 125 130 140 200 400; do
    rm -rf $MINIBUILD_ROOT $2/fill
    mkdir $MINIBUILD_ROOT
    free=$(df -k --output=avail $2 | tail -n 1)
    head -c $(((free - left) * 1024)) /dev/zero > $2/fill
    sync $2/fill
    "$3" build "$4" > $1.out 2>&1; code=$?
    rm -rf $2/fill
    "$3" build -q "$4" > /dev/null || exit 92
    [ -z "$(ls -A $MINIBUILD_ROOT/ingest $MINIBUILD_ROOT/owners | grep -v :)" ] || exit 93
    echo "$left KiB: $code $(grep -c '^error: .*no space left' $1.out)"
done
"""
)


def on_a_disk(
    script: str, builds: Builds, context: str, tmp_path: Path
) -> "subprocess.CompletedProcess[str]":
    """Run a script with the image of a disk, a place to mount it, the program and a context."""
    (tmp_path / "at").mkdir()
    done = subprocess.run(
        [
            *(*namespaces(), "sh", "-c", script, "sh"),
            *(f"{tmp_path}/image", f"{tmp_path}/at", builds.cli.program, context),
        ],
        env=builds.cli.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.needs("loop")
def test_nearly_full_with_small_blocks(builds: Builds, project: Project, tmp_path: Path) -> None:
    """SQLite's shared memory is reserved whole: the kernel would end the process otherwise."""
    context = project({"Dockerfile": "FROM scratch\nLABEL a=b\n"})
    done = on_a_disk(NEARLY, builds, context, tmp_path)
    ended = {line.partition(": ")[2] for line in done.stdout.splitlines()}
    assert ended <= {"0 0", "8 1", "3 0"}, done.stdout
    assert {"0 0", "8 1"} <= ended


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    ("dockerfile", "codes"),
    [
        ("FROM busybox\nCOPY big /big\n", {3, 8}),
        ("FROM busybox\nCOPY big /big\nRUN cp /big /again\n", {3, 5, 8}),
        ("FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=30\n", {5}),
    ],
    ids=["copy", "copy and run", "run"],
)
def test_full_disk(
    builds: Builds,
    project: Project,
    busybox_tar: str,
    dockerfile: str,
    codes: set[int],
) -> None:
    """The build says what is full; a smaller one then fits, in the same store."""
    big = project({"Dockerfile": dockerfile})
    with open(f"{big}/big", "wb") as file:
        file.write(os.urandom(20 << 20))
    small = project({"Dockerfile": "FROM busybox\nRUN echo fits > /small\n"})
    done = subprocess.run(
        [*namespaces(), "sh", "-c", SCRIPT, "sh", builds.cli.program, busybox_tar, big, small],
        env=builds.cli.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said
    assert "no space left" in said.lower()
    assert int(done.stdout.rpartition("first build: ")[2]) in codes, said
    assert "fits" in done.stdout


INODES = """\
set -u
mkdir -p "$MINIBUILD_ROOT"
for inodes in 2 8 10 12 13 14 16 18 19 20 21 22 30; do
    mount -t tmpfs -o size=100m,nr_inodes=$inodes none "$MINIBUILD_ROOT" || exit 90
    "$1" build --progress=plain "$2" > "$3" 2>&1; code=$?
    echo "$inodes: $code $(grep '^error: ' "$3")"
    mount -o remount,nr_inodes=100000 "$MINIBUILD_ROOT"
    "$1" build -q "$2" > "$3" || exit 92
    [ -z "$(ls -A "$MINIBUILD_ROOT/ingest" "$MINIBUILD_ROOT/owners" | grep -v :)" ] || exit 93
    # The build does not wait until the last of its steps is unmounted.
    for again in $(seq 100); do umount "$MINIBUILD_ROOT" 2> /dev/null && continue 2; sleep 0.1; done
    exit 94
done
"""


@pytest.mark.needs("root")
def test_no_room_for_another_file(
    builds: Builds, project: Project, busybox_tar: str, tmp_path: Path
) -> None:
    """That is a full disk, too, though it has room for data."""
    context = project({"Dockerfile": "FROM scratch\nADD busybox.tar /\nRUN true\n"})
    os.link(busybox_tar, f"{context}/busybox.tar")
    arguments = (builds.cli.program, context, f"{tmp_path}/said")
    done = subprocess.run(
        [*namespaces(), "sh", "-c", INODES, "sh", *arguments],
        env=builds.cli.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for line in done.stdout.splitlines():
        ended = line.partition(": ")[2]
        full = ("no space left" in ended.lower()) or ("the disk with the store is full" in ended)
        assert ended.startswith(("3 ", "8 ")) and full, done.stdout


WHOLLY = (
    SMALL_BLOCKS
    + """
export MINIBUILD_ROOT=$2/state
"$3" build -q "$4" > /dev/null || exit 91
for turn in 1 2; do
    head -c 1G /dev/zero > $2/fill$turn 2> /dev/null
    "$3" du; [ $? = 8 ] || exit 92
    "$3" prune --all || exit 93
    rm $2/fill$turn
    "$3" build -q "$4" > /dev/null || exit 94
done
"""
)


FOR_A_CLIENT = """\
import os
from minibuild.buildkit.rpc import api_type
from minibuild.serve.control import Housekeeping
from minibuild.session.environment import read_environment

store = Housekeeping(os.environ["MINIBUILD_ROOT"], read_environment())
print("removed", len(list(store.prune(api_type("PruneRequest")(all=True)))))
"""


@pytest.mark.needs("loop")
def test_pruning_for_a_client_does_so_too(builds: Builds, project: Project, tmp_path: Path) -> None:
    context = project({"Dockerfile": "FROM scratch\nCOPY big /\n"})
    with open(f"{context}/big", "wb") as file:
        file.write(os.urandom(4 << 20))
    prune = f"'{sys.executable}' -c '{FOR_A_CLIENT}'"
    done = on_a_disk(WHOLLY.replace('"$3" prune --all', prune), builds, context, tmp_path)
    assert done.stdout.count("removed ") == 2, done.stdout


@pytest.mark.needs("loop")
def test_pruning_frees_a_disk_that_is_wholly_full(
    builds: Builds, project: Project, tmp_path: Path
) -> None:
    """To forget anything takes room for SQLite's log, which the store has kept; and it is kept
    again afterwards."""
    context = project({"Dockerfile": "FROM scratch\nCOPY big /\n"})
    with open(f"{context}/big", "wb") as file:
        file.write(os.urandom(4 << 20))
    done = on_a_disk(WHOLLY, builds, context, tmp_path)
    assert done.stdout.count("removed 2 records") == 2
    assert done.stderr.count("`minibuild prune --all`") == 2
