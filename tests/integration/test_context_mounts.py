"""What a step sees of a context that it mounts: just what a COPY of the same would have brought.

The copy is the oracle: files of a context belong to root, and what is ignored is not there, however
the mount comes about. Each test goes through all ways that this account has for it.
"""

import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.integration.conftest import Builds
from tests.support.images import Image

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "overlay", "busybox")]

Build = Callable[..., Image]
LIST = (
    (
        "cd {} && { find . ! -path . -exec stat -c '%n|%F|%a|%u|%g|%Y' {{}} + ;"
        " find . -type f -exec stat -c '%n|%s' {{}} + ; find . -type f -exec sha256sum {{}} + ;"
        " find . -type l -exec readlink {{}} + ; } | sort"
    )
    .replace("{ find", "{{ find")
    .replace("; } |", "; }} |")
)
IGNORED = "*.log\n**/*.o\nvendor\n!vendor/keep\nnothing/*\n.dockerignore\n"


@pytest.fixture(params=["nothing", "idmapped", "idmapped,overlay"])
def build(builds: Builds, request: pytest.FixtureRequest) -> Build:
    """Builds an image where the kernel refuses some of the mounts, and reads it."""
    program = builds.folder / "refusing"
    program.write_text(
        f"#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} -m tests.integration.refusing"
        f' {request.param} "$@"\n'
    )
    program.chmod(0o755)
    builds.cli.program = str(program)
    return builds.image


def context(folder: Path, *, ignored: str = IGNORED) -> str:
    """A tree with one of everything; owners are mixed where this account may give files away."""
    folder.mkdir()
    for name, text in {
        "plain": "plain",
        "with space é": "s",
        "a.log": "log",
        "src/x.c": "x",
        "src/x.o": "o",
        "src/deep/er/y.c": "y",
        "src/deep/er/y.o": "o",
        "vendor/big": "big",
        "vendor/keep/k": "k",
        "vendor/keep/k.o": "o",
        "nothing/left": "l",
        "others/f": "f",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "empty").mkdir(mode=0o700)
    (folder / "others/run").write_text("#!/bin/sh\n")
    os.chmod(folder / "others/run", 0o4755)
    os.chmod(folder / "others", 0o1750)
    os.link(folder / "others/f", folder / "others/g")
    os.link(folder / "plain", folder / "src/same")
    os.symlink("deep/er", folder / "src/link")
    os.symlink("/nowhere", folder / "dangling")
    os.mkfifo(folder / "src/fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(folder / "src", os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    if not os.geteuid():
        for number, name in enumerate(sorted(os.listdir(folder))):
            for path in (folder / name, *(folder / name).rglob("*")):
                os.chown(
                    path, *[(1003, 1004), (0, 0), (1005, 1004)][number % 3], follow_symlinks=False
                )
        os.chmod(folder / "others/run", 0o4755)
    (folder / ".dockerignore").write_text(ignored)
    return str(folder)


@pytest.mark.parametrize("options", ["", ",rw,source=src"])
@pytest.mark.parametrize("ignored", [IGNORED, ".dockerignore"], ids=["ignored", "all"])
def test_a_step_sees_what_a_copy_brings(
    build: Build, tmp_path: Path, ignored: str, options: str
) -> None:
    source = "src" if "src" in options else "."
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(
        f"FROM busybox\nCOPY {source} /copied\nRUN {LIST.format('/copied')} > /copy\n"
        f"RUN --mount=target=/src{options} {LIST.format('/src')} > /mounted\n"
    )
    image = build(context(tmp_path / "context", ignored=ignored), "-f", str(dockerfile))
    assert image.files["mounted"].data.decode() == image.files["copy"].data.decode()
    assert "./x.c|" in image.files["copy"].data.decode() or source == "."


def test_two_names_of_a_file(build: Build, tmp_path: Path) -> None:
    folder = Path(context(tmp_path / "context"))
    (folder / "Dockerfile").write_text(
        "FROM busybox\nRUN --mount=target=/src stat -c %i /src/others/f /src/others/g > /seen\n"
    )
    first, second = build(str(folder)).files["seen"].data.split()
    assert first == second


LINKS = {
    "to-dir": "dir", "to-file": "to-dir/f", "far": "./to-dir/..", "further": "to-dir",
    "absolute": "/dir", "to-gone": "gone", "through-gone": "gone-dir", "circle": "circle",
}  # fmt: skip
THERE = ["dir/f", "to-dir/f", "to-file", "far/further/f", "dir/../to-dir/./f", "../../dir/f"]
THERE += ["absolute/f", "a[b]*/f"]


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A context with symlinks to files and directories, some of them ignored."""
    folder = tmp_path / "context"
    for name in ("dir", "gone-dir", "a[b]*"):
        (folder / name).mkdir(parents=True)
        (folder / name / "f").write_text(name)
    (folder / "gone").write_text("g")
    for name, target in LINKS.items():
        os.symlink(target, folder / name)
    (folder / ".dockerignore").write_text("gone*")
    return folder


def test_sources_follow_symlinks(builds: Builds, linked: Path) -> None:
    """In the middle and at the end, inside the context."""
    mounts = " ".join(
        f"--mount=source={source},target=/it/{number}" for number, source in enumerate(THERE)
    )
    (linked / "Dockerfile").write_text(
        f"FROM busybox\nRUN {mounts} for i in /it/*; do cat $i; echo; done > /seen\n"
    )
    seen = builds.image(str(linked)).files["seen"].data.decode().split()
    assert seen == ["dir"] * 7 + ["a[b]*"]


@pytest.mark.parametrize("source", ["gone", "to-gone", "through-gone/f", "circle", "gone-dir"])
def test_sources_that_are_ignored_are_not_found(builds: Builds, linked: Path, source: str) -> None:
    (linked / "Dockerfile").write_text(
        f"FROM busybox\nRUN --mount=source={source},target=/it cat /it\n"
    )
    said = builds.cli("build", "--progress=plain", str(linked), code=6).stderr
    assert f'"/{source}": not found' in said or "Too many levels" in said


@pytest.mark.parametrize("options", ["", ",rw"])
def test_a_file_belongs_to_root_too(build: Build, tmp_path: Path, options: str) -> None:
    folder = Path(context(tmp_path / "context"))
    listed = " ".join(f"/{number}" for number in range(3))
    mounts = " ".join(
        f"--mount=source={name},target=/{number}{options}"
        for number, name in enumerate(["plain", "others/run", "src/socket"])
    )
    (folder / "Dockerfile").write_text(
        f"FROM busybox\nRUN {mounts} stat -c '%u %g %a %F' {listed} > /seen\n"
    )
    seen = build(str(folder)).files["seen"].data.decode().splitlines()
    assert seen == ["0 0 644 regular file", "0 0 4755 regular file", "0 0 755 regular empty file"]


def test_what_a_step_writes_is_gone(build: Build, tmp_path: Path) -> None:
    """And the context is as it was, what was ignored included."""
    folder = Path(context(tmp_path / "context"))
    before = sorted(str(path) for path in folder.rglob("*"))
    (folder / "Dockerfile").write_text(
        "FROM busybox\n"
        "RUN --mount=target=/src,rw cd /src && echo new > plain && rm -r src vendor && mkdir vendor"
        " && echo x > a.log && ls -A vendor > /seen\n"
        "RUN --mount=target=/src,rw cat /src/plain >> /seen && ls /src/vendor >> /seen\n"
        "RUN --mount=target=/src touch /src/x 2>/dev/null || echo ro >> /seen\n"
    )
    assert build(str(folder)).files["seen"].data == b"plainkeep\nro\n"
    (folder / "Dockerfile").unlink()
    assert sorted(str(path) for path in folder.rglob("*")) == before
    assert (folder / "plain").read_text() == "plain" and (folder / "a.log").read_text() == "log"


def test_names_that_mean_something_to_mounts(builds: Builds, tmp_path: Path) -> None:
    """Of contexts, and of what is in them."""
    names = ["a:b", "a,b", "a\\b", "a b", "a=[b]*"]
    lines = ["FROM busybox"]
    for number, name in enumerate(names):
        folder = tmp_path / name
        (folder / name).mkdir(parents=True)
        (folder / name / "f").write_text("f")
        (folder / ".dockerignore").write_text(".dockerignore\n*.gone\n")
        (folder / "x.gone").write_text("")
        lines.append(f"RUN --mount=from=c{number},target=/s cat /s/*/f >> /seen && ls /s >> /seen")
    (tmp_path / "main").mkdir()
    (tmp_path / "main/Dockerfile").write_text("\n".join(lines))
    flags = [f"--build-context=c{number}={tmp_path / name}" for number, name in enumerate(names)]
    image = builds.image(str(tmp_path / "main"), *flags)
    assert image.files["seen"].data.decode().splitlines() == [f"f{name}" for name in names]


@pytest.mark.needs("root")
def test_what_is_mounted_in_a_context(builds: Builds, tmp_path: Path) -> None:
    """As a COPY sees it, with an ignore file and without; what lies under a mount is not seen."""
    for ignored in ("", "*.gone\n"):
        folder = tmp_path / f"context{len(ignored)}"
        (folder / "disk").mkdir(parents=True)
        (folder / "disk/under").write_text("under")
        (folder / "x.gone").write_text("")
        (folder / ".dockerignore").write_text(ignored)
        (folder / "Dockerfile").write_text(
            "FROM busybox\nRUN --mount=target=/src ls /src/disk > /seen\n"
            "RUN --mount=target=/src,rw ls /src/disk >> /seen\nCOPY disk /copied\n"
        )
        script = f"mount -t tmpfs t {folder}/disk && touch {folder}/disk/over && " + shlex.join(
            [builds.cli.program, "build", "--progress=plain", "--tag=t", str(folder)]
        )
        env = {**builds.cli.environment, "MINIBUILD_ROOT": builds.cli.root}
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        out = tmp_path / f"out{len(ignored)}"
        builds.cli("image", "save", "--format=dir", "-o", str(out), "t")
        from tests.support.images import read_image

        image = read_image(str(out))
        assert image.files["seen"].data == b"over\nover\n" and "copied/over" in image.files


@pytest.mark.parametrize("place", [".cache/store", "src/store"])
def test_a_store_in_the_context(
    builds: Builds, busybox_tar: str, tmp_path: Path, place: str
) -> None:
    """As CI systems have it that keep nothing else. No layer of an overlay may lie in another."""
    folder = Path(context(tmp_path / "context", ignored=f"{IGNORED}{place}\n"))
    (folder / "Dockerfile").write_text(
        f"FROM busybox\nCOPY . /copied\nRUN {LIST.format('/copied')} > /copy\n"
        f"RUN --mount=target=/src {LIST.format('/src')} > /mounted\n"
    )
    builds.cli.root = builds.cli.environment["MINIBUILD_ROOT"] = str(folder / place)
    builds.cli("image", "import", busybox_tar, "busybox:latest")
    image = builds.image(str(folder))
    assert image.files["mounted"].data == image.files["copy"].data
    said = builds.cli("build", "--progress=plain", "--no-cache", str(folder)).stderr
    assert "so its files are copied" not in said


def test_the_cache_knows_contents_and_not_owners(builds: Builds, tmp_path: Path) -> None:
    """A checkout of another user is the same context; another file in it is not."""
    folder = Path(context(tmp_path / "context"))
    (folder / "Dockerfile").write_text(
        "FROM busybox\nRUN --mount=target=/src cat /proc/sys/kernel/random/uuid > /u\n"
    )
    (folder / ".dockerignore").write_text(IGNORED + "Dockerfile\n")
    first = builds.image(str(folder)).files["u"]
    if not os.geteuid():
        for path in folder.rglob("*"):
            os.chown(path, 7, 8, follow_symlinks=False)
        os.chmod(folder / "others/run", 0o4755)
    (folder / "a.log").write_text("another")
    assert builds.image(str(folder)).files["u"] == first
    (folder / "src/x.c").write_text("another")
    assert builds.image(str(folder)).files["u"] != first


def test_a_context_that_changes_between_two_steps(builds: Builds, tmp_path: Path) -> None:
    """The second sees what is there then: a new file that is ignored stays out, one that is
    replaced by the mask is not the old one."""
    folder = Path(context(tmp_path / "context"))
    (folder / "Dockerfile").write_text(
        "FROM busybox\n"
        # A name that was not there is remembered by the kernel, so it asks for another each time.
        "RUN --mount=target=/src touch /first && i=0; while [ $i -lt 100 ] && [ ! -e /src/go$i ];"
        " do sleep 0.1; i=$((i+1)); done; cp -a /src/others /one\n"
        "RUN --mount=target=/src find /src > /seen && cp -a /src/others /two\n"
    )

    def change() -> None:
        while not os.path.isdir(f"{builds.cli.root}/run/mnt") and waiting:
            time.sleep(0.05)
        time.sleep(1)
        (folder / "others/f").write_text("changed")
        (folder / "src/new.o").write_text("o")
        (folder / "src/new.c").write_text("c")
        for number in range(100):
            (folder / f"go{number}").write_text("")

    waiting = [True]
    thread = threading.Thread(target=change)
    thread.start()
    image = builds.image(str(folder))
    waiting.clear()
    thread.join()
    seen = image.files["seen"].data.decode().split()
    assert "/src/src/new.c" in seen and "/src/src/new.o" not in seen
    assert image.files["two/f"].data == b"changed"
    assert (image.files["two/f"].uid, image.files["two/f"].gid) == (0, 0)


@pytest.mark.parametrize("fails", ["", "exit 1"])
def test_nothing_is_left(builds: Builds, tmp_path: Path, fails: str) -> None:
    folder = Path(context(tmp_path / "context"))
    (folder / "Dockerfile").write_text(
        f"FROM busybox\nRUN --mount=target=/src ls /src; {fails or 'true'}\n"
    )
    builds.cli("build", "--progress=plain", str(folder), code=5 if fails else 0)
    builds.cli("du")
    assert builds.leftovers() == []


def test_named_contexts(build: Build, tmp_path: Path) -> None:
    """Their own ignore files count."""
    other = context(tmp_path / "other")
    folder = tmp_path / "main"
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        f"FROM busybox\nCOPY --from=other . /copied\nRUN {LIST.format('/copied')} > /copy\n"
        f"RUN --mount=from=other,target=/src {LIST.format('/src')} > /mounted\n"
    )
    image = build(str(folder), f"--build-context=other={other}")
    assert image.files["mounted"].data == image.files["copy"].data
    assert b"a.log" not in image.files["copy"].data
