"""Steps in the root directory of a container that allows no namespaces: real containers, by runc,
with the image of docs/ci/Dockerfile.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.pods.cases import CASES
from tests.pods.matrix import Pod, digest_here, pod, write_context
from tests.support import ci_image
from tests.support.containers import PROFILE

pytestmark = [pytest.mark.integration, pytest.mark.needs("root", "overlay", "runc", "busybox")]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image with a shell, as a directory."""
    if not (shutil.which("patchelf") and shutil.which("ssh-keygen") and PROFILE.exists()):
        pytest.skip("needs patchelf, ssh-keygen and the filter of containers-common")
    folder = tmp_path_factory.mktemp("image")
    tree = ci_image.gather(folder / "gathered")
    ci_image.build(Cli(str(folder / "store")), tree, "debug", "-o", f"{folder}/root")
    return folder / "root"


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_context(tmp_path_factory.mktemp("work") / "context")


@pytest.fixture
def made(tmp_path: Path, image: Path, context: Path) -> Iterator[Pod]:
    with pod(tmp_path / "pod", image, "root-seccomp", context) as running:
        yield running


def test_images_are_those_of_namespaces(made: Pod, context: Path, cli: Cli) -> None:
    assert "own-root: each RUN gets / of this container" in made.sh("minibuild doctor")
    for name, case in CASES.items():
        assert made.digest(case) == digest_here(cli, context, case), name
    # And the container is as it was.
    assert made.sh("ls -A / /etc /minibuild/roots").split() == (
        "/: busybox dev etc minibuild proc root run sys tmp var workspace "
        "/etc: group hosts passwd resolv.conf "
        "/minibuild/roots: lock owners".split()
    )


SLOW = "FROM scratch\nADD rootfs.tar /\nRUN --mount=type=cache,id={id},target=/bin/cache {run}\n"


def test_a_store_on_a_volume(tmp_path: Path, image: Path, context: Path, cli: Cli) -> None:
    """Its trees and caches are copied, and its sockets linked to, since nothing can be moved."""
    case, env = CASES["mounts"], {"MINIBUILD_ROOT": "/workspace/out/store"}
    with pod(tmp_path / "pod", image, "root-seccomp", context, env) as made:
        assert made.digest(case) == digest_here(cli, context, case)
    shutil.rmtree(context / "out")


# What ends a build in the middle of a step, by commands of the shell in its container. $! is the
# builder, and the keeper its child.
ENDS = {
    "a stop": "kill -TERM $builder; wait $builder; echo ended $?",
    "kill -9 of the builder": "kill -9 $builder; wait $builder; echo ended $?",
    "kill -9 of the builder and its keeper": "kill -9 $(pgrep -P $builder) $builder; echo ended",
    "the end of the container": "echo ended",
}


@pytest.mark.parametrize("how", ENDS)
def test_a_build_that_was_ended_leaves_a_container_for_the_next(made: Pod, how: str) -> None:
    """The step would go on for an hour, with a process in the background that ignores signals."""
    run = (
        "echo work >/bin/cache/x; (trap '' TERM INT; sleep 3600) & "
        "touch /workspace/started; sleep 3600"
    )
    (made.context / "Dockerfile").write_text(SLOW.format(id=how.replace(" ", ""), run=run))
    said = made.sh(
        "minibuild build --progress=plain . >log 2>&1 & builder=$!; "
        "for n in $(seq 300); do [ -e started ] && break; sleep 0.1; done; rm started || cat log; "
        + ENDS[how]
    )
    assert "ended" in said, said
    run = "cat /bin/cache/x; ! ps | grep -v grep | grep -q 'sleep 3600'"
    said = made.build(SLOW.format(id=how.replace(" ", ""), run=run))
    assert " work\n" in said, "the cache of the step that was ended"
    assert "busybox dev etc minibuild" in made.sh("echo $(ls -A /)")


def test_two_builds_take_turns(made: Pod) -> None:
    text = (
        "FROM scratch\nADD rootfs.tar /\nRUN [ ! -e /busy ] && touch /busy && sleep 1; ls /busy\n"
    )
    (made.context / "Dockerfile").write_text(text)
    made.sh(
        "minibuild build -q --no-cache . & first=$!; minibuild build -q --no-cache . && wait $first"
    )


def test_what_is_mounted_is_not_touched(made: Pod, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").write_text("the job's")
    made.container.binds["/usr/share/volume"] = str(volume)
    base = "FROM scratch\nADD rootfs.tar /\n"
    text = (
        base + "RUN cat /usr/share/volume/file && rm -rf /usr/share /etc; ls /etc; touch /usr/x\n"
    )
    made.build(text, "-o", "out")
    assert (volume / "file").exists() is False, "a step sees volumes, and may write to them"
    assert made.sh("cat /etc/hosts") == "127.0.0.1 localhost\n"
    assert sorted(path.name for path in (made.context / "out/usr").iterdir()) == ["bin", "x"]
    shutil.rmtree(made.context / "out")


def test_what_could_be_lost_is_refused(made: Pod) -> None:
    text = "FROM scratch\nADD rootfs.tar /\nRUN true\n"
    made.sh("mkdir /opt && echo mine >/opt/file")
    assert "a RUN needs namespaces of its own" in made.build(text, code=3)
    said = made.build(text, "--isolation=own-root", code=3)
    assert "/ holds what is not of minibuild's image: /opt/file" in said
    assert made.sh("cat /opt/file; rm /opt/file") == "mine\n"
    assert "none" not in made.build(text, "--isolation=own-root")
    said = made.build(text, "--no-cache", "--isolation=namespaces", code=3)
    assert "error: cannot enter a user namespace" in said


@pytest.mark.parametrize(
    ("text", "said"),
    {
        "no network": ("RUN --network=none true", "a RUN without a network needs namespaces"),
        "all privileges": (
            "RUN --security=insecure true",
            "a RUN with all privileges needs namespaces",
        ),
        "on a mount": (
            "RUN --mount=type=cache,target=/workspace true",
            "the container has a mount there",
        ),
        "no such user": ("USER nobody-here\nRUN true", "nobody-here"),
        "no such program": ('RUN ["/no/such"]', "no such file"),
        "its failure": ("RUN echo out; exit 7", "exit code: 7"),
    }.values(),
)
def test_what_cannot_be_is_said(made: Pod, text: str, said: str) -> None:
    found = made.build(
        f"FROM scratch\nADD rootfs.tar /\n{text}\n", "--allow=security.insecure", code=None
    )
    assert said in found and "Traceback" not in found
    assert "busybox dev etc minibuild" in made.sh("echo $(ls -A /)")
