"""What steps have in common is made once, and what is left for each takes few calls."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibuild.executor import local
from minibuild.executor.api import Step, StepExit
from minibuild.executor.common_setup import SCRATCH, CommonSetup
from minibuild.executor.local import LocalExecutor, start_executor
from minibuild.executor.mount_points import MountPointLayer
from minibuild.executor.system_mounts import SystemMounts
from minibuild.executor.wire import Ready, Setup
from minibuild.linux import capabilities, syscalls
from minibuild.linux.root_mount import contain_mounts
from minibuild.snapshot.api import Mount
from tests.support import busybox

NEEDS = [pytest.mark.integration, pytest.mark.needs("busybox", "overlay", "trusted_xattr")]
pytestmark = NEEDS


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    """An executor with a base beside it, which has no files in /etc that are mounted over."""
    binary = busybox.find()
    assert binary is not None
    busybox.write_tree(binary, str(tmp_path / "base"))
    for name in ("hosts", "resolv.conf"):
        (tmp_path / "base/etc" / name).unlink(missing_ok=True)
    made = start_executor(str(tmp_path / "run"))
    yield made
    made.close()


def run(executor: LocalExecutor, folder: Path, script: str, lower: str = "base") -> list[str]:
    """Run a script over a fresh layer; what it left there."""
    number = len(list(folder.iterdir()))
    for name in ("upper", "work"):
        (folder / f"{name}{number}").mkdir()
    rootfs = Mount((lower,), f"upper{number}", f"work{number}", ("volatile",), str(folder))
    step = Step(rootfs, ("/bin/sh", "-c", script), (("PATH", "/bin"),))
    assert executor.start(step, lambda *_: None).wait(threading.Event()) == StepExit(0)
    upper = folder / f"upper{number}"
    return sorted(str(path.relative_to(upper)) for path in upper.rglob("*"))


def test_what_is_left_for_each_step(tmp_path: Path) -> None:
    """Calls that mount, and the like: what is there before a step is counted, and what is not."""
    namespaces = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC
    (tmp_path / SCRATCH).mkdir()
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        count = 0
        try:
            syscalls.unshare(namespaces)
            contain_mounts()
            common = CommonSetup(Setup(str(tmp_path), sandbox=True), single_id=False)
            check = syscalls.check

            def counted(result: int, call: str, path: str = "") -> int:
                nonlocal count
                count += 1
                return check(result, call, path)

            syscalls.check = counted
            SystemMounts(common, network=False)
        finally:
            os.write(write_fd, str(count).encode())
            os._exit(0)
    os.waitpid(pid, 0)
    count = int(os.read(read_fd, 16))
    os.close(read_fd)
    os.close(write_fd)
    # /proc, its copy that is not written, 16 covers; /dev, 6 devices and 3 mounts in it, which then
    # gets another flag; 3 to take.
    assert 20 < count <= 36


def test_the_server_has_given_up_what_no_step_may_have(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    run(executor, tmp_path, "true")
    (started,) = executor._servers._started.values()
    pid = started.server._pid
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        server, pid = pid, int(children[0])  # The last of them waits for a step.
    assert int(status(server)["CapBnd"], 16) == capabilities.mask(capabilities.SANDBOX)


def status(pid: int) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_no_mount_point_is_made_where_images_lack_it(
    executor: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[Ready] = []
    monkeypatch.setattr(local, "_tidy", lambda step, ready: removed.append(ready))
    # In the first one is written, so that the second has a copy of /etc above the layer.
    seen = "cat /etc/hosts /etc/resolv.conf > /n && grep -q localhost /n"
    assert run(executor, tmp_path, seen) == ["n"]
    assert run(executor, tmp_path, f"{seen}; echo > /etc/x") == ["etc", "etc/x", "n"]
    assert not removed


def test_a_layer_that_deleted_them_hides_the_mount_points(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    (tmp_path / "above/etc").mkdir(parents=True)
    os.mknod(tmp_path / "above/etc/hosts", 0o020000)
    left = run(executor, tmp_path, "grep -q localhost /etc/hosts", "above:base")
    assert left == []


def test_an_image_without_etc(executor: LocalExecutor, tmp_path: Path) -> None:
    (tmp_path / "base/etc/passwd").unlink()
    for path in sorted((tmp_path / "base/etc").rglob("*"), reverse=True):
        path.unlink()
    (tmp_path / "base/etc").rmdir()
    assert run(executor, tmp_path, "ls /etc > /n; test $(cat /n | wc -l) = 2") == ["n"]
    assert (tmp_path / "run/points/etc").stat().st_mode & 0o777 == 0o755


def test_points_are_not_seen(tmp_path: Path) -> None:
    """Nothing is put below what the layer would change, or cannot be below."""
    points = MountPointLayer(str(tmp_path))

    def below(lower: str, device: int = points.device) -> str:
        return ":".join(points.below(Mount((*lower.split(":"),), "u"), device).lower)

    assert below("b:a") == f"b:a:{points.path}"
    assert below("b:a", points.device + 1) == "b:a"
    assert below(":".join("x" * 500)).endswith(":x")
    assert below("x" * 4090).endswith("x")
    bind = Mount((), "/somewhere")
    assert points.below(bind, points.device) == bind


@pytest.mark.parametrize("name", ["a:b", "a,b", "a\\b"])
def test_points_at_a_strange_path(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    points = MountPointLayer(str(tmp_path / name))
    mount = Mount(("a",), "u")
    assert points.below(mount, points.device) == mount
