"""A context that changes during the build, and caches that several mounts or steps want."""

import glob
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import Builds
from tests.support.waiting import PATIENCE_S, comes

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "overlay", "busybox")]

Project = Callable[[Mapping[str, str]], str]

WAITS = """FROM busybox
RUN --mount=type=cache,id=started,target=/m --mount=target=/c \\
    touch /m/started; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do \\
    grep -q new /c/f && break; sleep 0.1; done; cp /c/f /seen
RUN cat /seen >/later
"""


@pytest.mark.parametrize("ignore", ["", "nothing\n"])
def test_what_was_made_of_a_file_that_changed_is_not_found_again(
    builds: Builds, project: Project, ignore: str
) -> None:
    files = {"Dockerfile": WAITS, "f": "old\n"} | ({".dockerignore": ignore} if ignore else {})
    context = project(files)
    file = Path(context, "f")
    os.utime(file, (1_000_000_000, 1_000_000_000))

    def change() -> None:
        pattern = f"{builds.cli.root}/cache-mounts/*/0/started"
        comes(lambda: glob.glob(pattern))
        file.write_text("new\n")

    thread = threading.Thread(target=change)
    thread.start()
    done = builds.cli("build", "--progress=plain", context)
    thread.join()
    assert "files of the context changed meanwhile" in done.stderr
    file.write_text("old\n")
    image = builds.image(context)
    assert (image.text("seen"), image.text("later")) == ("old\n", "old\n")
    again = builds.cli("build", "--progress=plain", context)
    assert "changed meanwhile" not in again.stderr and "CACHED" in again.stderr


def test_files_from_just_now_are_cached(builds: Builds, project: Project) -> None:
    """Their times say too little, so their contents are compared, which are the same."""
    context = project({"Dockerfile": "FROM busybox\nCOPY . /c\nRUN date >/d\n", "f": "1"})
    first = builds.image(context)
    assert builds.image(context).config == first.config


def test_caches_that_start_from_different_trees(builds: Builds, project: Project) -> None:
    """They are different caches, also where one target gives them one id."""
    stage = "FROM scratch AS {0}\nCOPY <<E /seed/{0}\n{1}\nE\n"
    mount = "RUN --mount=type=cache,from={0},source=/seed,target=/c "

    def project_of(text: str) -> str:
        return project({"Dockerfile": text})

    text = stage.format("a", 1) + stage.format("b", 1) + "FROM busybox\n"
    both = text + mount.format("a") + "touch /c/used && ls /c >/a\n"
    both += mount.format("b") + "ls /c >/b\nRUN --mount=type=cache,target=/c ls /c >/c.txt\n"
    image = builds.image(project_of(both))
    assert (image.text("a"), image.text("b"), image.text("c.txt")) == ("a\nused\n", "b\n", "")
    again = builds.image(project_of(text + mount.format("a") + "ls /c >/again\n"))
    assert again.text("again") == "a\nused\n"
    changed = stage.format("a", 2) + "FROM busybox\n" + mount.format("a") + "ls /c >/x\n"
    assert builds.image(project_of(changed)).text("x") == "a\n"
    listed = builds.cli("cache-mount", "ls").stdout
    assert listed.count("/c from ") == 3


def test_one_cache_mounted_twice(builds: Builds, project: Project) -> None:
    line = "RUN --mount=type=cache,id=c,target=/x{0} --mount=type=cache,id=c,target=/y{0} "
    check = "touch /x/{1} && test -e /y/{1}\n"
    text = "FROM busybox\n" + "".join(
        (line + check).format(f",sharing={sharing}", sharing)
        for sharing in ("locked", "private", "shared")
    )
    builds.cli("build", project({"Dockerfile": text}))


def test_two_steps_that_lock_the_same_caches(builds: Builds, project: Project) -> None:
    """Each would hold one and wait for the other if they took them as they are written."""
    mounts = [f"--mount=type=cache,sharing=locked,id={id},target=/{id}" for id in ("1", "2")]
    script = "sleep 0.3; echo >/done"
    text = (
        f"FROM busybox AS a\nRUN {' '.join(mounts)} {script}\n"
        f"FROM busybox AS b\nRUN {' '.join(reversed(mounts))} {script}\n"
        "FROM scratch\nCOPY --from=a /done /a\nCOPY --from=b /done /b\n"
    )
    context = project({"Dockerfile": text})
    for _ in range(3):
        subprocess.run(
            [builds.cli.program, "build", "--no-cache", context],
            env={**builds.cli.environment, "MINIBUILD_ROOT": builds.cli.root},
            check=True,
            capture_output=True,
            timeout=PATIENCE_S,
        )
